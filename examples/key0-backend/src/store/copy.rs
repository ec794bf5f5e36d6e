//! `key0-backend store copy`: all of a store into an empty one, of whatever engine.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    pin::pin,
};

use clap::Args;
use key0_auth::{
    error::{ConfigError, ConfigFault},
    store::{CopyError, CopyStore, Copying},
};

use super::Fault;
use crate::{
    config::{Config, ServeOptions},
    database::{Database, Opened, Opening},
    partner::PartnerCopy,
    signals::interrupted,
};

/// From where to where.
#[derive(Debug, Clone, Args)]
pub(crate) struct CopyOptions {
    /// The store to copy, which is not changed (default: that of DATABASE_URL)
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// A file with its URL, where that has a password
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    from_file: Option<PathBuf>,
    /// The store to fill. It must be empty, or hold the begun part of this very copy
    #[arg(long, value_name = "URL", required_unless_present = "to_file")]
    to: Option<String>,
    /// A file with its URL, where that has a password
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    to_file: Option<PathBuf>,
}

impl CopyOptions {
    /// Both stores.
    pub(super) fn databases(
        &self,
        settings: &ServeOptions,
    ) -> Result<(Database, Database), ConfigError> {
        let named = |option, url: &Option<String>, file: &Option<PathBuf>| match (url, file) {
            (Some(url), _) => Some(Config::database_of(option, url)),
            (None, Some(file)) => Some(read(option, file)),
            (None, None) => None,
        };
        let from = match named("--from", &self.from, &self.from_file) {
            Some(from) => from,
            None => Config::load_store(settings).map(|(database, _)| database),
        };
        let to = named("--to", &self.to, &self.to_file)
            .unwrap_or_else(|| Err(fault("--to", "is needed")));
        let (from, to) = (from?, to?);
        if from.to_string() == to.to_string() {
            return Err(fault("--to", "is the store of --from"));
        }
        Ok((from, to))
    }
}

fn read(option: &str, file: &PathBuf) -> Result<Database, ConfigError> {
    match fs::read_to_string(file) {
        Ok(url) => Config::database_of(option, url.trim_end_matches(['\r', '\n'])),
        Err(error) => Err(fault(option, &format!("its file can't be read: {error}"))),
    }
}

fn fault(option: &str, reason: &str) -> ConfigError {
    ConfigFault::Invalid { name: option.to_owned(), reason: reason.to_owned() }.into()
}

/// Copies, or goes on with a copy; says how many records there are.
pub(super) async fn copy(from: &Database, to: &Database) -> Result<u64, Fault> {
    let source = from.open(Opening::Existing).await?;
    let target = match to.open(Opening::Copying).await {
        Err(error) if error.is_absent() => to.open(Opening::Making).await?,
        opened => opened?,
    };
    let copied = {
        let mut interrupted = pin!(interrupted());
        let name = shown(from);
        tokio::select! {
            biased;
            () = &mut interrupted => Err(Fault::Interrupted),
            copied = copy_all(&source, &target, &name) => copied,
        }
    };
    // Best each file is whole by itself.
    let _ = target.keys.close().await;
    let _ = source.keys.close().await;
    copied
}

/// What is copied, as the target keeps it until the end: no password is in it.
fn shown(from: &Database) -> String {
    match from {
        Database::Sqlite(path) => match std::path::absolute(path) {
            Ok(path) => Database::Sqlite(path).to_string(),
            Err(_) => from.to_string(),
        },
        from => from.to_string(),
    }
}

async fn copy_all(source: &Opened, target: &Opened, name: &str) -> Result<u64, Fault> {
    let (Some(from), Some(to)) = (&source.copied, &target.copied) else {
        return Err(CopyError::Occupied.into());
    };
    // Nothing is made beside a store that holds anything else.
    let begun = Copying::resumed(&**to, name).await?;
    let all_keys = begun.is_some_and(|begun| begun.is_complete());
    let mut partners = match PartnerCopy::of_source(&source.beside).await? {
        Some(from) => PartnerCopy::of_target(&target.beside).await?.map(|to| (from, to)),
        None => None,
    };
    if let Some((from, to)) = &partners {
        if all_keys && has_ended(from, to).await? {
            partners = None;
        } else {
            Copying::resumed(to, name).await?;
        }
    }
    let mut progress = Progress::default();
    let mut keys = Copying::begin(&**from, &**to, name).await?;
    let mut beside = match &partners {
        Some((from, to)) => Some(Copying::begin(from, to, name).await?),
        None => None,
    };
    let total = keys.total();
    while keys.step().await? {
        progress.show("records", keys.copied(), total);
    }
    while let Some(copy) = &mut beside
        && copy.step().await?
    {
        progress.show("records of partners", copy.copied(), copy.total());
    }
    progress.end();
    keys.check().await?;
    let mut copied = keys.copied();
    if let Some(copy) = &beside {
        copy.check().await?;
        copied += copy.copied();
    }
    // The target can be served from when the copy of the keys has ended, so that is last.
    if let Some(copy) = beside {
        copy.end().await?;
    }
    keys.end().await?;
    Ok(copied)
}

/// Whether the copy of what partners have was ended by a run that was cut off before it ended that of the
/// keys. Only then is there anything without a copy that was begun.
async fn has_ended(from: &PartnerCopy, to: &PartnerCopy) -> Result<bool, Fault> {
    if to.unfinished_copy().await.map_err(CopyError::Target)?.is_some() {
        return Ok(false);
    }
    let copied = to.contents().await.map_err(CopyError::Target)?;
    if copied.is_empty {
        return Ok(false);
    }
    let source = from.contents().await.map_err(CopyError::Source)?;
    match (source.records, copied.records) {
        (Some(there), Some(copied)) if there != copied => Err(CopyError::Changed.into()),
        _ => Ok(true),
    }
}

/// How wide the bar is.
const WIDTH: u64 = 30;

/// How far it is, where somebody watches.
#[derive(Debug, Default)]
struct Progress {
    shown: bool,
}

impl Progress {
    fn show(&mut self, what: &str, copied: u64, total: Option<u64>) {
        let mut stderr = io::stderr();
        if !stderr.is_terminal() {
            return;
        }
        self.shown = true;
        let _ = write!(stderr, "\r{}", line(what, copied, total));
        let _ = stderr.flush();
    }

    fn end(&self) {
        if self.shown {
            eprintln!();
        }
    }
}

fn line(what: &str, copied: u64, total: Option<u64>) -> String {
    match total.filter(|total| *total >= copied && *total > 0) {
        Some(total) => {
            let done = copied * WIDTH / total;
            let bar: String = (0..WIDTH).map(|at| if at < done { '#' } else { '-' }).collect();
            format!("[{bar}] {copied} of {total} {what}")
        }
        None => format!("{copied} {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        assert_eq!(line("records", 0, Some(4)), format!("[{}] 0 of 4 records", "-".repeat(30)));
        assert_eq!(
            line("records", 2, Some(4)),
            format!("[{}{}] 2 of 4 records", "#".repeat(15), "-".repeat(15))
        );
        assert_eq!(line("records", 4, Some(4)), format!("[{}] 4 of 4 records", "#".repeat(30)));
        assert_eq!(line("records", 5, Some(4)), "5 records");
        assert_eq!(line("records", 5, None), "5 records");
    }
}
