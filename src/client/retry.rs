use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use jiff::civil::DateTime;

use super::error::{Error, ErrorKind};
use crate::domain::Timestamp;

/// A date of HTTP, and the two forms that it had before (RFC 9110, section 5.6.7).
const DATE_FORMS: [&str; 3] =
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// How often, for how long and after which pauses a call is sent again.
#[derive(Debug, Clone)]
pub(super) struct RetryPolicy {
    /// All of them, the first one included.
    pub(super) attempts: u32,
    /// For each attempt.
    pub(super) timeout: Duration,
    /// For the whole call, pauses included.
    pub(super) deadline: Duration,
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
    pub(super) jitter_seed: Option<u64>,
}

/// What it means to send a call again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nothing: it reads.
    Reads,
    /// What is gone is gone.
    Deletes,
    /// The server knows it by its key and does it once.
    Keyed,
    /// The application says that the server does it once.
    Promised,
    /// It might be done twice.
    Never,
}

/// The pauses of one call.
#[derive(Debug)]
pub(super) struct Pauses(ExponentialBackoff);

impl Repeat {
    /// Whether another attempt may help, and can do no harm.
    pub(super) fn is_worth_it(self, error: &Error) -> bool {
        if self == Self::Never {
            return false;
        }
        match error.kind() {
            ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Broken => true,
            ErrorKind::Refused => match error.status() {
                Some(408 | 429 | 502 | 503 | 504) => true,
                // A bug may have done half of it, which only reading leaves as it was.
                Some(500) => self == Self::Reads,
                Some(409) => self == Self::Keyed && error.code() == Some("idempotency_in_progress"),
                _ => false,
            },
            _ => false,
        }
    }
}

impl Pauses {
    pub(super) fn new(policy: &RetryPolicy) -> Self {
        // Without a seed of our own every client would pause for the same times, since backon has
        // no source of chance here; the low half of a UUID is random.
        let seed = || uuid::Uuid::now_v7().as_u64_pair().1;
        let pauses = ExponentialBuilder::new()
            .with_min_delay(policy.first_pause)
            .with_max_delay(policy.longest_pause)
            .with_max_times(policy.attempts.saturating_sub(1) as usize)
            .with_jitter()
            .with_jitter_seed(policy.jitter_seed.unwrap_or_else(seed));
        Self(pauses.build())
    }

    /// The pause before the next attempt: what the server asks for and a jittered one on top, so
    /// that not all come back in the same instant. Nothing where no attempt is left, or where the
    /// pause would use up what is left of the time.
    pub(super) fn next(&mut self, error: &Error, left: Duration) -> Option<Duration> {
        let jittered = self.0.next()?;
        let pause = error.retry_after().unwrap_or_default().saturating_add(jittered);
        (pause < left).then_some(pause)
    }
}

/// How long a `Retry-After` asks to wait (RFC 9110, section 10.2.3): seconds, or a date. Nothing
/// where it is neither.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a very long time too.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = DATE_FORMS.iter().find_map(|form| DateTime::strptime(form, value).ok())?;
    let seconds = date.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_secs();
    Some(Timestamp::from_seconds(seconds).since(now))
}

#[cfg(test)]
mod tests {
    use super::{super::error::Told, *};

    const MS: Duration = Duration::from_millis(1);
    const FOREVER: Duration = Duration::MAX;

    fn policy(attempts: u32) -> RetryPolicy {
        RetryPolicy {
            attempts,
            timeout: FOREVER,
            deadline: FOREVER,
            first_pause: 100 * MS,
            longest_pause: 400 * MS,
            jitter_seed: Some(7),
        }
    }

    fn refused(status: u16, retry_after: Option<Duration>) -> Error {
        let told = Told { retry_after, ..Told::default() };
        Error::new(ErrorKind::Refused).answered(status, None).told(told)
    }

    fn pauses(policy: &RetryPolicy) -> Vec<Duration> {
        let (mut pauses, error) = (Pauses::new(policy), refused(503, None));
        std::iter::from_fn(|| pauses.next(&error, FOREVER)).collect()
    }

