//! Pages of purchases: what all engines have in common.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use std::collections::HashSet;

use super::{IssuanceKey, Purchase, PurchaseCursor, PurchaseFilter, PurchasePage, PurchaseQuery};
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
use crate::domain::Timestamp;
use crate::domain::{ChallengeId, KeyId, RequestId, TxHash};

/// How many purchases are looked through for one page, so that a listing of few among many costs the
/// same however many there are.
pub(crate) const MOST_LOOKED_THROUGH: usize = 2_000;
/// How many are found at most by what identifies them.
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
pub(crate) const MOST_FOUND: u32 = 1_000;
/// How many are read at a time, at least and at most.
const READ_AT_ONCE: (usize, usize) = (50, 500);

/// What identifies a purchase.
pub(crate) enum Find<'a> {
    Challenge(&'a ChallengeId),
    Hash(&'a TxHash),
    Key(&'a KeyId),
    Request(&'a RequestId),
}

impl PurchaseFilter {
    /// By what the purchases are found, if there is something.
    pub(crate) fn find(&self) -> Option<Find<'_>> {
        let by_challenge = self.challenge_id.as_ref().map(Find::Challenge);
        let by_hash = || self.tx_hash.as_ref().map(Find::Hash);
        let by_key = || self.key_id.as_ref().map(Find::Key);
        let by_request = || self.request_id.as_ref().map(Find::Request);
        by_challenge.or_else(by_hash).or_else(by_key).or_else(by_request)
    }

    /// What is left to be looked at once they are found: an issuance and its payment can name two
    /// requests or hashes, and a key can be gone.
    fn rest(&self) -> Self {
        let mut rest = self.clone();
        match self.find() {
            Some(Find::Challenge(_)) => rest.challenge_id = None,
            Some(Find::Hash(_)) => rest.tx_hash = None,
            Some(Find::Key(_)) => rest.key_id = None,
            Some(Find::Request(_)) => rest.request_id = None,
            None => {}
        }
        rest
    }
}

impl Purchase {
    /// When it was first seen, by what is known of it.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    fn seen_at(&self) -> Option<Timestamp> {
        let issued = self.issued.as_ref().map(|issued| issued.at);
        let settled = issued.or_else(|| self.revoked.as_ref().map(|revoked| revoked.at));
        settled.into_iter().chain(self.confirmed.as_ref().map(|paid| paid.at)).min()
    }

    /// Whether nothing but its revocation is known, which was meant for a challenge as well.
    fn is_shadow(&self) -> bool {
        let is_request = matches!(self.key, IssuanceKey::Request(_));
        is_request && self.issued.is_none() && self.tx_hash.is_none()
    }
}

/// A page that is being filled.
pub(crate) struct Paging<'a> {
    query: &'a PurchaseQuery,
    filter: PurchaseFilter,
    page: PurchasePage,
    looked_through: usize,
    is_over: bool,
}

impl<'a> Paging<'a> {
    pub(crate) fn new(query: &'a PurchaseQuery) -> Self {
        let page = PurchasePage { purchases: Vec::new(), next: query.after.clone() };
        let filter = query.filter.rest();
        Self { query, filter, page, looked_through: 0, is_over: false }
    }

    /// How many purchases are to be looked at next, and after which.
    pub(crate) fn wants(&self) -> Option<(usize, Option<&PurchaseCursor>)> {
        if self.is_over || self.looked_through >= MOST_LOOKED_THROUGH {
            return None;
        }
        let (least, most) = READ_AT_ONCE;
        let missing = self.query.limit as usize - self.page.purchases.len();
        let is_filtered = self.filter != PurchaseFilter::default();
        let count = if is_filtered { most } else { (missing + 1).clamp(least, most) };
        Some((count, self.page.next.as_ref()))
    }

    /// Takes purchases that were looked at, in the order of the listing: those that are none stand at
    /// another cursor. `end` is where to go on; without it there are no more.
    pub(crate) fn take(
        &mut self,
        looked_at: Vec<(PurchaseCursor, Option<Purchase>)>,
        end: Option<PurchaseCursor>,
    ) {
        let count = looked_at.len();
        self.looked_through += count.max(1);
        for (n, (cursor, purchase)) in looked_at.into_iter().enumerate() {
            let Some(purchase) = purchase.filter(|purchase| self.admits(purchase)) else {
                continue;
            };
            self.page.purchases.push(purchase);
            if self.page.purchases.len() == self.query.limit as usize {
                self.is_over = true;
                self.page.next = (n + 1 < count || end.is_some()).then_some(cursor);
                return;
            }
        }
        self.is_over = end.is_none();
        self.page.next = end;
    }

    /// Takes all that were found by what identifies them, in any order.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn take_found(&mut self, found: Vec<Purchase>) {
        let cursor = |purchase: &Purchase| {
            let seen_at = purchase.seen_at()?;
            Some(PurchaseCursor { seen_at, key: purchase.key.clone() })
        };
        let found = found.into_iter().filter_map(|it| Some((cursor(&it)?, Some(it))));
        let is_next =
            |cursor: &PurchaseCursor| self.query.after.as_ref().is_none_or(|after| cursor < after);
        let mut found: Vec<_> = found.filter(|(cursor, _)| is_next(cursor)).collect();
        found.sort_by(|(one, _), (other, _)| other.cmp(one));
        self.take(found, None);
    }

    fn admits(&self, purchase: &Purchase) -> bool {
        !purchase.is_shadow() && self.filter.admits(purchase, self.query.now)
    }

    pub(crate) fn page(self) -> PurchasePage {
        self.page
    }
}

