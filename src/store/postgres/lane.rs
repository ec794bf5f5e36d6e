//! How connections are lent: a few at a time, in turn, and not for long.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Weak},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Error, Executor, PgConnection, PgPool};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::{
    refusal::Refusal,
    row::Fault,
    warm::{Held, Warm},
};
use crate::{
    error::{StoreError, StoreErrorKind},
    store::listeners::Listeners,
};

/// How many jobs may wait; beyond that the store is unavailable, and nothing piles up.
pub(super) const QUEUE: usize = 1024;

/// How long it may take until a connection is made.
pub(super) const MAKING: Duration = Duration::from_secs(3);
/// How long a connection that nobody uses may take to show that it still leads to a server.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Connections for one kind of work. Two lanes don't wait for each other, also where they share a
/// pool.
pub(super) struct Lane {
    pool: PgPool,
    permits: Semaphore,
    turns: Arc<Semaphore>,
    deadline: Duration,
    refusal: Refusal,
    sessions: Sessions,
    /// Whether the pool is an application's. In one of the store's own whoever has a turn waits for
    /// nobody else.
    shares_its_pool: bool,
}

/// What the connections of a lane need before their statements.
pub(super) struct Sessions {
    /// What begins a transaction; none where there is nothing to commit.
    pub(super) transaction: Option<Arc<str>>,
    /// Where those lie that were used a moment ago. Only connections of the store's own do, which
    /// were prepared for single statements when they were made.
    pub(super) warm: Option<Arc<Warm>>,
}

impl Lane {
    pub(super) fn new(pool: PgPool, turns: u32, deadline: Duration, sessions: Sessions) -> Self {
        Self {
            pool,
            permits: Semaphore::new(QUEUE),
            turns: Arc::new(Semaphore::new(turns as usize)),
            deadline,
            refusal: Refusal::default(),
            sessions,
            shares_its_pool: false,
        }
    }

    /// The same on the pool of an application.
    pub(super) fn shared(
        pool: PgPool,
        turns: u32,
        deadline: Duration,
        transaction: String,
    ) -> Self {
        let sessions = Sessions { transaction: Some(transaction.into()), warm: None };
        Self { shares_its_pool: true, ..Self::new(pool, turns, deadline, sessions) }
    }

    /// Runs `work`. What is not done in time is given up.
    pub(super) async fn run<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, StoreError> {
        let _place = self
            .permits
            .try_acquire()
            .map_err(|_| StoreError::unavailable("too many requests wait for the store"))?;
        match timeout(self.deadline, work).await {
            Ok(done) => done.map_err(|Fault(error)| error),
            Err(_elapsed) => Err(StoreError::new(StoreErrorKind::TimedOut)),
        }
    }

    /// A connection, for a job that runs in this lane, when its turn comes.
    pub(super) async fn lend(&self) -> Result<Lent, Fault> {
        self.lend_after(self.sessions.transaction.clone()).await
    }

    /// The same for a single statement, which needs no transaction where the session was prepared.
    pub(super) async fn lend_for_one(&self) -> Result<Lent, Fault> {
        match self.sessions.warm {
            Some(_) => self.lend_after(None).await,
            None => self.lend().await,
        }
    }

    /// The same, with a transaction of another kind.
    pub(super) async fn lend_after(&self, preamble: Option<Arc<str>>) -> Result<Lent, Fault> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(StoreError::unavailable)?;
        // Whoever waited behind others for a server that is gone need not ask it again.
        if let Some(reason) = self.refusal.recent() {
            return Err(reason.into());
        }
        let mut lent = match self.sessions.warm.as_ref().and_then(|warm| warm.take()) {
            Some(held) => self.lent(held, turn),
            None => self.acquire(turn).await?,
        };
        if let Some(preamble) = preamble {
            lent.in_transaction = true;
            lent.execute(sqlx::raw_sql(AssertSqlSafe(preamble))).await?;
        }
        Ok(lent)
    }

    fn lent(&self, held: Held, turn: OwnedSemaphorePermit) -> Lent {
        Lent::new(held, self.sessions.warm.clone(), turn)
    }

    /// Has its connections show that they live as soon as anything may have changed.
    pub(super) fn listen_to(&self, listeners: &Listeners) {
        if let Some(warm) = &self.sessions.warm {
            let warm: Weak<Warm> = Arc::downgrade(warm);
            listeners.add(warm);
        }
    }

    /// Goes on when the caller gives up: over a slow network a connection takes longer to make
    /// than a read may, and is there for the next.
    async fn acquire(&self, turn: OwnedSemaphorePermit) -> Result<Lent, Fault> {
        let (pool, patience) = (self.pool.clone(), self.deadline.max(MAKING));
        let warm = self.sessions.warm.clone();
        let (give, take) = oneshot::channel();
        let acquiring = tokio::spawn(async move {
            let acquired = timeout(patience, pool.acquire()).await;
            let acquired = acquired.unwrap_or(Err(Error::PoolTimedOut));
            let lent = acquired.map(|connection| Lent::new(Held::new(connection), warm, turn));
            if let Err(Ok(lent)) = give.send(lent) {
                lent.give_back();
            }
        });
        tokio::select! {
            biased;
            lent = take => Ok(lent.map_err(StoreError::unavailable)??),
            refused = self.refusal.comes(&self.pool, self.shares_its_pool) => {
                acquiring.abort();
                Err(refused.into())
            }
        }
    }
}

/// A connection that is given back by [`end`](Self::end).
///
/// One that is dropped before, since its job failed or was given up, is closed, and the server
/// undoes its transaction: nobody knows what state it is in, and whether it still answers.
pub(super) struct Lent {
    held: Option<Held>,
    warm: Option<Arc<Warm>>,
    in_transaction: bool,
    turn: Option<OwnedSemaphorePermit>,
}

impl Lent {
    fn new(held: Held, warm: Option<Arc<Warm>>, turn: OwnedSemaphorePermit) -> Self {
        Self { held: Some(held), warm, in_transaction: false, turn: Some(turn) }
    }

    /// Commits, and gives the connection back.
    pub(super) async fn end(mut self) -> Result<(), Fault> {
        if self.in_transaction {
            self.execute(sqlx::raw_sql("COMMIT")).await?;
        }
        self.give_back();
        Ok(())
    }

    /// To whoever comes next, or to the pool.
    fn give_back(mut self) {
        let (held, turn) = (self.held.take(), self.turn.take());
        let Some(held) = held else { return };
        let kept = match &self.warm {
            Some(warm) => warm.put(held),
            None => Err(held),
        };
        if let Err(held) = kept {
            tokio::spawn(async move {
                held.give_back().await;
                drop(turn);
            });
        }
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.held {
            Some(held) => &held.connection,
            None => unreachable!("it is lent until the end"),
        }
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.held {
            Some(held) => &mut held.connection,
            None => unreachable!("it is lent until the end"),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            drop(held.connection.detach());
        }
    }
}
