mod listing;
mod view;

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use self::{
    listing::Listing,
    view::{Page, PurchaseView},
};
use super::{
    Operator,
    body::{self, Members, Reply, invalid, outage},
    keys::{KeysApi, check_text},
};
use crate::{
    ApiKeys, Policy, Rejection, RejectionKind,
    domain::{ChallengeId, Clock, RequestId, SystemClock, Timestamp},
    error::StoreErrorKind,
    store::{
        DeniedTokens, IssuanceKey, Purchase, PurchaseRevocation, PurchaseStore, RevocationOutcome,
    },
};

/// How long a read may take: as long as one of a credential.
const READ_DEADLINE: Duration = Duration::from_millis(500);
/// How long one of a page may take, which can look through thousands of purchases.
const LISTING_DEADLINE: Duration = Duration::from_secs(2);
/// How many listings are read at a time.
const LISTINGS_AT_ONCE: usize = 1;
/// In seconds.
const DAY: i64 = 24 * 60 * 60;
const AN_HOUR: u16 = 60 * 60;
/// How many purchases of which nothing is known can be revoked on one day.
const UNKNOWN_A_DAY: u32 = 10_000;

/// `/purchases`: what was bought, and its end. Cheap to clone.
///
/// A purchase is what one challenge stands for (without one: the request): its issuance, its payment
/// and its key, joined.
///
/// From the return of [`revoke`](Self::revoke) on, no request that starts on this instance succeeds
/// with the purchase's key or with one of its access tokens, and nothing is issued for it any more. The
/// work goes on when the client hangs up. A credential of the application's own is the application's to
/// end; it is not issued again either.
///
/// The adapters mount it behind [`policy`](Self::policy) and [`wording`](Self::wording).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, api::{Operator, PurchasesApi}, store::DeniedTokens};
///
/// let store = Arc::new(MemoryStore::new());
/// let denied = DeniedTokens::new(store.clone());
/// let purchases = PurchasesApi::new(store.clone(), ApiKeys::new(store), denied);
/// // Refunded before anything was issued: nothing will be.
/// let body = br#"{"reason":"refunded"}"#;
/// let revoked = purchases.revoke(&Operator::host(), "challenge-1", body).await?;
/// assert_eq!(revoked.status, 200);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PurchasesApi(Arc<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    purchases: Arc<dyn PurchaseStore>,
    keys: Arc<ApiKeys>,
    denied: DeniedTokens,
    clock: Arc<dyn Clock>,
    listings: Arc<Semaphore>,
}

impl PurchasesApi {
    /// For what was sold from this store. `keys` and `denied` must be on the same store, and be those
    /// that the validator was given.
    pub fn new(
        purchases: Arc<dyn PurchaseStore>,
        keys: impl Into<Arc<ApiKeys>>,
        denied: DeniedTokens,
    ) -> Self {
        Self(Arc::new(Parts {
            purchases,
            keys: keys.into(),
            denied,
            clock: Arc::new(SystemClock),
            listings: Arc::new(Semaphore::new(LISTINGS_AT_ONCE)),
        }))
    }

