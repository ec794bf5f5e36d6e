use async_trait::async_trait;

use super::{SqliteStore, row::Fault, worker::Transaction};
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{Change, Denial, DenialStore, TokenDigest},
};

#[async_trait]
impl DenialStore for SqliteStore {
    async fn deny(&self, denial: &Denial) -> Result<(), StoreError> {
        let denial = *denial;
        self.write(move |tx| deny(tx, &denial)).await
    }

    async fn denials(
        &self,
        after: Option<&TokenDigest>,
        limit: u32,
    ) -> Result<Vec<Denial>, StoreError> {
        let after = after.map_or_else(Vec::new, |token| token.as_bytes().to_vec());
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(
                "SELECT digest, until FROM denied_tokens
                 WHERE digest > ?1 AND length(digest) = 32 ORDER BY digest LIMIT ?2",
            )?;
            let mut rows = statement.query((after, limit))?;
            let mut denials = Vec::new();
            while let Some(row) = rows.next()? {
                let token = TokenDigest::from_bytes(row.get(0)?);
                denials.push(Denial { token, until: Timestamp::from_micros(row.get(1)?) });
            }
            Ok(denials)
        })
        .await
    }

    async fn purge_denials(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.write(move |tx| {
            let removed = tx
                .conn
                .prepare_cached(
                    "DELETE FROM denied_tokens WHERE digest IN
                         (SELECT digest FROM denied_tokens WHERE until < ?1 LIMIT ?2)",
                )?
                .execute((before.as_micros(), limit))?;
            Ok(u32::try_from(removed).unwrap_or(limit))
        })
        .await
    }
}

/// Denies tokens until then, or until the later end that is known.
pub(super) fn deny(tx: &mut Transaction<'_>, denial: &Denial) -> Result<(), Fault> {
    tx.conn
        .prepare_cached(
            "INSERT INTO denied_tokens (digest, until) VALUES (?1, ?2)
             ON CONFLICT (digest) DO UPDATE SET until = max(until, excluded.until)",
        )?
        .execute((denial.token.as_bytes(), denial.until.as_micros()))?;
    tx.told(Change::Token(denial.token));
    Ok(())
}
