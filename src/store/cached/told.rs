//! How old an answer is, by two clocks: one that may be set, and one that stands still while the
//! machine sleeps.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::domain::{Clock, Timestamp};

#[derive(Debug)]
pub(super) struct Clocks {
    clock: Arc<dyn Clock>,
    origin: Instant,
}

/// An instant on both. What must be recent must be so by either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) shown: Timestamp,
    /// Nanoseconds since the origin, and never zero.
    passed: u64,
}

/// While an answer may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// Before the store was read.
    asked_at: Moment,
    /// When the key expires, unless it had by then.
    ends: Timestamp,
}

impl Clocks {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, origin: Instant::now() }
    }

    pub(super) fn now(&self) -> Moment {
        let passed = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Moment { shown: self.clock.now(), passed: passed.max(1) }
    }
}

impl Moment {
    /// Whether it is over by less than this. Not, where a clock was set to before it.
    pub(super) fn is_within(self, bound: Duration, now: Self) -> bool {
        let passed = now.passed.checked_sub(self.passed).map(Duration::from_nanos);
        passed.is_some_and(|passed| passed < bound)
            && self.shown <= now.shown
            && now.shown < self.shown.plus(bound)
    }

    /// For atomic counters. Zeros stand for none.
    pub(super) fn numbers(self) -> [u64; 2] {
        [self.shown.as_micros().cast_unsigned(), self.passed]
    }

    pub(super) fn of_numbers([shown, passed]: [u64; 2]) -> Option<Self> {
        let shown = Timestamp::from_micros(shown.cast_signed());
        (passed > 0).then_some(Self { shown, passed })
    }
}

impl Life {
    pub(super) fn new(asked_at: Moment, expires_at: Option<Timestamp>) -> Self {
        let ends = expires_at.filter(|end| *end > asked_at.shown);
        Self { asked_at, ends: ends.unwrap_or(Timestamp::from_micros(i64::MAX)) }
    }

    /// For as long as this, and no longer than the key.
    pub(super) fn includes(self, now: Moment, bound: Duration) -> bool {
        self.asked_at.is_within(bound, now) && now.shown < self.ends
    }
}
