//! Where API keys, issuances, payments and idempotency keys are kept.
//!
//! Seven traits, held as `Arc<dyn …>`: [`KeyStore`](crate::KeyStore), [`KeyRegistry`] for whoever
//! manages keys, [`PaymentStore`], [`PurchaseStore`] for whoever manages what was bought,
//! [`AuditLog`] for whoever asks what was done to both, [`DenialStore`] and [`IdempotencyStore`].
//! [`MemoryStore`](crate::MemoryStore) and the SQLite, PostgreSQL and Redis stores implement all of
//! them. [`Cached`](crate::Cached) wraps any `KeyStore`. The values that these traits speak of are in [`spi`], for whoever writes a
//! store.
//!
//! A store keeps no credential: it is handed digests, and nonces that are worthless without the
//! issuance secret. Every method either has happened durably or has not happened when it returns
//! an error; an error says nothing about a credential.

mod audit;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod backoff;
pub(crate) mod cached;
mod caught;
mod copying;
mod denials;
mod denied;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod feed;
mod forms;
mod idempotency;
pub(crate) mod keys;
mod lease;
mod listeners;
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
mod measured;
pub(crate) mod memory;
mod open;
mod payments;
mod ping;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod purchase_listing;
mod purchase_revocation;
mod purchases;
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
mod records;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod registry;
pub mod spi;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
pub(crate) mod steady;
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
mod stored;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod stored_issuance;
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
mod stored_purchase;
mod usage;

#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use self::redis::{
    Durability as RedisDurability, OpenError as RedisOpenError, RedisOptions, RedisUrl,
};
pub use audit::AuditLog;
pub use cached::CachedBuilder;
pub use copying::{CopyError, CopyStore, Copying};
pub use denials::DenialStore;
pub use denied::DeniedTokens;
pub use forms::check_url;
pub use idempotency::IdempotencyStore;
pub use open::{Store, StoreOpenError, open};
pub use payments::{Payment, PaymentStore};
pub use ping::SharedPing;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use postgres::{OpenError as PostgresOpenError, PostgresOptions, PostgresUrl};
pub use purchases::PurchaseStore;
pub use registry::KeyRegistry;
// Which of them are in use depends on the engines.
#[allow(unused_imports)]
pub(crate) use spi::{
    AuditCursor, AuditEvent, AuditPage, AuditQuery, AuditSubject, Change, ChangeListener, Denial,
    IdempotencyState, Issuance, IssuanceClaim, IssuanceKey, IssuanceState, KeyCursor, KeyEdit,
    KeyFilter, KeyPage, KeyQuery, LONGEST_WAIT, Lease, LeaseToken, LeasedPayment, PaymentOutcome,
    Purchase, PurchaseCursor, PurchaseFilter, PurchasePage, PurchaseQuery, PurchaseRevocation,
    PurchaseState, RequestFingerprint, RevocationOutcome, Rotation, Slot, StoredResponse,
    TokenDigest, WaitingPayments,
};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite::{OpenError as SqliteOpenError, SqliteOptions};
pub use usage::KeyUsage;
