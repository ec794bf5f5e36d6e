use async_trait::async_trait;
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{PostgresStore, audit, denials, keys, listing, row::Fault};
use crate::{
    apikey::KeyDigest,
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
    "FROM (VALUES ($1, $2)) AS wanted (namespace, id)
     LEFT JOIN issuances ON issuances.namespace = wanted.namespace
         AND issuances.id = wanted.id AND issuances.issued_at IS NOT NULL
     LEFT JOIN payments
         ON wanted.namespace = 'challenge' AND payments.challenge_id = wanted.id
     LEFT JOIN keys ON keys.id = issuances.key_id"
);

/// The namespace of hashes that are spent for nothing: see [`spend`].
const SPENT: &str = "spent";
/// How often a revocation is tried whose payment another request spends at the same time.
const MOST_TRIES: u32 = 3;

#[async_trait]
impl PurchaseStore for PostgresStore {
    async fn purchase(&self, key: &IssuanceKey) -> Result<Option<Purchase>, StoreError> {
        self.read(async {
            let mut reader = self.reader().await?;
            let row = sqlx::query(ONE)
                .bind(key.namespace())
                .bind(key.id())
                .fetch_one(&mut *reader)
                .await?;
            reader.end().await?;
            Ok(stored(&row)?.understood(key)?)
        })
        .await
    }

    async fn purchases(&self, query: &PurchaseQuery) -> Result<PurchasePage, StoreError> {
        self.write(async {
            let mut tx = self.snapshot().await?;
            let page = listing::page(&mut tx, query).await?;
            tx.end().await?;
            Ok(page)
        })
        .await
    }

    async fn retry_handler(
        &self,
        challenge_id: &ChallengeId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            let waits = sqlx::query(
                "UPDATE payments SET due_at = CASE WHEN lease_token IS NULL THEN $2 ELSE due_at END
                 WHERE challenge_id = $1 AND due_at IS NOT NULL",
            )
            .bind(challenge_id.as_str())
            .bind(now.as_micros())
            .execute(&mut *tx)
            .await?;
            let waits = waits.rows_affected() == 1;
            if waits {
                let event = AuditEvent::of_purchase(challenge_id, "retried", by, now, None);
                audit::note(&mut tx, &event).await?;
            }
            tx.end().await?;
            Ok(waits)
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
        self.write(async {
            let mut tx = self.begin().await?;
            let waited = sqlx::query(
                "UPDATE payments SET due_at = NULL, lease_token = NULL, given_up = $2
                 WHERE challenge_id = $1 AND due_at IS NOT NULL",
            )
            .bind(challenge_id.as_str())
            .bind(reason)
            .execute(&mut *tx)
            .await?;
            let waited = waited.rows_affected() == 1;
            if waited {
                let event = AuditEvent::of_purchase(challenge_id, "settled", by, at, Some(reason));
                audit::note(&mut tx, &event).await?;
            }
            tx.end().await?;
            Ok(waited)
        })
        .await
    }

    async fn revoke_purchase(
        &self,
        revocation: &PurchaseRevocation,
    ) -> Result<RevocationOutcome, StoreError> {
        let revoked = self.write(async {
            let mut tries = 1;
            loop {
                let mut tx = self.begin().await?;
                let outcome = match revoke(&mut tx, revocation).await {
                    Err(fault) if fault.is_race() && tries < MOST_TRIES => {
                        tries += 1;
                        continue;
                    }
                    outcome => outcome?,
                };
                // What was too much is not committed.
                if outcome != RevocationOutcome::TooMany {
                    tx.end().await?;
                }
                return Ok(outcome);
            }
        });
        let outcome = revoked.await?;
        self.tell(&PurchaseRevocation::changes(&outcome))?;
        Ok(outcome)
    }
}

