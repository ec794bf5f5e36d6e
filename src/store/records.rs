//! The kinds of records that a store hands over to another, and what differs between the engines.

use super::copying::{
    ColumnType::{Bytes, Integer, Text},
    Table,
};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use super::{
    copying::{Record, Value},
    stored_purchase::{issuance_key, no_hash},
};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::error::StoreError;

pub(crate) static KEYS: Table = Table {
    name: "keys",
    columns: &[
        ("id", Text),
        ("digest", Bytes),
        ("display", Text),
        ("kind", Text),
        ("role", Text),
        ("permissions", Text),
        ("resource_id", Text),
        ("plan_id", Text),
        ("label", Text),
        ("metadata", Text),
        ("created_at", Integer),
        ("expires_at", Integer),
        ("revoked_at", Integer),
        ("revoked_reason", Text),
        ("suspended_at", Integer),
        ("old_digest", Bytes),
        ("old_display", Text),
        ("old_until", Integer),
        ("first_used_at", Integer),
        ("last_used_at", Integer),
    ],
};

/// Issuances, and what revocations have left in their place: those have no digest and no time of
/// issuance, and maybe no hash and no fingerprint.
pub(crate) static ISSUANCES: Table = Table {
    name: "issuances",
    columns: &[
        ("namespace", Text),
        ("id", Text),
        ("fingerprint", Bytes),
        ("tx_hash", Text),
        ("key_id", Text),
        ("digest", Bytes),
        ("nonce", Bytes),
        ("secret", Bytes),
        ("issued_at", Integer),
        ("expires_at", Integer),
        ("revoked_at", Integer),
        ("revoked_reason", Text),
        ("request_id", Text),
        ("resource_id", Text),
        ("plan_id", Text),
    ],
};

/// One whose handler was at work is due when its lease would have ended.
pub(crate) static PAYMENTS: Table = Table {
    name: "payments",
    columns: &[
        ("arrival", Integer),
        ("challenge_id", Text),
        ("request_id", Text),
        ("resource_id", Text),
        ("plan_id", Text),
        ("tx_hash", Text),
        ("details", Text),
        ("received_at", Integer),
        ("due_at", Integer),
        ("attempts", Integer),
        ("handled_at", Integer),
        ("last_error", Text),
        ("given_up", Text),
    ],
};

pub(crate) static DENIALS: Table =
    Table { name: "denied_tokens", columns: &[("digest", Bytes), ("until", Integer)] };

/// They are read and written in their order, which is the only one that they have.
pub(crate) static EVENTS: Table = Table {
    name: "key_events",
    columns: &[
        ("kind", Text),
        ("key_id", Text),
        ("action", Text),
        ("actor", Text),
        ("at", Integer),
        ("reason", Text),
        ("display", Text),
        ("label", Text),
        ("over_at", Integer),
    ],
};

pub(crate) static UNKNOWN_REVOCATIONS: Table =
    Table { name: "unknown_revocations", columns: &[("day", Integer), ("count", Integer)] };

/// How an SQL engine reads a table in pages: every page begins behind what a text of its last record
/// says.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) struct Section {
    pub(crate) table: &'static Table,
    /// The text.
    pub(crate) key: &'static str,
    /// The condition that a record comes after it.
    pub(crate) after: &'static str,
    pub(crate) order: &'static str,
    /// The condition that a record goes over.
    pub(crate) only: &'static str,
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
impl Section {
    /// The statement that reads a page, from the beginning of the table or from a text on.
    pub(crate) fn select(&self, from_beginning: bool, limit: u32) -> String {
        let Self { table, key, after, order, only } = self;
        let after = if from_beginning { "true" } else { after };
        let columns = columns(table);
        let name = table.name;
        format!(
            "SELECT {columns}, {key} AS behind FROM {name} WHERE {only} AND {after} ORDER BY {order} LIMIT {limit}"
        )
    }
}

/// The names of the columns, with commas in between.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn columns(table: &Table) -> String {
    let names: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// Counts what an SQL engine hands over, and tells the state in which it is.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) const CONTENTS: &str = "
    SELECT k.records + i.records + p.records + d.records + e.records + u.records,
        k.records || ' ' || i.state || ' ' || p.state || ' ' || d.state || ' ' || e.state,
        (SELECT count(*) FROM idempotency)
    FROM (SELECT count(*) AS records FROM keys) AS k,
        (SELECT count(*) AS records, count(*) || ' ' || coalesce(max(issued_at), 0) || ' '
             || coalesce(max(revoked_at), 0) AS state
         FROM issuances WHERE issued_at IS NOT NULL AND namespace <> 'spent') AS i,
        (SELECT count(*) AS records, count(*) || ' ' || coalesce(sum(attempts), 0) || ' '
             || coalesce(max(handled_at), 0) || ' ' || count(due_at) AS state
         FROM payments) AS p,
        (SELECT count(*) AS records, count(*) || ' ' || coalesce(max(until), 0) AS state
         FROM denied_tokens) AS d,
        (SELECT count(*) AS records, count(*) || ' ' || coalesce(max(event), 0) AS state
         FROM key_events) AS e,
        (SELECT count(*) AS records FROM unknown_revocations) AS u";

/// From a row of an SQL engine, which has no empty columns where a purchase was revoked that was not
/// issued.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn from_row(table: &'static Table, values: Vec<Value>) -> Result<Record, StoreError> {
    let mut record = Record::new(table, values)?;
    if *table == ISSUANCES {
        if matches!(record.get("tx_hash"), Value::Text(text) if text.starts_with(' ')) {
            record.put("tx_hash", Value::Null);
        }
        if *record.get("digest") == Value::Null {
            record.put("issued_at", Value::Null);
            record.put("fingerprint", Value::Null);
        }
    }
    Ok(record)
}

/// To a row of an SQL engine.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn to_row(mut record: Record) -> Result<Record, StoreError> {
    if *record.table() == ISSUANCES {
        if *record.get("tx_hash") == Value::Null {
            let (Value::Text(namespace), Value::Text(id)) =
                (record.get("namespace"), record.get("id"))
            else {
                return Err(super::stored::bad("id"));
            };
            let hash = no_hash(&issuance_key(namespace, id)?)?;
            record.put("tx_hash", Value::Text(hash));
        }
        if *record.get("issued_at") == Value::Null {
            record.put("issued_at", record.get("revoked_at").clone());
        }
        if *record.get("fingerprint") == Value::Null {
            record.put("fingerprint", Value::Bytes(vec![0; 32]));
        }
    }
    Ok(record)
}
