use async_trait::async_trait;
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    PostgresStore,
    at_once::{self, durably},
    issuances, keys,
    row::Fault,
};
use crate::{
    apikey::KeyRecord,
    domain::{Actor, ChallengeId, Timestamp},
    error::StoreError,
    store::{
        Change, Issuance, IssuanceClaim, IssuanceKey, IssuanceState, LONGEST_WAIT, Lease,
        LeasedPayment, Payment, PaymentOutcome, PaymentStore, PurchaseRevocation, PurchaseStore,
        Rotation, WaitingPayments,
        payments::Ending,
        stored::{bad, instant, json, parsed, to_json},
    },
};

#[async_trait]
impl PaymentStore for PostgresStore {
    async fn begin_issuance(
        &self,
        claim: &IssuanceClaim,
        now: Timestamp,
    ) -> Result<IssuanceState, StoreError> {
        self.write(async {
            let mut conn = self.at_once().await?;
            let state = at_once::begin(&mut conn, claim, now).await?;
            conn.end().await?;
            if let Some(state) = state {
                return Ok(state);
            }
            let mut tx = self.begin().await?;
            let state = issuances::begin(&mut tx, claim, now).await?;
            tx.end().await?;
            Ok(state)
        })
        .await
    }

    async fn issue(
        &self,
        claim: &IssuanceClaim,
        issuance: &Issuance,
        record: Option<&KeyRecord>,
        now: Timestamp,
    ) -> Result<IssuanceState, StoreError> {
        let state = self.write(async {
            if let Some(record) = record {
                let mut conn = self.at_once().await?;
                let state = at_once::issue(&mut conn, claim, issuance, record, now).await?;
                conn.end().await?;
                if let Some(state) = state {
                    return Ok(state);
                }
            }
            let mut tx = self.begin().await?;
            let state = issuances::begin(&mut tx, claim, now).await?;
            if state == IssuanceState::Started {
                issuances::put(&mut tx, &claim.key, Some(&claim.lease), issuance).await?;
                if let Some(record) = record {
                    keys::insert(&mut tx, record, &Actor::key0()).await?;
                }
            }
            tx.end().await?;
            Ok(state)
        });
        let state = state.await?;
        if state == IssuanceState::Started
            && let Some(record) = record
        {
            self.tell(&[Change::Key(record.digest)])?;
        }
        Ok(state)
    }

    async fn complete_issuance(
        &self,
        claim: &IssuanceClaim,
        issuance: &Issuance,
        record: Option<&KeyRecord>,
    ) -> Result<bool, StoreError> {
        let kept = self.write(async {
            if let Some(record) = record {
                let mut conn = self.at_once().await?;
                let kept = at_once::complete(&mut conn, claim, issuance, record).await?;
                conn.end().await?;
                if kept {
                    return Ok(true);
                }
            }
            let mut tx = self.begin().await?;
            let kept = issuances::put(&mut tx, &claim.key, Some(&claim.lease), issuance).await?;
            if kept && let Some(record) = record {
                keys::insert(&mut tx, record, &Actor::key0()).await?;
            }
            tx.end().await?;
            Ok(kept)
        });
        let kept = kept.await?;
        if kept && let Some(record) = record {
            self.tell(&[Change::Key(record.digest)])?;
        }
        Ok(kept)
    }