async fn revoke(
    tx: &mut PgConnection,
    revocation: &PurchaseRevocation,
) -> Result<RevocationOutcome, Fault> {
    // Against a payment that is recorded now: see the function confirm_payment.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))")
        .bind(revocation.id.as_str())
        .execute(&mut *tx)
        .await?;
    let (challenge, request, paid): (bool, bool, Option<String>) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM issuances WHERE namespace = 'challenge' AND id = $1),
             EXISTS (SELECT FROM issuances WHERE namespace = 'request' AND id = $1),
             (SELECT tx_hash FROM payments WHERE challenge_id = $1)",
    )
    .bind(revocation.id.as_str())
    .fetch_one(&mut *tx)
    .await?;
    let challenge = challenge || paid.is_some();
    let mut keys = revocation.keys(challenge, request);
    let own = keys.len();
    let paid: Option<TxHash> = paid.and_then(|hash| hash.parse().ok());
    let (mut ended, mut is_first, mut is_spent) = (Vec::new(), false, false);
    let (reason, by) = (revocation.reason.as_deref(), &revocation.by);
    let mut marked = 0;
    while let Some(key) = keys.get(marked) {
        let (id, is_new) = mark(tx, key, revocation).await?;
        is_first |= is_new && marked < own;
        if let Some(id) = id {
            let mut dead = keys::revoke(tx, &id, reason, by, revocation.at).await?;
            if dead.is_empty() {
                // It was dead before: a cache may not have heard of it.
                dead = digests(tx, &id).await?;
            }
            ended.extend(dead);
        }
        marked += 1;
        // After the marks: one may have waited for somebody who took the hash over meanwhile.
        if let (Some(hash), true) = (&paid, marked == keys.len()) {
            let holders = holders(tx, hash).await?;
            is_spent = !holders.is_empty();
            for key in holders.into_iter().flatten() {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
    }
    if is_first {
        let event = AuditEvent::of_purchase(&revocation.id, "revoked", by, revocation.at, reason);
        audit::note(tx, &event).await?;
    }
    if let Some(hash) = paid.filter(|_| !is_spent) {
        spend(tx, revocation, &hash).await?;
    }
    let denials = revocation.denials(&keys);
    for denial in &denials {
        denials::deny(tx, denial).await?;
    }
    // Last: until the commit, others wait for the day's row.
    if !challenge && !request && !count_unknown(tx, revocation).await? {
        return Ok(RevocationOutcome::TooMany);
    }
    let key = keys.into_iter().next().ok_or_else(|| StoreError::corrupt("an id of no kind"))?;
    Ok(RevocationOutcome::Revoked { key, digests: ended, denials })
}

/// What this hash has bought, or is claimed for; `None` where it was spent for nothing.
async fn holders(
    tx: &mut PgConnection,
    tx_hash: &TxHash,
) -> Result<Vec<Option<IssuanceKey>>, Fault> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT namespace, id FROM issuances WHERE lower(tx_hash) IN ($1, $2)")
            .bind(tx_hash.normalized())
            .bind(tx_hash.without_0x())
            .fetch_all(tx)
            .await?;
    let holder = |(namespace, id): &(String, String)| match &**namespace {
        SPENT => Ok(None),
        _ => Ok(Some(issuance_key(namespace, id)?)),
    };
    rows.iter().map(holder).collect()
}

