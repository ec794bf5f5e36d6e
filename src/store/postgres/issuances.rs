//! What stands in the table of issuances: claims, and what became of them.

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::row::Fault;
use crate::{
    apikey::{KeyDigest, Nonce, SecretFingerprint},
    domain::Timestamp,
    store::{
        Issuance, IssuanceClaim, IssuanceKey, IssuanceState, LONGEST_WAIT, Lease,
        stored::{bad, instant, instant_if_any, parsed},
        stored_issuance::Known,
    },
};

/// From a row that begins with the columns that `known` selects.
pub(super) fn read(row: &PgRow) -> Result<Known, Fault> {
    let (fingerprint, issued_at) = (row.try_get(0)?, row.try_get(5)?);
    Known::read(fingerprint, issued_at, row.try_get(7)?, |at| issuance(row, at))
}

/// Whether a payment is for another purchase: in the order of the parameters, the namespace and the id of
/// the one that asks, and the two forms of the hash. What names no challenge may have the payment until
/// its challenge is issued or revoked.
macro_rules! paid_for_another {
    ($namespace:literal, $id:literal, $hash:literal, $without_0x:literal) => {
        concat!(
            "EXISTS (
                 SELECT FROM payments
                 WHERE lower(tx_hash) IN (",
            $hash,
            ", ",
            $without_0x,
            ")
                 AND CASE WHEN ",
            $namespace,
            " = 'challenge' THEN challenge_id <> ",
            $id,
            "
                     ELSE EXISTS (SELECT FROM issuances
                                  WHERE namespace = 'challenge' AND id = payments.challenge_id
                                  AND issued_at IS NOT NULL) END)"
        )
    };
}
pub(super) use paid_for_another;

/// Each statement sees what others have committed before it. So whoever loses a race to the
/// insertion, which the unique indexes decide, sees the winner in the statement after it.
pub(super) async fn begin(
    tx: &mut PgConnection,
    claim: &IssuanceClaim,
    now: Timestamp,
) -> Result<IssuanceState, Fault> {
    let (namespace, id) = (claim.key.namespace(), claim.key.id());
    let (tx_hash, without_0x) = (claim.tx_hash.normalized(), claim.tx_hash.without_0x());
    // Up to two claims are over: the id's and the hash's. Locked in order, so that two who find
    // the same ones don't wait for each other.
    sqlx::query(
        "WITH over AS (
             SELECT namespace, id FROM issuances
             WHERE (lease_until <= $4 OR lease_until > $5)
             AND ((namespace = $1 AND id = $2) OR lower(tx_hash) IN ($3, $6))
             ORDER BY namespace, id FOR UPDATE
         )
         DELETE FROM issuances USING over
         WHERE issuances.namespace = over.namespace AND issuances.id = over.id",
    )
    .bind(namespace)
    .bind(id)
    .bind(&tx_hash)
    .bind(now.as_micros())
    .bind(now.plus(LONGEST_WAIT).as_micros())
    .bind(&without_0x)
    .execute(&mut *tx)
    .await?;
    let claimed = sqlx::query(concat!(
        "INSERT INTO issuances (namespace, id, fingerprint, tx_hash, lease_token, lease_until,
             request_id, resource_id, plan_id)
         SELECT $1, $2, $3, $4, $5, $6, $8, $9, $10
         WHERE NOT EXISTS (SELECT 1 FROM issuances WHERE lower(tx_hash) = $7) AND NOT ",
        paid_for_another!("$1", "$2", "$4", "$7"),
        " ON CONFLICT DO NOTHING"
    ))
    .bind(namespace)
    .bind(id)
    .bind(claim.fingerprint.as_bytes())
    .bind(&tx_hash)
    .bind(claim.lease.token.as_bytes())
    .bind(claim.lease.until.as_micros())
    .bind(&without_0x)
    .bind(claim.order.request_id.as_str())
    .bind(claim.order.resource_id.as_str())
    .bind(claim.order.plan_id.as_str())
    .execute(&mut *tx)
    .await?;
    if claimed.rows_affected() == 1 {
        return Ok(IssuanceState::Started);
    }
    if let Some(known) = known(tx, &claim.key, Lock::None).await? {
        return Ok(known.state(claim));
    }
    let spent: bool = sqlx::query_scalar(concat!(
        "SELECT EXISTS (SELECT FROM issuances
                        WHERE lower(tx_hash) IN ($3, $4) AND issued_at IS NOT NULL) OR ",
        paid_for_another!("$1", "$2", "$3", "$4"),
    ))
    .bind(namespace)
    .bind(id)
    .bind(&tx_hash)
    .bind(&without_0x)
    .fetch_one(tx)
    .await?;
    // What was in the way can be given up by now: whoever tries again gets through.
    Ok(if spent { IssuanceState::Redeemed } else { IssuanceState::InProgress })
}

