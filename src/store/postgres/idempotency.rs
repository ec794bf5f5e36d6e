use async_trait::async_trait;
use sqlx::{Row, postgres::PgRow};

use super::{PostgresStore, row::Fault};
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{
        IdempotencyState, IdempotencyStore, LONGEST_WAIT, Lease, RequestFingerprint, Slot,
        StoredResponse,
        stored::{bad, instant, json, to_json},
    },
};

#[async_trait]
impl IdempotencyStore for PostgresStore {
    async fn begin_request(
        &self,
        slot: &Slot,
        fingerprint: &RequestFingerprint,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<IdempotencyState, StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            // Also where it is this lease's own: that renews it. A slot that is not free is locked
            // by this all the same, and can't go meanwhile.
            let started = sqlx::query(
                "INSERT INTO idempotency AS kept (scope, key, fingerprint, free_at, lease_token)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (scope, key) DO UPDATE
                 SET fingerprint = $3, free_at = $4, lease_token = $5,
                     status = NULL, headers = NULL, body = NULL
                 WHERE kept.free_at <= $6
                 OR (kept.lease_token IS NOT NULL AND kept.free_at > $7)
                 OR (kept.lease_token = $5 AND kept.fingerprint = $3)",
            )
            .bind(&slot.scope)
            .bind(&slot.key)
            .bind(fingerprint.as_bytes())
            .bind(lease.until.as_micros())
            .bind(lease.token.as_bytes())
            .bind(now.as_micros())
            .bind(now.plus(LONGEST_WAIT).as_micros())
            .execute(&mut *tx)
            .await?;
            if started.rows_affected() == 1 {
                tx.end().await?;
                return Ok(IdempotencyState::Started);
            }
            let row = sqlx::query(
                "SELECT fingerprint, free_at, lease_token IS NULL, status, headers, body
                 FROM idempotency WHERE scope = $1 AND key = $2",
            )
            .bind(&slot.scope)
            .bind(&slot.key)
            .fetch_one(&mut *tx)
            .await?;
            tx.end().await?;
            known(&row, fingerprint)
        })
        .await
    }

    async fn complete_request(
        &self,
        slot: &Slot,
        lease: &Lease,
        response: &StoredResponse,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            let kept = sqlx::query(
                "UPDATE idempotency
                 SET free_at = $4, lease_token = NULL, status = $5, headers = $6, body = $7
                 WHERE scope = $1 AND key = $2 AND lease_token = $3",
            )
            .bind(&slot.scope)
            .bind(&slot.key)
            .bind(lease.token.as_bytes())
            .bind(expires_at.as_micros())
            .bind(i32::from(response.status))
            .bind(to_json(&response.headers)?)
            .bind(&response.body)
            .execute(&mut *tx)
            .await?;
            tx.end().await?;
            Ok(kept.rows_affected() == 1)
        })
        .await
    }

    async fn release_request(&self, slot: &Slot, lease: &Lease) -> Result<(), StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            sqlx::query(
                "DELETE FROM idempotency WHERE scope = $1 AND key = $2 AND lease_token = $3",
            )
            .bind(&slot.scope)
            .bind(&slot.key)
            .bind(lease.token.as_bytes())
            .execute(&mut *tx)
            .await?;
            tx.end().await
        })
        .await
    }

    async fn purge_requests(&self, now: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            let removed = sqlx::query(
                "DELETE FROM idempotency WHERE (scope, key) IN (
                     SELECT scope, key FROM idempotency WHERE free_at <= $1
                     ORDER BY free_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
            )
            .bind(now.as_micros())
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?;
            tx.end().await?;
            Ok(u32::try_from(removed.rows_affected()).unwrap_or(limit))
        })
        .await
    }
}

fn known(row: &PgRow, fingerprint: &RequestFingerprint) -> Result<IdempotencyState, Fault> {
    if RequestFingerprint::from_bytes(row.try_get(0)?) != *fingerprint {
        return Ok(IdempotencyState::Reused);
    }
    if !row.try_get(2)? {
        return Ok(IdempotencyState::InProgress { until: instant(row.try_get(1)?, "free_at")? });
    }
    Ok(IdempotencyState::Done(StoredResponse {
        status: u16::try_from(row.try_get::<i32, _>(3)?).map_err(|_| bad("status"))?,
        headers: json(row.try_get(4)?, "headers")?,
        body: row.try_get(5)?,
    }))
}
