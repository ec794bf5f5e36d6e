use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{SqliteStore, audit, denials, keys, listing, row::Fault, worker::Transaction};
use crate::{
    domain::{Actor, ChallengeId, KeyId, Timestamp, TxHash},
    error::StoreError,
    store::{
        AuditEvent, IssuanceKey, Purchase, PurchasePage, PurchaseQuery, PurchaseRevocation,
        PurchaseStore, RevocationOutcome,
        stored_purchase::{
            StoredConfirmation, StoredIssuance, StoredKey, StoredPurchase, issuance_key, no_hash,
            select_purchases,
        },
    },
};

/// One purchase; every part of it may be missing.
const ONE: &str = concat!(
    select_purchases!(),
    "FROM (SELECT ?1 AS namespace, ?2 AS id) AS wanted
     LEFT JOIN issuances ON issuances.namespace = wanted.namespace
         AND issuances.id = wanted.id AND issuances.issued_at IS NOT NULL
     LEFT JOIN payments
         ON wanted.namespace = 'challenge' AND payments.challenge_id = wanted.id
     LEFT JOIN keys ON keys.id = issuances.key_id"
);

#[async_trait]
impl PurchaseStore for SqliteStore {
    async fn purchase(&self, key: &IssuanceKey) -> Result<Option<Purchase>, StoreError> {
        let key = key.clone();
        self.read(move |conn| Ok(one(conn, &key)?.understood(&key)?)).await
    }

    async fn purchases(&self, query: &PurchaseQuery) -> Result<PurchasePage, StoreError> {
        let query = query.clone();
        self.read(move |conn| listing::page(conn, &query)).await
    }

    async fn retry_handler(
        &self,
        challenge_id: &ChallengeId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (id, by) = (challenge_id.clone(), by.clone());
        self.write(move |tx| {
            let waits = tx
                .conn
                .prepare_cached(
                    "UPDATE payments SET due_at = iif(lease_token IS NULL, ?2, due_at)
                     WHERE challenge_id = ?1 AND due_at IS NOT NULL",
                )?
                .execute((id.as_str(), now.as_micros()))?;
            if waits == 1 {
                let event = AuditEvent::of_purchase(&id, "retried", &by, now, None);
                audit::note(tx.conn, &event)?;
            }
            Ok(waits == 1)
        })
        .await
    }

    async fn give_up_handler(
        &self,
        challenge_id: &ChallengeId,
        reason: &str,
        by: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (id, reason, by) = (challenge_id.clone(), reason.to_owned(), by.clone());
        self.write(move |tx| {
            let waited = tx
                .conn
                .prepare_cached(
                    "UPDATE payments SET due_at = NULL, lease_token = NULL, given_up = ?2
                     WHERE challenge_id = ?1 AND due_at IS NOT NULL",
                )?
                .execute((id.as_str(), &reason))?;
            if waited == 1 {
                let event = AuditEvent::of_purchase(&id, "settled", &by, at, Some(&reason));
                audit::note(tx.conn, &event)?;
            }
            Ok(waited == 1)
        })
        .await
    }

    async fn revoke_purchase(
        &self,
        revocation: &PurchaseRevocation,
    ) -> Result<RevocationOutcome, StoreError> {
        let revocation = revocation.clone();
        self.write(move |tx| revoke(tx, &revocation)).await
    }
}

pub(super) fn one(conn: &Connection, key: &IssuanceKey) -> Result<StoredPurchase, Fault> {
    let mut statement = conn.prepare_cached(ONE)?;
    statement.query_row((key.namespace(), key.id()), |row| Ok(stored(row)))?
}

/// Whether the purchase of a challenge was revoked.
pub(super) fn is_revoked(conn: &Connection, id: &ChallengeId) -> Result<bool, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM issuances
             WHERE namespace = 'challenge' AND id = ?1 AND revoked_at IS NOT NULL)",
    )?;
    Ok(statement.query_row([id.as_str()], |row| row.get(0))?)
}

