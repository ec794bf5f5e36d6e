//! What hardly ever meets anything in its way, as one statement: one round trip and one commit.
//!
//! A statement sees what was committed before it began. Where a row turned up meanwhile, or stands
//! in the way of another one, nothing is done, and the transaction of several statements decides
//! that `issuances.rs` has.

use sqlx::{PgConnection, Postgres, Row, postgres::PgArguments, query::Query};

use super::{
    issuances,
    keys::{bind_key, insert_key},
    row::Fault,
};
use crate::{
    apikey::{KeyAction, KeyRecord, Nonce, SecretFingerprint},
    domain::{Actor, Timestamp},
    store::{Issuance, IssuanceClaim, IssuanceState, lease::is_over, stored::StoredGrant},
};

/// Has the commit wait for the disk: what is acknowledged must not go with the power. A column,
/// evaluated before the statement's end and so in time for the commit after it.
macro_rules! durably {
    () => {
        "CASE WHEN current_setting('synchronous_commit') = 'off'
         THEN set_config('synchronous_commit', 'on', true) END"
    };
}
pub(super) use durably;

/// What is kept under the id, and the row of a new claim or issuance where nothing is in its way.
macro_rules! claim {
    ($namespace:literal, $columns:literal, $values:literal, $($more:tt)+) => {
        concat!(
            "WITH kept AS (
                 SELECT fingerprint, key_id, digest, nonce, secret, issued_at, expires_at,
                     revoked_at, lease_until
                 FROM issuances WHERE (namespace, id) = ",
            $namespace,
            "
             ), claimed AS (
                 INSERT INTO issuances (",
            $columns,
            ") SELECT ",
            $values,
            "
                 WHERE NOT EXISTS (SELECT FROM kept) ",
            $($more)+,
            "
                 ON CONFLICT DO NOTHING RETURNING id
             )"
        )
    };
}

/// A new key and the first line of its history, which are written where something was claimed.
///
/// No cache was ever asked for a key that was made up a moment ago. So no instance is told of it:
/// a notification has all commits of a server stand in a queue.
macro_rules! with_key {
    () => {
        concat!(
            ", added AS (", insert_key!(), "
                 SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                     $18, $19
                 FROM claimed WHERE set_config('key0_auth.issuing', 'on', true) = 'on'
             ), noted AS (
                 INSERT INTO key_events (key_id, action, actor, at)
                 SELECT $1, $20, $21, $11 FROM claimed
             )"
        )
    };
}

macro_rules! outcome {
    () => {
        concat!(
            " SELECT fingerprint, key_id, digest, nonce, secret, issued_at, expires_at,
                  revoked_at, lease_until, EXISTS (SELECT FROM claimed), ",
            durably!(),
            "
              FROM (VALUES (1)) AS one LEFT JOIN kept ON true"
        )
    };
}

const BEGIN: &str = concat!(
    claim!(
        "($1, $2)",
        "namespace, id, fingerprint, tx_hash, request_id, resource_id, plan_id, lease_token,
         lease_until",
        "$1, $2, $3, $4, $6, $7, $8, $9, $10",
        "AND NOT EXISTS (SELECT FROM issuances WHERE lower(tx_hash) IN ($4, $5)) AND NOT ",
        issuances::paid_for_another!("$1", "$2", "$4", "$5")
    ),
    outcome!()
);

const ISSUE: &str = concat!(
    claim!(
        "($22, $23)",
        "namespace, id, fingerprint, tx_hash, request_id, resource_id, plan_id, key_id, digest,
         nonce, secret, issued_at, expires_at",
        "$22, $23, $24, $25, $27, $28, $29, $30, $31, $32, $33, $34, $35",
        "AND NOT EXISTS (SELECT FROM issuances WHERE lower(tx_hash) IN ($25, $26))
         AND NOT EXISTS (SELECT FROM keys WHERE old_digest IN ($2, $17))
         AND NOT ",
        issuances::paid_for_another!("$22", "$23", "$25", "$26")
    ),
    with_key!(),
    outcome!()
);

