//! Opens the store that the configuration names.

use std::{path::PathBuf, sync::Arc};

use key0_auth::{
    MemoryStore, SqliteStore,
    store::{
        IdempotencyStore, KeyRegistry, PaymentStore, PostgresOpenError, PostgresOptions,
        PostgresUrl, SqliteOpenError,
    },
};

/// Where keys and payments are kept.
#[derive(Debug)]
pub(crate) enum Database {
    Sqlite(PathBuf),
    Postgres(PostgresUrl),
    Memory,
}

/// One store under all of its traits.
pub(crate) struct Opened {
    pub(crate) keys: Arc<dyn KeyRegistry>,
    pub(crate) payments: Arc<dyn PaymentStore>,
    #[allow(dead_code, reason = "no endpoint takes an idempotency key yet")]
    pub(crate) requests: Arc<dyn IdempotencyStore>,
}

/// Why the store was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Sqlite(#[from] SqliteOpenError),
    #[error(transparent)]
    Postgres(#[from] PostgresOpenError),
}

impl Database {
    /// Opens it, or makes it. A server that can't be reached is waited for, within bounds.
    pub(crate) async fn open(&self) -> Result<Opened, DatabaseError> {
        Ok(match self {
            Self::Sqlite(path) => Opened::of(SqliteStore::open(path)?),
            Self::Postgres(url) => Opened::of(PostgresOptions::new().open_url(url).await?),
            Self::Memory => Opened::of(MemoryStore::new()),
        })
    }
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "SQLite, {}", path.display()),
            Self::Postgres(url) => write!(f, "PostgreSQL, {url}"),
            Self::Memory => f.write_str("memory: everything is forgotten at exit"),
        }
    }
}

impl Opened {
    fn of<S: KeyRegistry + PaymentStore + IdempotencyStore>(store: S) -> Self {
        let store = Arc::new(store);
        Self { keys: store.clone(), payments: store.clone(), requests: store }
    }
}
