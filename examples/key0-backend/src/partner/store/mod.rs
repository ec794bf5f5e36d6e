//! The tables of the partner API: in the backend's SQLite file, in one of their own, or in memory.
//!
//! One connection writes and two read. A statement is never waited for without an end: whoever
//! waits too long is told of an outage. A write that has begun goes on to its end all the same,
//! also when its client has hung up; the retry recognises what it did, see [`once`].

mod due;
mod imports;
mod lane;
mod loyalty;
mod once;
mod open;
mod passports;
mod schema;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use key0_auth::{Rejection, RejectionKind};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use self::lane::Lane;
pub(crate) use self::{
    once::{Answer, Asked},
    open::OpenError,
};

/// How long a write waits for those of other connections and processes.
const WRITE_LOCK: Duration = Duration::from_secs(2);
/// How long a read does; in WAL mode there is hardly ever a lock.
const READ_LOCK: Duration = Duration::from_millis(250);
/// How long whoever asked waits for a write as a whole, and for a read.
const WRITE_DEADLINE: Duration = Duration::from_secs(4);
const READ_DEADLINE: Duration = Duration::from_millis(500);

/// Where the tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this file, beside those of a `SqliteStore` that has opened it before.
    Beside(PathBuf),
    /// In this file, which is theirs alone.
    File(PathBuf),
    /// Nowhere: they are gone at exit.
    Memory,
}

/// The tables. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    writer: Lane,
    readers: Lane,
}

/// Why some work on the tables came to nothing. Then nothing was written, unless it was
/// [too slow](Fault::TooSlow): what had begun by then goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("the partner tables did not answer within {0:?}")]
    TooSlow(Duration),
    #[error("some work on the partner tables broke off")]
    BrokenOff,
    #[error(transparent)]
    Refused(#[from] Rejection),
}

impl Store {
    /// Opens the tables or makes them. Blocks: it is meant for the start-up.
    pub(crate) fn open(place: &Place) -> Result<Self, OpenError> {
        let path = match place {
            Place::Beside(path) | Place::File(path) => path,
            Place::Memory => {
                let writer = Lane::new(vec![open::in_memory()?], WRITE_DEADLINE);
                return Ok(Self { readers: writer.clone().deadline(READ_DEADLINE), writer });
            }
        };
        let writing = open::file(path, matches!(place, Place::Beside(_)), WRITE_LOCK)?;
        let reading = || open::reader(path, READ_LOCK);
        Ok(Self {
            writer: Lane::new(vec![writing], WRITE_DEADLINE),
            readers: Lane::new(vec![reading()?, reading()?], READ_DEADLINE),
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.readers.run(move |conn| work(conn)).await
    }

    /// Runs `work` in a transaction; a fault undoes it.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let work = move |conn: &mut Connection| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let fruit = work(&tx)?;
            tx.commit()?;
            Ok(fruit)
        };
        self.writer.run(work).await
    }
}

/// An id for something new. It tells when it was made and is no secret.
pub(super) fn new_id() -> String {
    uuid::Uuid::now_v7().hyphenated().to_string()
}

impl Fault {
    /// Whether it may be over by itself: the file is locked, full, out of reach, or slow. Another
    /// one comes again with the next try.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::TooSlow(_) => true,
            Self::BrokenOff | Self::Refused(_) => false,
            Self::Sql(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::FileLockingProtocolFailed
                        | ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::CannotOpen
                        | ErrorCode::ReadOnly
                        | ErrorCode::OutOfMemory
                )
            ),
        }
    }
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(rejection) => rejection,
            outage if outage.is_outage() => Self::new(RejectionKind::StoreUnavailable)
                .detail("The store can't be reached")
                .cause(outage),
            bug => Self::new(RejectionKind::Internal).cause(bug),
        }
    }
}
