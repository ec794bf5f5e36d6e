//! How connections are lent: a few at a time, in turn, and not for long.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::{sync::Semaphore, time::timeout};

use super::row::Fault;
use crate::error::{StoreError, StoreErrorKind};

/// How many jobs may wait; beyond that the store is unavailable, and nothing piles up.
pub(super) const QUEUE: usize = 1024;

/// Connections for one kind of work. Two lanes don't wait for each other, also where they share a
/// pool.
pub(super) struct Lane {
    pool: PgPool,
    places: Semaphore,
    turns: Semaphore,
    deadline: Duration,
    /// What begins a transaction; none where a session was prepared for its statements.
    preamble: Option<Arc<str>>,
}

impl Lane {
    pub(super) fn new(
        pool: PgPool,
        turns: u32,
        deadline: Duration,
        preamble: Option<String>,
    ) -> Self {
        Self {
            pool,
            places: Semaphore::new(QUEUE),
            turns: Semaphore::new(turns as usize),
            deadline,
            preamble: preamble.map(Arc::from),
        }
    }

    /// Runs `work` when its turn comes. What is not done in time is given up.
    pub(super) async fn run<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, StoreError> {
        let _place = self
            .places
            .try_acquire()
            .map_err(|_| StoreError::unavailable("too many requests wait for the store"))?;
        let in_turn = async {
            let _turn = self.turns.acquire().await.map_err(StoreError::unavailable)?;
            work.await
        };
        match timeout(self.deadline, in_turn).await {
            Ok(done) => done.map_err(|Fault(error)| error),
            Err(_elapsed) => Err(StoreError::new(StoreErrorKind::TimedOut)),
        }
    }

    /// A connection, for a job that runs in this lane.
    pub(super) async fn lend(&self) -> Result<Lent, Fault> {
        self.lend_after(self.preamble.clone()).await
    }

    /// The same, with a transaction of another kind.
    pub(super) async fn lend_after(&self, preamble: Option<Arc<str>>) -> Result<Lent, Fault> {
        let connection = self.pool.acquire().await?;
        let in_transaction = preamble.is_some();
        let mut lent = Lent { connection: Some(connection), in_transaction };
        if let Some(preamble) = preamble {
            lent.execute(sqlx::raw_sql(AssertSqlSafe(preamble))).await?;
        }
        Ok(lent)
    }
}

/// A connection that is given back by [`end`](Self::end).
///
/// One that is dropped before, since its job failed or was given up, is closed, and the server
/// undoes its transaction: nobody knows what state it is in, and whether it still answers.
pub(super) struct Lent {
    connection: Option<PoolConnection<Postgres>>,
    in_transaction: bool,
}

impl Lent {
    /// Commits, and gives the connection back.
    pub(super) async fn end(mut self) -> Result<(), Fault> {
        if self.in_transaction {
            self.execute(sqlx::raw_sql("COMMIT")).await?;
        }
        drop(self.connection.take());
        Ok(())
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("it is lent until the end"),
        }
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("it is lent until the end"),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}
