use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use key0_auth::{Rejection, store::PostgresUrl};
use sqlx::{AssertSqlSafe, Connection, Error, Executor, PgConnection, Row};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::partner::store::{Fault, WRITE_DEADLINE};

/// How long a connection may take to be made: over a slow network it takes longer than a read may.
const MAKING: Duration = Duration::from_secs(3);
/// How long a connection that nobody used may take to show that it still leads to a server.
const SIGN_OF_LIFE: Duration = Duration::from_millis(250);
/// How long a write waits for a row that another transaction has locked.
const LONGEST_LOCK: Duration = Duration::from_secs(1);

/// A few connections, and those who wait for one of them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lane {
    url: PostgresUrl,
    /// What makes a new connection ready for our statements.
    session: Arc<str>,
    idle: Idle,
    turns: Arc<Semaphore>,
    deadline: Duration,
}

type Idle = Arc<Mutex<Vec<PgConnection>>>;

/// A connection. One that is dropped before it is given back is closed, and the server undoes its
/// transaction: its work failed or was given up, and nobody knows whether it still answers.
pub(super) struct Lent {
    conn: Option<PgConnection>,
    idle: Idle,
    _turn: OwnedSemaphorePermit,
}

impl Lane {
    pub(super) fn new(url: PostgresUrl, schema: &str, turns: usize, deadline: Duration) -> Self {
        // Temporary tables come last, so that nobody can put one in the place of ours. What is
        // acknowledged must not go with the power. An instance that stands still in the midst of a
        // transaction must not hold up all others.
        let (longest, lock) = (WRITE_DEADLINE.as_millis(), LONGEST_LOCK.as_millis());
        let session = format!(
            "SET search_path = \"{schema}\", pg_temp; SET statement_timeout = {longest};
             SET idle_in_transaction_session_timeout = {longest}; SET lock_timeout = {lock};
             SELECT pg_is_in_recovery(), CASE WHEN current_setting('synchronous_commit') = 'off'
                 THEN set_config('synchronous_commit', 'on', false) END"
        );
        let turns = Arc::new(Semaphore::new(turns));
        Self { url, session: session.into(), idle: Idle::default(), turns, deadline }
    }

    #[cfg(test)]
    pub(super) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs `work`. What is not done in time is given up.
    pub(super) async fn run<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        let done = timeout(self.deadline, work).await;
        done.unwrap_or(Err(Fault::TooSlow(self.deadline)))
    }

    /// A connection in a transaction.
    pub(super) async fn begin(&self) -> Result<Lent, Fault> {
        let mut lent = self.lend().await?;
        lent.execute("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE").await?;
        Ok(lent)
    }

    /// A connection, when its turn comes.
    pub(super) async fn lend(&self) -> Result<Lent, Fault> {
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Fault::BrokenOff)?;
        let lent = |conn| Lent { conn: Some(conn), idle: self.idle.clone(), _turn: turn };
        while let Some(mut conn) = self.take_idle() {
            if matches!(timeout(SIGN_OF_LIFE, conn.ping()).await, Ok(Ok(()))) {
                return Ok(lent(conn));
            }
        }
        Ok(lent(self.connect().await?))
    }

    /// Goes on when the caller gives up, and is there for the next.
    async fn connect(&self) -> Result<PgConnection, Fault> {
        let (give, take) = oneshot::channel();
        let lane = self.clone();
        tokio::spawn(async move {
            let made = timeout(MAKING, lane.make()).await;
            let made =
                made.map_or(Err(Fault::TooSlow(MAKING)), |made| made.map_err(Fault::Unconnected));
            if let Err(Ok(conn)) = give.send(made) {
                lane.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            }
        });
        take.await.map_err(|_| Fault::BrokenOff)?
    }

    async fn make(&self) -> Result<PgConnection, Error> {
        let mut conn = PgConnection::connect_with(self.url.options()).await?;
        let session = sqlx::raw_sql(AssertSqlSafe(Arc::clone(&self.session)));
        // A standby may be behind, and the old primary that comes back as one is behind for sure.
        if conn.fetch_one(session).await?.try_get(0)? {
            return Err(Error::Protocol("the server is a standby".to_owned()));
        }
        Ok(conn)
    }

    fn take_idle(&self) -> Option<PgConnection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Lent {
    pub(super) async fn commit(mut self) -> Result<(), Fault> {
        self.execute("COMMIT").await?;
        self.give_back();
        Ok(())
    }

    /// Undoes what was done, as it is refused.
    pub(super) async fn refuse<T>(mut self, rejection: Rejection) -> Result<T, Fault> {
        self.execute("ROLLBACK").await?;
        self.give_back();
        Err(rejection.into())
    }

    pub(super) fn give_back(mut self) {
        if let Some(conn) = self.conn.take() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.conn {
            Some(conn) => conn,
            None => unreachable!("it is lent until the end"),
        }
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.conn {
            Some(conn) => conn,
            None => unreachable!("it is lent until the end"),
        }
    }
}
