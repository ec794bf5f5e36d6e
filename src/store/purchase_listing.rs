//! Pages of purchases: what all engines have in common.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use std::collections::HashSet;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use super::stored_purchase::issuance_key;
use super::{
    IssuanceKey, Purchase, PurchaseCursor, PurchaseFilter, PurchasePage, PurchaseQuery,
    spi::UnreadablePurchase,
};
use crate::domain::{ChallengeId, KeyId, RequestId, Timestamp, TxHash};

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

/// A purchase, as far as it can be read.
#[derive(Debug, Clone)]
pub(crate) enum Listed {
    Purchase(Box<Purchase>),
    /// When it was first seen, where that can be read.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "redis", feature = "sqlite")),
        allow(dead_code)
    )]
    Unreadable(Option<Timestamp>),
}

/// Where a purchase stands whose id can't be read, so that no page can end there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(any(feature = "postgres", feature = "redis", feature = "sqlite")), allow(dead_code))]
pub(crate) struct Nameless {
    pub(crate) seen_at: Timestamp,
    pub(crate) namespace: String,
    pub(crate) id: String,
}

#[cfg_attr(not(any(feature = "postgres", feature = "redis", feature = "sqlite")), allow(dead_code))]
impl Nameless {
    fn comes_before(&self, cursor: &PurchaseCursor) -> bool {
        let Self { seen_at, namespace, id } = self;
        (*seen_at, namespace.as_str(), id.as_str())
            > (cursor.seen_at, cursor.key.namespace(), cursor.key.id())
    }
}

/// A page that is being filled.
pub(crate) struct Paging<'a> {
    query: &'a PurchaseQuery,
    filter: PurchaseFilter,
    page: PurchasePage,
    /// How many of the page can be named.
    taken: usize,
    looked_through: usize,
    is_over: bool,
}

impl<'a> Paging<'a> {
    pub(crate) fn new(query: &'a PurchaseQuery) -> Self {
        let (purchases, unreadable) = (Vec::new(), Vec::new());
        let page = PurchasePage { purchases, unreadable, next: query.after.clone() };
        let filter = query.filter.rest();
        Self { query, filter, page, taken: 0, looked_through: 0, is_over: false }
    }

    /// How many purchases are to be looked at next, and after which.
    pub(crate) fn wants(&self) -> Option<(usize, Option<&PurchaseCursor>)> {
        if self.is_over || self.looked_through >= MOST_LOOKED_THROUGH {
            return None;
        }
        let (least, most) = READ_AT_ONCE;
        let missing = self.query.limit as usize - self.taken;
        let count = if self.is_filtered() { most } else { (missing + 1).clamp(least, most) };
        Some((count, self.page.next.as_ref()))
    }

    /// Takes purchases that were looked at, in the order of the listing: those that are none stand at
    /// another cursor. `end` is where to go on; without it there are no more.
    pub(crate) fn take(
        &mut self,
        looked_at: Vec<(PurchaseCursor, Option<Listed>)>,
        end: Option<PurchaseCursor>,
    ) {
        let count = looked_at.len();
        self.looked_through += count.max(1);
        for (n, (cursor, listed)) in looked_at.into_iter().enumerate() {
            match listed {
                Some(Listed::Purchase(purchase)) if self.admits(&purchase) => {
                    self.page.purchases.push(*purchase);
                }
                Some(Listed::Unreadable(_)) if !self.is_filtered() => {
                    self.pass_over(cursor.key.id().to_owned(), cursor.seen_at);
                }
                _ => continue,
            }
            self.taken += 1;
            if self.taken == self.query.limit as usize {
                self.is_over = true;
                self.page.next = can_go_on((n + 1 < count || end.is_some()).then_some(cursor));
                return;
            }
        }
        let end = can_go_on(end);
        self.is_over = end.is_none();
        self.page.next = end;
    }

    /// The same of those that have no name, among those that were taken last. The page does not end with
    /// one of them, so they don't count for its length.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn take_nameless(&mut self, nameless: Vec<Nameless>) {
        if self.is_filtered() {
            return;
        }
        let end = self.page.next.clone();
        for nameless in nameless {
            if end.as_ref().is_none_or(|end| nameless.comes_before(end)) {
                self.pass_over(nameless.id, nameless.seen_at);
            }
        }
    }

    fn pass_over(&mut self, id: String, seen_at: Timestamp) {
        let place = self.page.purchases.len();
        self.page.unreadable.push(UnreadablePurchase { id, seen_at, place });
    }

    fn is_filtered(&self) -> bool {
        self.filter != PurchaseFilter::default()
    }

    /// Takes all that were found by what identifies them, in any order.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn take_found(&mut self, keys: Vec<IssuanceKey>, found: Vec<Option<Listed>>) {
        let found = keys.into_iter().zip(found).filter_map(|(key, listed)| {
            let seen_at = match listed.as_ref()? {
                Listed::Purchase(purchase) => purchase.seen_at()?,
                Listed::Unreadable(seen_at) => seen_at.unwrap_or(EARLIEST),
            };
            Some((PurchaseCursor { seen_at, key }, listed))
        });
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

/// Before which nothing can be told apart.
const EARLIEST: Timestamp = Timestamp::from_micros(i64::MIN);

/// What stands before all times stands there again on the next page.
fn can_go_on(cursor: Option<PurchaseCursor>) -> Option<PurchaseCursor> {
    cursor.filter(|cursor| cursor.seen_at > EARLIEST)
}

