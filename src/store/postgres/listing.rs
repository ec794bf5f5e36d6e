//! Purchases as they are listed and found.

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{purchases::stored, row::Fault};
use crate::store::{
    IssuanceKey, PurchasePage, PurchaseQuery,
    purchase_listing::{Find, Listed, MOST_FOUND, Paging, Stream, at_first_sight, merged, starts},
    stored_purchase::{issuance_key, listed, select_purchases},
};

/// Issuances, and what revocations have left in their place, newest first.
pub(super) const ISSUANCES: &str = "SELECT issued_at, namespace, id FROM issuances
    WHERE issued_at IS NOT NULL AND (issued_at, namespace, id) < ($1, $2, $3)
    AND namespace <> 'spent'
    ORDER BY issued_at DESC, namespace DESC, id DESC LIMIT $4";
pub(super) const PAYMENTS: &str = "SELECT received_at, 'challenge', challenge_id FROM payments
    WHERE (received_at, challenge_id) < ($1, $2)
    ORDER BY received_at DESC, challenge_id DESC LIMIT $3";

const JOINED: &str = concat!(
    select_purchases!(),
    "FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (namespace, id, place)
     LEFT JOIN issuances ON issuances.namespace = wanted.namespace
         AND issuances.id = wanted.id AND issuances.issued_at IS NOT NULL
     LEFT JOIN payments
         ON wanted.namespace = 'challenge' AND payments.challenge_id = wanted.id
     LEFT JOIN keys ON keys.id = issuances.key_id
     ORDER BY place"
);

pub(super) async fn page(
    tx: &mut PgConnection,
    query: &PurchaseQuery,
) -> Result<PurchasePage, Fault> {
    let mut paging = Paging::new(query);
    if let Some(find) = query.filter.find() {
        let keys = found(tx, &find).await?;
        let found = joined(tx, &keys).await?;
        paging.take_found(keys, found);
        return Ok(paging.page());
    }
    while let Some((count, after)) = paging.wants() {
        let (at, namespace, id, of_payments) = starts(after);
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        let issued = sqlx::query(ISSUANCES).bind(at).bind(namespace).bind(id).bind(limit);
        let issued = cursors(&issued.fetch_all(&mut *tx).await?)?;
        let paid = sqlx::query(PAYMENTS).bind(at).bind(of_payments).bind(limit);
        let paid = cursors(&paid.fetch_all(&mut *tx).await?)?;
        let (seen, nameless, end) = merged([issued, paid], count);
        let keys: Vec<_> = seen.iter().map(|cursor| cursor.key.clone()).collect();
        let purchases = joined(tx, &keys).await?;
        paging.take(at_first_sight(seen, purchases), end);
        paging.take_nameless(nameless);
    }
    Ok(paging.page())
}

fn cursors(rows: &[PgRow]) -> Result<Stream, Fault> {
    let mut stream = Stream::default();
    for row in rows {
        stream.push(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    }
    Ok(stream)
}

/// The purchases of these keys, in their order.
async fn joined(tx: &mut PgConnection, keys: &[IssuanceKey]) -> Result<Vec<Option<Listed>>, Fault> {
    let namespaces: Vec<&str> = keys.iter().map(IssuanceKey::namespace).collect();
    let ids: Vec<&str> = keys.iter().map(IssuanceKey::id).collect();
    let rows = sqlx::query(JOINED).bind(namespaces).bind(ids).fetch_all(tx).await?;
    let stored = |row: &PgRow| stored(row).map_err(|Fault(error)| error);
    keys.iter().zip(&rows).map(|(key, row)| Ok(listed(stored(row), key)?)).collect()
}

/// What is known by that.
async fn found(tx: &mut PgConnection, find: &Find<'_>) -> Result<Vec<IssuanceKey>, Fault> {
    let limit = i64::from(MOST_FOUND);
    let rows = match find {
        Find::Challenge(id) => {
            let by_request = issuance_key("request", id.as_str())?;
            return Ok(vec![IssuanceKey::Challenge((*id).clone()), by_request]);
        }
        Find::Hash(hash) => sqlx::query(
            "SELECT namespace, id FROM issuances
             WHERE lower(tx_hash) IN ($1, $2) AND namespace <> 'spent'
             UNION SELECT 'challenge', challenge_id FROM payments WHERE lower(tx_hash) IN ($1, $2)
             LIMIT $3",
        )
        .bind(hash.normalized())
        .bind(hash.without_0x())
        .bind(limit),
        Find::Key(id) => {
            sqlx::query("SELECT namespace, id FROM issuances WHERE key_id = $1 LIMIT $2")
                .bind(id.as_str())
                .bind(limit)
        }
        Find::Request(id) => sqlx::query(
            "SELECT namespace, id FROM issuances WHERE request_id = $1
             UNION SELECT namespace, id FROM issuances WHERE namespace = 'request' AND id = $1
             UNION SELECT 'challenge', challenge_id FROM payments WHERE request_id = $1
             LIMIT $2",
        )
        .bind(id.as_str())
        .bind(limit),
    };
    let rows = rows.fetch_all(tx).await?;
    let mut keys = Vec::new();
    for row in &rows {
        // What has no name is found by nothing.
        keys.extend(issuance_key(row.try_get(0)?, row.try_get(1)?));
    }
    Ok(keys)
}
