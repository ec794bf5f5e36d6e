use std::{error::Error as StdError, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Error, Executor, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::{Instant, timeout};

use super::{
    PostgresOptions, PostgresStore, PostgresUrl, Shared,
    feed::Log,
    lane::{Lane, MAKING, SIGN_OF_LIFE, Sessions},
    prune,
    same_server::SameServer,
    url::address,
    warm::Warm,
};
use crate::{
    error::ConfigFault,
    store::{
        feed::{Feed, Pace},
        listeners::Listeners,
    },
};

/// How long a write waits for a row that another transaction has locked.
const LONGEST_LOCK: Duration = Duration::from_secs(1);

/// Why a PostgreSQL database can't be used as a store. A schema that is foreign or newer was left
/// as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL is none.
    #[error("{0}")]
    Url(ConfigFault),
    /// The name is none that a schema of ours can have.
    #[error("the schema's name {schema:?} is not 1 to 63 of a-z, 0-9 and _, no digit or pg_ first")]
    SchemaName {
        /// The name.
        schema: String,
    },
    /// The server can't be reached, or refuses.
    #[error("can't use the PostgreSQL database {address}")]
    Unusable {
        /// Host, port and database.
        address: String,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server, or another instance that is updating the schema, took longer than the opening
    /// waits.
    #[error("the PostgreSQL database {address} did not answer in time")]
    TimedOut {
        /// Host, port and database.
        address: String,
    },
    /// It is a standby, or set to be read only.
    #[error("the PostgreSQL database {address} can only be read")]
    ReadOnly {
        /// Host, port and database.
        address: String,
    },
    /// The server is older than version 13, or the database's encoding is not UTF8.
    #[error("the PostgreSQL database {address} is of no use: {reason}")]
    Unsuited {
        /// Host, port and database.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The schema holds tables of another application.
    #[error("the schema {schema:?} of {address} is not one of key0-auth")]
    Foreign {
        /// Host, port and database.
        address: String,
        /// The schema.
        schema: String,
    },
    /// There is none, and [`must_exist`](crate::store::PostgresOptions::must_exist) was asked for.
    #[error("there is no schema {schema:?} of key0-auth in {address}")]
    Absent {
        /// Host, port and database.
        address: String,
        /// The schema.
        schema: String,
    },
    /// An older version of this crate has made the schema, and it
    /// [`must_exist`](crate::store::PostgresOptions::must_exist) as it is.
    #[error(
        "the schema {schema:?} of {address} has version {found}, older than {known} of this program"
    )]
    Older {
        /// Host, port and database.
        address: String,
        /// The schema.
        schema: String,
        /// The version of the schema.
        found: i32,
        /// The version that is needed.
        known: i32,
    },
    /// A newer version of this crate has made the schema.
    #[error(
        "the schema {schema:?} of {address} has version {found}, newer than {known} of this program"
    )]
    Newer {
        /// Host, port and database.
        address: String,
        /// The schema.
        schema: String,
        /// The version of the schema.
        found: i32,
        /// The newest version that is understood.
        known: i32,
    },
}

/// Begins transactions that a standby refuses: it may be behind, and its reads with it.
const NO_STANDBY: &str = "READ WRITE";

/// A store with connections of its own.
pub(super) async fn own(
    options: &PostgresOptions,
    url: &PostgresUrl,
) -> Result<PostgresStore, OpenError> {
    let mut opening = Opening::new(options, url.options().clone())?;
    opening.prepare().await?;
    // One connection is the feed's, and one that of pings.
    let reads = (options.max_connections / 4).max(1);
    let writes = options.max_connections - 2 - reads;
    let same = Arc::<SameServer>::default();
    let pool = |connections, session: String, deadline: Duration| {
        let session = Arc::<str>::from(format!("{session}; SELECT pg_is_in_recovery()"));
        let same = Arc::clone(&same);
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(deadline.max(MAKING))
            .after_connect(move |conn, _| {
                Box::pin(begin_session(conn, Arc::clone(&session), Arc::clone(&same)))
            })
            .test_before_acquire(false)
            .before_acquire(|conn, _| Box::pin(lives(conn)))
            .connect_lazy_with(opening.target.clone())
    };
    let reading = pool(reads + 1, opening.session(options.read_timeout), options.read_timeout);
    let session = format!(
        "{}; SET default_transaction_isolation = 'read committed'; {}",
        opening.session(options.write_timeout),
        limits("SET", options.write_timeout),
    );
    let writing = pool(writes, session, options.write_timeout);
    let (for_reads, for_writes) = (Arc::<Warm>::default(), Arc::<Warm>::default());
    let sessions = Sessions { transaction: None, warm: None };
    let pings = Lane::new(reading.clone(), 1, options.read_timeout, sessions);
    let sessions = Sessions { transaction: None, warm: Some(for_reads) };
    let reads = Lane::new(reading, reads, options.read_timeout, sessions);
    let transaction = format!("BEGIN; {DURABLE}");
    let sessions = Sessions { transaction: Some(transaction.into()), warm: Some(for_writes) };
    let writes = Lane::new(writing.clone(), writes, options.write_timeout, sessions);
    opening.start(reads, writes, pings, writing, Some(same)).await
}