    /// Sets where the time comes from; the system's clock by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        Arc::make_mut(&mut self.0).clock = clock;
        self
    }

    /// What the caller of every one of these routes must be: the holder of a master key or of one for
    /// support, which may read alone.
    pub fn policy() -> Policy {
        KeysApi::readers_policy()
    }

    /// The texts that this API has for refusals of the credential.
    pub fn wording(kind: RejectionKind) -> Option<&'static str> {
        match kind {
            RejectionKind::InsufficientPermissions => {
                Some("Only a master or support API key can see purchases")
            }
            kind => KeysApi::wording(kind),
        }
    }

    /// Checks that the caller may change purchases.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions) for the holder of a key for
    /// support.
    pub fn check_may_change(operator: &Operator) -> Result<(), Rejection> {
        operator.check_may_change().map_err(|rejection| {
            rejection.detail("Only a master API key can change what becomes of a purchase")
        })
    }

    /// `GET /purchases`: a page of purchases, newest first. `query` is the query of the URL, as it was
    /// sent: `challengeId`, `requestId`, `txHash`, `keyId`, `planId`, `resourceId`, `state`, `limit`
    /// and `cursor`.
    ///
    /// A purchase that this version can't read is listed as `"unreadable": true`, where nothing is asked
    /// of it but what it is found by.
    ///
    /// The listing is over where a page has no `nextCursor`. Before that a page can be short, even
    /// empty: the store bounds how many purchases it looks through for one page.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request.
    pub async fn list(&self, _: &Operator, query: Option<&str>) -> Result<Reply, Rejection> {
        let listing = Listing::parse(query)?;
        let (parts, now) = (&self.0, self.0.clock.now());
        let query = listing.query(now);
        // The permit is held until the answer is written down.
        let page = body::within(LISTING_DEADLINE, async {
            let permit = parts.listings.acquire().await;
            Ok((permit, parts.purchases.purchases(&query).await.map_err(outage)?))
        });
        let (_permit, page) = page.await?;
        let cursor = page.next.as_ref().map(|cursor| listing.cursor(cursor));
        Ok(Reply::json(200, &Page::new(&page, cursor, now)))
    }

    /// `GET /purchases/{challengeId}`: all that is known of one purchase.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request; [`NotFound`](RejectionKind::NotFound) where nothing is known.
    pub async fn show(&self, _: &Operator, id: &str) -> Result<Reply, Rejection> {
        let id = challenge_id(id).ok_or_else(not_found)?;
        let found = body::within(READ_DEADLINE, self.0.find(&id)).await?;
        Ok(self.0.shown(&found.ok_or_else(not_found)?))
    }

    /// `POST /purchases/{challengeId}/revoke`: ends what was bought, also where nothing is known of it
    /// yet. The body can be left out; `reason` in it is kept.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request; [`NotFound`](RejectionKind::NotFound) for what can't be the id
    /// of a purchase, [`TooManyRequests`](RejectionKind::TooManyRequests) where 10,000 purchases of
    /// which nothing is known were revoked on this day (UTC).
    pub async fn revoke(
        &self,
        operator: &Operator,
        id: &str,
        body: &[u8],
    ) -> Result<Reply, Rejection> {
        Self::check_may_change(operator)?;
        let reason = reason(body)?;
        let id = challenge_id(id).ok_or_else(not_found)?;
        let (parts, by) = (self.0.clone(), operator.actor().clone());
        body::carry_out(async move {
            let at = parts.clock.now();
            let tokens_until = parts.denied.end_of_all(at);
            let unknown_a_day = UNKNOWN_A_DAY;
            let revocation = PurchaseRevocation { id, reason, by, at, tokens_until, unknown_a_day };
            let key = parts.revoke(&revocation).await?;
            let revoked = match parts.purchases.purchase(&key).await {
                // It is revoked, also where the rest can't be read.
                Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                    Some(Purchase::only_revoked(key, &revocation))
                }
                read => read.map_err(outage)?,
            };
            Ok(parts.shown(&revoked.ok_or(RejectionKind::Internal)?))
        })
        .await
    }
}

impl PurchasesApi {
    /// `POST /purchases/{challengeId}/retry`: has the handler of a payment that waits begin within a
    /// second, and begin to count its pauses from there. One that runs at the moment is left alone.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request; [`NotFound`](RejectionKind::NotFound) where nothing is known of
    /// the purchase, [`RequestConflict`](RejectionKind::RequestConflict) where no handler waits.
    pub async fn retry(&self, operator: &Operator, id: &str) -> Result<Reply, Rejection> {
        Self::check_may_change(operator)?;
        let id = challenge_id(id).ok_or_else(not_found)?;
        let (parts, by) = (self.0.clone(), operator.actor().clone());
        body::carry_out(async move {
            let waits = parts.purchases.retry_handler(&id, &by, parts.clock.now()).await;
            parts.changed(&id, waits.map_err(outage)?).await
        })
        .await
    }

    /// `POST /purchases/{challengeId}/settle`: gives the handler of a payment up, for the `reason` in
    /// the body. What it failed with last stays.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry), and [`InvalidBody`](RejectionKind::InvalidBody) without a reason.
    pub async fn settle(
        &self,
        operator: &Operator,
        id: &str,
        body: &[u8],
    ) -> Result<Reply, Rejection> {
        Self::check_may_change(operator)?;
        let reason = reason(body)?.filter(|reason| !reason.is_empty());
        let reason = reason.ok_or_else(|| invalid("reason is required"))?;
        let id = challenge_id(id).ok_or_else(not_found)?;
        let (parts, by) = (self.0.clone(), operator.actor().clone());
        body::carry_out(async move {
            let at = parts.clock.now();
            let waited = parts.purchases.give_up_handler(&id, &reason, &by, at).await;
            parts.changed(&id, waited.map_err(outage)?).await
        })
        .await
    }
}

