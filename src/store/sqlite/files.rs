use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};
#[cfg(unix)]
use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use rusqlite::ErrorCode;

#[cfg(unix)]
use super::index::{Index, Progress};
use crate::error::StoreError;

const OPEN: u8 = 0;
const LOST: u8 = 1;
const CLOSED: u8 = 2;

/// The files that a store works on, as they were at the opening: the database, its log, and the
/// index of its log.
///
/// SQLite goes on with files that were deleted or replaced, and nobody finds again what it writes
/// to them. So their names must lead to the same files for as long as the store is open. And nobody
/// but SQLite may write to them: it would go on with what it remembers of the old contents.
pub(super) struct Files {
    names: [PathBuf; 3],
    identities: [Identity; 3],
    state: AtomicU8,
    /// Why they are lost.
    why: OnceLock<Lost>,
    #[cfg(unix)]
    index: Index,
    #[cfg(unix)]
    seen: Mutex<Option<Database>>,
}

/// The database as it was seen while nobody moved the log into it.
#[cfg(unix)]
#[derive(Clone, Copy)]
struct Database {
    progress: Progress,
    changes: u32,
    size: u64,
    written: Option<SystemTime>,
}

/// Device and inode.
#[cfg(unix)]
type Identity = (u64, u64);
/// Where an open file can't be deleted, it needs no identity.
#[cfg(not(unix))]
type Identity = ();

/// What has become of the files. It holds until the store is opened anew.
#[derive(Debug, Clone, thiserror::Error)]
enum Lost {
    #[error("{0:?} was deleted or replaced while it was open")]
    Replaced(PathBuf),
    #[cfg(unix)]
    #[error("{0:?} was overwritten or truncated while it was open")]
    Overwritten(PathBuf),
    #[error("{0:?} is no database any more: it was overwritten while it was open")]
    NoDatabase(PathBuf),
}

impl Files {
    /// Looks at the files of a database that is open and was read.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        // SQLite puts the others beside the file that a link leads to.
        let target = fs::canonicalize(path)?;
        let beside = |ending| {
            let mut name = target.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        let names = [path.to_owned(), beside("-wal"), beside("-shm")];
        let [database, log, index] = &names;
        let identities = [identity(database)?, identity(log)?, identity(index)?];
        let files = Self {
            #[cfg(unix)]
            index: Index::open(index)?,
            #[cfg(unix)]
            seen: Mutex::default(),
            names,
            identities,
            state: AtomicU8::new(OPEN),
            why: OnceLock::new(),
        };
        let _ = files.look();
        Ok(files)
    }

    /// Whether anything is in the log that may not be in the database.
    pub(super) fn have_log(&self) -> bool {
        let [_, log, _] = &self.names;
        fs::metadata(log).is_ok_and(|log| log.len() > 0)
    }

    /// Whether the store may answer.
    pub(super) fn state(&self) -> Result<(), StoreError> {
        match self.state.load(Ordering::Acquire) {
            OPEN => Ok(()),
            CLOSED => Err(StoreError::unavailable("the store was closed")),
            _ => Err(match self.why.get() {
                Some(why) => StoreError::unavailable(why.clone()),
                None => StoreError::unavailable("the database was deleted or replaced"),
            }),
        }
    }

    /// The same, after a look at the files.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.state()?;
        self.look()
    }

    /// Whether the names still lead to the same files, and nobody else has written to them, also where
    /// the store was closed.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        if self.are_lost() {
            return self.state();
        }
        let mut files = self.names.iter().zip(&self.identities);
        let replaced = files.find(|(name, known)| match identity(name) {
            Ok(found) => found != **known,
            // Any other failure says nothing about the file.
            Err(e) => matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        });
        let lost = replaced.map(|(name, _)| Lost::Replaced(name.clone()));
        #[cfg(unix)]
        let lost = lost.or_else(|| self.overwritten().cloned().map(Lost::Overwritten));
        match lost {
            Some(lost) => Err(self.lose(lost)),
            None => Ok(()),
        }
    }

    /// Which of the files another than SQLite has written to. What it reads from them from then on is
    /// not what it has written.
    #[cfg(unix)]
    fn overwritten(&self) -> Option<&PathBuf> {
        let [database, log, _] = &self.names;
        let mut last = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.index.read()?;
        let found = fs::metadata(database).ok()?;
        let is_whole = seen.is_held_by(log);
        // Whatever goes on meanwhile, the next look tells.
        if self.index.read()? != seen {
            return None;
        }
        if !is_whole {
            return Some(log);
        }
        // SQLite never leaves nothing of a database.
        if found.len() == 0 {
            return Some(database);
        }
        if !seen.progress.is_settled() {
            // After a recovery the log may be moved once more, and its progress be what it was.
            *last = None;
            return None;
        }
        let now = Database {
            progress: seen.progress,
            changes: seen.changes,
            size: found.len(),
            written: found.modified().ok(),
        };
        let last = last.replace(now)?;
        // A recovery counts the changes from the beginning.
        let is_comparable = last.progress == now.progress && last.changes <= now.changes;
        (is_comparable && !last.is_unwritten(now)).then_some(database)
    }

    /// Takes the files for lost where SQLite finds that they are no database. A page that is malformed
    /// fails what reads it, and has the files looked at.
    pub(super) fn note(&self, error: &StoreError) {
        let mut cause = error.source();
        while let Some(error) = cause {
            let failure = error
                .downcast_ref::<rusqlite::Error>()
                .or_else(|| error.downcast_ref::<Arc<rusqlite::Error>>().map(|shared| &**shared));
            let code = failure.and_then(rusqlite::Error::sqlite_error_code);
            match code {
                Some(ErrorCode::NotADatabase) => {
                    let [database, ..] = &self.names;
                    self.lose(Lost::NoDatabase(database.clone()));
                    return;
                }
                Some(ErrorCode::DatabaseCorrupt) => {
                    let _ = self.look();
                    return;
                }
                _ => {}
            }
            cause = error.source();
        }
    }

    fn lose(&self, lost: Lost) -> StoreError {
        let lost = self.why.get_or_init(|| lost).clone();
        if self.state.swap(LOST, Ordering::AcqRel) != LOST {
            #[cfg(feature = "tracing")]
            tracing::error!(
                "{lost}: the store answers nothing any more; stop this process, put the right file in \
                 its place, without a -wal and a -shm of another one beside it, and start again"
            );
        }
        StoreError::unavailable(lost)
    }

    pub(super) fn close(&self) {
        let _ = self.state.compare_exchange(OPEN, CLOSED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether the names lead to other files, or to none.
    pub(super) fn are_lost(&self) -> bool {
        self.state.load(Ordering::Acquire) == LOST
    }
}

#[cfg(unix)]
impl Database {
    /// Whether nobody has written in between.
    fn is_unwritten(self, now: Self) -> bool {
        let nanos = |time: Option<SystemTime>| {
            time?.duration_since(SystemTime::UNIX_EPOCH).ok().map(|time| time.as_nanos())
        };
        let times = nanos(self.written).zip(nanos(now.written));
        self.size == now.size && times.is_none_or(|(last, now)| is_same_time(last, now))
    }
}

/// In nanoseconds. Some file systems keep less of a time than they were told, and forget its end later.
#[cfg(unix)]
pub(super) fn is_same_time(last: u128, now: u128) -> bool {
    [1, 100, 1_000, 1_000_000_000].iter().any(|to| now == last / to * to)
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;

    // Without opening it: to close it again would free all locks that this process holds on it.
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(_path: &Path) -> io::Result<Identity> {
    Ok(())
}