/// A store on the pool of an application.
pub(super) async fn shared(
    options: &PostgresOptions,
    pool: PgPool,
) -> Result<PostgresStore, OpenError> {
    let target = PgConnectOptions::clone(&pool.connect_options());
    let mut opening = Opening::new(options, target)?;
    opening.prepare().await?;
    let turns = (pool.options().get_max_connections().saturating_sub(1) / 2).max(1);
    let reading = opening.transaction(NO_STANDBY, options.read_timeout);
    let pings = Lane::shared(pool.clone(), 1, options.read_timeout, reading.clone());
    let reads = Lane::shared(pool.clone(), turns, options.read_timeout, reading);
    let writing = format!(
        "{}; {}; {DURABLE}",
        opening.transaction("ISOLATION LEVEL READ COMMITTED", options.write_timeout),
        limits("SET LOCAL", options.write_timeout),
    );
    let writes = Lane::shared(pool.clone(), turns, options.write_timeout, writing);
    opening.start(reads, writes, pings, pool, None).await
}

/// What is acknowledged must not go with the power.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', true)
     WHERE current_setting('synchronous_commit') = 'off'";

/// An instance that stands still in the midst of a transaction must not hold up all others, nor
/// must one row that is locked.
fn limits(set: &str, deadline: Duration) -> String {
    format!(
        "{set} idle_in_transaction_session_timeout = {}; {set} lock_timeout = {}",
        millis(deadline),
        millis(deadline.min(LONGEST_LOCK)),
    )
}

/// Prepares a connection, whose last answer says whether it leads to a standby: that may be behind,
/// and the old primary that comes back as one is behind for sure.
pub(super) async fn begin_session(
    conn: &mut PgConnection,
    session: Arc<str>,
    same: Arc<SameServer>,
) -> Result<(), Error> {
    let answer = conn.fetch_one(sqlx::raw_sql(AssertSqlSafe(session))).await?;
    if answer.try_get(0)? {
        return Err(Error::Protocol("the server is a standby".to_owned()));
    }
    same.ask(conn).await
}

/// Whether a connection that nobody used still leads to a server; an error where none answers.
async fn lives(conn: &mut PgConnection) -> Result<bool, Error> {
    let answered = timeout(SIGN_OF_LIFE, conn.ping()).await;
    answered.unwrap_or(Err(Error::PoolTimedOut)).map(|()| true)
}

pub(super) struct Opening<'a> {
    pub(super) options: &'a PostgresOptions,
    pub(super) target: PgConnectOptions,
    pub(super) address: String,
    pub(super) deadline: Instant,
}

impl<'a> Opening<'a> {
    fn new(options: &'a PostgresOptions, target: PgConnectOptions) -> Result<Self, OpenError> {
        let schema = options.schema.as_bytes();
        let legal = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        let first = schema.first().is_some_and(|byte| !byte.is_ascii_digit());
        // Whatever is left can stand between quotes.
        if !(first && schema.len() <= 63 && schema.iter().all(legal))
            || options.schema.starts_with("pg_")
        {
            return Err(OpenError::SchemaName { schema: options.schema.clone() });
        }
        let address = address(&target);
        let deadline = Instant::now() + options.open_timeout;
        Ok(Self { options, target: target.disable_statement_logging(), address, deadline })
    }

    /// Temporary tables come last, so that nobody can put one in the place of ours.
    fn search_path(&self) -> String {
        format!("\"{}\", pg_temp", self.options.schema)
    }

    /// Begins a transaction whose statements see our tables, and are given up in time.
    pub(super) fn transaction(&self, mode: &str, deadline: Duration) -> String {
        format!(
            "BEGIN {mode}; SET LOCAL search_path = {path}; SET LOCAL statement_timeout = {millis}",
            path = self.search_path(),
            millis = millis(deadline),
        )
    }

    /// The same for all statements of a session.
    fn session(&self, deadline: Duration) -> String {
        format!(
            "SET search_path = {path}; SET statement_timeout = {millis}",
            path = self.search_path(),
            millis = millis(deadline),
        )
    }

    pub(super) fn unusable(&self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> OpenError {
        OpenError::Unusable { address: self.address.clone(), source: source.into() }
    }

    async fn start(
        self,
        reads: Lane,
        writes: Lane,
        pings: Lane,
        writing: PgPool,
        same: Option<Arc<SameServer>>,
    ) -> Result<PostgresStore, OpenError> {
        let listeners = Arc::<Listeners>::default();
        let pace = Pace {
            look_every: self.options.poll_interval,
            patience: Duration::from_secs(1).max(self.options.read_timeout),
        };
        let proves_changes = same.is_some();
        let log = Log::new(writing.clone(), self.options.schema.clone(), pace.patience, same);
        let waits = self.options.wait_for_server;
        let feed = Feed::start("postgres", log, Arc::clone(&listeners), pace, self.deadline, waits)
            .await
            .map_err(|error| self.unusable(error))?;
        for lane in [&reads, &writes] {
            lane.listen_to(&listeners);
        }
        let deadline = self.options.write_timeout;
        let snapshot =
            self.transaction(&format!("ISOLATION LEVEL REPEATABLE READ, {NO_STANDBY}"), deadline);
        let writes = Arc::new(writes);
        let shared = Shared {
            address: self.address,
            schema: self.options.schema.clone(),
            reads,
            pings,
            snapshot: snapshot.into(),
            _pruning: prune::start(Arc::clone(&writes)),
            writes,
            listeners,
            feed,
            proves_changes,
        };
        Ok(PostgresStore { shared: Arc::new(shared) })
    }
}

/// PostgreSQL counts in milliseconds, and takes 0 for no limit.
pub(super) fn millis(limit: Duration) -> u128 {
    limit.as_millis().min(i32::MAX as u128)
}
