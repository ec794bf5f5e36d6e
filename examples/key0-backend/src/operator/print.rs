//! What the commands print.

use std::io::{self, BufWriter, StdoutLock, Write};

use key0_auth::domain::disturbs;
use serde_json::Value;

use crate::output::harmless_json;

/// What a list is made of: the name that it has in JSON, the heads of its columns, and what stands in
/// them.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) heads: &'static [&'static str],
    pub(crate) row: fn(&Value) -> Vec<String>,
}

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

pub(crate) fn done(value: &Value, text: &str, json: bool) -> io::Result<()> {
    if json { line(&harmless_json(&value.to_string())) } else { line(text) }
}

/// A member that is a text, for a terminal; nothing where it has none.
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

/// Prints a text and the end of its line.
pub(crate) fn line(text: &str) -> io::Result<()> {
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
