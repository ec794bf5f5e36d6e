use std::sync::Arc;

use super::{
    AuditLog, DenialStore, IdempotencyStore, KeyRegistry, PaymentStore, PurchaseStore,
    forms::check_url,
};
use crate::{MemoryStore, error::ConfigFault};

/// A store that does everything: keys, payments, purchases, what was done to them, denied tokens and
/// idempotency keys. Every one that has the six traits is one, as those of this crate are.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::store::{self, Store};
///
/// /// Wherever the engine does not matter.
/// async fn is_there(store: &Arc<dyn Store>) -> bool {
///     store.ping().await.is_ok()
/// }
///
/// assert!(is_there(&store::open("memory://").await?).await);
/// # Ok(())
/// # }
/// ```
pub trait Store:
    KeyRegistry + PaymentStore + PurchaseStore + AuditLog + DenialStore + IdempotencyStore
{
}

impl<S> Store for S where
    S: KeyRegistry
        + PaymentStore
        + PurchaseStore
        + AuditLog
        + DenialStore
        + IdempotencyStore
        + ?Sized
{
}

/// Why [`open`] has opened no store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreOpenError {
    /// The URL is none of a store, or of one whose feature is off. Names `DATABASE_URL`.
    #[error(transparent)]
    Url(#[from] ConfigFault),
    /// SQLite says no.
    #[cfg(feature = "sqlite")]
    #[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
    #[error(transparent)]
    Sqlite(#[from] super::SqliteOpenError),
    /// PostgreSQL says no.
    #[cfg(feature = "postgres")]
    #[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
    #[error(transparent)]
    Postgres(#[from] super::PostgresOpenError),
    /// Redis says no.
    #[cfg(feature = "redis")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
    #[error(transparent)]
    Redis(#[from] super::RedisOpenError),
}

/// Opens the store of a URL, with each engine's own defaults: `memory://`, and with its feature
/// `sqlite://path`, `postgres://…` and `redis://…` or `rediss://…`. A server that can't be reached
/// is waited for, within bounds.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = key0_auth::store::open("memory://").await?;
/// store.ping().await?;
/// assert!(key0_auth::store::open("mysql://localhost").await.is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Fails with a URL that is none of these, or in a form that other tools read otherwise
/// ([`check_url`](super::check_url)), and as the engine's own way to open it does.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreOpenError> {
    check_url(url)?;
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    match scheme {
        "memory" if rest.is_empty() => Ok(Arc::new(MemoryStore::new())),
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Arc::new(crate::SqliteStore::open(rest)?)),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            let url = super::PostgresUrl::new(url)?;
            Ok(Arc::new(super::PostgresOptions::new().open_url(&url).await?))
        }
        #[cfg(feature = "redis")]
        "redis" | "rediss" => {
            let url = super::RedisUrl::new(url)?;
            Ok(Arc::new(super::RedisOptions::new().open_url(&url).await?))
        }
        // Those of them whose feature is off.
        #[allow(unreachable_patterns)]
        "sqlite" | "postgres" | "postgresql" | "redis" | "rediss" => {
            Err(fault(&format!("key0-auth is built without the feature that {scheme}:// needs")))
        }
        _ => Err(fault(
            "it begins with sqlite://, postgres://, redis:// or rediss://, or is memory://",
        )),
    }
}

fn fault(reason: &str) -> StoreOpenError {
    StoreOpenError::Url(ConfigFault::invalid("DATABASE_URL", reason))
}
