//! The SQLite engine: one file, WAL, any number of processes on one host.
//!
//! One thread writes, two read, and one watches for what other processes have changed.

mod audit;
mod copying;
mod denials;
mod files;
mod idempotency;
#[cfg(unix)]
mod index;
mod issuances;
mod keys;
mod listing;
mod open;
mod payments;
mod purchases;
mod registry;
mod row;
mod schema;
mod watch;
mod worker;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    time::Duration,
};

use rusqlite::Connection;

use files::Files;
pub use open::OpenError;
use row::Fault;
use watch::{Ping, Watcher};
use worker::{Readers, Transaction, Writer};

use super::listeners::Listeners;
use crate::{error::StoreError, store::measured::measured};

/// How long a read waits for a lock; in WAL mode there is hardly ever one.
const READ_TIMEOUT: Duration = Duration::from_millis(250);

/// Keeps keys, issuances, payments and idempotency keys in one SQLite file.
///
/// The file can be shared by any number of processes on one host; it must not lie on a network
/// file system. Whatever changes a key, also a hand-written SQL statement, is told to the
/// listeners: changes through this store before the method returns, all others within a poll
/// interval. A change of this store may be told twice.
///
/// A method whose transaction was not committed returns an error; one that was is on the disk.
/// Clones are the same store; the last one to go ends its threads.
///
/// Beside the file lie its log (`-wal`) and the index of the log (`-shm`). If one of the three is
/// deleted or replaced while the store is open, or is written to by anything but SQLite, such as `cp`,
/// `truncate` or `touch`, every method fails within the poll interval, and `ping` with them: what SQLite
/// wrote to such a file would be lost. So it is if SQLite finds that it is no database. Put the right
/// file in its place, without the `-wal` and `-shm` of another one beside it, and open the store again. On other systems
/// than Unix the last is all that is found.
///
/// The newest rows can be in the log alone. [`close`](crate::KeyStore::close) moves them into the
/// file, and so does the store itself after two seconds without a write of its own, also those that
/// others have written; a copy of the file that
/// is taken then is whole. To copy a file that is being written, use `sqlite3 FILE .backup`.
///
/// ```no_run
/// use key0_auth::SqliteStore;
///
/// let store = SqliteStore::open("backend.db")?;
/// # Ok::<(), key0_auth::store::SqliteOpenError>(())
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    files: Arc<Files>,
    writer: Writer,
    readers: Readers,
    listeners: Arc<Listeners>,
    /// Asks the watching thread, and ends it when it is dropped.
    watcher: Sender<Ping>,
}

/// How a [`SqliteStore`](crate::SqliteStore) is opened.
///
/// ```no_run
/// use std::time::Duration;
/// use key0_auth::store::SqliteOptions;
///
/// let options = SqliteOptions::new().must_exist(true).write_timeout(Duration::from_secs(2));
/// let store = options.open("backend.db")?;
/// # Ok::<(), key0_auth::store::SqliteOpenError>(())
/// ```
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    must_exist: bool,
    open_timeout: Duration,
    migration_timeout: Duration,
    write_timeout: Duration,
    poll_interval: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            must_exist: false,
            open_timeout: Duration::from_secs(5),
            migration_timeout: Duration::from_secs(60 * 60),
            write_timeout: Duration::from_secs(5),
            poll_interval: Duration::from_millis(100),
        }
    }
}

impl SqliteOptions {
    /// The defaults of every setting.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to refuse, rather than to make a database where there is none or to bring an older one
    /// to the newest version: `false`.
    #[must_use]
    pub fn must_exist(mut self, must_exist: bool) -> Self {
        self.must_exist = must_exist;
        self
    }

    /// How long to wait at the opening for a database that another process has locked: 5 s.
    #[must_use]
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.open_timeout = timeout;
        self
    }

    /// How long to wait at the opening for a database of an older version that another process has
    /// locked, which may be bringing it to this version: an hour. The own migration has no bound.
    #[must_use]
    pub fn migration_timeout(mut self, timeout: Duration) -> Self {
        self.migration_timeout = timeout;
        self
    }

    /// How long a write waits for those of other processes before it fails: 5 s.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How often to look for changes made by others: every 100 ms.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Opens the file, or makes it, readable for its owner alone. Blocks: it is meant for the
    /// start-up.
    ///
    /// # Errors
    ///
    /// [`SqliteOpenError`](crate::store::SqliteOpenError); then nothing in the file was changed.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<SqliteStore, OpenError> {
        SqliteStore::start(path.as_ref(), self)
    }
}

impl SqliteStore {
    /// Opens the file with the default [`SqliteOptions`](crate::store::SqliteOptions).
    ///
    /// # Errors
    ///
    /// [`SqliteOpenError`](crate::store::SqliteOpenError); then nothing in the file was changed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        SqliteOptions::default().open(path)
    }

    /// Checks that the database, its log and the index of its log are those that were opened, and that
    /// nothing but SQLite has written to them.
    ///
    /// For an application with connections of its own to the same file: SQLite goes on with files that
    /// were deleted or replaced, and what it writes to them is lost. To be called before each read, and
    /// before and after each write. Once it has failed it fails until the store is opened anew, and a
    /// connection must then be closed without a checkpoint (`SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE`).
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unavailable`](crate::error::StoreErrorKind::Unavailable) where one of them was
    /// deleted, replaced or overwritten.
    pub fn check_files(&self) -> Result<(), StoreError> {
        self.shared.files.look()
    }

    fn start(path: &Path, options: &SqliteOptions) -> Result<Self, OpenError> {
        // Absolute, so that SQLite takes no name for something else, as it does `:memory:`.
        let file = std::path::absolute(path).map_err(|e| OpenError::unusable(path, e.into()))?;
        let unusable = |cause| OpenError::unusable(&file, cause);
        let listeners = Arc::new(Listeners::default());

        let writing = open::database(
            &file,
            options.open_timeout,
            options.migration_timeout,
            options.must_exist,
        )?;
        open::set_for_writing(&writing, options.write_timeout).map_err(|e| unusable(e.into()))?;
        let reading = || open::reader(&file, READ_TIMEOUT).map_err(|e| unusable(e.into()));
        let watching = reading()?;
        let files = Arc::new(Files::new(&file).map_err(|e| unusable(e.into()))?);
        let watcher = Watcher::new(watching, Arc::clone(&files), Arc::clone(&listeners))
            .map_err(|e| unusable(e.into()))?;

        let (readers, mut threads) = Readers::start([reading()?, reading()?], Arc::clone(&files))
            .map_err(|e| unusable(e.into()))?;
        let (pings, asked) = mpsc::channel();
        let watch = watcher.start(options.poll_interval, asked).map_err(|e| unusable(e.into()))?;
        threads.push(watch);
        let writer = Writer::start(writing, Arc::clone(&files), Arc::clone(&listeners), threads)
            .map_err(|e| unusable(e.into()))?;
        let path = file.clone();
        let shared = Shared { path, files, writer, readers, listeners, watcher: pings };
        Ok(Self { shared: Arc::new(shared) })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.noted(measured("sqlite", "read", self.shared.readers.run(work)).await)
    }

    /// Runs `work` in a transaction; an error undoes it.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.noted(measured("sqlite", "write", self.shared.writer.run(work)).await)
    }

    fn noted<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &done {
            self.shared.files.note(error);
        }
        done
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.shared.path).finish_non_exhaustive()
    }
}
