//! Where API keys, issuances, payments and idempotency keys are kept.
//!
//! Four traits, held as `Arc<dyn …>`: [`KeyStore`](crate::KeyStore), [`KeyRegistry`] for whoever
//! manages keys, [`PaymentStore`] and [`IdempotencyStore`]. [`MemoryStore`](crate::MemoryStore)
//! and the SQLite, PostgreSQL and Redis stores implement all of them. [`Cached`](crate::Cached)
//! wraps any `KeyStore`.
//!
//! A store keeps no credential: it is handed digests, and nonces that are worthless without the
//! issuance secret. Every method either has happened durably or has not happened when it returns
//! an error; an error says nothing about a credential.

#[cfg(any(feature = "postgres", feature = "redis"))]
mod backoff;
pub(crate) mod cached;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod feed;
mod idempotency;
pub(crate) mod keys;
mod listeners;
pub(crate) mod memory;
mod payments;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod registry;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
mod stored;
mod usage;

#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::{
    Durability as RedisDurability, OpenError as RedisOpenError, RedisOptions, RedisUrl,
};
pub use cached::CachedBuilder;
pub use idempotency::{IdempotencyState, IdempotencyStore, Slot, StoredResponse};
pub use keys::{Change, ChangeListener};
pub use payments::{
    Issuance, IssuanceClaim, IssuanceKey, IssuanceState, LeasedPayment, Payment, PaymentOutcome,
    PaymentStore, RequestFingerprint,
};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use postgres::{OpenError as PostgresOpenError, PostgresOptions, PostgresUrl};
pub use registry::{KeyPage, KeyPosition, KeyQuery, KeyRegistry, Rotation};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite::{OpenError as SqliteOpenError, SqliteOptions};
pub use usage::KeyUsage;

use std::time::Duration;

use crate::domain::Timestamp;

/// The longest that work is put off: by a lease, or until a payment is tried again.
///
/// What is put off for longer was written before the clock was set back. Stores take it for over,
/// so that work goes on at once and not when the clock gets there again.
pub const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Whether work that was put off until `until` can be taken up at `now`.
fn is_over(until: Timestamp, now: Timestamp) -> bool {
    until <= now || until > now.plus(LONGEST_WAIT)
}

/// The right to work on something for a while.
///
/// Whoever finishes must show the same lease: one that ran out and was taken over finishes
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Tells this lease from every other.
    pub token: uuid::Uuid,
    /// From when on another may take over.
    pub until: Timestamp,
}

impl Lease {
    /// A new lease that runs out at `until`.
    pub fn new(until: Timestamp) -> Self {
        Self { token: uuid::Uuid::now_v7(), until }
    }
}
