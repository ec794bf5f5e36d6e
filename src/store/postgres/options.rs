use std::time::Duration;

use sqlx::PgPool;

use super::{OpenError, PostgresStore, PostgresUrl, open};
use crate::store::feed::kept;

/// The fewest connections: for reads, for writes, for the feed, and for pings.
const FEWEST: u32 = 4;

/// How a [`PostgresStore`](crate::PostgresStore) is opened. Times under a millisecond are taken
/// for one, those over an hour for an hour.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::store::PostgresOptions;
///
/// let url = "postgres://shop@db.example.com/shop?sslmode=verify-full";
/// let store = PostgresOptions::new().schema("key0_photos").max_connections(8).open(url).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    pub(super) schema: String,
    pub(super) must_exist: bool,
    pub(super) wait_for_server: bool,
    pub(super) max_connections: u32,
    pub(super) open_timeout: Duration,
    pub(super) migration_timeout: Duration,
    pub(super) read_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) poll_interval: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            schema: "key0".to_owned(),
            must_exist: false,
            wait_for_server: true,
            max_connections: 16,
            open_timeout: Duration::from_secs(5),
            migration_timeout: Duration::from_secs(60 * 60),
            read_timeout: Duration::from_millis(500),
            write_timeout: Duration::from_secs(5),
            poll_interval: Duration::from_secs(1),
        }
    }
}

impl PostgresOptions {
    /// The defaults of every setting.
    pub fn new() -> Self {
        Self::default()
    }

    /// The schema that holds the tables: `key0`. It is made where there is none. 1 to 63 of a-z,
    /// 0-9 and `_`, no digit first.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Whether to refuse, rather than to make the tables where there are none or to bring older ones
    /// to the newest version: `false`.
    #[must_use]
    pub fn must_exist(mut self, must_exist: bool) -> Self {
        self.must_exist = must_exist;
        self
    }

    /// How many connections a store of its own holds at most: 16, and never less than 4. One
    /// listens, one is kept for pings, a quarter reads, the others write: a write waits for the disk, and those that wait
    /// together share what the disk does.
    #[must_use]
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections.max(FEWEST);
        self
    }

    /// Whether the opening waits for a server that lets nobody in, as it may be starting: `true`. With
    /// `false` it fails at once, with the server's reason.
    #[must_use]
    pub fn wait_for_server(mut self, wait: bool) -> Self {
        self.wait_for_server = wait;
        self
    }

    /// How long the opening waits for the server, and for another instance that is making the schema:
    /// 5 s.
    #[must_use]
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.open_timeout = kept(timeout);
        self
    }

    /// How long the opening may take besides where the schema is of an older version, by this instance or
    /// by another one that it waits for: an hour. Indexes of large tables are made meanwhile.
    #[must_use]
    pub fn migration_timeout(mut self, timeout: Duration) -> Self {
        self.migration_timeout = kept(timeout);
        self
    }

    /// How long the read of one key or payment may take, the wait for a connection included:
    /// 500 ms. The server gives a statement up after the same time.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = kept(timeout);
        self
    }

    /// The same for writes and listings: 5 s.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = kept(timeout);
        self
    }

    /// How often to look for changes that nobody told of: every second.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = kept(interval);
        self
    }

    /// Opens the database of a URL such as `postgres://user:password@host/database`, and brings
    /// its schema to the newest version.
    ///
    /// # Errors
    ///
    /// [`PostgresOpenError`](crate::store::PostgresOpenError).
    pub async fn open(&self, url: &str) -> Result<PostgresStore, OpenError> {
        self.open_url(&PostgresUrl::new(url).map_err(OpenError::Url)?).await
    }

    /// The same for a URL that was checked before.
    ///
    /// # Errors
    ///
    /// [`PostgresOpenError`](crate::store::PostgresOpenError).
    pub async fn open_url(&self, url: &PostgresUrl) -> Result<PostgresStore, OpenError> {
        open::own(self, url).await
    }

    /// Opens the database that an application's own pool leads to. Half of the pool's connections
    /// at most are used by reads, half by writes; one more than those is opened to listen, with
    /// the login that the pool has at that time, and without its hooks, as `after_connect`.
    /// `max_connections` does not count.
    ///
    /// What the pool's other users hold is not there for the store: an exhausted pool is an outage.
    ///
    /// # Errors
    ///
    /// [`PostgresOpenError`](crate::store::PostgresOpenError).
    pub async fn with_pool(&self, pool: PgPool) -> Result<PostgresStore, OpenError> {
        open::shared(self, pool).await
    }
}
