//! The row that an effect writes carries the caller and the idempotency key, under a unique index.

use async_trait::async_trait;
use key0_auth::domain::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{Sqlite, schema::EFFECTS};
use crate::partner::store::{Answer, Asked, Fault, Keys, once::forgotten_until};

/// An effect that was carried out.
pub(super) struct Done {
    pub(super) table: &'static str,
    pub(super) row: i64,
    /// The body of the answer.
    pub(super) answer: String,
}

impl Sqlite {
    /// Carries an effect out, or gives the answer that it had. Without a key it is always carried
    /// out.
    pub(super) async fn once(
        &self,
        asked: Option<Asked>,
        now: Timestamp,
        effect: impl FnOnce(&Transaction<'_>) -> Result<Done, Fault> + Send + 'static,
    ) -> Result<Answer, Fault> {
        self.write(move |tx| {
            let Some(asked) = asked else { return Ok(Answer::first(effect(tx)?.answer)) };
            for table in EFFECTS {
                match find(tx, table, &asked, now)? {
                    Before::Nothing => {}
                    Before::Answer(answer) => return Ok(answer),
                    Before::Past => {
                        let sql = format!("{} WHERE {MINE}", forget(table));
                        tx.prepare_cached(&sql)?.execute((&asked.caller, &asked.key))?;
                    }
                }
            }
            let Done { table, row, answer } = effect(tx)?;
            let sql = format!(
                "UPDATE {table} SET caller = ?2, idempotency_key = ?3, fingerprint = ?4, answer = ?5
                 WHERE arrival = ?1"
            );
            tx.prepare_cached(&sql)?.execute((
                row,
                asked.caller,
                asked.key,
                asked.fingerprint,
                &answer,
            ))?;
            Ok(Answer::first(answer))
        })
        .await
    }
}

#[async_trait]
impl Keys for Sqlite {
    async fn check_key(&self, asked: Asked, now: Timestamp) -> Result<(), Fault> {
        self.read(move |conn| {
            for table in EFFECTS {
                find(conn, table, &asked, now)?;
            }
            Ok(())
        })
        .await
    }

    async fn forget_keys(&self, now: Timestamp, limit: u32) -> Result<u32, Fault> {
        let before = forgotten_until(now).as_micros();
        self.write(move |tx| {
            let mut forgotten = 0;
            for table in EFFECTS {
                forgotten += tx.prepare_cached(&forget_old(table))?.execute((before, limit))?;
            }
            Ok(u32::try_from(forgotten).unwrap_or(u32::MAX))
        })
        .await
    }
}

/// The condition for the row of one key.
const MINE: &str = "caller = ?1 AND idempotency_key = ?2";

/// The statement that finds the row of one key.
pub(super) fn lookup(table: &str) -> String {
    format!("SELECT fingerprint, answer, created_at FROM {table} WHERE {MINE}")
}

/// The statement that forgets keys that are past their time.
pub(super) fn forget_old(table: &str) -> String {
    let old = format!(
        "SELECT arrival FROM {table} WHERE caller IS NOT NULL AND created_at <= ?1 LIMIT ?2"
    );
    format!("{} WHERE arrival IN ({old})", forget(table))
}

/// The beginning of the statement that forgets keys of this table.
fn forget(table: &str) -> String {
    match table {
        // It is there for its key alone.
        "partner_publications" => format!("DELETE FROM {table}"),
        _ => format!(
            "UPDATE {table}
             SET caller = NULL, idempotency_key = NULL, fingerprint = NULL, answer = NULL"
        ),
    }
}

/// What a table knows of a key.
enum Before {
    Nothing,
    /// A request whose key is to be forgotten by now.
    Past,
    Answer(Answer),
}

fn find(conn: &Connection, table: &str, asked: &Asked, now: Timestamp) -> Result<Before, Fault> {
    let found: Option<([u8; 32], String, i64)> = conn
        .prepare_cached(&lookup(table))?
        .query_row((&asked.caller, &asked.key), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((fingerprint, body, created_at)) = found else { return Ok(Before::Nothing) };
    if Timestamp::from_micros(created_at) <= asked.forgotten_until(now) {
        return Ok(Before::Past);
    }
    asked.replay(fingerprint, body).map(Before::Answer)
}