/// After the id of every purchase.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
const LAST_ID: &str = "\x7f";

/// Where two streams go on after a cursor, or begin: an instant, a namespace and an id among issuances,
/// and an id among payments, which all stand under challenges.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn starts(after: Option<&PurchaseCursor>) -> (i64, &str, &str, &str) {
    let Some(PurchaseCursor { seen_at, key }) = after else { return (i64::MAX, "", "", "") };
    let of_payments = match key {
        IssuanceKey::Challenge(id) => id.as_str(),
        IssuanceKey::Request(_) => LAST_ID,
    };
    (seen_at.as_micros(), key.namespace(), key.id(), of_payments)
}

/// What was seen of two streams of which up to `count` were read each: cursors, newest first, down to
/// where both were read to, which is where to go on. Of a purchase that was seen twice the older one.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn merged(
    streams: [Vec<PurchaseCursor>; 2],
    count: usize,
) -> (Vec<PurchaseCursor>, Option<PurchaseCursor>) {
    let more = streams.iter().filter(|stream| stream.len() >= count);
    let end = more.filter_map(|stream| stream.last()).max().cloned();
    let mut cursors: Vec<_> = streams.into_iter().flatten().collect();
    cursors.retain(|cursor| end.as_ref().is_none_or(|end| cursor >= end));
    cursors.sort();
    let mut known = HashSet::new();
    cursors.retain(|cursor| known.insert(cursor.key.clone()));
    cursors.reverse();
    (cursors, end)
}

/// Each purchase at the cursor where it was first seen, which can be on another page.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn at_first_sight(
    cursors: Vec<PurchaseCursor>,
    purchases: Vec<Option<Purchase>>,
) -> Vec<(PurchaseCursor, Option<Purchase>)> {
    let at = cursors.into_iter().zip(purchases);
    let is_first =
        |cursor: &PurchaseCursor, purchase: &Purchase| purchase.seen_at() == Some(cursor.seen_at);
    at.map(|(cursor, purchase)| {
        let purchase = purchase.filter(|purchase| is_first(&cursor, purchase));
        (cursor, purchase)
    })
    .collect()
}

#[cfg(all(test, any(feature = "postgres", feature = "sqlite")))]
mod tests {
    #![allow(clippy::expect_used)]

    use super::*;

    fn cursor(seconds: i64, id: &str) -> PurchaseCursor {
        let seen_at = Timestamp::from_seconds(seconds);
        PurchaseCursor { seen_at, key: IssuanceKey::Challenge(id.parse().expect("legal")) }
    }

    #[test]
    fn two_streams_are_merged_down_to_where_both_were_read() {
        let issued = vec![cursor(9, "a"), cursor(5, "b")];
        let paid = vec![cursor(10, "a"), cursor(8, "c"), cursor(7, "d")];
        // Neither was read to its end.
        let (seen, end) = merged([issued.clone(), paid[..2].to_vec()], 2);
        assert_eq!(seen, [cursor(9, "a"), cursor(8, "c")]);
        assert_eq!(end, Some(cursor(8, "c")));
        // One of them was.
        let (seen, end) = merged([issued.clone(), paid.clone()], 3);
        assert_eq!(seen, [cursor(9, "a"), cursor(8, "c"), cursor(7, "d")]);
        assert_eq!(end, Some(cursor(7, "d")));
        let (seen, end) = merged([issued, paid], 4);
        assert_eq!((seen.len(), end), (4, None));
    }

    fn purchase(n: usize) -> Purchase {
        Purchase {
            key: IssuanceKey::Challenge(n.to_string().parse().expect("legal")),
            request_id: None,
            resource_id: None,
            plan_id: Some(if n == 0 { "gold" } else { "basic" }.parse().expect("legal")),
            tx_hash: None,
            issued: None,
            confirmed: None,
            revoked: None,
            issued_key: None,
        }
    }

    /// However many there are, and however few of them are wanted.
    #[test]
    fn a_page_looks_through_no_more_than_its_bound() {
        let all: Vec<_> =
            (0..11_900).rev().map(|n| (cursor(n as i64, &n.to_string()), n)).collect();
        let gold = Some("gold".parse().expect("legal"));
        let filter = PurchaseFilter { plan_id: gold, ..PurchaseFilter::default() };
        let now = Timestamp::from_seconds(20_000);
        let (mut after, mut pages) = (None, Vec::new());
        while pages.is_empty() || after.is_some() {
            let query = PurchaseQuery { filter: filter.clone(), after, limit: 10, now };
            let mut paging = Paging::new(&query);
            let mut looked_through = 0;
            while let Some((count, after)) = paging.wants() {
                let next = all.iter().filter(|(cursor, _)| after.is_none_or(|it| cursor < it));
                let seen: Vec<_> = next.take(count).cloned().collect();
                looked_through += seen.len();
                let end = seen.last().filter(|_| seen.len() == count).map(|(it, _)| it.clone());
                let seen = seen.into_iter().map(|(cursor, n)| (cursor, Some(purchase(n))));
                paging.take(seen.collect(), end);
            }
            assert!(looked_through <= MOST_LOOKED_THROUGH, "{looked_through}");
            let page = paging.page();
            after = page.next;
            pages.push(page.purchases.len());
        }
        assert_eq!(pages, [0, 0, 0, 0, 0, 1]);
    }
}
