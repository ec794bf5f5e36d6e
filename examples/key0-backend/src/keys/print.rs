use std::io::{self, BufWriter, StdoutLock, Write};

use key0_auth::domain::{Clock, SystemClock, disturbs};
use serde_json::{Value, json};

use super::import::{Line, Outcome};
use crate::output::harmless_json;

/// A key that was just made, or got another secret.
pub(super) fn made(key: &Value, json: bool) -> io::Result<()> {
    if json {
        return line(&harmless_json(&key.to_string()));
    }
    let mut text = String::new();
    for (name, member) in [
        ("id", "id"),
        ("role", "role"),
        ("label", "label"),
        ("expires", "expiresAt"),
        ("old until", "oldKeyUntil"),
    ] {
        if let Some(value) = key.get(member).and_then(Value::as_str) {
            text.push_str(&format!("{name:8} {}\n", harmless(value)));
        }
    }
    text.push_str(&format!("{:8} {}\n", "key", member(key, "key")));
    text.push_str("The key is shown this once and kept nowhere: store it now.");
    line(&text)
}

/// What a list is made of: the name that it has in JSON, the heads of its columns, and what stands in
/// them.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) heads: &'static [&'static str],
    pub(crate) row: fn(&Value) -> Vec<String>,
}

pub(super) const KEYS: Table = Table {
    name: "keys",
    heads: &["ID", "KEY", "OPENS", "CREATED", "EXPIRES", "LAST USED", "LABEL"],
    row,
};

/// A list, printed page by page.
pub(crate) struct List {
    out: BufWriter<StdoutLock<'static>>,
    table: &'static Table,
    json: bool,
    /// Of each column; those of the first page.
    widths: Option<Vec<usize>>,
    any: bool,
}

impl List {
    pub(crate) fn new(table: &'static Table, json: bool) -> io::Result<Self> {
        let mut out = BufWriter::new(io::stdout().lock());
        if json {
            write!(out, "{{\"{}\":[", table.name)?;
        }
        Ok(Self { out, table, json, widths: None, any: false })
    }

