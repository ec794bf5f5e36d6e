use async_trait::async_trait;
use rusqlite::Row;

use super::{SqliteStore, row::Fault};
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
impl IdempotencyStore for SqliteStore {
    async fn claim(
        &self,
        slot: &Slot,
        fingerprint: &RequestFingerprint,
        lease: &Lease,
        now: Timestamp,
        answers_over_at: Timestamp,
    ) -> Result<IdempotencyState, StoreError> {
        let (slot, fingerprint, lease) = (slot.clone(), *fingerprint, lease.clone());
        self.write(move |tx| {
            let mut statement = tx.conn.prepare_cached(
                "SELECT fingerprint, free_at, lease_token, status, headers, body
                 FROM idempotency WHERE scope = ?1 AND key = ?2
                     AND CASE WHEN lease_token IS NULL THEN free_at > ?5
                         ELSE free_at > ?3 AND free_at <= ?4 END",
            )?;
            let longest = now.plus(LONGEST_WAIT);
            let mut rows = statement.query((
                &slot.scope,
                &slot.key,
                now.as_micros(),
                longest.as_micros(),
                answers_over_at.as_micros(),
            ))?;
            if let Some(row) = rows.next()? {
                let known = known(row, &fingerprint, &lease)?;
                if known != IdempotencyState::Started {
                    return Ok(known);
                }
            }
            tx.conn
                .prepare_cached(
                    "INSERT OR REPLACE INTO idempotency
                         (scope, key, fingerprint, free_at, lease_token)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute((
                    &slot.scope,
                    &slot.key,
                    fingerprint.as_bytes(),
                    lease.until.as_micros(),
                    lease.token.as_bytes(),
                ))?;
            Ok(IdempotencyState::Started)
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
        let (slot, token, response) = (slot.clone(), lease.token, response.clone());
        self.write(move |tx| {
            let kept = tx
                .conn
                .prepare_cached(
                    "UPDATE idempotency
                     SET free_at = ?4, lease_token = NULL, status = ?5, headers = ?6, body = ?7
                     WHERE scope = ?1 AND key = ?2 AND lease_token = ?3",
                )?
                .execute((
                    &slot.scope,
                    &slot.key,
                    token.as_bytes(),
                    expires_at.as_micros(),
                    response.status,
                    to_json(&response.headers)?,
                    &response.body,
                ))?;
            Ok(kept == 1)
        })
        .await
    }

    async fn release_request(&self, slot: &Slot, lease: &Lease) -> Result<(), StoreError> {
        let (slot, token) = (slot.clone(), lease.token);
        self.write(move |tx| {
            tx.conn
                .prepare_cached(
                    "DELETE FROM idempotency WHERE scope = ?1 AND key = ?2 AND lease_token = ?3",
                )?
                .execute((&slot.scope, &slot.key, token.as_bytes()))?;
            Ok(())
        })
        .await
    }

    async fn purge_requests(&self, now: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.write(move |tx| {
            let removed = tx
                .conn
                .prepare_cached(
                    "DELETE FROM idempotency WHERE rowid IN
                         (SELECT rowid FROM idempotency WHERE free_at <= ?1
                          ORDER BY free_at LIMIT ?2)",
                )?
                .execute((now.as_micros(), limit))?;
            Ok(u32::try_from(removed).unwrap_or(limit))
        })
        .await
    }
}

fn known(
    row: &Row<'_>,
    fingerprint: &RequestFingerprint,
    lease: &Lease,
) -> Result<IdempotencyState, Fault> {
    if RequestFingerprint::from_bytes(row.get(0)?) != *fingerprint {
        return Ok(IdempotencyState::Reused);
    }
    if let Some(token) = row.get::<_, Option<[u8; 16]>>(2)? {
        if token == *lease.token.as_bytes() {
            return Ok(IdempotencyState::Started);
        }
        return Ok(IdempotencyState::InProgress { until: instant(row.get(1)?, "free_at")? });
    }
    let headers: Option<String> = row.get(4)?;
    Ok(IdempotencyState::Done(StoredResponse {
        status: row.get(3)?,
        headers: json(&headers.ok_or_else(|| bad("headers"))?, "headers")?,
        body: row.get(5)?,
    }))
}
