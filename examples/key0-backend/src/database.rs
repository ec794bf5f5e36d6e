//! Opens the store that the configuration names.

use std::{path::PathBuf, sync::Arc};

use key0_auth::{
    MemoryStore, RedisStore,
    error::StoreError,
    store::{
        AuditLog, CopyStore, DenialStore, IdempotencyStore, KeyRegistry, PaymentStore,
        PostgresOpenError, PostgresOptions, PostgresUrl, PurchaseStore, RedisOpenError,
        RedisOptions, RedisUrl, SqliteOpenError, SqliteOptions, Store,
    },
};

use crate::partner::Place;

/// The PostgreSQL schema that holds the tables, those of the partner API as well.
const SCHEMA: &str = "key0";
/// What the names of all keys in Redis begin with, unless the URL says otherwise.
const PREFIX: &str = "key0:";

/// Where keys and payments are kept.
#[derive(Debug)]
pub(crate) enum Database {
    Sqlite(PathBuf),
    Postgres(PostgresUrl),
    Redis(RedisUrl),
    Memory,
}

/// What an opening may do to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Makes it where there is none, and brings an older one to the newest version.
    Making,
    /// Takes it as it is, and makes nothing.
    Existing,
    /// The same, and a copy into it may have begun that has not ended.
    Copying,
}

/// One store under all of its traits.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) keys: Arc<dyn KeyRegistry>,
    pub(crate) payments: Arc<dyn PaymentStore>,
    pub(crate) purchases: Arc<dyn PurchaseStore>,
    pub(crate) audit: Arc<dyn AuditLog>,
    pub(crate) denials: Arc<dyn DenialStore>,
    pub(crate) requests: Arc<dyn IdempotencyStore>,
    /// The same, to be copied; nothing where everything is forgotten at exit.
    pub(crate) copied: Option<Arc<dyn CopyStore>>,
    /// Where the partner API keeps its state.
    pub(crate) beside: Place,
    /// What the operator should know of it.
    pub(crate) warnings: Vec<String>,
}

/// Why the store was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Sqlite(#[from] SqliteOpenError),
    #[error(transparent)]
    Postgres(#[from] PostgresOpenError),
    #[error(transparent)]
    Redis(#[from] RedisOpenError),
    #[error(
        "{database} holds a part of a copy of {source_name}: end that by store copy, or empty it"
    )]
    Unfinished { database: String, source_name: String },
    #[error("{database} does not answer")]
    Silent { database: String, source: StoreError },
}

impl DatabaseError {
    /// Whether there is no store, and could be one.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::Sqlite(SqliteOpenError::Absent { .. })
                | Self::Postgres(PostgresOpenError::Absent { .. })
                | Self::Redis(RedisOpenError::Missing { .. })
        )
    }
}

impl Database {
    /// Opens it. One that is to serve waits for a server that lets nobody in, within bounds; whoever sits
    /// at a terminal is told at once.
    pub(crate) async fn open(&self, opening: Opening) -> Result<Opened, DatabaseError> {
        let opened = self.open_engine(opening != Opening::Making).await?;
        let Some(store) = opened.copied.as_ref().filter(|_| opening != Opening::Copying) else {
            return Ok(opened);
        };
        // It lacks keys, and payments that were spent.
        let database = self.to_string();
        match store.unfinished_copy().await {
            Ok(None) => Ok(opened),
            Ok(Some(begun)) => {
                Err(DatabaseError::Unfinished { database, source_name: begun.source })
            }
            Err(source) => Err(DatabaseError::Silent { database, source }),
        }
    }

    async fn open_engine(&self, must_exist: bool) -> Result<Opened, DatabaseError> {
        Ok(match self {
            Self::Sqlite(path) => {
                let store = SqliteOptions::new().must_exist(must_exist).open(path)?;
                let beside = Place::Sqlite { path: path.clone(), store: store.clone() };
                Opened::of(store, beside)
            }
            Self::Postgres(url) => {
                let options = PostgresOptions::new()
                    .schema(SCHEMA)
                    .must_exist(must_exist)
                    .wait_for_server(!must_exist);
                let beside = Place::Postgres { url: url.clone(), schema: SCHEMA.to_owned() };
                Opened::of(options.open_url(url).await?, beside)
            }
            Self::Redis(url) => {
                let options = RedisOptions::new()
                    .prefix(PREFIX)
                    .must_exist(must_exist)
                    .wait_for_server(!must_exist);
                let store = options.open_url(url).await?;
                let prefix = url.prefix().unwrap_or(PREFIX).to_owned();
                let beside = Place::Redis { url: url.clone(), prefix };
                Opened { warnings: losses(&store), ..Opened::of(store, beside) }
            }
            Self::Memory => Opened::uncopied(MemoryStore::new(), Place::Memory),
        })
    }
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "SQLite, {}", path.display()),
            Self::Postgres(url) => write!(f, "PostgreSQL, {url}"),
            Self::Redis(url) => write!(f, "Redis, {url}"),
            Self::Memory => f.write_str("memory: everything is forgotten at exit"),
        }
    }
}

impl Opened {
    fn of<S: Store + CopyStore + Clone>(store: S, beside: Place) -> Self {
        let copied: Arc<dyn CopyStore> = Arc::new(store.clone());
        Self { copied: Some(copied), ..Self::uncopied(store, beside) }
    }

    fn uncopied<S: Store>(store: S, beside: Place) -> Self {
        let store = Arc::new(store);
        Self {
            keys: store.clone(),
            payments: store.clone(),
            purchases: store.clone(),
            audit: store.clone(),
            denials: store.clone(),
            requests: store,
            copied: None,
            beside,
            warnings: Vec::new(),
        }
    }
}

/// What a Redis server has lost, or may lose, of what it has acknowledged.
fn losses(store: &RedisStore) -> Vec<String> {
    let durability = store.durability();
    let made = store.was_made().then_some(
        "Redis held nothing here, and an empty database was made. Unless this is the first start, \
         all keys are lost, and spent payments can be spent again",
    );
    let append_only = match durability.append_only {
        Some(true) => None,
        Some(false) => Some(
            "Redis runs with appendonly off: a crash can bring revoked keys back, and lose keys \
             and payments",
        ),
        None => Some(
            "Redis does not tell whether appendonly is on (INFO is not allowed): without it, a \
             crash can bring revoked keys back, and lose keys and payments",
        ),
    };
    let evicts = durability.evicts.is_none().then_some(
        "Redis does not tell its maxmemory-policy (INFO is not allowed): it has to be noeviction, \
         else keys and payments are thrown out when the memory is full",
    );
    made.into_iter().chain(append_only).chain(evicts).map(str::to_owned).collect()
}