    pub(crate) fn page(&mut self, listed: &[Value]) -> io::Result<()> {
        if listed.is_empty() {
            return Ok(());
        }
        let any = std::mem::replace(&mut self.any, true);
        if self.json {
            for (n, one) in listed.iter().enumerate() {
                let one = one.to_string();
                let separator = if any || n > 0 { "," } else { "" };
                write!(self.out, "{separator}{}", harmless_json(&one))?;
            }
            return self.out.flush();
        }
        let heads: Vec<_> = self.table.heads.iter().map(|head| head.to_string()).collect();
        let rows = listed.iter().map(self.table.row);
        let rows: Vec<_> = (!any).then_some(heads).into_iter().chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths = self.widths.get_or_insert_with(|| {
            (0..self.table.heads.len()).map(|column| width(column).unwrap_or(0)).collect()
        });
        for row in &rows {
            let cells = row.iter().zip(&*widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(self.out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        self.out.flush()
    }

    pub(crate) fn end(mut self) -> io::Result<()> {
        match (self.json, self.any) {
            (true, _) => self.out.write_all(b"]}\n")?,
            (false, false) => self.out.write_all(b"there are none\n")?,
            (false, true) => {}
        }
        self.out.flush()
    }
}

fn row(key: &Value) -> Vec<String> {
    let state = state(key).map(|state| format!(" ({state})")).unwrap_or_default();
    let opens = format!("{}{state}", opens(key));
    let [id, shown, created, expires, used, label] =
        ["id", "display", "createdAt", "expiresAt", "lastUsedAt", "label"]
            .map(|name| member(key, name));
    vec![id, shown, opens, created, expires, used, label]
}

/// A key and its history, or a purchase.
pub(crate) fn one(key: &Value, json: bool) -> io::Result<()> {
    if json {
        return line(&harmless_json(&key.to_string()));
    }
    let mut text = String::new();
    for (name, value) in
        key.as_object().into_iter().flatten().filter(|(name, _)| *name != "history")
    {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&format!("{name:12} {}\n", harmless(&value)));
    }
    for event in key.get("history").and_then(Value::as_array).into_iter().flatten() {
        let [at, action, by] = ["at", "action", "by"].map(|name| member(event, name));
        let reason = Some(member(event, "reason")).filter(|reason| !reason.is_empty());
        let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        text.push_str(&format!("{at:24} {action} by {by}{why}\n"));
    }
    line(text.trim_end())
}

pub(super) fn done(value: &Value, text: &str, json: bool) -> io::Result<()> {
    if json { line(&harmless_json(&value.to_string())) } else { line(text) }
}

/// What becomes of an import, printed line by line.
pub(super) struct Imported {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    dry_run: bool,
    accepted: usize,
    skipped: usize,
    refused: usize,
    last_line: usize,
    broken_off: Option<&'static str>,
}

impl Imported {
    pub(super) fn new(json: bool, dry_run: bool) -> io::Result<Self> {
        let mut out = BufWriter::new(io::stdout().lock());
        if json {
            out.write_all(b"{\"lines\":[")?;
        }
        let (accepted, skipped, refused, last_line) = (0, 0, 0, 0);
        let broken_off = None;
        Ok(Self { out, json, dry_run, accepted, skipped, refused, last_line, broken_off })
    }

    pub(super) fn line(&mut self, line: &Line) -> io::Result<()> {
        let Line { number, outcome } = line;
        let separator = if self.lines() == 0 { "" } else { "," };
        self.last_line = *number;
        let (value, text) = match outcome {
            Outcome::Accepted { id, warning: None } => {
                (json!({ "line": number, "id": id }), format!("accepted as {id}"))
            }
            Outcome::Accepted { id, warning: Some(warning) } => (
                json!({ "line": number, "id": id, "warning": warning }),
                format!("accepted as {id}; {warning}"),
            ),
            Outcome::WouldBeAccepted { warning: None } => {
                (json!({ "line": number, "wouldBeAccepted": true }), "would be accepted".into())
            }
            Outcome::WouldBeAccepted { warning: Some(warning) } => (
                json!({ "line": number, "wouldBeAccepted": true, "warning": warning }),
                format!("would be accepted; {warning}"),
            ),
            Outcome::Skipped => {
                (json!({ "line": number, "skipped": true }), "skipped: it is known".to_owned())
            }
            Outcome::Refused(why) => {
                (json!({ "line": number, "error": why }), format!("refused: {why}"))
            }
        };
        *match outcome {
            Outcome::Skipped => &mut self.skipped,
            Outcome::Refused(_) => &mut self.refused,
            Outcome::Accepted { .. } | Outcome::WouldBeAccepted { .. } => &mut self.accepted,
        } += 1;
        if self.json {
            write!(self.out, "{separator}{}", harmless_json(&value.to_string()))
        } else {
            writeln!(self.out, "line {number}: {}", harmless(&text))
        }
    }

    /// It ends before the file does.
    pub(super) fn broken_off(&mut self, why: &'static str) {
        self.broken_off = Some(why);
    }

    /// How many lines were told of.
    pub(super) fn lines(&self) -> usize {
        self.accepted + self.skipped + self.refused
    }

    /// The sum of it. Whether everything was taken over.
    pub(super) fn end(mut self) -> io::Result<bool> {
        let Self { accepted, skipped, refused, last_line, .. } = self;
        if self.json {
            write!(
                self.out,
                "],\"accepted\":{accepted},\"skipped\":{skipped},\"refused\":{refused},\
                 \"dryRun\":{}",
                self.dry_run
            )?;
            if let Some(why) = self.broken_off {
                write!(self.out, ",\"brokenOff\":\"{why}\",\"lastLine\":{last_line}")?;
            }
            self.out.write_all(b"}\n")?;
        } else {
            let mut sum = format!("{accepted} accepted, {refused} refused");
            if skipped > 0 {
                sum.push_str(&format!(", {skipped} skipped"));
            }
            if self.dry_run {
                sum.push_str("; nothing was written");
            }
            if let Some(why) = self.broken_off {
                sum.push_str(&format!(
                    "\nbroken off after line {last_line} ({why}); run it again with --skip-known"
                ));
            }
            writeln!(self.out, "{sum}")?;
        }
        self.out.flush()?;
        Ok(refused == 0 && self.broken_off.is_none())
    }
}

/// What a key opens: what was bought, or its real rights.
fn opens(key: &Value) -> String {
    if let Some(rights) = key.get("permissions").and_then(Value::as_object) {
        let right = |(resource, actions): (&String, &Value)| {
            let actions = actions.as_array().into_iter().flatten().filter_map(Value::as_str);
            format!("{resource}:{}", actions.collect::<Vec<_>>().join("+"))
        };
        return harmless(&rights.iter().map(right).collect::<Vec<_>>().join(" "));
    }
    match key.get("resourceId") {
        Some(_) => format!("{} of {}", member(key, "resourceId"), member(key, "planId")),
        None => member(key, "role"),
    }
}

/// Why a key is not in force, where it is not.
fn state(key: &Value) -> Option<&'static str> {
    let expires_at = key.get("expiresAt").and_then(Value::as_str);
    let expires_at = expires_at.and_then(|text| text.parse().ok());
    if key.get("unreadable").is_some() {
        Some("unreadable")
    } else if key.get("revokedAt").is_some() {
        Some("revoked")
    } else if expires_at.is_some_and(|end| SystemClock.now() >= end) {
        Some("expired")
    } else if key.get("suspendedAt").is_some() {
        Some("suspended")
    } else {
        None
    }
}

/// A text of a key for a terminal; nothing where it has none.
pub(crate) fn member(value: &Value, name: &str) -> String {
    harmless(value.get(name).and_then(Value::as_str).unwrap_or(""))
}

/// A text that can't steer the terminal it is shown on, nor hide a part of itself: Key0's callers
/// choose what is kept with their keys.
pub(crate) fn harmless(text: &str) -> String {
    let shown = text.chars().map(|character| match character {
        _ if disturbs(character) => character.escape_unicode().to_string(),
        _ => character.to_string(),
    });
    shown.collect()
}

fn line(text: &str) -> io::Result<()> {
    crate::output::print(&format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn what_steers_a_terminal_or_hides_is_escaped() {
        for hidden in "\u{7}\u{9b}\u{ad}\u{61c}\u{115f}\u{200b}\u{200f}\u{202e}\u{2028}\u{2066}\u{feff}\u{e0041}".chars() {
            let shown = harmless(&format!("a{hidden}b"));
            assert!(shown.is_ascii(), "{shown:?}");
        }
        assert_eq!(harmless("Zoë's shop 🦀"), "Zoë's shop 🦀");
    }
}
