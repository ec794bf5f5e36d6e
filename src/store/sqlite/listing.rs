//! Purchases as they are listed and found.

use rusqlite::{Connection, Params};

use super::{purchases::one, row::Fault};
use crate::store::{
    IssuanceKey, PurchasePage, PurchaseQuery,
    purchase_listing::{Find, Listed, MOST_FOUND, Paging, Stream, at_first_sight, merged, starts},
    stored_purchase::{issuance_key, listed},
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
        let keys = found(conn, &find)?;
        let found = joined(conn, &keys)?;
        paging.take_found(keys, found);
        return Ok(paging.page());
    }
    while let Some((count, after)) = paging.wants() {
        let (at, namespace, id, of_payments) = starts(after);
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        let issued = cursors(conn, ISSUANCES, (at, namespace, id, limit))?;
        let paid = cursors(conn, PAYMENTS, (at, of_payments, limit))?;
        let (seen, nameless, end) = merged([issued, paid], count);
        let keys: Vec<_> = seen.iter().map(|cursor| cursor.key.clone()).collect();
        let purchases = joined(conn, &keys)?;
        paging.take(at_first_sight(seen, purchases), end);
        paging.take_nameless(nameless);
    }
    Ok(paging.page())
}

fn cursors(conn: &Connection, select: &str, params: impl Params) -> Result<Stream, Fault> {
    let mut statement = conn.prepare_cached(select)?;
    let mut rows = statement.query(params)?;
    let mut stream = Stream::default();
    while let Some(row) = rows.next()? {
        stream.push(row.get(0)?, &row.get::<_, String>(1)?, &row.get::<_, String>(2)?);
    }
    Ok(stream)
}

/// The purchases of these keys, in their order.
fn joined(conn: &Connection, keys: &[IssuanceKey]) -> Result<Vec<Option<Listed>>, Fault> {
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
        // What has no name is found by nothing.
        keys.extend(issuance_key(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?));
    }
    Ok(keys)
}
