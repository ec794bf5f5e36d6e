//! The threads that own the connections, and the queues in front of them.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior, config::DbConfig};
use tokio::sync::oneshot;

use super::{
    files::Files,
    row::{Fault, is_corruption},
};
use crate::{
    apikey::KeyDigest,
    error::StoreError,
    store::{Change, listeners::Listeners},
};

/// How many jobs may wait; beyond that the store is unavailable, and nothing piles up.
pub(super) const QUEUE: usize = 1024;
/// How many writes may share one commit, which is what costs.
const BATCH: usize = 64;
/// After how long without a write the log is moved into the database.
const QUIET: Duration = Duration::from_secs(2);
/// How long the closing waits for other processes that read or write.
const CLOSING: Duration = Duration::from_secs(2);
/// How long at most it is put off where writes never pause.
const LONGEST_LOG: Duration = Duration::from_secs(60);

/// The thread that writes.
pub(super) struct Writer(SyncSender<Job>);

/// The threads that read.
pub(super) struct Readers {
    queue: SyncSender<Read>,
    files: Arc<Files>,
}

enum Job {
    Write(Box<dyn Write>),
    /// Moves the log into the database, and ends all work.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// What a write works in.
pub(super) struct Transaction<'a> {
    pub(super) conn: &'a Connection,
    changes: &'a mut Vec<Change>,
}

impl Transaction<'_> {
    /// The listeners are told of this key after the commit.
    pub(super) fn changed(&mut self, digest: KeyDigest) {
        self.told(Change::Key(digest));
    }

    /// The listeners are told of this after the commit.
    pub(super) fn told(&mut self, change: Change) {
        self.changes.push(change);
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
        conn: Connection,
        files: Arc<Files>,
        listeners: Arc<Listeners>,
        others: Vec<JoinHandle<()>>,
    ) -> io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let mut writing = Writing { conn, files, listeners, logged_since: None };
        spawn("key0-sql-write", move || {
            writing.run(&jobs);
            for other in others {
                let _ = other.join();
            }
            writing.end();
        })?;
        Ok(Self(queue))
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = WriteJob { work: Some(work), outcome: None, reply };
        self.0.try_send(Job::Write(Box::new(job))).map_err(|e| refused(&e))?;
        answer.await.map_err(|_| broken())?
    }

    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Job::Close(reply)).map_err(|e| refused(&e))?;
        answer.await.map_err(|_| broken())?
    }
}

/// What the writing thread has.
struct Writing {
    conn: Connection,
    files: Arc<Files>,
    listeners: Arc<Listeners>,
    /// When the first write was made that may be in the log alone.
    logged_since: Option<Instant>,
}

impl Writing {
    fn run(&mut self, jobs: &Receiver<Job>) {
        loop {
            let first = match self.logged_since {
                Some(since) if since.elapsed() >= LONGEST_LOG => Err(RecvTimeoutError::Timeout),
                _ => jobs.recv_timeout(QUIET),
            };
            match first {
                Ok(first) => self.work(first, jobs),
                // Whoever wrote what is in it. A failure is made up for the next time.
                Err(RecvTimeoutError::Timeout) if self.files.have_log() => {
                    drop(self.empty_log(Duration::ZERO));
                }
                Err(RecvTimeoutError::Timeout) => self.logged_since = None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn work(&mut self, first: Job, jobs: &Receiver<Job>) {
        let mut batch = Vec::new();
        let mut closing = None;
        for job in std::iter::once(first).chain(jobs.try_iter()) {
            match job {
                Job::Write(job) => batch.push(job),
                Job::Close(reply) => closing = Some(reply),
            }
            if closing.is_some() || batch.len() == BATCH {
                break;
            }
        }
        // A panic drops the batch: its transaction rolls back, unless it was committed and a
        // listener panicked, and every caller in it gets an error.
        let _ = catch_unwind(AssertUnwindSafe(|| self.write(batch)));
        if let Some(reply) = closing {
            let _ = reply.send(self.close());
        }
    }

    fn write(&mut self, mut batch: Vec<Box<dyn Write>>) {
        if let Err(error) = self.files.check() {
            batch.into_iter().for_each(|job| job.fail(error.clone()));
            return;
        }
        self.logged_since.get_or_insert_with(Instant::now);
        match commit(&mut self.conn, &mut batch) {
            Ok(changes) => {
                self.listeners.tell(&changes);
                // What went to a file that nobody finds again was not kept.
                match self.files.check() {
                    Ok(()) => batch.into_iter().for_each(Write::reply),
                    Err(error) => batch.into_iter().for_each(|job| job.fail(error.clone())),
                }
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

    fn close(&mut self) -> Result<(), StoreError> {
        let emptied = self.empty_log(CLOSING);
        self.files.close();
        emptied
    }

    /// Moves the log into the database, as far as other processes let it.
    fn empty_log(&mut self, patience: Duration) -> Result<(), StoreError> {
        self.files.check()?;
        self.logged_since = None;
        let emptied = empty_log(&self.conn, patience);
        emptied.map_err(|error| Fault::from(error).0)
    }

    /// Before the last connection is closed, which would move the log of a database that is gone
    /// into the one that has taken its place.
    fn end(self) {
        if self.files.check().is_err() && self.files.are_lost() {
            let _ = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }
}

fn empty_log(conn: &Connection, patience: Duration) -> rusqlite::Result<()> {
    let usual: u32 = conn.query_row("PRAGMA busy_timeout", (), |row| row.get(0))?;
    conn.busy_timeout(patience)?;
    let emptied = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0));
    conn.busy_timeout(Duration::from_millis(usual.into()))?;
    match emptied? {
        0 => Ok(()),
        _busy => {
            let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
            Err(rusqlite::Error::SqliteFailure(busy, None))
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
        files: Arc<Files>,
    ) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (queue, jobs) = mpsc::sync_channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let threads = connections.into_iter().map(|conn| {
            let jobs = Arc::clone(&jobs);
            spawn("key0-sql-read", move || read_all(&conn, &jobs))
        });
        Ok((Self { queue, files }, threads.collect::<Result<_, _>>()?))
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.files.state()?;
        let (reply, answer) = oneshot::channel();
        let job = move |conn: &Connection| {
            // Whoever gave up waiting needs no answer: after an outage, this clears the queue.
            if !reply.is_closed() {
                let _ = reply.send(work(conn).map_err(|Fault(error)| error));
            }
        };
        self.queue.try_send(Box::new(job)).map_err(|e| refused(&e))?;
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

pub(super) fn broken() -> StoreError {
    StoreError::unavailable("the store's thread broke off")
}
