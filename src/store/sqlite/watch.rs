use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{files::Files, open::PROBE, row::Fault, worker::spawn};
use crate::{
    error::StoreError,
    metrics,
    store::{Change, listeners::Listeners},
};

/// From so many changes at once on, the listeners are told that anything may have changed.
const MAX_CHANGES: i64 = 1000;

/// Who asks whether the store answers. The thread that watches does it, so that no ping waits behind
/// lookups.
pub(super) type Ping = oneshot::Sender<Result<(), StoreError>>;

/// Finds out what other connections and processes have changed.
pub(super) struct Watcher {
    conn: Connection,
    files: Arc<Files>,
    listeners: Arc<Listeners>,
    /// SQLite's counter of commits by others, as of the last successful look.
    version: i64,
    /// The last change that the listeners know of.
    revision: i64,
    /// Whether something may have been missed.
    lost: bool,
}

impl Watcher {
    /// Watches from now on.
    pub(super) fn new(
        conn: Connection,
        files: Arc<Files>,
        listeners: Arc<Listeners>,
    ) -> rusqlite::Result<Self> {
        // In this order: a commit between the two is looked at again, never missed.
        let version = version(&conn)?;
        let revision = last_revision(&conn)?;
        Ok(Self { conn, files, listeners, version, revision, lost: false })
    }

    /// Looks every `interval`, and answers pings, until the other end of `pings` is dropped.
    pub(super) fn start(
        mut self,
        interval: Duration,
        pings: Receiver<Ping>,
    ) -> io::Result<JoinHandle<()>> {
        spawn("key0-sql-watch", move || {
            let mut next = Instant::now() + interval;
            loop {
                match pings.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Ok(ping) => drop(ping.send(self.probe())),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                if Instant::now() >= next {
                    self.watch();
                    next = Instant::now() + interval;
                }
            }
        })
    }

    pub(super) fn watch(&mut self) {
        // Before the files are compared: what is written to others from then on is not seen here.
        let _ = catch_unwind(AssertUnwindSafe(|| self.listeners.catching_up()));
        if self.files.check().is_err() {
            metrics::feed_connected("sqlite", false);
            return;
        }
        let looked = catch_unwind(AssertUnwindSafe(|| self.look()));
        // Told as soon as the feed works again: while it does not, nobody could read fresh answers
        // either, and the caches' time to live is the bound.
        let heard = matches!(looked, Ok(Ok(())));
        if let Ok(Err(error)) = looked {
            self.files.note(&Fault::from(error).0);
        }
        self.lost |= !heard;
        metrics::feed_connected("sqlite", heard);
        if heard {
            metrics::feed_heard("sqlite");
            // A listener that panics keeps its short memory.
            let _ = catch_unwind(AssertUnwindSafe(|| self.listeners.caught_up()));
        }
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.files.check()?;
        let probed =
            self.conn.prepare_cached(PROBE).and_then(|mut probe| probe.query_row((), |_| Ok(())));
        probed.map_err(|error| {
            let error = Fault::from(error).0;
            self.files.note(&error);
            error
        })
    }

    pub(super) fn look(&mut self) -> rusqlite::Result<()> {
        let version = version(&self.conn)?;
        if version == self.version && !self.lost {
            return Ok(());
        }
        let (changes, revision) = self.changes()?;
        self.listeners.tell(&changes);
        self.version = version;
        self.revision = revision;
        self.lost = false;
        Ok(())
    }

    /// What is new since the last look, and up to where.
    fn changes(&self) -> rusqlite::Result<(Vec<Change>, i64)> {
        // The log before the counter: a change in between is seen twice rather than never.
        let mut statement = self.conn.prepare_cached(
            "SELECT revision, digest FROM key_changes WHERE revision > ?1
             ORDER BY revision LIMIT ?2",
        )?;
        let mut rows = statement.query((self.revision, MAX_CHANGES))?;
        let mut changes = Vec::new();
        let mut through = self.revision;
        let mut gap = self.lost;
        while let Some(row) = rows.next()? {
            let revision: i64 = row.get(0)?;
            gap |= revision != through + 1;
            through = revision;
            match row.get_ref(1)?.as_blob().ok().and_then(Change::logged) {
                Some(change) => changes.push(change),
                None => gap = true,
            }
        }
        let last = last_revision(&self.conn)?;
        gap |= last != through;
        Ok(if gap { (vec![Change::All], last) } else { (changes, last) })
    }

    #[cfg(test)]
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }
}

fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("PRAGMA data_version")?.query_row((), |row| row.get(0))
}

/// The last revision that was ever given out, also where its row is gone.
fn last_revision(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'key_changes'), 0)",
    )?
    .query_row((), |row| row.get(0))
}
