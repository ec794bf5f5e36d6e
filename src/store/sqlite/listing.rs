//! Purchases as they are listed and found.

use rusqlite::{Connection, Params};

use super::{purchases::one, row::Fault};
use crate::{
    domain::Timestamp,
    store::{
        IssuanceKey, Purchase, PurchaseCursor, PurchasePage, PurchaseQuery,
        purchase_listing::{Find, MOST_FOUND, Paging, at_first_sight, merged, starts},
        stored::instant,
        stored_purchase::{issuance_key, listed},
    },
};

/// Issuances, and what revocations have left in their place, newest first.
pub(super) const ISSUANCES: &str = "SELECT issued_at, namespace, id FROM issuances
    WHERE issued_at IS NOT NULL AND (issued_at, namespace, id) < (?1, ?2, ?3)
    ORDER BY issued_at DESC, namespace DESC, id DESC LIMIT ?4";
pub(super) const PAYMENTS: &str = "SELECT received_at, 'challenge', challenge_id FROM payments
    WHERE (received_at, challenge_id) < (?1, ?2)
    ORDER BY received_at DESC, challenge_id DESC LIMIT ?3";

pub(super) fn page(conn: &Connection, query: &PurchaseQuery) -> Result<PurchasePage, Fault> {
    let mut paging = Paging::new(query);
    if let Some(find) = query.filter.find() {
        let found = joined(conn, &found(conn, &find)?)?;
        paging.take_found(found.into_iter().flatten().collect());
        return Ok(paging.page());
    }
    while let Some((count, after)) = paging.wants() {
        let (at, namespace, id, of_payments) = starts(after);
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        let issued = cursors(conn, ISSUANCES, (at, namespace, id, limit))?;
        let paid = cursors(conn, PAYMENTS, (at, of_payments, limit))?;
        let (seen, end) = merged([issued, paid], count);
        let keys: Vec<_> = seen.iter().map(|cursor| cursor.key.clone()).collect();
        let purchases = joined(conn, &keys)?;
        paging.take(at_first_sight(seen, purchases), end);
    }
    Ok(paging.page())
}

fn cursors(
    conn: &Connection,
    select: &str,
    params: impl Params,
) -> Result<Vec<PurchaseCursor>, Fault> {
    let mut statement = conn.prepare_cached(select)?;
    let mut rows = statement.query(params)?;
    let mut cursors = Vec::new();
    while let Some(row) = rows.next()? {
        let key = issuance_key(&row.get::<_, String>(1)?, &row.get::<_, String>(2)?)?;
        let seen_at: Timestamp = instant(row.get(0)?, "issued_at")?;
        cursors.push(PurchaseCursor { seen_at, key });
    }
    Ok(cursors)
}

/// The purchases of these keys, in their order.
fn joined(conn: &Connection, keys: &[IssuanceKey]) -> Result<Vec<Option<Purchase>>, Fault> {
    let stored = |key: &IssuanceKey| one(conn, key).map_err(|Fault(error)| error);
    keys.iter().map(|key| Ok(listed(stored(key), key)?)).collect()
}

/// What is known by that.
fn found(conn: &Connection, find: &Find<'_>) -> Result<Vec<IssuanceKey>, Fault> {
    let (select, first, second) = match find {
        Find::Challenge(id) => {
            let by_request = issuance_key("request", id.as_str())?;
            return Ok(vec![IssuanceKey::Challenge((*id).clone()), by_request]);
        }
        Find::Hash(hash) => (
            "SELECT namespace, id FROM issuances WHERE tx_hash IN (?1, ?2)
             UNION SELECT 'challenge', challenge_id FROM payments WHERE tx_hash IN (?1, ?2)
             LIMIT ?3",
            hash.normalized(),
            hash.without_0x(),
        ),
        Find::Key(id) => (
            "SELECT namespace, id FROM issuances WHERE key_id = ?1 AND ?2 = '' LIMIT ?3",
            id.as_str().to_owned(),
            String::new(),
        ),
        Find::Request(id) => (
            "SELECT namespace, id FROM issuances WHERE request_id = ?1
             UNION SELECT namespace, id FROM issuances WHERE namespace = 'request' AND id = ?1
             UNION SELECT 'challenge', challenge_id FROM payments
                 WHERE request_id = ?1 AND ?2 = ''
             LIMIT ?3",
            id.as_str().to_owned(),
            String::new(),
        ),
    };
    let mut statement = conn.prepare_cached(select)?;
    let mut rows = statement.query((first, second, MOST_FOUND))?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        keys.push(issuance_key(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?)?);
    }
    Ok(keys)
}