    async fn abandon_issuance(&self, claim: &IssuanceClaim) -> Result<(), StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            sqlx::query(
                "DELETE FROM issuances WHERE namespace = $1 AND id = $2 AND lease_token = $3",
            )
            .bind(claim.key.namespace())
            .bind(claim.key.id())
            .bind(claim.lease.token.as_bytes())
            .execute(&mut *tx)
            .await?;
            tx.end().await
        })
        .await
    }

    async fn replace_issuance(
        &self,
        key: &IssuanceKey,
        old: &Issuance,
        new: &Issuance,
        display: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let display = display.to_owned();
        let rotation = Rotation { old: old.digest, new: new.digest, display, old_until: None };
        let replaced = self.write(async {
            let mut tx = self.begin().await?;
            let stored = issuances::issuance_to_change(&mut tx, key).await?;
            let mut replaced = stored.as_ref() == Some(old);
            if replaced && let Some(id) = &old.key_id {
                let by = Actor::key0();
                replaced = keys::replace(&mut tx, id, &rotation, true, &by, at).await?.is_some();
            }
            if replaced {
                issuances::put(&mut tx, key, None, new).await?;
            }
            tx.end().await?;
            Ok(replaced)
        });
        let replaced = replaced.await?;
        if replaced {
            self.tell(&[Change::Key(rotation.old), Change::Key(rotation.new)])?;
        }
        Ok(replaced)
    }

    async fn forget_nonces(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            let forgotten = sqlx::query(
                "UPDATE issuances SET nonce = NULL WHERE (namespace, id) IN (
                     SELECT namespace, id FROM issuances
                     WHERE nonce IS NOT NULL AND issued_at < $1
                     ORDER BY issued_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
            )
            .bind(before.as_micros())
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?;
            tx.end().await?;
            Ok(u32::try_from(forgotten.rows_affected()).unwrap_or(limit))
        })
        .await
    }

    async fn record_payment(&self, payment: &Payment) -> Result<PaymentOutcome, StoreError> {
        let recorded = self.write(async {
            let mut conn = self.at_once().await?;
            let outcome = record(&mut conn, payment).await?;
            conn.end().await?;
            Ok(outcome)
        });
        let (outcome, is_revoked) = recorded.await?;
        if is_revoked && outcome != PaymentOutcome::Conflict {
            // Where this fails, the payment is told again.
            self.revoke_purchase(&PurchaseRevocation::of_paid(payment)).await?;
        }
        Ok(outcome)
    }

    async fn payment(&self, challenge_id: &ChallengeId) -> Result<Option<Payment>, StoreError> {
        self.read(async {
            let mut reader = self.reader().await?;
            let row = sqlx::query(
                "SELECT challenge_id, request_id, resource_id, plan_id, tx_hash, details,
                     received_at FROM payments WHERE challenge_id = $1",
            )
            .bind(challenge_id.as_str())
            .fetch_optional(&mut *reader)
            .await?;
            reader.end().await?;
            row.as_ref().map(understood).transpose()
        })
        .await
    }

    async fn waiting_payments(&self) -> Result<Option<WaitingPayments>, StoreError> {
        self.read(async {
            let mut reader = self.reader().await?;
            let row = sqlx::query(
                "SELECT count(*), min(received_at) FROM payments WHERE due_at IS NOT NULL",
            )
            .fetch_one(&mut *reader)
            .await?;
            reader.end().await?;
            let (count, oldest): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
            let oldest = oldest.map(Timestamp::from_micros);
            Ok(Some(WaitingPayments { count: count.unsigned_abs(), oldest }))
        })
        .await
    }

    async fn lease_payment(
        &self,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Option<LeasedPayment>, StoreError> {
        self.write(async {
            let mut conn = self.at_once().await?;
            // What another instance is leasing at this moment is passed over.
            let row = sqlx::query(concat!(
                "WITH due AS (
                     SELECT arrival FROM payments WHERE due_at <= $1 OR due_at > $4
                     ORDER BY due_at, arrival LIMIT 1 FOR UPDATE SKIP LOCKED
                 ), leased AS (
                     UPDATE payments SET due_at = $2, lease_token = $3, attempts = attempts + 1
                     FROM due WHERE payments.arrival = due.arrival
                     RETURNING challenge_id, request_id, resource_id, plan_id, tx_hash, details,
                         received_at, attempts - 1 AS before
                 )
                 SELECT challenge_id, request_id, resource_id, plan_id, tx_hash, details,
                     received_at, before, ",
                durably!(),
                " FROM leased"
            ))
            .bind(now.as_micros())
            .bind(lease.until.as_micros())
            .bind(lease.token.as_bytes())
            .bind(now.plus(LONGEST_WAIT).as_micros())
            .fetch_optional(&mut *conn)
            .await?;
            // Understood only after the commit: one bad row must not hold up all behind it.
            conn.end().await?;
            let Some(row) = row else { return Ok(None) };
            let attempts = u32::try_from(row.try_get::<i32, _>(7)?).map_err(|_| bad("attempts"))?;
            Ok(Some(LeasedPayment { payment: understood(&row)?, attempts }))
        })
        .await
    }

    async fn finish_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.end_lease(challenge_id, lease, Ending::Handled(at)).await
    }

    async fn retry_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        next_attempt: Timestamp,
        error: Option<&str>,
    ) -> Result<bool, StoreError> {
        let error = error.map(str::to_owned);
        self.end_lease(challenge_id, lease, Ending::Again { next_attempt, error }).await
    }
}

impl PostgresStore {
    async fn end_lease(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        ending: Ending,
    ) -> Result<bool, StoreError> {
        let (handled_at, due_at, error) = ending.columns();
        self.write(async {
            let mut conn = self.at_once().await?;
            let ended = sqlx::query(concat!(
                "WITH ended AS (
                     UPDATE payments SET due_at = $4, lease_token = NULL, handled_at = $3,
                         last_error = CASE WHEN $3::bigint IS NULL
                             THEN coalesce($5, last_error) END
                     WHERE challenge_id = $1 AND lease_token = $2 RETURNING arrival
                 )
                 SELECT ",
                durably!(),
                " FROM ended"
            ))
            .bind(challenge_id.as_str())
            .bind(lease.token.as_bytes())
            .bind(handled_at)
            .bind(due_at)
            .bind(error)
            .fetch_optional(&mut *conn)
            .await?;
            conn.end().await?;
            Ok(ended.is_some())
        })
        .await
    }
}

/// What became of the payment, and whether its purchase was revoked before.
async fn record(
    conn: &mut PgConnection,
    payment: &Payment,
) -> Result<(PaymentOutcome, bool), Fault> {
    const RECORD: &str =
        concat!("SELECT ", durably!(), ", confirm_payment($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    let row = sqlx::query(RECORD)
        .bind(payment.challenge_id.as_str())
        .bind(payment.request_id.as_str())
        .bind(payment.resource_id.as_str())
        .bind(payment.plan_id.as_str())
        .bind(payment.tx_hash.as_str())
        .bind(to_json(&payment.details)?)
        .bind(payment.received_at.as_micros())
        .bind(payment.tx_hash.normalized())
        .bind(payment.tx_hash.without_0x())
        .fetch_one(conn)
        .await?;
    // After a restore the next number of arrival can be one that was given before.
    let told: &str = row.try_get::<Option<_>, _>(1)?.ok_or_else(|| {
        StoreError::unavailable("the payment clashes with no other, save by number")
    })?;
    Ok(PaymentOutcome::told(told).ok_or_else(|| bad("outcome"))?)
}

fn understood(row: &PgRow) -> Result<Payment, Fault> {
    Ok(Payment {
        challenge_id: parsed(row.try_get(0)?, "challenge_id")?,
        request_id: parsed(row.try_get(1)?, "request_id")?,
        resource_id: parsed(row.try_get(2)?, "resource_id")?,
        plan_id: parsed(row.try_get(3)?, "plan_id")?,
        tx_hash: parsed(row.try_get(4)?, "tx_hash")?,
        details: json(row.try_get(5)?, "details")?,
        received_at: instant(row.try_get(6)?, "received_at")?,
    })
}
