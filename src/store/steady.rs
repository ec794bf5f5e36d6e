use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::domain::{Clock, Timestamp};

/// By how much a clock may differ from what has passed since it was last believed.
const TOLERANCE: Duration = Duration::from_secs(2 * 60);
/// For how long a clock must go on steadily until it is believed: at the start, and after it was set.
const PROBATION: Duration = Duration::from_secs(60 * 60);

/// A [`Clock`] that does not follow another one at once where that is set ahead.
///
/// A clock that is wrong for a minute must not make a day's answers or a month's keys go. So its
/// progress is compared with that of one that nobody can set: see [`Clock::monotonic`]. Where the
/// two part by more than two minutes, the clock is in doubt until they have agreed for an hour, and
/// [`now`](Clock::now) is the earlier of what it shows and of what should have come.
///
/// A new one is in doubt too, since a process can start while the clock is wrong. Until it was
/// [believed once](Self::was_believed), nothing tells whether [`now`](Clock::now) is ahead.
///
/// Clones are the same.
///
/// ```
/// use std::time::Duration;
/// use key0_auth::{domain::Clock, store::spi::SteadyClock, testing::FakeClock};
///
/// let wall = FakeClock::new();
/// let (began, day) = (wall.now(), Duration::from_secs(24 * 60 * 60));
/// let clock = SteadyClock::new(wall.clone());
/// wall.jump_to(began.plus(day));
/// assert_eq!(clock.believed(), None, "so nothing is purged");
/// assert_eq!(clock.now(), began);
/// wall.advance(Duration::from_secs(60 * 60));
/// assert_eq!(clock.believed(), Some(wall.now()));
/// ```
#[derive(Clone)]
pub struct SteadyClock {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<Option<State>>>,
}

/// An instant on both clocks.
#[derive(Clone, Copy, PartialEq)]
struct Mark {
    wall: Timestamp,
    monotonic: Duration,
}

struct State {
    /// When it was believed last; until it was believed once, when it was first seen.
    believed: Mark,
    /// Where the clock was first seen, at all or after it had been set.
    doubted: Option<Mark>,
    was_believed: bool,
}

impl SteadyClock {
    /// Believes the clock when it has gone on steadily for an hour from now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let steady = Self { clock, state: Arc::default() };
        steady.look();
        steady
    }

    /// The present instant; `None` while it is in doubt. What is past its time may be removed only by
    /// this.
    pub fn believed(&self) -> Option<Timestamp> {
        let (wall, expected) = self.look();
        expected.is_none().then_some(wall)
    }

    /// Whether the clock has ever been believed. Until then [`now`](Clock::now) can be far ahead, so
    /// nothing may be taken for over by it that must not happen twice.
    pub fn was_believed(&self) -> bool {
        self.believed().is_some() || self.state().as_ref().is_some_and(|state| state.was_believed)
    }

    /// How much longer the clock must go on steadily until it is believed for the first time; `None` where
    /// it [was believed](Self::was_believed), else never zero.
    pub(crate) fn until_first_believed(&self) -> Option<Duration> {
        if self.was_believed() {
            return None;
        }
        let doubted = self.state().as_ref().and_then(|state| state.doubted);
        let steady = self.clock.monotonic().zip(doubted);
        let steady = steady.map(|(now, since)| now.saturating_sub(since.monotonic));
        let left = PROBATION.saturating_sub(steady.unwrap_or_default());
        Some(left.max(Duration::from_micros(1)))
    }

    /// The later of the two instants of which [`now`](Clock::now) is the earlier: what is to be kept for a
    /// time is kept for that time from then on, whichever of them is right.
    pub fn latest(&self) -> Timestamp {
        let (wall, expected) = self.look();
        expected.map_or(wall, |expected| expected.max(wall))
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the clock shows and, where that is in doubt, what it should show.
    fn look(&self) -> (Timestamp, Option<Timestamp>) {
        let mut state = self.state();
        let wall = self.clock.now();
        let Some(monotonic) = self.clock.monotonic() else { return (wall, None) };
        let now = Mark { wall, monotonic };
        let State { believed, doubted, was_believed } =
            state.get_or_insert(State { believed: now, doubted: Some(now), was_believed: false });
        match *doubted {
            None if believed.agrees_with(now) => {
                *believed = now;
                return (wall, None);
            }
            Some(since) if !since.agrees_with(now) => doubt(believed, doubted, now),
            Some(since) if now.monotonic.saturating_sub(since.monotonic) >= PROBATION => {
                #[cfg(feature = "tracing")]
                if since != *believed {
                    tracing::warn!("the clock has gone steadily for an hour and is believed again");
                }
                (*believed, *doubted, *was_believed) = (now, None, true);
                return (wall, None);
            }
            Some(_) => {}
            None => doubt(believed, doubted, now),
        }
        (wall, Some(believed.expected_at(now.monotonic)))
    }
}

