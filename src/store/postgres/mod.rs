//! The PostgreSQL engine: one database, any number of instances on any number of machines.
//!
//! Reads and writes have connections of their own, and so has the feed that tells what other
//! instances have changed.

mod at_once;
mod audit;
mod copying;
mod denials;
mod feed;
mod idempotency;
mod issuances;
mod keys;
mod lane;
mod listing;
mod migrations;
mod open;
mod options;
mod payments;
mod prepare;
mod prune;
mod purchases;
mod refusal;
mod registry;
mod row;
mod same_server;
mod schema;
mod url;
mod warm;

#[cfg(all(test, unix))]
mod tests;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use sqlx::PgPool;

use self::{
    lane::{Lane, Lent},
    row::Fault,
};
pub use self::{open::OpenError, options::PostgresOptions, url::PostgresUrl};
use super::{
    Change,
    feed::{Feed, Task},
    listeners::Listeners,
};
use crate::{error::StoreError, store::measured::measured};

/// Keeps keys, issuances, payments and idempotency keys in a PostgreSQL database, version 13 or
/// newer, in a schema of its own.
///
/// Any number of instances can share it. Whatever changes a key, also a hand-written SQL
/// statement, is told to the listeners: changes through this store before the method returns, all
/// others as soon as the server says so, or by a look every second. After the connection for that
/// was lost, they are told that anything may have changed. A change of this store may be told
/// twice. Not seen is what runs no triggers: a statement with `session_replication_role` set to
/// `replica`, or while they are disabled: caches may hold for a minute then, see
/// [`CachedBuilder::time_to_live_while_hearing`](crate::store::CachedBuilder::time_to_live_while_hearing).
/// On the pool of an application, or once two connections have led to different servers, they hold for
/// their time to live alone.
///
/// A method whose transaction was not committed returns an error; one that was is on the server's
/// disk, also where the server's `synchronous_commit` is off. A read fails within its deadline
/// ([`PostgresOptions::read_timeout`](crate::store::PostgresOptions::read_timeout)), whatever
/// becomes of the server, and what has failed leaves no connection behind. When the server is
/// back, so is the store. A standby answers nothing: it may be behind. `ping` has a connection of
/// its own, so that it waits for no lookup, and says whether the database can be written; that
/// writes are stuck behind others it does not see.
///
/// Needs a direct connection, or a pooler that keeps sessions: one that shares connections between
/// transactions hands on no notifications. Needs a Tokio runtime with its timer enabled; the one
/// that opened the store must live as long as it is used. Clones are the same store; the last one
/// to go ends its tasks.
///
/// ```no_run
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::PostgresStore;
///
/// let store = PostgresStore::open("postgres://app:password@db.internal/shop").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
}

struct Shared {
    address: String,
    schema: String,
    reads: Lane,
    writes: Arc<Lane>,
    /// For pings alone, which wait for no lookup.
    pings: Lane,
    /// Begins a transaction whose statements all see the same state.
    snapshot: Arc<str>,
    listeners: Arc<Listeners>,
    feed: Feed,
    proves_changes: bool,
    _pruning: Task,
}

impl PostgresStore {
    /// Opens the database of a URL such as `postgres://user:password@host/database`, with the
    /// default [`PostgresOptions`](crate::store::PostgresOptions).
    ///
    /// # Errors
    ///
    /// [`PostgresOpenError`](crate::store::PostgresOpenError).
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        PostgresOptions::default().open(url).await
    }

    /// Opens the database that an application's own pool leads to, with the default
    /// [`PostgresOptions`](crate::store::PostgresOptions).
    ///
    /// # Errors
    ///
    /// [`PostgresOpenError`](crate::store::PostgresOpenError).
    pub async fn with_pool(pool: PgPool) -> Result<Self, OpenError> {
        PostgresOptions::default().with_pool(pool).await
    }

    /// Runs a short read within the read deadline.
    async fn read<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, StoreError> {
        measured("postgres", "read", self.shared.reads.run(work)).await
    }

    /// Runs anything else within the write deadline.
    async fn write<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, StoreError> {
        measured("postgres", "write", self.shared.writes.run(work)).await
    }

    /// A connection for a read.
    async fn reader(&self) -> Result<Lent, Fault> {
        self.shared.reads.lend().await
    }

    /// A transaction that writes. It counts from its commit on.
    async fn begin(&self) -> Result<Lent, Fault> {
        self.shared.writes.lend().await
    }

    /// A transaction among the writes whose statements all see the same state.
    async fn snapshot(&self) -> Result<Lent, Fault> {
        self.shared.writes.lend_after(Some(Arc::clone(&self.shared.snapshot))).await
    }

    /// A connection for one statement that writes, which is a transaction by itself where the
    /// connection is the store's own. It counts from the end on.
    async fn at_once(&self) -> Result<Lent, Fault> {
        self.shared.writes.lend_for_one().await
    }

    /// Tells the listeners what was committed.
    fn tell(&self, changes: &[Change]) -> Result<(), StoreError> {
        let told = catch_unwind(AssertUnwindSafe(|| self.shared.listeners.tell(changes)));
        told.map_err(|_panic| StoreError::unavailable("a listener has panicked"))
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("address", &self.shared.address)
            .field("schema", &self.shared.schema)
            .finish_non_exhaustive()
    }
}
