//! An effect counts once: the row that it writes carries the caller and the idempotency key, under
//! a unique index. So a retry finds it also when the server died after the effect and before the
//! answer was kept.

use std::time::Duration;

use key0_auth::{RejectionKind, domain::Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{Fault, Store, schema::EFFECTS};

/// How long a key is remembered: as long as the answers to requests with one are kept.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of a request with an idempotency key.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) caller: String,
    pub(crate) key: String,
    /// Stands for what was asked: the same for the same request alone.
    pub(crate) fingerprint: [u8; 32],
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) body: String,
    /// Whether it was carried out before, for another request under the same key.
    pub(crate) replayed: bool,
}

/// An effect that was carried out.
pub(super) struct Done {
    pub(super) table: &'static str,
    pub(super) row: i64,
    /// The body of the answer.
    pub(super) answer: String,
}

impl Store {
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

    /// Refuses a key that had an effect for another request.
    pub(crate) async fn check_key(&self, asked: Asked, now: Timestamp) -> Result<(), Fault> {
        self.read(move |conn| {
            for table in EFFECTS {
                find(conn, table, &asked, now)?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets up to `limit` keys of each kind that are past their time, and says how many.
    pub(crate) async fn forget_keys(&self, now: Timestamp, limit: u32) -> Result<u32, Fault> {
        let before = now.minus(REMEMBERED).as_micros();
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

impl Answer {
    fn first(body: String) -> Self {
        Self { body, replayed: false }
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
    if now.since(Timestamp::from_micros(created_at)) >= REMEMBERED {
        return Ok(Before::Past);
    }
    if fingerprint != asked.fingerprint {
        return Err(Fault::Refused(RejectionKind::IdempotencyKeyReused.into()));
    }
    Ok(Before::Answer(Answer { body, replayed: true }))
}
