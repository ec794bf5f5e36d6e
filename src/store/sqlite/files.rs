use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
};

use crate::error::StoreError;

const OPEN: u8 = 0;
const LOST: u8 = 1;
const CLOSED: u8 = 2;

/// The files that a store works on, as they were at the opening: the database, its log, and the
/// index of its log.
///
/// SQLite goes on with files that were deleted or replaced, and nobody finds again what it writes
/// to them. So their names must lead to the same files for as long as the store is open.
pub(super) struct Files {
    names: [PathBuf; 3],
    identities: [Identity; 3],
    state: AtomicU8,
}

/// Device and inode.
#[cfg(unix)]
type Identity = (u64, u64);
/// Where an open file can't be deleted, it needs no identity.
#[cfg(not(unix))]
type Identity = ();

/// What has become of the files. It holds until the store is opened anew.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} was deleted or replaced while it was open")]
struct Replaced(PathBuf);

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
        Ok(Self { names, identities, state: AtomicU8::new(OPEN) })
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
            _ => Err(StoreError::unavailable("the database was deleted or replaced")),
        }
    }

    /// The same, after a look at the files.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.state()?;
        self.look()
    }

    /// Whether the names still lead to the same files, also where the store was closed.
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
        let Some((name, _)) = replaced else { return Ok(()) };
        let replaced = Replaced(name.clone());
        if self.state.swap(LOST, Ordering::AcqRel) != LOST {
            #[cfg(feature = "tracing")]
            tracing::error!(
                "{replaced}: the store answers nothing any more; put the right file in its place \
                 and restart"
            );
        }
        Err(StoreError::unavailable(replaced))
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
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;

    // Without opening it: to close it again would free all locks that this process holds on it.
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(_path: &Path) -> io::Result<Identity> {
    Ok(())
}
