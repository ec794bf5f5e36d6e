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
    ) -> Result<String, Fault> {
        self.write(move |tx| {
            let Some(asked) = asked else { return Ok(effect(tx)?.answer) };
            if let Some(answer) = answer_before(tx, &asked, now)? {
                return Ok(answer);
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
            Ok(answer)
        })
        .await
    }

    /// Forgets up to `limit` keys of each kind that are past their time, and says how many.
    pub(crate) async fn forget_keys(&self, now: Timestamp, limit: u32) -> Result<u32, Fault> {
        let before = now.minus(REMEMBERED).as_micros();
        let old = "caller IS NOT NULL AND created_at <= ?1 LIMIT ?2";
        self.write(move |tx| {
            let mut forgotten = 0;
            for table in EFFECTS {
                let rows = format!("SELECT arrival FROM {table} WHERE {old}");
                let forget = forget(table);
                let sql = format!("{forget} WHERE arrival IN ({rows})");
                forgotten += tx.prepare_cached(&sql)?.execute((before, limit))?;
            }
            Ok(u32::try_from(forgotten).unwrap_or(u32::MAX))
        })
        .await
    }
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

/// The answer to the first request with this key, where there was one.
fn answer_before(
    conn: &Connection,
    asked: &Asked,
    now: Timestamp,
) -> Result<Option<String>, Fault> {
    let mine = "caller = ?1 AND idempotency_key = ?2";
    for table in EFFECTS {
        let sql = format!("SELECT fingerprint, answer, created_at FROM {table} WHERE {mine}");
        let found: Option<([u8; 32], String, i64)> = conn
            .prepare_cached(&sql)?
            .query_row((&asked.caller, &asked.key), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((fingerprint, answer, created_at)) = found else { continue };
        if now.since(Timestamp::from_micros(created_at)) >= REMEMBERED {
            let sql = format!("{} WHERE {mine}", forget(table));
            conn.prepare_cached(&sql)?.execute((&asked.caller, &asked.key))?;
            continue;
        }
        if fingerprint != asked.fingerprint {
            return Err(Fault::Refused(RejectionKind::IdempotencyKeyReused.into()));
        }
        return Ok(Some(answer));
    }
    Ok(None)
}