/// After the id of every purchase.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
const LAST_ID: &str = "\x7f";

/// Where two streams go on after a cursor, or begin: an instant, a namespace and an id among issuances,
/// and an id among payments, which all stand under challenges.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn starts(after: Option<&PurchaseCursor>) -> (i64, &str, &str, &str) {
    let Some(PurchaseCursor { seen_at, key }) = after else {
        return (i64::MAX, LAST_ID, LAST_ID, LAST_ID);
    };
    let of_payments = match key {
        IssuanceKey::Challenge(id) => id.as_str(),
        IssuanceKey::Request(_) => LAST_ID,
    };
    (seen_at.as_micros(), key.namespace(), key.id(), of_payments)
}

/// What was read of a stream.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[derive(Debug, Default)]
pub(crate) struct Stream {
    cursors: Vec<PurchaseCursor>,
    nameless: Vec<Nameless>,
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
impl Stream {
    /// Adds what stands next in it.
    pub(crate) fn push(&mut self, micros: i64, namespace: &str, id: &str) {
        let seen_at = Timestamp::from_micros(micros);
        match issuance_key(namespace, id) {
            Ok(key) => self.cursors.push(PurchaseCursor { seen_at, key }),
            Err(_) => self.nameless.push(Nameless::new(seen_at, namespace, id)),
        }
    }

    fn len(&self) -> usize {
        self.cursors.len() + self.nameless.len()
    }
}

impl Nameless {
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn new(seen_at: Timestamp, namespace: &str, id: &str) -> Self {
        #[cfg(feature = "tracing")]
        tracing::error!(namespace, "the id of a purchase can't be read");
        Self { seen_at, namespace: namespace.to_owned(), id: id.to_owned() }
    }
}

/// What was seen of two streams of which up to `count` were read each: cursors, newest first, down to
/// where both were read to, which is where to go on. Of a purchase that was seen twice the older one.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn merged(
    streams: [Stream; 2],
    count: usize,
) -> (Vec<PurchaseCursor>, Vec<Nameless>, Option<PurchaseCursor>) {
    let more = streams.iter().filter(|stream| stream.len() >= count);
    let end = more.filter_map(|stream| stream.cursors.last()).max().cloned();
    let [Stream { mut cursors, mut nameless }, two] = streams;
    cursors.extend(two.cursors);
    nameless.extend(two.nameless);
    nameless.retain(|it| end.as_ref().is_none_or(|end| it.comes_before(end)));
    nameless.sort();
    nameless.dedup();
    nameless.reverse();
    cursors.retain(|cursor| end.as_ref().is_none_or(|end| cursor >= end));
    cursors.sort();
    let mut known = HashSet::new();
    cursors.retain(|cursor| known.insert(cursor.key.clone()));
    cursors.reverse();
    (cursors, nameless, end)
}

/// Each purchase at the cursor where it was first seen, which can be on another page.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn at_first_sight(
    cursors: Vec<PurchaseCursor>,
    purchases: Vec<Option<Listed>>,
) -> Vec<(PurchaseCursor, Option<Listed>)> {
    let at = cursors.into_iter().zip(purchases);
    let is_first = |cursor: &PurchaseCursor, listed: &Listed| match listed {
        Listed::Purchase(purchase) => purchase.seen_at() == Some(cursor.seen_at),
        Listed::Unreadable(seen_at) => seen_at.is_none_or(|seen_at| seen_at == cursor.seen_at),
    };
    at.map(|(cursor, listed)| {
        let listed = listed.filter(|listed| is_first(&cursor, listed));
        (cursor, listed)
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
        let stream = |cursors: &[PurchaseCursor]| {
            let mut stream = Stream::default();
            for cursor in cursors {
                stream.push(cursor.seen_at.as_micros(), cursor.key.namespace(), cursor.key.id());
            }
            stream
        };
        let (seen, _, end) = merged([stream(&issued), stream(&paid[..2])], 2);
        assert_eq!(seen, [cursor(9, "a"), cursor(8, "c")]);
        assert_eq!(end, Some(cursor(8, "c")));
        // One of them was.
        let (seen, _, end) = merged([stream(&issued), stream(&paid)], 3);
        assert_eq!(seen, [cursor(9, "a"), cursor(8, "c"), cursor(7, "d")]);
        assert_eq!(end, Some(cursor(7, "d")));
        let (seen, _, end) = merged([stream(&issued), stream(&paid)], 4);
        assert_eq!((seen.len(), end), (4, None));
        // What has no name counts as read, and stands before or behind where to go on.
        let mut odd = stream(&issued);
        odd.push(Timestamp::from_seconds(4).as_micros(), "challenge", "d d");
        let (seen, nameless, end) = merged([odd, stream(&paid)], 3);
        assert_eq!((seen.len(), nameless.len(), end), (3, 0, Some(cursor(7, "d"))));
        let mut odd = stream(&issued[..1]);
        odd.push(Timestamp::from_seconds(8).as_micros(), "tab", "d");
        let (_, nameless, end) = merged([odd, stream(&paid)], 3);
        assert_eq!((&*nameless[0].id, nameless.len(), end), ("d", 1, Some(cursor(7, "d"))));
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
                let listed = |n| Some(Listed::Purchase(Box::new(purchase(n))));
                let seen = seen.into_iter().map(|(cursor, n)| (cursor, listed(n)));
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