/// Writes an issuance over the claim with this lease, or over the issuance where there is none.
pub(super) async fn put(
    tx: &mut PgConnection,
    key: &IssuanceKey,
    lease: Option<&Lease>,
    issuance: &Issuance,
) -> Result<bool, Fault> {
    let written = sqlx::query(
        "UPDATE issuances
         SET key_id = $4, digest = $5, nonce = $6, secret = $7, issued_at = $8, expires_at = $9,
             lease_token = NULL, lease_until = NULL
         WHERE namespace = $1 AND id = $2 AND lease_token IS NOT DISTINCT FROM $3",
    )
    .bind(key.namespace())
    .bind(key.id())
    .bind(lease.map(|lease| lease.token.as_bytes()))
    .bind(issuance.key_id.as_ref().map(|id| id.as_str()))
    .bind(issuance.digest.as_bytes())
    .bind(issuance.nonce.as_ref().map(Nonce::as_bytes))
    .bind(issuance.secret.as_ref().map(SecretFingerprint::as_bytes))
    .bind(issuance.issued_at.as_micros())
    .bind(issuance.expires_at.map(Timestamp::as_micros))
    .execute(tx)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// The issuance under an id, which nobody else changes until the end of the transaction; none where
/// it was revoked.
pub(super) async fn issuance_to_change(
    tx: &mut PgConnection,
    key: &IssuanceKey,
) -> Result<Option<Issuance>, Fault> {
    Ok(known(tx, key, Lock::ForUpdate).await?.and_then(Known::issuance))
}

enum Lock {
    None,
    ForUpdate,
}

async fn known(
    tx: &mut PgConnection,
    key: &IssuanceKey,
    lock: Lock,
) -> Result<Option<Known>, Fault> {
    macro_rules! select {
        ($lock:literal) => {
            concat!(
                "SELECT fingerprint, key_id, digest, nonce, secret, issued_at, expires_at,
                     revoked_at
                 FROM issuances WHERE namespace = $1 AND id = $2",
                $lock
            )
        };
    }
    let query = match lock {
        Lock::None => select!(""),
        Lock::ForUpdate => select!(" FOR UPDATE"),
    };
    let row =
        sqlx::query(query).bind(key.namespace()).bind(key.id()).fetch_optional(&mut *tx).await?;
    row.as_ref().map(read).transpose()
}

fn issuance(row: &PgRow, issued_at: i64) -> Result<Issuance, Fault> {
    let key_id: Option<&str> = row.try_get(1)?;
    let digest: Option<[u8; 32]> = row.try_get(2)?;
    Ok(Issuance {
        key_id: key_id.map(|id| parsed(id, "key_id")).transpose()?,
        digest: KeyDigest::from_bytes(digest.ok_or_else(|| bad("digest"))?),
        nonce: row.try_get::<Option<_>, _>(3)?.map(Nonce::from_bytes),
        secret: row.try_get::<Option<_>, _>(4)?.map(SecretFingerprint::from_bytes),
        issued_at: instant(issued_at, "issued_at")?,
        expires_at: instant_if_any(row.try_get(6)?, "expires_at")?,
    })
}
