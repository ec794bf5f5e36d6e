use async_trait::async_trait;
use sqlx::{Row, postgres::PgRow};

use super::{PostgresStore, at_once::durably, row::Fault};
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{
        IdempotencyState, IdempotencyStore, LONGEST_WAIT, Lease, RequestFingerprint, Slot,
        StoredResponse,
        stored::{bad, instant, json, to_json},
    },
};

/// Claims a slot, also one that this very lease holds: that renews it. And tells what was kept
/// there before. One that is taken is only read, so that a replay writes nothing.
const BEGIN: &str = concat!(
    "WITH kept AS (
         SELECT fingerprint, free_at, lease_token, status, headers, body,
             CASE WHEN lease_token IS NULL THEN free_at <= $8
             ELSE free_at <= $6 OR free_at > $7 OR (lease_token = $5 AND fingerprint = $3)
             END AS is_free
         FROM idempotency WHERE scope = $1 AND key = $2
     ), started AS (
         INSERT INTO idempotency AS held (scope, key, fingerprint, free_at, lease_token)
         SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT FROM kept WHERE is_free IS NOT TRUE)
         ON CONFLICT (scope, key) DO UPDATE
         SET fingerprint = $3, free_at = $4, lease_token = $5,
             status = NULL, headers = NULL, body = NULL
         WHERE CASE WHEN held.lease_token IS NULL THEN held.free_at <= $8
             ELSE held.free_at <= $6 OR held.free_at > $7
             OR (held.lease_token = $5 AND held.fingerprint = $3) END
         RETURNING key
     )
     SELECT fingerprint, free_at, lease_token IS NULL, status, headers, body,
         EXISTS (SELECT FROM started),
         kept.free_at IS NOT NULL AND kept.is_free IS NOT TRUE, ",
    durably!(),
    " FROM (VALUES (1)) AS one LEFT JOIN kept ON true"
);

const COMPLETE: &str = concat!(
    "WITH completed AS (
         UPDATE idempotency
         SET free_at = $4, lease_token = NULL, status = $5, headers = $6, body = $7
         WHERE scope = $1 AND key = $2 AND lease_token = $3 RETURNING key
     )
     SELECT ",
    durably!(),
    " FROM completed"
);

const RELEASE: &str = concat!(
    "WITH released AS (
         DELETE FROM idempotency WHERE scope = $1 AND key = $2 AND lease_token = $3 RETURNING key
     )
     SELECT ",
    durably!(),
    " FROM released"
);

#[async_trait]
impl IdempotencyStore for PostgresStore {
    async fn claim(
        &self,
        slot: &Slot,
        fingerprint: &RequestFingerprint,
        lease: &Lease,
        now: Timestamp,
        answers_over_at: Timestamp,
    ) -> Result<IdempotencyState, StoreError> {
        self.write(async {
            loop {
                let mut conn = self.at_once().await?;
                let row = sqlx::query(BEGIN)
                    .bind(&slot.scope)
                    .bind(&slot.key)
                    .bind(fingerprint.as_bytes())
                    .bind(lease.until.as_micros())
                    .bind(lease.token.as_bytes())
                    .bind(now.as_micros())
                    .bind(now.plus(LONGEST_WAIT).as_micros())
                    .bind(answers_over_at.as_micros())
                    .fetch_one(&mut *conn)
                    .await?;
                conn.end().await?;
                if row.try_get(6)? {
                    return Ok(IdempotencyState::Started);
                }
                if row.try_get(7)? {
                    return known(&row, fingerprint);
                }
                // Another has changed the slot since the statement began: the next one sees how.
            }
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
            let mut conn = self.at_once().await?;
            let kept = sqlx::query(COMPLETE)
                .bind(&slot.scope)
                .bind(&slot.key)
                .bind(lease.token.as_bytes())
                .bind(expires_at.as_micros())
                .bind(i32::from(response.status))
                .bind(to_json(&response.headers)?)
                .bind(&response.body)
                .fetch_optional(&mut *conn)
                .await?;
            conn.end().await?;
            Ok(kept.is_some())
        })
        .await
    }

    async fn release_request(&self, slot: &Slot, lease: &Lease) -> Result<(), StoreError> {
        self.write(async {
            let mut conn = self.at_once().await?;
            sqlx::query(RELEASE)
                .bind(&slot.scope)
                .bind(&slot.key)
                .bind(lease.token.as_bytes())
                .execute(&mut *conn)
                .await?;
            conn.end().await
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