fn doubt(believed: &Mark, doubted: &mut Option<Mark>, now: Mark) {
    *doubted = Some(now);
    #[cfg(feature = "tracing")]
    tracing::error!(
        shown = %now.wall,
        expected = %believed.expected_at(now.monotonic),
        "the clock was set, or the machine slept: nothing is purged until the clock has gone \
         steadily for an hour"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = believed;
}

impl Mark {
    fn expected_at(self, monotonic: Duration) -> Timestamp {
        self.wall.plus(monotonic.saturating_sub(self.monotonic))
    }

    fn agrees_with(self, now: Self) -> bool {
        let expected = self.expected_at(now.monotonic);
        now.wall.since(expected).max(expected.since(now.wall)) <= TOLERANCE
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let (wall, expected) = self.look();
        expected.map_or(wall, |expected| expected.min(wall))
    }

    fn monotonic(&self) -> Option<Duration> {
        self.clock.monotonic()
    }
}

impl fmt::Debug for SteadyClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteadyClock").field("clock", &self.clock).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

    use super::*;

    /// Microseconds on the wall, and those that have passed.
    #[derive(Debug, Default)]
    struct Held(AtomicI64, AtomicI64);

    impl Clock for Held {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.load(SeqCst))
        }

        fn monotonic(&self) -> Option<Duration> {
            Some(Duration::from_micros(self.1.load(SeqCst).unsigned_abs()))
        }
    }

    impl Held {
        fn set(&self, by_minutes: i64) {
            self.0.fetch_add(by_minutes * 60_000_000, SeqCst);
        }

        fn pass(&self, minutes: i64) {
            self.set(minutes);
            self.1.fetch_add(minutes * 60_000_000, SeqCst);
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_seconds(minutes * 60)
    }

    #[test]
    fn a_clock_is_believed_an_hour_after_the_start() {
        let held = Arc::new(Held::default());
        let clock = SteadyClock::new(held.clone());
        for (passes, left) in [(0, 60), (30, 30), (29, 1)] {
            held.pass(passes);
            assert_eq!((clock.believed(), clock.was_believed()), (None, false));
            assert_eq!(clock.until_first_believed(), Some(Duration::from_secs(left * 60)));
        }
        // Once it is set, the hour begins anew.
        held.set(-3);
        assert_eq!((clock.believed(), clock.now()), (None, at(56)));
        held.pass(59);
        assert_eq!((clock.believed(), clock.was_believed()), (None, false));
        assert_eq!(clock.until_first_believed(), Some(Duration::from_secs(60)));
        held.pass(1);
        assert_eq!((clock.was_believed(), clock.believed()), (true, Some(at(116))));
        assert_eq!(clock.until_first_believed(), None);
        held.set(100);
        assert_eq!((clock.believed(), clock.was_believed()), (None, true));
        assert_eq!(clock.now(), at(116));
    }

    #[test]
    fn a_clock_that_was_set_is_believed_after_a_steady_hour() {
        let held = Arc::new(Held::default());
        let clock = SteadyClock::new(held.clone());
        held.pass(100_000);
        assert_eq!(clock.believed(), Some(at(100_000)));
        held.set(2);
        assert_eq!(clock.believed(), Some(at(100_002)), "as clocks differ");
        held.set(3);
        assert_eq!((clock.believed(), clock.now()), (None, at(100_002)));
        held.pass(59);
        assert_eq!((clock.believed(), clock.now()), (None, at(100_061)));
        held.pass(1);
        assert_eq!((clock.believed(), clock.now()), (Some(at(100_065)), at(100_065)));
    }

    #[test]
    fn a_clock_that_is_set_right_again_has_a_new_hour_before_it() {
        let held = Arc::new(Held::default());
        let clock = SteadyClock::new(held.clone());
        held.set(3_000);
        assert_eq!((clock.believed(), clock.now()), (None, at(0)));
        assert_eq!(clock.latest(), at(3_000));
        held.pass(30);
        assert_eq!((clock.believed(), clock.now()), (None, at(30)));
        held.set(-3_000);
        assert_eq!((clock.believed(), clock.now()), (None, at(30)));
        held.pass(59);
        assert_eq!((clock.believed(), clock.now()), (None, at(89)));
        held.pass(1);
        assert_eq!((clock.believed(), clock.now()), (Some(at(90)), at(90)));
    }

    #[test]
    fn a_clock_that_was_set_back_shows_what_it_shows() {
        let held = Arc::new(Held::default());
        let clock = SteadyClock::new(held.clone());
        held.set(-100);
        assert_eq!((clock.believed(), clock.now()), (None, at(-100)));
        assert_eq!(clock.latest(), at(0), "which may be right");
    }
}
