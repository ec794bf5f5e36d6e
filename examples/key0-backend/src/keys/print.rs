use std::io;

use key0_auth::domain::{Clock, SystemClock, disturbs};
use serde_json::{Value, json};

use super::import::{Accepted, Line};

/// The columns of a list: their heads, and the members that they show.
const COLUMNS: [(&str, &str); 7] = [
    ("ID", "id"),
    ("KEY", "display"),
    ("OPENS", "role"),
    ("CREATED", "createdAt"),
    ("EXPIRES", "expiresAt"),
    ("LAST USED", "lastUsedAt"),
    ("LABEL", "label"),
];

/// A key that was just made, or got another secret.
pub(super) fn made(key: &Value, json: bool) -> io::Result<()> {
    if json {
        return line(&key.to_string());
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

pub(super) fn list(keys: Vec<Value>, json: bool) -> io::Result<()> {
    if json {
        return line(&json!({ "keys": keys }).to_string());
    }
    if keys.is_empty() {
        return line("there are none");
    }
    let heads = COLUMNS.map(|(head, _)| head.to_owned()).to_vec();
    let rows = keys.iter().map(|key| {
        let mut row = COLUMNS.map(|(_, name)| member(key, name)).to_vec();
        row[2] = opens(key);
        if let Some(state) = state(key) {
            row[2] = format!("{} ({state})", row[2]);
        }
        row
    });
    let rows: Vec<_> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..COLUMNS.len()).map(|column| width(column).unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    line(&lines.collect::<Vec<_>>().join("\n"))
}

/// A key and its history.
pub(super) fn one(key: &Value, json: bool) -> io::Result<()> {
    if json {
        return line(&key.to_string());
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
    if json { line(&value.to_string()) } else { line(text) }
}

pub(super) fn imported(lines: &[Line], json: bool) -> io::Result<()> {
    let accepted = lines.iter().filter(|line| line.outcome.is_ok()).count();
    let refused = lines.len() - accepted;
    if json {
        let lines = lines.iter().map(|Line { number, outcome }| match outcome {
            Ok(Accepted { id, warning: None }) => json!({ "line": number, "id": id }),
            Ok(Accepted { id, warning }) => json!({ "line": number, "id": id, "warning": warning }),
            Err(why) => json!({ "line": number, "error": why }),
        });
        let lines: Vec<_> = lines.collect();
        let all = json!({ "lines": lines, "accepted": accepted, "refused": refused });
        return line(&all.to_string());
    }
    let lines = lines.iter().map(|Line { number, outcome }| match outcome {
        Ok(Accepted { id, warning: None }) => format!("line {number}: accepted as {id}\n"),
        Ok(Accepted { id, warning: Some(warning) }) => {
            format!("line {number}: accepted as {id}; {warning}\n")
        }
        Err(why) => format!("line {number}: refused: {why}\n"),
    });
    line(&format!("{}{accepted} accepted, {refused} refused", lines.collect::<String>()))
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
    if key.get("revokedAt").is_some() {
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
pub(super) fn member(value: &Value, name: &str) -> String {
    harmless(value.get(name).and_then(Value::as_str).unwrap_or(""))
}

/// A text that can't steer the terminal it is shown on: Key0's callers choose what is kept with
/// their keys.
fn harmless(text: &str) -> String {
    let shown = text.chars().map(|character| match character {
        _ if disturbs(character) => character.escape_unicode().to_string(),
        _ => character.to_string(),
    });
    shown.collect()
}

fn line(text: &str) -> io::Result<()> {
    crate::output::print(&format!("{text}\n"))
}