pub(super) fn revoke(
    tx: &mut Transaction<'_>,
    revocation: &PurchaseRevocation,
) -> Result<RevocationOutcome, Fault> {
    let (challenge, request, paid): (bool, bool, Option<String>) = tx
        .conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM issuances WHERE namespace = 'challenge' AND id = ?1),
                 EXISTS (SELECT 1 FROM issuances WHERE namespace = 'request' AND id = ?1),
                 (SELECT tx_hash FROM payments WHERE challenge_id = ?1)",
        )?
        .query_row([revocation.id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let challenge = challenge || paid.is_some();
    if !challenge && !request && !count_unknown(tx.conn, revocation)? {
        return Ok(RevocationOutcome::TooMany);
    }
    let mut keys = revocation.keys(challenge, request);
    let own = keys.len();
    let paid: Option<TxHash> = paid.and_then(|hash| hash.parse().ok());
    let holders = paid.as_ref().map(|hash| holders(tx.conn, hash)).transpose()?;
    keys.extend(
        holders.iter().flatten().filter(|key| !keys.contains(key)).cloned().collect::<Vec<_>>(),
    );
    let (mut digests, mut is_first) = (Vec::new(), false);
    let (reason, by) = (revocation.reason.as_deref(), &revocation.by);
    for (place, key) in keys.iter().enumerate() {
        let (id, is_new) = mark(tx.conn, key, revocation)?;
        is_first |= is_new && place < own;
        if let Some(id) = id {
            let mut dead = keys::revoke(tx, &id, reason, by, revocation.at)?;
            if dead.is_empty() {
                // It was dead before: a cache may not have heard of it.
                dead = keys::digests(tx.conn, &id)?;
                dead.iter().for_each(|digest| tx.changed(*digest));
            }
            digests.extend(dead);
        }
    }
    if is_first {
        let event = AuditEvent::of_purchase(&revocation.id, "revoked", by, revocation.at, reason);
        audit::note(tx.conn, &event)?;
    }
    if let Some(hash) = paid.filter(|_| holders.is_some_and(|holders| holders.is_empty())) {
        spend(tx.conn, &revocation.id, &hash)?;
    }
    let denials = revocation.denials(&keys);
    for denial in &denials {
        denials::deny(tx, denial)?;
    }
    let key = keys.into_iter().next().ok_or_else(|| StoreError::corrupt("an id of no kind"))?;
    Ok(RevocationOutcome::Revoked { key, digests, denials })
}

/// What this hash has bought, or is claimed for.
fn holders(conn: &Connection, tx_hash: &TxHash) -> Result<Vec<IssuanceKey>, Fault> {
    let mut statement =
        conn.prepare_cached("SELECT namespace, id FROM issuances WHERE tx_hash IN (?1, ?2)")?;
    let mut rows = statement.query([tx_hash.normalized(), tx_hash.without_0x()])?;
    let mut holders = Vec::new();
    while let Some(row) = rows.next()? {
        holders.push(issuance_key(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?)?);
    }
    Ok(holders)
}

/// Has what was revoked before it was issued spend the hash of its payment.
fn spend(conn: &Connection, id: &ChallengeId, tx_hash: &TxHash) -> Result<(), Fault> {
    conn.prepare_cached(
        "UPDATE issuances SET tx_hash = ?2
         WHERE namespace = 'challenge' AND id = ?1 AND tx_hash LIKE ' %'",
    )?
    .execute((id.as_str(), tx_hash.normalized()))?;
    Ok(())
}

/// Counts a revocation of which nothing else is known; `false` where there were enough.
fn count_unknown(conn: &Connection, revocation: &PurchaseRevocation) -> Result<bool, Fault> {
    let counted = conn
        .prepare_cached(
            "INSERT INTO unknown_revocations (day, count) SELECT ?1, 1 WHERE ?2 > 0
             ON CONFLICT (day) DO UPDATE SET count = count + 1 WHERE count < ?2",
        )?
        .execute((revocation.day(), revocation.unknown_a_day))?;
    Ok(counted == 1)
}

/// Marks an issuance as revoked, or puts the mark where there will be none, and says which key was
/// issued, and whether it was not revoked before. A claim is lost by it.
fn mark(
    conn: &Connection,
    key: &IssuanceKey,
    revocation: &PurchaseRevocation,
) -> Result<(Option<KeyId>, bool), Fault> {
    let at = revocation.at.as_micros();
    let marked: Option<Option<String>> = conn
        .prepare_cached(
            "INSERT INTO issuances
                 (namespace, id, fingerprint, tx_hash, issued_at, revoked_at, revoked_reason)
             VALUES (?1, ?2, zeroblob(32), ?3, ?4, ?4, ?5)
             ON CONFLICT (namespace, id) DO UPDATE
             SET revoked_at = excluded.revoked_at, revoked_reason = excluded.revoked_reason,
                 issued_at = coalesce(issued_at, excluded.issued_at),
                 nonce = NULL, lease_token = NULL, lease_until = NULL
             WHERE revoked_at IS NULL
             RETURNING key_id",
        )?
        .query_row((key.namespace(), key.id(), no_hash(key)?, at, &revocation.reason), |row| {
            row.get(0)
        })
        .optional()?;
    let is_first = marked.is_some();
    let id = match marked {
        Some(id) => id,
        None => conn
            .prepare_cached(
                "UPDATE issuances SET nonce = NULL WHERE namespace = ?1 AND id = ?2
                 RETURNING key_id",
            )?
            .query_row((key.namespace(), key.id()), |row| row.get(0))?,
    };
    // What can't be an id is that of no key, and must not keep the purchase from being revoked.
    Ok((id.and_then(|id| KeyId::new(&id).ok()), is_first))
}

fn stored(row: &Row<'_>) -> Result<StoredPurchase, Fault> {
    let issued_at: Option<i64> = row.get(2)?;
    let issuance = issued_at.map(|issued_at| {
        Ok::<_, Fault>(StoredIssuance {
            tx_hash: row.get(0)?,
            is_issued: row.get(1)?,
            issued_at,
            expires_at: row.get(3)?,
            revoked_at: row.get(4)?,
            revoked_reason: row.get(5)?,
            request_id: row.get(21)?,
            resource_id: row.get(22)?,
            plan_id: row.get(23)?,
        })
    });
    let payment = row.get::<_, Option<String>>(6)?.map(|request_id| {
        Ok::<_, Fault>(StoredConfirmation {
            request_id,
            resource_id: row.get(7)?,
            plan_id: row.get(8)?,
            tx_hash: row.get(9)?,
            received_at: row.get(10)?,
            waits: row.get(11)?,
            attempts: row.get(12)?,
            handled_at: row.get(24)?,
            last_error: row.get(25)?,
            given_up: row.get(26)?,
        })
    });
    let key = row.get::<_, Option<String>>(13)?.map(|id| {
        Ok::<_, Fault>(StoredKey {
            id,
            display: row.get(14)?,
            resource_id: row.get(15)?,
            plan_id: row.get(16)?,
            expires_at: row.get(17)?,
            first_used_at: row.get(27)?,
            last_used_at: row.get(18)?,
            revoked_at: row.get(19)?,
            revoked_reason: row.get(20)?,
        })
    });
    Ok(StoredPurchase {
        issuance: issuance.transpose()?,
        payment: payment.transpose()?,
        key: key.transpose()?,
    })
}
