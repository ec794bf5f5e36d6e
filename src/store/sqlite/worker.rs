//! The threads that own the connections, and the queues in front of them.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::row::{Fault, is_corruption};
use crate::{
    apikey::KeyDigest,
    error::StoreError,
    store::{Change, listeners::Listeners},
};

/// How many jobs may wait; beyond that the store is unavailable, and nothing piles up.
pub(super) const QUEUE: usize = 1024;
/// How many writes may share one commit, which is what costs.
const BATCH: usize = 64;

/// The thread that writes.
pub(super) struct Writer(SyncSender<Box<dyn Write>>);

/// The threads that read.
pub(super) struct Readers(SyncSender<Read>);

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// What a write works in.
pub(super) struct Transaction<'a> {
    pub(super) conn: &'a Connection,
    changes: &'a mut Vec<Change>,
}

impl Transaction<'_> {
    /// The listeners are told of this key after the commit.
    pub(super) fn changed(&mut self, digest: KeyDigest) {
        self.changes.push(Change::Key(digest));
    }
}

/// A write of any type of result.
trait Write: Send {
    /// Does the work; `false` when it must be undone.
    fn run(&mut self, tx: &mut Transaction<'_>) -> bool;
    /// Answers the caller, who may be gone.
    fn reply(self: Box<Self>);
    /// Answers with a failure, whatever the work came to.
    fn fail(self: Box<Self>, error: StoreError);
}

struct WriteJob<F, T> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F> Write for WriteJob<F, T>
where
    F: FnOnce(&mut Transaction<'_>) -> Result<T, Fault> + Send,
{
    fn run(&mut self, tx: &mut Transaction<'_>) -> bool {
        // Whoever gave up waiting was told that nothing is known: best nothing happens.
        if self.reply.is_closed() {
            return false;
        }
        self.outcome = self.work.take().map(|work| work(tx).map_err(|Fault(error)| error));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn reply(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            let _ = self.reply.send(outcome);
        }
    }

    fn fail(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error));
    }
}

impl Writer {
    /// `others` are the threads that end together with this one. It waits for them, so that it
    /// closes the last connection, which empties the log and removes it.
    pub(super) fn start(
        mut conn: Connection,
        listeners: Arc<Listeners>,
        others: Vec<JoinHandle<()>>,
    ) -> io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        spawn("key0-sql-write", move || {
            write_all(&mut conn, &jobs, &listeners);
            for other in others {
                let _ = other.join();
            }
        })?;
        Ok(Self(queue))
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = WriteJob { work: Some(work), outcome: None, reply };
        self.0.try_send(Box::new(job)).map_err(|e| refused(&e))?;
        answer.await.map_err(|_| broken())?
    }
}

fn write_all(conn: &mut Connection, jobs: &Receiver<Box<dyn Write>>, listeners: &Listeners) {
    while let Ok(first) = jobs.recv() {
        let batch = std::iter::once(first).chain(jobs.try_iter()).take(BATCH).collect();
        // A panic drops the batch: its transaction rolls back, unless it was committed and a
        // listener panicked, and every caller in it gets an error.
        let _ = catch_unwind(AssertUnwindSafe(|| write_batch(conn, batch, listeners)));
    }
}

fn write_batch(conn: &mut Connection, mut batch: Vec<Box<dyn Write>>, listeners: &Listeners) {
    match commit(conn, &mut batch) {
        Ok(changes) => {
            listeners.tell(&changes);
            batch.into_iter().for_each(Write::reply);
        }
        Err(error) => {
            let error = Arc::new(error);
            for job in batch {
                let cause = Arc::clone(&error);
                job.fail(if is_corruption(&error) {
                    StoreError::corrupt(cause)
                } else {
                    StoreError::unavailable(cause)
                });
            }
        }
    }
}

/// Runs every job in a savepoint of one transaction.
fn commit(conn: &mut Connection, batch: &mut [Box<dyn Write>]) -> rusqlite::Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in batch {
        let before = changes.len();
        let savepoint = tx.savepoint()?;
        if job.run(&mut Transaction { conn: &savepoint, changes: &mut changes }) {
            savepoint.commit()?;
        } else {
            changes.truncate(before);
            // Fails where the failure, such as a full disk, has ended the whole transaction.
            savepoint.finish()?;
        }
    }
    tx.commit()?;
    Ok(changes)
}

impl Readers {
    pub(super) fn start<const N: usize>(
        connections: [Connection; N],
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let threads = connections.into_iter().map(|conn| {
            let jobs = Arc::clone(&jobs);
            spawn("key0-sql-read", move || read_all(&conn, &jobs))
        });
        Ok((Self(queue), threads.collect::<Result<_, _>>()?))
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = move |conn: &Connection| {
            // Whoever gave up waiting needs no answer: after an outage, this clears the queue.
            if !reply.is_closed() {
                let _ = reply.send(work(conn).map_err(|Fault(error)| error));
            }
        };
        self.0.try_send(Box::new(job)).map_err(|e| refused(&e))?;
        answer.await.map_err(|_| broken())?
    }
}

fn read_all(conn: &Connection, jobs: &Mutex<Receiver<Read>>) {
    loop {
        // One reader waits for a job and holds the lock meanwhile; the others wait for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let _ = catch_unwind(AssertUnwindSafe(|| job(conn)));
    }
}

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn refused<T>(error: &TrySendError<T>) -> StoreError {
    match error {
        TrySendError::Full(_) => StoreError::unavailable("too many requests wait for the store"),
        TrySendError::Disconnected(_) => broken(),
    }
}

fn broken() -> StoreError {
    StoreError::unavailable("the store's thread broke off")
}
