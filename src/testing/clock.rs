use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::domain::{Clock, Timestamp};

/// A clock that stands still until it is set, shared with whoever was handed it.
///
/// ```
/// use std::time::Duration;
/// use key0_auth::{domain::Clock, testing::FakeClock};
///
/// let clock = FakeClock::new();
/// let began = clock.now();
/// clock.advance(Duration::from_millis(1));
/// assert_eq!(clock.now().since(began), Duration::from_millis(1));
/// ```
#[derive(Debug)]
pub struct FakeClock {
    now: AtomicI64,
    /// How far it was set ahead without any time passing.
    jumped: AtomicI64,
}

impl FakeClock {
    /// Where a new clock stands: 2026-11-22T00:06:05Z.
    pub const START: Timestamp = Timestamp::from_seconds(1_795_305_965);

    /// Stands at [`START`](Self::START).
    pub fn new() -> Arc<Self> {
        Self::at(Self::START)
    }

    /// Stands at this instant.
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { now: AtomicI64::new(now.as_micros()), jumped: AtomicI64::new(0) })
    }

    /// Moves to this instant, which may be earlier.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.as_micros(), SeqCst);
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }

    /// Moves back, as where an operator sets a clock right.
    pub fn turn_back(&self, by: Duration) {
        self.set(self.now().minus(by));
    }

    /// Shows another instant although no time has passed, as where a machine gets a wrong time.
    /// Whatever else moves this clock moves [`monotonic`](Clock::monotonic) with it.
    pub fn jump_to(&self, to: Timestamp) {
        self.jumped.fetch_add(to.as_micros() - self.now().as_micros(), SeqCst);
        self.set(to);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now.load(SeqCst))
    }

    fn monotonic(&self) -> Option<Duration> {
        let passed = self.now.load(SeqCst) - self.jumped.load(SeqCst);
        Some(Duration::from_micros(u64::try_from(passed).unwrap_or(0)))
    }
}
