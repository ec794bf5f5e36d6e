use std::time::Duration;

use uuid::Uuid;

use crate::domain::Timestamp;

/// The longest that work is put off: by a lease, or until a payment is tried again.
///
/// What is put off for longer was written before the clock was set back. Stores take it for over,
/// so that work goes on at once and not when the clock gets there again.
pub const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Whether work that was put off until `until` can be taken up at `now`.
pub(super) fn is_over(until: Timestamp, now: Timestamp) -> bool {
    until <= now || until > now.plus(LONGEST_WAIT)
}

/// The right to work on something for a while.
///
/// Whoever finishes must show the same lease: one that ran out and was taken over finishes
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Tells this lease from every other.
    pub token: LeaseToken,
    /// From when on another may take over.
    pub until: Timestamp,
}

/// What tells one lease from every other. Two are never the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseToken([u8; 16]);

impl LeaseToken {
    /// The bytes to store and to compare.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Lease {
    /// A new lease that runs out at `until`.
    pub fn new(until: Timestamp) -> Self {
        Self { token: LeaseToken(Uuid::now_v7().into_bytes()), until }
    }
}
