use async_trait::async_trait;
use key0_auth::domain::Timestamp;

use super::{Lent, Postgres};
use crate::partner::store::{Answer, Asked, Fault, Keys, once::forgotten_until};

impl Postgres {
    /// Begins an effect: takes its key, where it has one. The answer of an effect that was carried
    /// out before under the key comes in place of the transaction.
    pub(super) async fn begin_once(
        &self,
        asked: Option<&Asked>,
        now: Timestamp,
    ) -> Result<Result<Lent, Answer>, Fault> {
        let mut tx = self.begin().await?;
        let Some(asked) = asked else { return Ok(Ok(tx)) };
        // Whoever is about the same key is waited for. One that is past its time is taken over.
        let taken = sqlx::query(
            "INSERT INTO partner_keys AS kept
                 (caller, idempotency_key, fingerprint, answer, created_at)
             VALUES ($1, $2, $3, '', $4)
             ON CONFLICT (caller, idempotency_key) DO UPDATE
             SET fingerprint = excluded.fingerprint, created_at = excluded.created_at
             WHERE kept.created_at <= $5",
        )
        .bind(&asked.caller)
        .bind(&asked.key)
        .bind(asked.fingerprint)
        .bind(now.as_micros())
        .bind(asked.forgotten_until(now).as_micros())
        .execute(&mut *tx)
        .await?;
        if taken.rows_affected() == 1 {
            return Ok(Ok(tx));
        }
        let (fingerprint, answer) = sqlx::query_as(
            "SELECT fingerprint, answer FROM partner_keys
             WHERE caller = $1 AND idempotency_key = $2",
        )
        .bind(&asked.caller)
        .bind(&asked.key)
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        asked.replay(fingerprint, answer).map(Err)
    }

    /// Keeps the answer under the key, where there is one, and commits both with the effect.
    pub(super) async fn end_once(
        &self,
        mut tx: Lent,
        asked: Option<&Asked>,
        answer: String,
    ) -> Result<Answer, Fault> {
        if let Some(asked) = asked {
            sqlx::query(
                "UPDATE partner_keys SET answer = $3 WHERE caller = $1 AND idempotency_key = $2",
            )
            .bind(&asked.caller)
            .bind(&asked.key)
            .bind(&answer)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(Answer::first(answer))
    }
}

#[async_trait]
impl Keys for Postgres {
    async fn check_key(&self, asked: Asked, now: Timestamp) -> Result<(), Fault> {
        self.read(async {
            let mut conn = self.reads.lend().await?;
            let kept: Option<([u8; 32], String)> = sqlx::query_as(
                "SELECT fingerprint, answer FROM partner_keys
                 WHERE caller = $1 AND idempotency_key = $2 AND created_at > $3",
            )
            .bind(&asked.caller)
            .bind(&asked.key)
            .bind(asked.forgotten_until(now).as_micros())
            .fetch_optional(&mut *conn)
            .await?;
            conn.give_back();
            match kept {
                Some((fingerprint, answer)) => asked.replay(fingerprint, answer).map(drop),
                None => Ok(()),
            }
        })
        .await
    }

    async fn forget_keys(&self, now: Timestamp, limit: u32) -> Result<u32, Fault> {
        self.write(async {
            let mut tx = self.begin().await?;
            let forgotten = sqlx::query(
                "WITH old AS MATERIALIZED (
                     SELECT caller, idempotency_key FROM partner_keys
                     WHERE created_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
                 DELETE FROM partner_keys AS kept USING old
                 WHERE (kept.caller, kept.idempotency_key) = (old.caller, old.idempotency_key)",
            )
            .bind(forgotten_until(now).as_micros())
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(u32::try_from(forgotten.rows_affected()).unwrap_or(limit))
        })
        .await
    }
}
