use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema::{self, Found};
use crate::partner::store::OpenError;

/// How long the start-up waits for another process that has the file locked.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(10);
const CACHED_STATEMENTS: usize = 32;

/// The connection that writes; the tables are there afterwards.
pub(super) fn file(path: &Path, lock: Duration) -> Result<Connection, OpenError> {
    let mut conn = connect(path, lock).map_err(|e| unusable(path, e))?;
    let deadline = Instant::now() + OPEN_TIMEOUT;
    loop {
        match prepare(&mut conn) {
            Ok(Found::Current) => return Ok(conn),
            Ok(Found::Newer(found)) => {
                return Err(OpenError::Newer { place: path.display().to_string(), found });
            }
            Err(e) if is_locked(&e) && Instant::now() < deadline => thread::sleep(RETRY_PAUSE),
            Err(e) => return Err(unusable(path, e)),
        }
    }
}

fn prepare(conn: &mut Connection) -> rusqlite::Result<Found> {
    let found = schema::update(conn)?;
    if found == Found::Current {
        conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        // NORMAL can lose an order that was acknowledged when the power goes.
        conn.pragma_update(None, "synchronous", "FULL")?;
    }
    Ok(found)
}

pub(super) fn reader(path: &Path, lock: Duration) -> Result<Connection, OpenError> {
    let open = || {
        let conn = connect(path, lock)?;
        conn.pragma_update(None, "query_only", "ON")?;
        Ok(conn)
    };
    open().map_err(|e: rusqlite::Error| unusable(path, e))
}

/// Whether the tables are there as this version has them. Nothing is changed.
pub(super) fn exists(path: &Path, lock: Duration) -> Result<bool, OpenError> {
    let place = path.display().to_string();
    match schema::found(&reader(path, lock)?).map_err(|e| unusable(path, e))? {
        None => Ok(false),
        Some((found, known)) if found > known => Err(OpenError::Newer { place, found }),
        Some((found, known)) if found < known => Err(OpenError::Older { place, found }),
        Some(_) => Ok(true),
    }
}

pub(super) fn in_memory() -> Result<Connection, OpenError> {
    let open = || {
        let mut conn = Connection::open_in_memory()?;
        conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        schema::update(&mut conn)?;
        Ok(conn)
    };
    open().map_err(|e| unusable(Path::new(":memory:"), e))
}

fn unusable(path: &Path, error: rusqlite::Error) -> OpenError {
    OpenError::Unusable { place: path.display().to_string(), source: error.into() }
}

fn connect(path: &Path, lock: Duration) -> rusqlite::Result<Connection> {
    // Absolute, so that SQLite takes no name for something else, as it does `:memory:`.
    let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    conn.busy_timeout(lock)?;
    conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(conn)
}

fn is_locked(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
