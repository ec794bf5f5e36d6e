use std::{
    error::Error,
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::schema::{self, Found};

/// How long to wait before the next try where SQLite itself does not wait for a lock.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
const CACHED_STATEMENTS: usize = 32;
/// Succeeds where a reader can do its work: read the schema, and which tokens are denied.
pub(super) const PROBE: &str = "SELECT (SELECT count(*) FROM sqlite_schema),
    EXISTS (SELECT digest, until FROM denied_tokens)";

/// Why a SQLite file can't be used as a store. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file or its folder can't be read or written.
    #[error("can't use the database {path:?}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another process holds it locked for longer than the opening waits.
    #[error("the database {path:?} is locked by another process")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It is not a SQLite database, or one of another application.
    #[error("{path:?} is not a database of key0-auth")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// There is none, and [`must_exist`](crate::store::SqliteOptions::must_exist) was asked for.
    #[error("there is no database of key0-auth in {path:?}")]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// An older version of this crate has written it, and it
    /// [`must_exist`](crate::store::SqliteOptions::must_exist) as it is.
    #[error("the database {path:?} has schema version {found}, older than {known} of this program")]
    Older {
        /// The file.
        path: PathBuf,
        /// The version of the file's schema.
        found: i32,
        /// The version that is needed.
        known: i32,
    },
    /// A newer version of this crate has written it.
    #[error("the database {path:?} has schema version {found}, newer than {known} of this program")]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of the file's schema.
        found: i32,
        /// The newest version that is understood.
        known: i32,
    },
}

impl OpenError {
    pub(super) fn unusable(path: &Path, source: Box<dyn Error + Send + Sync>) -> Self {
        Self::Unusable { path: path.to_owned(), source }
    }
}

/// Opens or makes the database, with the newest schema and in WAL mode.
pub(super) fn database(
    path: &Path,
    timeout: Duration,
    for_migration: Duration,
    must_exist: bool,
) -> Result<Connection, OpenError> {
    if must_exist && !path.exists() {
        return Err(OpenError::Absent { path: path.to_owned() });
    }
    if !must_exist {
        create_private(path).map_err(|e| OpenError::unusable(path, e.into()))?;
    }
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let had_wal = Path::new(&wal).exists();
    let (began, mut is_told) = (Instant::now(), false);
    let mut conn = connect(path, timeout).map_err(|e| OpenError::unusable(path, e.into()))?;
    loop {
        let refusal = match prepare(&mut conn, must_exist) {
            Ok(Found::Current) => return Ok(conn),
            Err(e) if is_locked(&e) && began.elapsed() < timeout => {
                thread::sleep(RETRY_PAUSE);
                continue;
            }
            // Whoever holds it may be bringing it to this version.
            Err(e)
                if is_locked(&e)
                    && began.elapsed() < for_migration
                    && schema::is_older(&conn).unwrap_or(false) =>
            {
                if !is_told {
                    tell_of_waiting(path);
                    is_told = true;
                }
                thread::sleep(RETRY_PAUSE);
                continue;
            }
            Err(e) if is_locked(&e) => OpenError::Locked { path: path.to_owned() },
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                OpenError::Foreign { path: path.to_owned() }
            }
            Ok(Found::Foreign) => OpenError::Foreign { path: path.to_owned() },
            Ok(Found::Absent) => OpenError::Absent { path: path.to_owned() },
            Ok(Found::Older(found)) => {
                OpenError::Older { path: path.to_owned(), found, known: schema::VERSION }
            }
            Ok(Found::Newer(found)) => {
                OpenError::Newer { path: path.to_owned(), found, known: schema::VERSION }
            }
            Err(e) => OpenError::unusable(path, e.into()),
        };
        if had_wal {
            // Closing would move what the owner left in the log into the file.
            let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        return Err(refusal);
    }
}

fn tell_of_waiting(_path: &Path) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        path = %_path.display(),
        "the database is of an older version and locked by another process; waiting for it"
    );
}

fn prepare(conn: &mut Connection, must_exist: bool) -> rusqlite::Result<Found> {
    let found = schema::update(conn, must_exist)?;
    if found == Found::Current {
        if conn.is_readonly("main")? {
            let readonly = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
            return Err(rusqlite::Error::SqliteFailure(readonly, None));
        }
        let mode: String =
            conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            let refused = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
            let why = format!("the journal mode is {mode} and can't be made wal");
            return Err(rusqlite::Error::SqliteFailure(refused, Some(why)));
        }
    }
    Ok(found)
}

/// Makes the file before SQLite would, so that nobody else can read it for a moment; its log and
/// its index get the same mode from SQLite.
///
/// A file that exists is not even opened here: closing it would free all locks that this process
/// holds on it (POSIX).
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

fn connect(path: &Path, timeout: Duration) -> rusqlite::Result<Connection> {
    // One thread at a time uses a connection, so that it needs no lock of its own.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(timeout)?;
    conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(conn)
}

pub(super) fn set_for_writing(conn: &Connection, timeout: Duration) -> rusqlite::Result<()> {
    conn.busy_timeout(timeout)?;
    // NORMAL can lose a revocation when the power goes.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", "ON")?;
    // A nonce that was forgotten must not linger in free pages; the log drops its older copy when
    // it is written over after a checkpoint.
    conn.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))
}

pub(super) fn reader(path: &Path, timeout: Duration) -> rusqlite::Result<Connection> {
    let conn = connect(path, timeout)?;
    conn.pragma_update(None, "query_only", "ON")?;
    // The first read opens the log, which must be the one of now.
    conn.query_row(PROBE, (), |_| Ok(()))?;
    Ok(conn)
}

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}
