use std::io::{self, BufWriter, StdoutLock, Write};

use key0_auth::domain::{Clock, SystemClock};
use serde_json::{Value, json};

use super::import::{Line, Outcome};
use crate::{
    operator::{Table, harmless, line, member},
    output::harmless_json,
};

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

pub(super) const KEYS: Table = Table {
    name: "keys",
    heads: &["ID", "KEY", "OPENS", "CREATED", "EXPIRES", "LAST USED", "LABEL"],
    row,
};

fn row(key: &Value) -> Vec<String> {
    let state = state(key).map(|state| format!(" ({state})")).unwrap_or_default();
    let opens = format!("{}{state}", opens(key));
    let [id, shown, created, expires, used, label] =
        ["id", "display", "createdAt", "expiresAt", "lastUsedAt", "label"]
            .map(|name| member(key, name));
    vec![id, shown, opens, created, expires, used, label]
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