impl Parts {
    /// The purchase whose handler was told something, if one waited.
    async fn changed(&self, id: &ChallengeId, waited: bool) -> Result<Reply, Rejection> {
        let purchase = self.find(id).await?.ok_or_else(not_found)?;
        if !waited {
            return Err(Rejection::new(RejectionKind::RequestConflict)
                .detail("No handler of this purchase waits"));
        }
        Ok(self.shown(&purchase))
    }

    /// By its challenge, else by its request.
    async fn find(&self, id: &ChallengeId) -> Result<Option<Purchase>, Rejection> {
        let by_challenge = IssuanceKey::Challenge(id.clone());
        let found = self.purchases.purchase(&by_challenge).await.map_err(outage)?;
        let is_more_than_a_mark = |it: &Purchase| it.issued.is_some() || it.confirmed.is_some();
        let Ok(id) = RequestId::new(id.as_str()) else { return Ok(found) };
        if found.as_ref().is_some_and(is_more_than_a_mark) {
            return Ok(found);
        }
        // The revocation of what has no challenge has left a mark under the challenge as well.
        let by_request =
            self.purchases.purchase(&IssuanceKey::Request(id)).await.map_err(outage)?;
        Ok(by_request.filter(|it| found.is_none() || is_more_than_a_mark(it)).or(found))
    }

    async fn revoke(&self, revocation: &PurchaseRevocation) -> Result<IssuanceKey, Rejection> {
        match self.purchases.revoke_purchase(revocation).await.map_err(outage)? {
            RevocationOutcome::Revoked { key, digests, denials } => {
                // A store may tell nobody.
                digests.iter().for_each(|digest| self.keys.store().forget(digest));
                denials.iter().for_each(|denial| self.denied.learn_of(denial));
                Ok(key)
            }
            RevocationOutcome::TooMany => Err(Rejection::new(RejectionKind::TooManyRequests)
                .detail("Too many purchases of which nothing is known were revoked today")
                .retry_after(seconds_to_midnight(revocation.at))),
        }
    }

    fn shown(&self, purchase: &Purchase) -> Reply {
        Reply::json(200, &PurchaseView::new(purchase, self.clock.now()))
    }
}

/// What can't be an id is the id of no purchase.
fn challenge_id(text: &str) -> Option<ChallengeId> {
    ChallengeId::new(text).ok()
}

/// The reason in a body that can be left out.
fn reason(body: &[u8]) -> Result<Option<String>, Rejection> {
    if body.is_empty() {
        return Ok(None);
    }
    let Some(reason) = Members::parse(body)?.take("reason") else { return Ok(None) };
    let reason = reason.as_str().ok_or_else(|| invalid("reason must be a string"))?;
    check_text("reason", reason)?;
    Ok(Some(reason.to_owned()))
}

/// How long it is to the end of the day (UTC), at most an hour.
fn seconds_to_midnight(now: Timestamp) -> u16 {
    let seconds = DAY - now.as_seconds().rem_euclid(DAY);
    u16::try_from(seconds).map_or(AN_HOUR, |seconds| seconds.min(AN_HOUR))
}

fn not_found() -> Rejection {
    Rejection::new(RejectionKind::NotFound).detail("Purchase not found")
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::{MemoryStore, auth::Responder, testing::FakeClock};

    #[tokio::test]
    async fn who_revokes_too_many_is_told_to_come_back_when_the_day_is_over() {
        let (store, clock) = (Arc::new(MemoryStore::new()), FakeClock::new());
        let denied = DeniedTokens::new(store.clone());
        let purchases = PurchasesApi::new(store.clone(), ApiKeys::new(store.clone()), denied);
        let purchases = purchases.clock(clock.clone());
        let operator = Operator::host();
        for n in 0..UNKNOWN_A_DAY {
            purchases.revoke(&operator, &format!("c-{n}"), b"").await.unwrap();
        }
        let seconds = |at: Timestamp| DAY - at.as_seconds().rem_euclid(DAY);
        clock.advance(Duration::from_secs(seconds(clock.now()).unsigned_abs() - 90));
        for (expected, advanced) in [(90, 60), (30, 30)] {
            let refused = purchases.revoke(&operator, "one-more", b"").await.unwrap_err();
            assert_eq!(refused.kind(), RejectionKind::TooManyRequests);
            let headers = Responder::default().respond(&refused).headers;
            assert!(headers.contains(&("retry-after", expected.to_string())), "{headers:?}");
            clock.advance(Duration::from_secs(advanced));
        }
        purchases.revoke(&operator, "one-more", b"").await.unwrap();
        assert_eq!(seconds_to_midnight(clock.now()), AN_HOUR);
    }
}
