use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{SqliteStore, issuances, keys, purchases, row::Fault};
use crate::{
    apikey::KeyRecord,
    domain::{Actor, ChallengeId, Timestamp},
    error::StoreError,
    store::{
        Issuance, IssuanceClaim, IssuanceKey, IssuanceState, LONGEST_WAIT, Lease, LeasedPayment,
        Payment, PaymentOutcome, PaymentStore, PurchaseRevocation, Rotation, WaitingPayments,
        payments::Ending,
        stored::{instant, json, parsed, to_json},
    },
};

#[async_trait]
impl PaymentStore for SqliteStore {
    async fn begin_issuance(
        &self,
        claim: &IssuanceClaim,
        now: Timestamp,
    ) -> Result<IssuanceState, StoreError> {
        let claim = claim.clone();
        self.write(move |tx| issuances::begin(tx.conn, &claim, now)).await
    }

    async fn complete_issuance(
        &self,
        claim: &IssuanceClaim,
        issuance: &Issuance,
        record: Option<&KeyRecord>,
    ) -> Result<bool, StoreError> {
        let (claim, issuance, record) = (claim.clone(), issuance.clone(), record.cloned());
        self.write(move |tx| {
            if !issuances::put(tx.conn, &claim.key, Some(&claim.lease), &issuance)? {
                return Ok(false);
            }
            if let Some(record) = &record {
                keys::insert(tx, record, &Actor::key0())?;
            }
            Ok(true)
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
        let (claim, issuance, record) = (claim.clone(), issuance.clone(), record.cloned());
        self.write(move |tx| {
            let state = issuances::begin(tx.conn, &claim, now)?;
            if state == IssuanceState::Started {
                issuances::put(tx.conn, &claim.key, Some(&claim.lease), &issuance)?;
                if let Some(record) = &record {
                    keys::insert(tx, record, &Actor::key0())?;
                }
            }
            Ok(state)
        })
        .await
    }

    async fn abandon_issuance(&self, claim: &IssuanceClaim) -> Result<(), StoreError> {
        let (key, token) = (claim.key.clone(), claim.lease.token);
        self.write(move |tx| {
            tx.conn
                .prepare_cached(
                    "DELETE FROM issuances WHERE namespace = ?1 AND id = ?2 AND lease_token = ?3",
                )?
                .execute((key.namespace(), key.id(), token.as_bytes()))?;
            Ok(())
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
        let (key, old, new) = (key.clone(), old.clone(), new.clone());
        let display = display.to_owned();
        let rotation = Rotation { old: old.digest, new: new.digest, display, old_until: None };
        self.write(move |tx| {
            let stored = issuances::issuance_to_change(tx.conn, &key)?;
            if stored.as_ref() != Some(&old) {
                return Ok(false);
            }
            if let Some(id) = &old.key_id
                && !keys::replace(tx, id, &rotation, &Actor::key0(), at)?
            {
                return Ok(false);
            }
            issuances::put(tx.conn, &key, None, &new)?;
            if old.key_id.is_none() {
                tx.changed(old.digest);
                tx.changed(new.digest);
            }
            Ok(true)
        })
        .await
    }

    async fn forget_nonces(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.write(move |tx| {
            let forgotten = tx
                .conn
                .prepare_cached(
                    "UPDATE issuances SET nonce = NULL WHERE (namespace, id) IN
                         (SELECT namespace, id FROM issuances
                          WHERE nonce IS NOT NULL AND issued_at < ?1
                          ORDER BY issued_at LIMIT ?2)",
                )?
                .execute((before.as_micros(), limit))?;
            Ok(u32::try_from(forgotten).unwrap_or(limit))
        })
        .await
    }

    async fn record_payment(&self, payment: &Payment) -> Result<PaymentOutcome, StoreError> {
        let payment = payment.clone();
        self.write(move |tx| {
            let outcome = record(tx.conn, &payment)?;
            if outcome != PaymentOutcome::Conflict
                && purchases::is_revoked(tx.conn, &payment.challenge_id)?
            {
                purchases::revoke(tx, &PurchaseRevocation::of_paid(&payment))?;
            }
            Ok(outcome)
        })
        .await
    }

    async fn payment(&self, challenge_id: &ChallengeId) -> Result<Option<Payment>, StoreError> {
        let id = challenge_id.clone();
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(
                "SELECT challenge_id, request_id, resource_id, plan_id, tx_hash, details,
                     received_at FROM payments WHERE challenge_id = ?1",
            )?;
            let row = statement.query_row([id.as_str()], raw_payment).optional()?;
            row.map(payment).transpose()
        })
        .await
    }

    async fn waiting_payments(&self) -> Result<Option<WaitingPayments>, StoreError> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT count(*), min(received_at) FROM payments WHERE due_at IS NOT NULL",
            )?;
            let (count, oldest): (i64, Option<i64>) =
                statement.query_row((), |row| Ok((row.get(0)?, row.get(1)?)))?;
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
        let lease = lease.clone();
        let leased = self
            .write(move |tx| {
                let mut statement = tx.conn.prepare_cached(
                    "UPDATE payments
                     SET due_at = ?2, lease_token = ?3, attempts = attempts + 1
                     WHERE arrival = (SELECT arrival FROM payments
                                      WHERE due_at <= ?1 OR due_at > ?4
                                      ORDER BY due_at, arrival LIMIT 1)
                     RETURNING challenge_id, request_id, resource_id, plan_id, tx_hash, details,
                         received_at, attempts - 1",
                )?;
                let leased = statement
                    .query_row(
                        (
                            now.as_micros(),
                            lease.until.as_micros(),
                            lease.token.as_bytes(),
                            now.plus(LONGEST_WAIT).as_micros(),
                        ),
                        |row| Ok((raw_payment(row)?, row.get(7)?)),
                    )
                    .optional()?;
                Ok(leased)
            })
            .await?;
        // Understood only after the commit: one bad row must not hold up all behind it.
        let understood = leased
            .map(|(raw, attempts)| payment(raw).map(|payment| LeasedPayment { payment, attempts }));
        understood.transpose().map_err(|Fault(error)| error)
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

impl SqliteStore {
    async fn end_lease(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        ending: Ending,
    ) -> Result<bool, StoreError> {
        let (id, token) = (challenge_id.clone(), lease.token);
        self.write(move |tx| {
            let (at, next, error) = ending.columns();
            let ended = tx
                .conn
                .prepare_cached(
                    "UPDATE payments SET due_at = ?4, lease_token = NULL, handled_at = ?3,
                         last_error = iif(?3 IS NULL, coalesce(?5, last_error), NULL)
                     WHERE challenge_id = ?1 AND lease_token = ?2",
                )?
                .execute((id.as_str(), token.as_bytes(), at, next, error))?;
            Ok(ended == 1)
        })
        .await
    }
}

fn record(conn: &Connection, payment: &Payment) -> Result<PaymentOutcome, Fault> {
    let hashes = (payment.tx_hash.normalized(), payment.tx_hash.without_0x());
    // Up to two rows clash: one with the challenge, one with the hash.
    let mut statement = conn.prepare_cached(
        "SELECT challenge_id = ?1 AND tx_hash IN (?2, ?3) FROM payments
         WHERE challenge_id = ?1 OR tx_hash IN (?2, ?3)",
    )?;
    let same = statement
        .query_map((payment.challenge_id.as_str(), &hashes.0, &hashes.1), |row| {
            row.get::<_, bool>(0)
        })?
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(first) = same.first() {
        return Ok(if *first { PaymentOutcome::Repeated } else { PaymentOutcome::Conflict });
    }
    conn.prepare_cached(
        "INSERT INTO payments (challenge_id, request_id, resource_id, plan_id, tx_hash, details,
             received_at, due_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
    )?
    .execute((
        payment.challenge_id.as_str(),
        payment.request_id.as_str(),
        payment.resource_id.as_str(),
        payment.plan_id.as_str(),
        payment.tx_hash.as_str(),
        to_json(&payment.details)?,
        payment.received_at.as_micros(),
    ))?;
    Ok(PaymentOutcome::Recorded)
}

/// A payment's columns as they stand in its row.
type RawPayment = ([String; 6], i64);

fn raw_payment(row: &Row<'_>) -> rusqlite::Result<RawPayment> {
    let texts = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
    Ok((texts, row.get(6)?))
}

fn payment(
    ([challenge, request, resource, plan, hash, details], at): RawPayment,
) -> Result<Payment, Fault> {
    Ok(Payment {
        challenge_id: parsed(&challenge, "challenge_id")?,
        request_id: parsed(&request, "request_id")?,
        resource_id: parsed(&resource, "resource_id")?,
        plan_id: parsed(&plan, "plan_id")?,
        tx_hash: parsed(&hash, "tx_hash")?,
        details: json(&details, "details")?,
        received_at: instant(at, "received_at")?,
    })
}
