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
pub struct FakeClock(AtomicI64);

impl FakeClock {
    /// Where a new clock stands: 2026-11-22T00:06:05Z.
    pub const START: Timestamp = Timestamp::from_seconds(1_795_305_965);

    /// Stands at [`START`](Self::START).
    pub fn new() -> Arc<Self> {
        Self::at(Self::START)
    }

    /// Stands at this instant.
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now.as_micros())))
    }

    /// Moves to this instant, which may be earlier.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), SeqCst);
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }

    /// Moves back, as where an operator sets a clock right.
    pub fn turn_back(&self, by: Duration) {
        self.set(self.now().minus(by));
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(SeqCst))
    }
}
