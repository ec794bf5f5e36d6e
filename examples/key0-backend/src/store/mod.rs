//! `key0-backend store`: backups and checks of the store that `DATABASE_URL` names, and copies into
//! another one.

mod copy;

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use key0_auth::{
    error::{ConfigError, StoreError},
    store::CopyError,
};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use crate::{
    config::{Config, ServeOptions},
    database::{Database, DatabaseError, Opening},
    logging::Chain,
    output,
    partner::OpenError,
};

/// What is done with the store.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreOptions {
    #[command(subcommand)]
    command: StoreCommand,
    /// Print JSON, errors too
    #[arg(long, global = true)]
    json: bool,
    /// File with further variables (default: .env, where it is there)
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
enum StoreCommand {
    /// Copy a SQLite database into a new file, also while a server uses it.
    Backup {
        /// The new file; it must not be there yet
        file: PathBuf,
    },
    /// Copy all of a store into an empty one, of whatever engine: SQLite, PostgreSQL or Redis.
    ///
    /// Stop every server on the source first: what changes there after the copy began is lost, and the
    /// copy fails at its end where that is seen. A copy that was interrupted goes on where it ended when
    /// it is run again. No server starts on a target whose copy has not ended.
    ///
    /// Copied are keys with their use, issuances, payments, purchases, denied tokens, the audit log, and
    /// what the partner API keeps. Not copied are the answers kept word for word under an
    /// Idempotency-Key (a retry is recognised by what is copied), issuances that were begun and not
    /// ended, and caches. Cursors of the audit log are those of one store.
    Copy(copy::CopyOptions),
    /// Say whether the store answers, has this version's schema, and is whole.
    Check,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("{0}: its own tools make the backup, pg_dump or redis-cli --rdb")]
    NotAFile(String),
    #[error("{0}: there is nothing in it but for the process that uses it")]
    Memory(String),
    #[error("{0:?} is not UTF-8, which the names of SQLite's files are")]
    Name(PathBuf),
    #[error("{0:?} can't be made")]
    File(PathBuf, #[source] io::Error),
    #[error("the backup {0:?} was not finished, and is gone")]
    Backup(PathBuf, #[source] rusqlite::Error),
    #[error("the database can't be read")]
    Unreadable(#[from] rusqlite::Error),
    #[error("the database is damaged: {0}")]
    Damaged(String),
    #[error("interrupted: run the same command again to go on")]
    Interrupted,
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Partners(#[from] OpenError),
    #[error("the store does not answer")]
    Silent(#[from] StoreError),
    #[error("the runtime did not start")]
    Runtime(#[source] io::Error),
}

impl Fault {
    /// 2 for what the operator can mend in the configuration, else 1.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Database(_)
            | Self::NotAFile(_)
            | Self::Memory(_)
            | Self::Partners(_)
            | Self::Copy(CopyError::Occupied | CopyError::OfAnother { .. })
            | Self::Name(_) => 2,
            _ => 1,
        }
    }
}

pub(crate) fn run(options: &StoreOptions) -> ExitCode {
    match carry_out(options) {
        Ok(done) => {
            let told = if options.json { json!({ "done": done }).to_string() } else { done };
            match output::print(&format!("{told}\n")) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(fault) => {
            let texts = match &fault {
                Fault::Config(error) => error.faults().iter().map(ToString::to_string).collect(),
                fault => vec![Chain(fault).to_string()],
            };
            crate::fail(&texts, options.json);
            ExitCode::from(fault.exit_code())
        }
    }
}

fn carry_out(options: &StoreOptions) -> Result<String, Fault> {
    let settings = ServeOptions { env_file: options.env_file.clone(), ..ServeOptions::default() };
    if let StoreCommand::Copy(wanted) = &options.command {
        let (from, to) = wanted.databases(&settings)?;
        for database in [&from, &to] {
            if matches!(database, Database::Memory) {
                return Err(Fault::Memory(database.to_string()));
            }
        }
        let copied = runtime()?.block_on(copy::copy(&from, &to))?;
        return Ok(format!("{to} holds all of {from}: {copied} records"));
    }
    let (database, _) = Config::load_store(&settings)?;
    match (&options.command, &database) {
        (_, Database::Memory) => Err(Fault::Memory(database.to_string())),
        (StoreCommand::Backup { file }, Database::Sqlite(path)) => {
            answers(&database)?;
            back_up(&whole_path(path)?, &whole_path(file)?)?;
            Ok(format!("{} holds all of {database}", file.display()))
        }
        (StoreCommand::Backup { .. }, _) => Err(Fault::NotAFile(database.to_string())),
        // It was done above.
        (StoreCommand::Copy(_), _) => Err(Fault::NotAFile(database.to_string())),
        (StoreCommand::Check, _) => {
            answers(&database)?;
            if let Database::Sqlite(path) = &database {
                check(&whole_path(path)?)?;
            }
            Ok(format!("{database}: it answers, and nothing is wrong with it"))
        }
    }
}

/// Whether the store is there, has this version's schema, and answers. It is taken as it is.
fn answers(database: &Database) -> Result<(), Fault> {
    runtime()?.block_on(async {
        let opened = database.open(Opening::Existing).await?;
        let answered = opened.keys.ping().await;
        // Where a server uses the file as well, it may not be possible, and need not.
        let _ = opened.keys.close().await;
        Ok(answered?)
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Fault::Runtime)
}

/// The path from the root on, since SQLite takes `:memory:` and `file:…` for no names of files.
fn whole_path(path: &Path) -> Result<PathBuf, Fault> {
    let whole = std::path::absolute(path).map_err(|error| Fault::File(path.to_owned(), error))?;
    match whole.to_str() {
        Some(_) => Ok(whole),
        None => Err(Fault::Name(path.to_owned())),
    }
}

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// One transaction reads all of it, so that the copy is of one instant.
fn back_up(database: &Path, file: &Path) -> Result<(), Fault> {
    // Made empty before SQLite fills it, so that nobody else can read it for a moment.
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let made = options.open(file).map_err(|error| Fault::File(file.to_owned(), error))?;
    let copied = read_only(database).and_then(|database| {
        database.execute("VACUUM INTO ?1", [file.to_string_lossy()])?;
        check_whole(&read_only(file)?)
    });
    let kept = copied.and_then(|whole| match whole {
        None => Ok(()),
        Some(damage) => {
            let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            Err(rusqlite::Error::SqliteFailure(corrupt, Some(damage)))
        }
    });
    if let Err(error) = kept {
        let _ = fs::remove_file(file);
        return Err(Fault::Backup(file.to_owned(), error));
    }
    made.sync_all().map_err(|error| Fault::File(file.to_owned(), error))
}

fn check(path: &Path) -> Result<(), Fault> {
    match check_whole(&read_only(path)?)? {
        None => Ok(()),
        Some(damage) => Err(Fault::Damaged(damage)),
    }
}

/// The first thing that is wrong with a database.
fn check_whole(database: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = database.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}
