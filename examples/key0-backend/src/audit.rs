//! `key0-backend audit`: what `/audit` tells, on the host itself.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use key0_auth::{
    api::{AuditApi, Operator, Reply},
    domain::{Clock, SystemClock},
};
use serde_json::Value;

use crate::{
    operator::{self, CommandError, List, Table, duration, member, query_value},
    output::harmless_json,
};

/// How many events are read at a time.
const PAGE: u32 = 1_000;

const EVENTS: Table = Table {
    name: "events",
    heads: &["AT", "ACTION", "OF", "ID", "SHOWN", "LABEL", "BY", "REASON"],
    row,
};

/// What was done, in the store that `DATABASE_URL` names; the oldest first.
#[derive(Debug, Clone, Args)]
pub(crate) struct AuditOptions {
    /// Only what happened then or later: as 2027-01-31T12:00:00Z, or as 30d before now
    #[arg(long, value_name = "INSTANT")]
    since: Option<String>,
    /// Print JSON, one event on each line, errors too
    #[arg(long)]
    json: bool,
    /// File with further variables (default: .env, where it is there)
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

fn row(event: &Value) -> Vec<String> {
    if event.get("unreadable").is_some() {
        let mut row = ["", "unreadable", ""].map(str::to_owned).to_vec();
        row.push(member(event, "id"));
        row.resize(EVENTS.heads.len(), String::new());
        return row;
    }
    let names = ["at", "action", "kind", "id", "display", "label", "actor", "reason"];
    names.iter().map(|name| member(event, name)).collect()
}

pub(crate) fn run(options: &AuditOptions) -> ExitCode {
    operator::finish(carry_out(options), options.json)
}

async fn carry_out(options: &AuditOptions) -> Result<ExitCode, CommandError> {
    let (store, _) = operator::open(options.env_file.as_deref()).await?;
    let shown = show(&AuditApi::new(store.audit.clone()), options).await;
    // Where a server uses the file as well, it may not be possible, and need not.
    let _ = store.keys.close().await;
    shown.map(|()| ExitCode::SUCCESS)
}

async fn show(api: &AuditApi, options: &AuditOptions) -> Result<(), CommandError> {
    let since = options.since.as_deref().map(|since| match duration(since) {
        Ok(duration) => SystemClock.now().minus(duration).to_string(),
        Err(_) => since.to_owned(),
    });
    let since = since.map(|since| format!("&since={}", query_value(&since)));
    let mut query = format!("limit={PAGE}{}", since.unwrap_or_default());
    let mut table = (!options.json).then(|| List::new(&EVENTS, false)).transpose()?;
    loop {
        let page = api.list(&Operator::host(), Some(&query)).await?;
        match &mut table {
            None => {
                let lines = String::from_utf8_lossy(&page.body);
                io::stdout().lock().write_all(harmless_json(&lines).as_bytes())?;
            }
            Some(table) => table.page(&events(&page)?)?,
        }
        match next(&page) {
            Some(next) => query = next,
            None => break,
        }
    }
    Ok(table.map_or(Ok(()), List::end)?)
}

fn events(page: &Reply) -> Result<Vec<Value>, CommandError> {
    let lines = page.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(CommandError::Answer)).collect()
}

/// The query of the page that follows.
fn next(page: &Reply) -> Option<String> {
    let (_, link) = page.headers.iter().find(|(name, _)| name == "link")?;
    Some(link.strip_prefix("<?")?.strip_suffix(">; rel=\"next\"")?.to_owned())
}
