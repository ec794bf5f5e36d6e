use key0_auth::{Rejection, RejectionKind, domain::Timestamp};
use rusqlite::OptionalExtension;
use serde_json::value::RawValue;

use super::{
    Asked, Fault, Store,
    once::{Answer, Done},
    passports::{Upsert, upsert},
};
use crate::partner::{
    imports::{Failed, Outcome, not_found},
    passports::NewPassport,
};

/// The most imports of one owner that may wait, and how much they may be, in bytes.
const MAX_WAITING: i64 = 1_000;
const MAX_WAITING_BYTES: i64 = 16 * 1024 * 1024;

pub(super) const WAITING: &str = "SELECT count(*), coalesce(sum(bytes), 0) FROM partner_imports
     WHERE owner IS ?1 AND due_at IS NOT NULL";

pub(super) const NEXT: &str = "SELECT arrival FROM partner_imports
     WHERE due_at <= ?1 ORDER BY due_at LIMIT 1";

impl Store {
    /// Keeps the rows to be imported, a JSON list, and answers with the import's id. One `owner` may
    /// have so much waiting, and no more.
    pub(crate) async fn queue_import(
        &self,
        asked: Option<Asked>,
        owner: Option<String>,
        rows: Box<RawValue>,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        self.once(asked, now, move |tx| {
            let bytes = i64::try_from(rows.get().len()).unwrap_or(i64::MAX);
            let (waiting, held): (i64, i64) = tx
                .prepare_cached(WAITING)?
                .query_row([&owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if waiting >= MAX_WAITING || held.saturating_add(bytes) > MAX_WAITING_BYTES {
                let rejection = Rejection::new(RejectionKind::TooManyRequests);
                return Err(rejection.detail("Too many imports of this caller wait").into());
            }
            let id = super::new_id();
            let sql = "INSERT INTO partner_imports (id, wanted, due_at, created_at, owner, bytes)
                 VALUES (?1, ?2, ?3, ?3, ?4, ?5)";
            tx.prepare_cached(sql)?.execute((&id, rows.get(), now.as_micros(), owner, bytes))?;
            let answer = serde_json::json!({ "id": id, "status": "queued" }).to_string();
            Ok(Done { table: "partner_imports", row: tx.last_insert_rowid(), answer })
        })
        .await
    }

    /// What became of an import, as the body of an answer.
    pub(crate) async fn import(&self, id: String) -> Result<String, Fault> {
        self.read(move |conn| {
            let sql = "SELECT outcome FROM partner_imports WHERE id = ?1";
            let found: Option<Option<String>> =
                conn.prepare_cached(sql)?.query_row([&id], |row| row.get(0)).optional()?;
            match found {
                None => Err(not_found().into()),
                Some(Some(outcome)) => Ok(outcome),
                Some(None) => Ok(serde_json::json!({ "id": id, "status": "queued" }).to_string()),
            }
        })
        .await
    }

    /// The import that has waited longest, by its arrival.
    pub(crate) async fn next_import(&self, now: Timestamp) -> Result<Option<i64>, Fault> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(NEXT)?;
            Ok(statement.query_row([now.as_micros()], |row| row.get(0)).optional()?)
        })
        .await
    }

    /// Carries out an import, in one transaction with its outcome: whatever ends the process, it is
    /// done once. `false` where it no longer waits.
    pub(crate) async fn carry_out_import(
        &self,
        arrival: i64,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        self.write(move |tx| {
            let sql = "SELECT id, wanted FROM partner_imports
                 WHERE arrival = ?1 AND due_at <= ?2";
            let waiting: Option<(String, String)> = tx
                .prepare_cached(sql)?
                .query_row([arrival, now.as_micros()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((id, wanted)) = waiting else { return Ok(false) };
            let mut outcome = Outcome::new(id);
            // Rows that were taken in can be read; were they not, the import would fail for ever.
            let rows: Vec<&RawValue> = serde_json::from_str(&wanted).unwrap_or_default();
            for (place, row) in rows.into_iter().enumerate() {
                let mut fail = |message: &str| {
                    outcome.failed.push(Failed { row: place, message: message.to_owned() });
                };
                match NewPassport::read(row.get().as_bytes()) {
                    Err(rejection) => fail(rejection.message()),
                    Ok(new) => match upsert(tx, new, now)? {
                        Upsert::Created => outcome.created += 1,
                        Upsert::Updated => outcome.updated += 1,
                        Upsert::Fixed => fail("This passport is published and can't be changed"),
                    },
                }
            }
            let sql = "UPDATE partner_imports SET wanted = NULL, due_at = NULL, outcome = ?2
                 WHERE arrival = ?1";
            tx.prepare_cached(sql)?.execute((arrival, outcome.to_json()))?;
            Ok(true)
        })
        .await
    }

    /// Has an import wait until then, so that those behind it have their turn.
    pub(crate) async fn put_off_import(&self, arrival: i64, until: Timestamp) -> Result<(), Fault> {
        self.write(move |tx| {
            let sql = "UPDATE partner_imports SET due_at = ?2
                 WHERE arrival = ?1 AND due_at IS NOT NULL";
            tx.prepare_cached(sql)?.execute([arrival, until.as_micros()])?;
            Ok(())
        })
        .await
    }
}
