use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema::{self, Found};

/// How long the start-up waits for another process that has the file locked.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(10);
const CACHED_STATEMENTS: usize = 32;

/// Why the partner tables can't be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("can't use the partner tables in {path:?}")]
    Unusable { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{path:?} is a file of another application, and no place for the partner tables")]
    Foreign { path: PathBuf },
    #[error("the partner tables in {path:?} are of version {found}, newer than this program")]
    Newer { path: PathBuf, found: i64 },
}

/// The connection that writes; the tables are there afterwards. `beside` says that the file is
/// known to be the backend's own.
pub(super) fn file(path: &Path, beside: bool, lock: Duration) -> Result<Connection, OpenError> {
    let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
    create_private(path).map_err(|e| unusable(e.into()))?;
    let mut conn = connect(path, lock).map_err(|e| unusable(e.into()))?;
    let deadline = Instant::now() + OPEN_TIMEOUT;
    loop {
        match prepare(&mut conn, beside) {
            Ok(Found::Current) => return Ok(conn),
            Ok(Found::Foreign) => return Err(OpenError::Foreign { path: path.to_owned() }),
            Ok(Found::Newer(found)) => {
                return Err(OpenError::Newer { path: path.to_owned(), found });
            }
            Err(e) if is_locked(&e) && Instant::now() < deadline => thread::sleep(RETRY_PAUSE),
            Err(e) => return Err(unusable(e.into())),
        }
    }
}

fn prepare(conn: &mut Connection, beside: bool) -> rusqlite::Result<Found> {
    let found = schema::update(conn, beside)?;
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

pub(super) fn in_memory() -> Result<Connection, OpenError> {
    let open = || {
        let mut conn = Connection::open_in_memory()?;
        conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        schema::update(&mut conn, false)?;
        Ok(conn)
    };
    open().map_err(|e| unusable(Path::new(":memory:"), e))
}

fn unusable(path: &Path, error: rusqlite::Error) -> OpenError {
    OpenError::Unusable { path: path.to_owned(), source: error.into() }
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

/// Makes the file before SQLite would, readable for its owner alone. One that exists is not opened:
/// closing it would free all locks that this process holds on it (POSIX).
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
