//! Connections that were used a moment ago. They are used again without a question to the server,
//! and hardly ever go through the pool, which asks twice: as they come and as they go.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{Postgres, pool::PoolConnection};
use tokio::time::{sleep, timeout};

use super::lane::SIGN_OF_LIFE;
use crate::store::{Change, ChangeListener};

/// How long a connection is used without a sign of life but its answers. Then it goes through the
/// pool, which closes it where it has become too old.
const WARM: Duration = Duration::from_secs(1);

/// Where a lane keeps them. They are cold, and show first that they live, once the connection that
/// listens was lost: then the server has gone, and may have come back.
#[derive(Debug, Default)]
pub(super) struct Warm(Mutex<Idle>);

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<Held>,
    /// Whether a task waits to give back what nobody asks for any more.
    cooling: bool,
}

/// A connection, and since when the pool has not seen it; none where it must.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) connection: PoolConnection<Postgres>,
    since: Option<Instant>,
}

impl Held {
    pub(super) fn new(connection: PoolConnection<Postgres>) -> Self {
        Self { connection, since: Some(Instant::now()) }
    }

    fn is_warm(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() < WARM)
    }

    /// The pool asks the server for a sign of life; from one that is gone none ever comes.
    pub(super) async fn give_back(mut self) {
        let _ = timeout(SIGN_OF_LIFE, self.connection.return_to_pool()).await;
    }
}

impl Warm {
    /// One that was used last. Those that have cooled down meanwhile go back to the pool.
    pub(super) fn take(&self) -> Option<Held> {
        loop {
            let held = self.idle(|idle| idle.connections.pop())?;
            if held.is_warm() {
                return Some(held);
            }
            tokio::spawn(held.give_back());
        }
    }

    /// Keeps it, or gives it back where it is not warm.
    pub(super) fn put(self: &Arc<Self>, held: Held) -> Result<(), Held> {
        if !held.is_warm() {
            return Err(held);
        }
        let is_first = self.idle(|idle| {
            idle.connections.push(held);
            !std::mem::replace(&mut idle.cooling, true)
        });
        if is_first {
            let warm = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    sleep(WARM).await;
                    let Some(warm) = warm.upgrade() else { return };
                    if warm.cool() {
                        return;
                    }
                }
            });
        }
        Ok(())
    }

    /// Gives back what has cooled down, and says whether nothing is left.
    fn cool(&self) -> bool {
        let (cold, is_empty) = self.idle(|idle| {
            let cold: Vec<_> = idle.connections.extract_if(.., |held| !held.is_warm()).collect();
            idle.cooling = !idle.connections.is_empty();
            (cold, !idle.cooling)
        });
        for held in cold {
            tokio::spawn(held.give_back());
        }
        is_empty
    }

    fn idle<T>(&self, with: impl FnOnce(&mut Idle) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ChangeListener for Warm {
    fn changed(&self, change: Change) {
        if change == Change::All {
            self.idle(|idle| idle.connections.iter_mut().for_each(|held| held.since = None));
        }
    }
}

impl Drop for Warm {
    /// Closes them. A pool would want them back, for which it needs a runtime.
    fn drop(&mut self) {
        for held in self.idle(|idle| std::mem::take(&mut idle.connections)) {
            drop(held.connection.detach());
        }
    }
}