/// Spends the hash of a payment that has bought nothing: in the row of what was revoked before it was
/// issued, else in one of its own, for what was issued for another hash. Fails where it buys something at
/// the same time: the unique index on hashes waits for that.
async fn spend(
    tx: &mut PgConnection,
    revocation: &PurchaseRevocation,
    tx_hash: &TxHash,
) -> Result<(), Fault> {
    let tx_hash = tx_hash.normalized();
    let spent = sqlx::query(
        "UPDATE issuances SET tx_hash = $2
         WHERE namespace = 'challenge' AND id = $1 AND tx_hash LIKE ' %'",
    )
    .bind(revocation.id.as_str())
    .bind(&tx_hash)
    .execute(&mut *tx)
    .await?;
    if spent.rows_affected() == 0 {
        sqlx::query(
            "INSERT INTO issuances (namespace, id, fingerprint, tx_hash, issued_at)
             VALUES ($1, $2, $3, $2, $4)",
        )
        .bind(SPENT)
        .bind(&tx_hash)
        .bind([0_u8; 32])
        .bind(revocation.at.as_micros())
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// The digests of a key, revoked or not.
async fn digests(tx: &mut PgConnection, id: &KeyId) -> Result<Vec<KeyDigest>, Fault> {
    let digests: Option<([u8; 32], Option<[u8; 32]>)> =
        sqlx::query_as("SELECT digest, old_digest FROM keys WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(tx)
            .await?;
    let digests = digests.into_iter().flat_map(|(digest, old)| [Some(digest), old]);
    Ok(digests.flatten().map(KeyDigest::from_bytes).collect())
}

/// Counts a revocation of which nothing else is known; `false` where there were enough.
async fn count_unknown(
    tx: &mut PgConnection,
    revocation: &PurchaseRevocation,
) -> Result<bool, Fault> {
    let counted = sqlx::query(
        "INSERT INTO unknown_revocations AS known (day, count) SELECT $1, 1 WHERE $2 > 0
         ON CONFLICT (day) DO UPDATE SET count = known.count + 1 WHERE known.count < $2",
    )
    .bind(revocation.day())
    .bind(i64::from(revocation.unknown_a_day))
    .execute(tx)
    .await?;
    Ok(counted.rows_affected() == 1)
}

/// Marks an issuance as revoked, or puts the mark where there will be none, and says which key was
/// issued, and whether it was not revoked before. A claim is lost by it.
///
/// The row's unique id is what an issuance at the same time meets: whoever comes second waits for the
/// first, and sees what it did.
async fn mark(
    tx: &mut PgConnection,
    key: &IssuanceKey,
    revocation: &PurchaseRevocation,
) -> Result<(Option<KeyId>, bool), Fault> {
    let marked: Option<Option<String>> = sqlx::query_scalar(
        "INSERT INTO issuances AS known
             (namespace, id, fingerprint, tx_hash, issued_at, revoked_at, revoked_reason)
         VALUES ($1, $2, $3, $4, $5, $5, $6)
         ON CONFLICT (namespace, id) DO UPDATE
         SET revoked_at = excluded.revoked_at, revoked_reason = excluded.revoked_reason,
             issued_at = coalesce(known.issued_at, excluded.issued_at),
             nonce = NULL, lease_token = NULL, lease_until = NULL
         WHERE known.revoked_at IS NULL
         RETURNING key_id",
    )
    .bind(key.namespace())
    .bind(key.id())
    .bind([0_u8; 32])
    .bind(no_hash(key)?)
    .bind(revocation.at.as_micros())
    .bind(&revocation.reason)
    .fetch_optional(&mut *tx)
    .await?;
    let is_first = marked.is_some();
    let id = match marked {
        Some(id) => id,
        None => {
            sqlx::query_scalar(
                "UPDATE issuances SET nonce = NULL WHERE namespace = $1 AND id = $2
                 RETURNING key_id",
            )
            .bind(key.namespace())
            .bind(key.id())
            .fetch_one(tx)
            .await?
        }
    };
    // What can't be an id is that of no key, and must not keep the purchase from being revoked.
    Ok((id.and_then(|id| KeyId::new(&id).ok()), is_first))
}

pub(super) fn stored(row: &PgRow) -> Result<StoredPurchase, Fault> {
    let issued_at: Option<i64> = row.try_get(2)?;
    let issuance = issued_at.map(|issued_at| {
        Ok::<_, Fault>(StoredIssuance {
            tx_hash: row.try_get(0)?,
            is_issued: row.try_get(1)?,
            issued_at,
            expires_at: row.try_get(3)?,
            revoked_at: row.try_get(4)?,
            revoked_reason: row.try_get(5)?,
            request_id: row.try_get(21)?,
            resource_id: row.try_get(22)?,
            plan_id: row.try_get(23)?,
        })
    });
    let payment = row.try_get::<Option<String>, _>(6)?.map(|request_id| {
        Ok::<_, Fault>(StoredConfirmation {
            request_id,
            resource_id: row.try_get(7)?,
            plan_id: row.try_get(8)?,
            tx_hash: row.try_get(9)?,
            received_at: row.try_get(10)?,
            waits: row.try_get(11)?,
            attempts: row.try_get(12)?,
            handled_at: row.try_get(24)?,
            last_error: row.try_get(25)?,
            given_up: row.try_get(26)?,
        })
    });
    let key = row.try_get::<Option<String>, _>(13)?.map(|id| {
        Ok::<_, Fault>(StoredKey {
            id,
            display: row.try_get(14)?,
            resource_id: row.try_get(15)?,
            plan_id: row.try_get(16)?,
            expires_at: row.try_get(17)?,
            first_used_at: row.try_get(27)?,
            last_used_at: row.try_get(18)?,
            revoked_at: row.try_get(19)?,
            revoked_reason: row.try_get(20)?,
        })
    });
    Ok(StoredPurchase {
        issuance: issuance.transpose()?,
        payment: payment.transpose()?,
        key: key.transpose()?,
    })
}
