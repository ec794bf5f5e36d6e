use async_trait::async_trait;
use sqlx::PgConnection;

use super::{PostgresStore, row::Fault};
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{Change, Denial, DenialStore, TokenDigest},
};

#[async_trait]
impl DenialStore for PostgresStore {
    async fn deny(&self, denial: &Denial) -> Result<(), StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            deny(&mut tx, denial).await?;
            tx.end().await
        })
        .await?;
        self.tell(&[Change::Token(denial.token)])
    }

    async fn denials(
        &self,
        after: Option<&TokenDigest>,
        limit: u32,
    ) -> Result<Vec<Denial>, StoreError> {
        self.read(async {
            let mut reader = self.reader().await?;
            let rows: Vec<([u8; 32], i64)> = sqlx::query_as(
                "SELECT digest, until FROM denied_tokens
                 WHERE digest > $1 AND length(digest) = 32 ORDER BY digest LIMIT $2",
            )
            .bind(after.map_or(&[][..], |token| token.as_bytes()))
            .bind(i64::from(limit))
            .fetch_all(&mut *reader)
            .await?;
            reader.end().await?;
            let denials = rows.into_iter().map(|(digest, until)| Denial {
                token: TokenDigest::from_bytes(digest),
                until: Timestamp::from_micros(until),
            });
            Ok(denials.collect())
        })
        .await
    }

    async fn purge_denials(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            let removed = sqlx::query(
                "DELETE FROM denied_tokens WHERE digest IN (
                     SELECT digest FROM denied_tokens WHERE until < $1
                     LIMIT $2 FOR UPDATE SKIP LOCKED)",
            )
            .bind(before.as_micros())
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?;
            tx.end().await?;
            Ok(u32::try_from(removed.rows_affected()).unwrap_or(limit))
        })
        .await
    }
}

/// Denies tokens until then, or until the later end that is known.
pub(super) async fn deny(tx: &mut PgConnection, denial: &Denial) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO denied_tokens (digest, until) VALUES ($1, $2)
         ON CONFLICT (digest) DO UPDATE
         SET until = greatest(denied_tokens.until, excluded.until)",
    )
    .bind(denial.token.as_bytes())
    .bind(denial.until.as_micros())
    .execute(tx)
    .await?;
    Ok(())
}
