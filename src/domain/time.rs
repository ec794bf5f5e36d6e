use std::{
    fmt,
    str::FromStr,
    sync::LazyLock,
    time::{Duration, Instant},
};

use jiff::civil::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MICROS_PER_SECOND: i64 = 1_000_000;
/// 9999-12-31T23:59:59.999Z, the last instant that a four-digit year can name.
const LATEST: i64 = 253_402_300_799_999_000;
/// 0000-01-01T00:00:00.000Z.
const EARLIEST: i64 = -62_167_219_200_000_000;

/// 1970-01-01T00:00:00, which is what a [`Timestamp`] counts from.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// An instant in UTC, to the microsecond.
///
/// `Display` prints what JavaScript's `toISOString` prints: three fraction digits and `Z`.
/// Instants outside the years 0 to 9999 are held at that border, so that a token which expires in
/// the year 60000 is simply one that does not expire in our time.
///
/// ```
/// use std::time::Duration;
/// use key0_auth::domain::Timestamp;
///
/// let paid: Timestamp = "2026-01-31T12:00:00.000Z".parse()?;
/// assert_eq!(paid.plus(Duration::from_millis(1_500)).to_string(), "2026-01-31T12:00:01.500Z");
/// # Ok::<(), key0_auth::domain::InvalidTimestamp>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text that is not an ISO 8601 instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 8601 instant such as 2026-01-31T12:00:00.000Z")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// The instant so many microseconds after 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        if micros > LATEST {
            Self(LATEST)
        } else if micros < EARLIEST {
            Self(EARLIEST)
        } else {
            Self(micros)
        }
    }

    /// The instant so many milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self::from_micros(millis.saturating_mul(1_000))
    }

    /// The instant so many seconds after 1970-01-01T00:00:00Z.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// A JWT `NumericDate` with a fraction (RFC 7519, section 2), to the nearest microsecond.
    pub(crate) fn from_seconds_f64(seconds: f64) -> Self {
        Self::from_micros((seconds * MICROS_PER_SECOND as f64).round() as i64)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// This instant cut to the millisecond, which is all that JSON shows of it.
    #[must_use]
    pub const fn to_millis(self) -> Self {
        Self::from_millis(self.as_millis())
    }

    /// This instant and a while later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(micros(duration)))
    }

    /// This instant and a while earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self::from_micros(self.0.saturating_sub(micros(duration)))
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn micros(duration: Duration) -> i64 {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    seconds.saturating_mul(MICROS_PER_SECOND).saturating_add(duration.subsec_micros().into())
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // jiff's civil time reaches the end of the year 9999, its `Timestamp` stops a day earlier.
        match EPOCH.checked_add(jiff::SignedDuration::from_micros(self.0)) {
            Ok(instant) => write!(f, "{instant:.3}Z"),
            // The range was checked when the value was made.
            Err(_) => Err(fmt::Error),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Reads an RFC 3339 instant with any offset.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Ok(Self::from_micros(instant.as_microsecond()));
        }
        // The last day of the year 9999; see `Display`.
        let last_day =
            text.strip_suffix('Z').filter(|t| t.starts_with("9999-12-3") && t.len() > 10);
        let instant: DateTime = last_day.and_then(|t| t.parse().ok()).ok_or(InvalidTimestamp)?;
        let micros = instant.duration_since(EPOCH).as_micros();
        Ok(Self::from_micros(i64::try_from(micros).map_err(|_| InvalidTimestamp)?))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Where the time comes from. Tests hand in one of their own, so that none of them sleeps.
///
/// ```
/// use key0_auth::domain::{Clock, Timestamp};
///
/// #[derive(Debug)]
/// struct NewYear;
///
/// impl Clock for NewYear {
///     fn now(&self) -> Timestamp {
///         Timestamp::from_seconds(1_798_761_600)
///     }
/// }
/// assert_eq!(NewYear.now().to_string(), "2027-01-01T00:00:00.000Z");
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// How much time has passed since some instant, by a clock that nobody can set. `None`, which
    /// is the default, where there is no such clock: then `now` is believed, however it jumps.
    fn monotonic(&self) -> Option<Duration> {
        None
    }
}

/// The clock of the operating system.
///
/// ```
/// use key0_auth::domain::{Clock, SystemClock, Timestamp};
///
/// assert!(SystemClock.now() > Timestamp::from_seconds(0));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(micros(since_epoch))
    }

    fn monotonic(&self) -> Option<Duration> {
        static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        Some(BEGIN.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_to_iso_string_prints() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_305_965_123_000, "2026-11-22T00:06:05.123Z"),
            (1_795_305_965_000_000, "2026-11-22T00:06:05.000Z"),
            (-1_000, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
            assert_eq!(text.parse::<Timestamp>(), Ok(Timestamp::from_micros(micros)));
        }
    }

    #[test]
    fn extremes_stay_printable() {
        assert_eq!(Timestamp::from_seconds(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_seconds_f64(1e300), Timestamp::from_seconds(i64::MAX));
        assert_eq!(Timestamp::from_seconds_f64(-1e300), Timestamp::from_seconds(i64::MIN));
        assert_eq!(Timestamp::from_seconds(i64::MIN).to_string(), "0000-01-01T00:00:00.000Z");
        for extreme in [i64::MIN, i64::MAX] {
            let extreme = Timestamp::from_seconds(extreme);
            assert_eq!(extreme.to_string().parse(), Ok(extreme));
        }
        assert_eq!("9999-12-31T24:00:00.000Z".parse::<Timestamp>(), Err(InvalidTimestamp));
        let late = Timestamp::from_seconds(i64::MAX).plus(Duration::MAX);
        assert_eq!(late.since(Timestamp::from_seconds(i64::MIN)).as_secs(), 315_569_519_999);
    }
}
