use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::Connection;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task, time,
};

use crate::partner::store::Fault;

/// Some connections, and those who wait for one of them.
#[derive(Clone)]
pub(super) struct Lane {
    free: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
    deadline: Duration,
}

/// A connection, until it is given back, be it by a panic.
struct Lent {
    conn: Option<Connection>,
    free: Arc<Mutex<Vec<Connection>>>,
    /// Dropped after the connection was given back.
    _turn: OwnedSemaphorePermit,
}

impl Lane {
    pub(super) fn new(connections: Vec<Connection>, deadline: Duration) -> Self {
        let turns = Arc::new(Semaphore::new(connections.len()));
        Self { free: Arc::new(Mutex::new(connections)), turns, deadline }
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
            let job = task::spawn_blocking(move || work(&mut lent));
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

impl Lent {
    fn take(free: &Arc<Mutex<Vec<Connection>>>, turn: OwnedSemaphorePermit) -> Option<Self> {
        let conn = free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Self { conn: Some(conn), free: Arc::clone(free), _turn: turn })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
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
