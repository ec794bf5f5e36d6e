//! SQLite: tables beside those of the backend's own store in its file, or in memory.
//!
//! One connection writes and two read. A write that has begun goes on to its end, also when its
//! client has hung up.

mod copying;
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

use std::{path::Path, time::Duration};

use key0_auth::SqliteStore;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use self::lane::Lane;
use super::{Fault, OpenError, READ_DEADLINE, WRITE_DEADLINE};

/// How long a write waits for those of other connections and processes.
const WRITE_LOCK: Duration = Duration::from_secs(2);
/// How long a read does; in WAL mode there is hardly ever a lock.
const READ_LOCK: Duration = Duration::from_millis(250);

/// The tables. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sqlite {
    writer: Lane,
    readers: Lane,
}

impl Sqlite {
    /// Opens the tables in this file, or makes them there. Nothing is read or written any more once
    /// the file is not the one that `store` has opened.
    pub(crate) fn open(path: &Path, store: Option<&SqliteStore>) -> Result<Self, OpenError> {
        let writing = open::file(path, WRITE_LOCK)?;
        let reading = || open::reader(path, READ_LOCK);
        let lane = |connections, deadline| Lane::new(connections, store.cloned(), deadline);
        Ok(Self {
            writer: lane(vec![writing], WRITE_DEADLINE),
            readers: lane(vec![reading()?, reading()?], READ_DEADLINE),
        })
    }

    /// Opens the tables as they are; nothing where there are none.
    pub(crate) fn open_existing(
        path: &Path,
        store: Option<&SqliteStore>,
    ) -> Result<Option<Self>, OpenError> {
        match open::exists(path, READ_LOCK)? {
            true => Self::open(path, store).map(Some),
            false => Ok(None),
        }
    }

    pub(crate) fn in_memory() -> Result<Self, OpenError> {
        let writer = Lane::new(vec![open::in_memory()?], None, WRITE_DEADLINE);
        Ok(Self { readers: writer.clone().deadline(READ_DEADLINE), writer })
    }

    /// With time for a machine that is busy with other tests.
    #[cfg(test)]
    pub(super) fn patient(self, deadline: Duration) -> Self {
        Self { writer: self.writer.deadline(deadline), readers: self.readers.deadline(deadline) }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.readers.run(move |conn| work(conn)).await
    }

    /// Runs `work` in a transaction; a fault undoes it.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let work = move |conn: &mut Connection| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&tx)?;
            tx.commit()?;
            Ok(done)
        };
        self.writer.run(work).await
    }
}

/// Whether the file is locked, full, or out of reach.
pub(super) fn is_outage(error: &rusqlite::Error) -> bool {
    matches!(
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
    )
}
