use async_trait::async_trait;
use key0_auth::domain::Timestamp;
use rusqlite::OptionalExtension;
use serde_json::value::RawValue;

use super::{Sqlite, once::Done, passports::upsert};
use crate::partner::{
    imports::{Rows, not_found},
    store::{Answer, Asked, Fault, Imports, new_id, terms},
};

pub(super) const WAITING: &str = "SELECT count(*), coalesce(sum(bytes), 0) FROM partner_imports
     WHERE owner IS ?1 AND due_at IS NOT NULL";

pub(super) const NEXT: &str = "SELECT arrival FROM partner_imports
     WHERE due_at <= ?1 ORDER BY due_at LIMIT 1";

#[async_trait]
impl Imports for Sqlite {
    async fn queue_import(
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
            terms::check_waiting(waiting, held, bytes)?;
            let id = new_id();
            let sql = "INSERT INTO partner_imports (id, wanted, due_at, created_at, owner, bytes)
                 VALUES (?1, ?2, ?3, ?3, ?4, ?5)";
            tx.prepare_cached(sql)?.execute((&id, rows.get(), now.as_micros(), owner, bytes))?;
            let answer = terms::queued(&id);
            Ok(Done { table: "partner_imports", row: tx.last_insert_rowid(), answer })
        })
        .await
    }

    async fn import(&self, id: String) -> Result<String, Fault> {
        self.read(move |conn| {
            let sql = "SELECT outcome FROM partner_imports WHERE id = ?1";
            let found: Option<Option<String>> =
                conn.prepare_cached(sql)?.query_row([&id], |row| row.get(0)).optional()?;
            match found {
                None => Err(not_found().into()),
                Some(Some(outcome)) => Ok(outcome),
                Some(None) => Ok(terms::queued(&id)),
            }
        })
        .await
    }

    async fn next_import(&self, now: Timestamp) -> Result<Option<i64>, Fault> {
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(NEXT)?;
            Ok(statement.query_row([now.as_micros()], |row| row.get(0)).optional()?)
        })
        .await
    }

    async fn carry_out_import(&self, arrival: i64, now: Timestamp) -> Result<bool, Fault> {
        self.write(move |tx| {
            let sql = "SELECT id, wanted FROM partner_imports
                 WHERE arrival = ?1 AND due_at <= ?2";
            let waiting: Option<(String, String)> = tx
                .prepare_cached(sql)?
                .query_row([arrival, now.as_micros()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((id, wanted)) = waiting else { return Ok(false) };
            let rows = Rows::read(&wanted);
            let became: Vec<_> =
                rows.passports().map(|new| upsert(tx, new, now)).collect::<Result<_, _>>()?;
            let outcome = rows.outcome(id, became);
            let sql = "UPDATE partner_imports SET wanted = NULL, due_at = NULL, outcome = ?2
                 WHERE arrival = ?1";
            tx.prepare_cached(sql)?.execute((arrival, outcome.to_json()))?;
            Ok(true)
        })
        .await
    }

    async fn put_off_import(&self, arrival: i64, until: Timestamp) -> Result<(), Fault> {
        self.write(move |tx| {
            let sql = "UPDATE partner_imports SET due_at = ?2
                 WHERE arrival = ?1 AND due_at IS NOT NULL";
            tx.prepare_cached(sql)?.execute([arrival, until.as_micros()])?;
            Ok(())
        })
        .await
    }
}
