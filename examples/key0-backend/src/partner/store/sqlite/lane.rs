use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use key0_auth::{SqliteStore, error::StoreError};
use rusqlite::{Connection, config::DbConfig};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task, time,
};

use crate::partner::store::Fault;

/// Some connections, and those who wait for one of them.
#[derive(Clone)]
pub(super) struct Lane {
    free: Arc<Free>,
    turns: Arc<Semaphore>,
    deadline: Duration,
}

/// The connections that nobody uses at the moment.
struct Free {
    connections: Mutex<Vec<Connection>>,
    /// What looks after the file.
    store: Option<SqliteStore>,
}

/// A connection, until it is given back, be it by a panic.
struct Lent {
    conn: Option<Connection>,
    free: Arc<Free>,
    /// Dropped after the connection was given back.
    _turn: OwnedSemaphorePermit,
}

impl Lane {
    pub(super) fn new(
        connections: Vec<Connection>,
        store: Option<SqliteStore>,
        deadline: Duration,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(connections.len()));
        let free = Free { connections: Mutex::new(connections), store };
        Self { free: Arc::new(free), turns, deadline }
    }

    /// The same connections for those who wait for another time.
    pub(super) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs `work` on a thread that may block. It never begins where nobody waits for it any more;
    /// once it has begun it goes on to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let done = async {
            let turn = self.turns.clone().acquire_owned().await.map_err(|_| Fault::BrokenOff)?;
            let mut lent = Lent::take(&self.free, turn).ok_or(Fault::BrokenOff)?;
            let job = task::spawn_blocking(move || {
                lent.free.check()?;
                let done = work(&mut lent)?;
                // What went to a file that nobody finds again was not kept.
                lent.free.check()?;
                Ok(done)
            });
            job.await.unwrap_or(Err(Fault::BrokenOff))
        };
        let done = time::timeout(self.deadline, done).await;
        done.unwrap_or(Err(Fault::TooSlow(self.deadline)))
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Free {
    fn check(&self) -> Result<(), StoreError> {
        self.store.as_ref().map_or(Ok(()), SqliteStore::check_files)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Free {
    /// The last connection would move the log of a database that is gone into the one that has taken
    /// its place.
    fn drop(&mut self) {
        if self.check().is_err() {
            for conn in self.connections().iter() {
                let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            }
        }
    }
}

impl Lent {
    fn take(free: &Arc<Free>, turn: OwnedSemaphorePermit) -> Option<Self> {
        let conn = free.connections().pop()?;
        Some(Self { conn: Some(conn), free: Arc::clone(free), _turn: turn })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.free.connections().push(conn);
        }
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.conn {
            Some(conn) => conn,
            None => unreachable!("it is given back by the drop alone"),
        }
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Connection {
        match &mut self.conn {
            Some(conn) => conn,
            None => unreachable!("it is given back by the drop alone"),
        }
    }
}