const COMPLETE: &str = concat!(
    "WITH claimed AS (
         UPDATE issuances
         SET key_id = $25, digest = $26, nonce = $27, secret = $28, issued_at = $29,
             expires_at = $30, lease_token = NULL, lease_until = NULL
         WHERE namespace = $22 AND id = $23 AND lease_token = $24
         AND NOT EXISTS (SELECT FROM keys WHERE old_digest IN ($2, $17))
         RETURNING id
     )",
    with_key!(),
    " SELECT EXISTS (SELECT FROM claimed), ",
    durably!()
);

/// The outcome of a claim; none where that takes more than one statement to say.
pub(super) async fn begin(
    conn: &mut PgConnection,
    claim: &IssuanceClaim,
    now: Timestamp,
) -> Result<Option<IssuanceState>, Fault> {
    let statement = bind_claim(sqlx::query(BEGIN), claim)
        .bind(claim.lease.token.as_bytes())
        .bind(claim.lease.until.as_micros());
    decide(conn, statement, claim, now).await
}

/// The same for a claim together with what is issued: where it holds, that is kept.
pub(super) async fn issue(
    conn: &mut PgConnection,
    claim: &IssuanceClaim,
    issuance: &Issuance,
    record: &KeyRecord,
    now: Timestamp,
) -> Result<Option<IssuanceState>, Fault> {
    let grant = StoredGrant::of(&record.grant)?;
    let statement = bind_claim(bind_new_key(sqlx::query(ISSUE), record, &grant), claim);
    decide(conn, bind_issuance(statement, issuance), claim, now).await
}

/// Whether an issuance was kept over its claim. Where not, another statement says why.
pub(super) async fn complete(
    conn: &mut PgConnection,
    claim: &IssuanceClaim,
    issuance: &Issuance,
    record: &KeyRecord,
) -> Result<bool, Fault> {
    let grant = StoredGrant::of(&record.grant)?;
    let statement = bind_new_key(sqlx::query(COMPLETE), record, &grant)
        .bind(claim.key.namespace())
        .bind(claim.key.id())
        .bind(claim.lease.token.as_bytes());
    let row = bind_issuance(statement, issuance).fetch_one(conn).await?;
    Ok(row.try_get(0)?)
}

async fn decide(
    conn: &mut PgConnection,
    statement: Query<'_, Postgres, PgArguments>,
    claim: &IssuanceClaim,
    now: Timestamp,
) -> Result<Option<IssuanceState>, Fault> {
    let row = statement.fetch_one(conn).await?;
    if row.try_get(9)? {
        return Ok(Some(IssuanceState::Started));
    }
    if row.try_get::<Option<&[u8]>, _>(0)?.is_none() {
        return Ok(None);
    }
    let lapses: Option<i64> = row.try_get(8)?;
    let is_lapsed = lapses.is_some_and(|at| is_over(Timestamp::from_micros(at), now));
    Ok(if is_lapsed { None } else { Some(issuances::read(&row)?.state(claim)) })
}

type Bound<'q> = Query<'q, Postgres, PgArguments>;

fn bind_claim<'q>(statement: Bound<'q>, claim: &IssuanceClaim) -> Bound<'q> {
    statement
        .bind(claim.key.namespace())
        .bind(claim.key.id())
        .bind(claim.fingerprint.as_bytes())
        .bind(claim.tx_hash.normalized())
        .bind(claim.tx_hash.without_0x())
        .bind(claim.order.request_id.as_str())
        .bind(claim.order.resource_id.as_str())
        .bind(claim.order.plan_id.as_str())
}

fn bind_new_key<'q>(statement: Bound<'q>, record: &KeyRecord, grant: &StoredGrant) -> Bound<'q> {
    bind_key(statement, record, grant)
        .bind(KeyAction::Created.as_str())
        .bind(Actor::key0().as_str())
}

fn bind_issuance<'q>(statement: Bound<'q>, issuance: &Issuance) -> Bound<'q> {
    statement
        .bind(issuance.key_id.as_ref().map(|id| id.as_str()))
        .bind(issuance.digest.as_bytes())
        .bind(issuance.nonce.as_ref().map(Nonce::as_bytes))
        .bind(issuance.secret.as_ref().map(SecretFingerprint::as_bytes))
        .bind(issuance.issued_at.as_micros())
        .bind(issuance.expires_at.map(Timestamp::as_micros))
}