    #[test]
    fn pauses_grow_with_jitter_up_to_the_longest() {
        let taken = pauses(&policy(6));
        assert_eq!(taken.len(), 5);
        for (pause, least) in taken.iter().zip([100, 200, 400, 400, 400]) {
            assert!((least * MS..2 * least * MS).contains(pause), "{taken:?}");
        }
        assert_eq!(pauses(&policy(6)), taken, "one seed, one series");
        assert!(pauses(&policy(1)).is_empty());
    }

    #[test]
    fn two_clients_do_not_pause_alike() {
        let unseeded = RetryPolicy { jitter_seed: None, ..policy(6) };
        assert_ne!(pauses(&unseeded), pauses(&unseeded));
    }

    #[test]
    fn what_the_server_asks_for_comes_first_and_jitter_on_top() {
        let asked = Duration::from_secs(3);
        let pause = Pauses::new(&policy(2)).next(&refused(429, Some(asked)), FOREVER);
        let pause = pause.expect("an attempt is left");
        assert!(pause >= asked + 100 * MS && pause < asked + 200 * MS, "{pause:?}");
    }

    #[test]
    fn a_pause_that_leaves_no_time_ends_the_call() {
        for asked in [Duration::from_secs(3), Duration::from_secs(u64::MAX), FOREVER] {
            let mut pauses = Pauses::new(&policy(9));
            assert_eq!(pauses.next(&refused(503, Some(asked)), Duration::from_secs(3)), None);
        }
        assert_eq!(Pauses::new(&policy(9)).next(&refused(503, None), Duration::ZERO), None);
    }

    #[test]
    fn extreme_policies_do_not_panic() {
        let extreme = RetryPolicy { first_pause: FOREVER, longest_pause: FOREVER, ..policy(9) };
        assert!(pauses(&extreme).len() <= 8);
        let none = RetryPolicy {
            first_pause: Duration::ZERO,
            longest_pause: Duration::ZERO,
            ..policy(u32::MAX)
        };
        let mut without = Pauses::new(&none);
        assert_eq!(without.next(&refused(503, None), MS), Some(Duration::ZERO));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_seconds(784_111_777);
        let seconds = Duration::from_secs;
        for (value, expected) in [
            ("0", Some(seconds(0))),
            (" 120 ", Some(seconds(120))),
            ("18446744073709551615", Some(seconds(u64::MAX))),
            ("99999999999999999999999999", Some(seconds(u64::MAX))),
            // 1994-11-06T08:49:37Z is `now`.
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(seconds(0))),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(seconds(60))),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(seconds(0))),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(seconds(60))),
            ("Sun Nov  6 08:50:37 1994", Some(seconds(60))),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(seconds(252_618_189_022))),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 06 Nov 1994", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("1994-11-06T08:49:37Z", None),
        ] {
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
    }

    #[test]
    fn only_what_is_safe_and_may_help_is_sent_again() {
        use Repeat::*;
        let coded = |status, code: &str| {
            let problem =
                super::super::problem::Problem::from_json(serde_json::json!({"code": code}));
            let told = Told { problem, ..Told::default() };
            Error::new(ErrorKind::Refused).answered(status, None).told(told)
        };
        let all = [Reads, Deletes, Keyed, Promised, Never];
        let by = |error: Error| all.map(|repeat| repeat.is_worth_it(&error));
        let (safe, none) = ([true, true, true, true, false], [false; 5]);
        for kind in [ErrorKind::Connect, ErrorKind::Timeout, ErrorKind::Broken] {
            assert_eq!(by(Error::new(kind)), safe, "{kind:?}");
        }
        for status in [408, 429, 502, 503, 504] {
            assert_eq!(by(refused(status, None)), safe, "{status}");
        }
        assert_eq!(by(refused(500, None)), [true, false, false, false, false]);
        for status in [400, 401, 403, 404, 409, 413, 422, 501, 505, 507] {
            assert_eq!(by(refused(status, None)), none, "{status}");
        }
        let in_progress = by(coded(409, "idempotency_in_progress"));
        assert_eq!(in_progress, [false, false, true, false, false]);
        assert_eq!(by(coded(409, "request_conflict")), none);
        assert_eq!(by(coded(422, "idempotency_in_progress")), none);
        for kind in [
            ErrorKind::InvalidRequest,
            ErrorKind::Signing,
            ErrorKind::Redirected,
            ErrorKind::Unreadable,
            ErrorKind::TooLarge,
        ] {
            assert_eq!(by(Error::new(kind)), none, "{kind:?}");
        }
    }
}
