//! What stands in the table of issuances: claims, and what became of them.

use rusqlite::{Connection, Row};

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

/// A payment with this hash that is for another purchase. What names no challenge may have it until
/// that of the payment is issued or revoked.
const PAID_FOR_ANOTHER: &str = "SELECT EXISTS (
    SELECT 1 FROM payments WHERE tx_hash IN (?3, ?4) AND iif(?1 = 'challenge', challenge_id <> ?2,
        EXISTS (SELECT 1 FROM issuances WHERE namespace = 'challenge'
                AND id = payments.challenge_id AND issued_at IS NOT NULL)))";

pub(super) fn begin(
    conn: &Connection,
    claim: &IssuanceClaim,
    now: Timestamp,
) -> Result<IssuanceState, Fault> {
    let (namespace, id) = (claim.key.namespace(), claim.key.id());
    let (tx_hash, without_0x) = (claim.tx_hash.normalized(), claim.tx_hash.without_0x());
    conn.prepare_cached(
        "DELETE FROM issuances WHERE (lease_until <= ?4 OR lease_until > ?5)
             AND ((namespace = ?1 AND id = ?2) OR tx_hash IN (?3, ?6))",
    )?
    .execute((
        namespace,
        id,
        &tx_hash,
        now.as_micros(),
        now.plus(LONGEST_WAIT).as_micros(),
        &without_0x,
    ))?;
    if let Some(known) = known(conn, &claim.key)? {
        return Ok(known.state(claim));
    }
    let mut paid = conn.prepare_cached(PAID_FOR_ANOTHER)?;
    if paid.query_row((namespace, id, &tx_hash, &without_0x), |row| row.get(0))? {
        return Ok(IssuanceState::Redeemed);
    }
    let claimed = conn
        .prepare_cached(
            "INSERT INTO issuances
                 (namespace, id, fingerprint, tx_hash, lease_token, lease_until, request_id,
                  resource_id, plan_id)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?8, ?9, ?10
             WHERE NOT EXISTS (SELECT 1 FROM issuances WHERE tx_hash = ?7)
             ON CONFLICT (tx_hash) DO NOTHING",
        )?
        .execute((
            namespace,
            id,
            claim.fingerprint.as_bytes(),
            &tx_hash,
            claim.lease.token.as_bytes(),
            claim.lease.until.as_micros(),
            &without_0x,
            claim.order.request_id.as_str(),
            claim.order.resource_id.as_str(),
            claim.order.plan_id.as_str(),
        ))?;
    if claimed == 1 {
        return Ok(IssuanceState::Started);
    }
    let spent = conn
        .prepare_cached("SELECT issued_at IS NOT NULL FROM issuances WHERE tx_hash IN (?1, ?2)")?
        .query_row([&tx_hash, &without_0x], |row| row.get(0))?;
    Ok(if spent { IssuanceState::Redeemed } else { IssuanceState::InProgress })
}

/// Writes an issuance over the claim with this lease, or over the issuance where there is none.
pub(super) fn put(
    conn: &Connection,
    key: &IssuanceKey,
    lease: Option<&Lease>,
    issuance: &Issuance,
) -> Result<bool, Fault> {
    let written = conn
        .prepare_cached(
            "UPDATE issuances
             SET key_id = ?4, digest = ?5, nonce = ?6, secret = ?7, issued_at = ?8,
                 expires_at = ?9, lease_token = NULL, lease_until = NULL
             WHERE namespace = ?1 AND id = ?2 AND lease_token IS ?3",
        )?
        .execute((
            key.namespace(),
            key.id(),
            lease.map(|lease| lease.token.as_bytes()),
            issuance.key_id.as_ref().map(|id| id.as_str()),
            issuance.digest.as_bytes(),
            issuance.nonce.as_ref().map(Nonce::as_bytes),
            issuance.secret.as_ref().map(SecretFingerprint::as_bytes),
            issuance.issued_at.as_micros(),
            issuance.expires_at.map(Timestamp::as_micros),
        ))?;
    Ok(written == 1)
}

/// The issuance under an id; none where it was revoked.
pub(super) fn issuance_to_change(
    conn: &Connection,
    key: &IssuanceKey,
) -> Result<Option<Issuance>, Fault> {
    Ok(known(conn, key)?.and_then(Known::issuance))
}

fn known(conn: &Connection, key: &IssuanceKey) -> Result<Option<Known>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT fingerprint, key_id, digest, nonce, secret, issued_at, expires_at, revoked_at
         FROM issuances WHERE namespace = ?1 AND id = ?2",
    )?;
    let mut rows = statement.query((key.namespace(), key.id()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let known = Known::read(row.get(0)?, row.get(5)?, row.get(7)?, |at| issuance(row, at));
    Ok(Some(known?))
}

fn issuance(row: &Row<'_>, issued_at: i64) -> Result<Issuance, Fault> {
    let key_id: Option<String> = row.get(1)?;
    let digest: Option<[u8; 32]> = row.get(2)?;
    Ok(Issuance {
        key_id: key_id.map(|id| parsed(&id, "key_id")).transpose()?,
        digest: KeyDigest::from_bytes(digest.ok_or_else(|| bad("digest"))?),
        nonce: row.get::<_, Option<_>>(3)?.map(Nonce::from_bytes),
        secret: row.get::<_, Option<_>>(4)?.map(SecretFingerprint::from_bytes),
        issued_at: instant(issued_at, "issued_at")?,
        expires_at: instant_if_any(row.get(6)?, "expires_at")?,
    })
}
