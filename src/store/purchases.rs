use std::{fmt, time::Duration};

use async_trait::async_trait;

use super::{IssuanceKey, PurchaseRevocation, RevocationOutcome};
use crate::{
    domain::{Actor, ChallengeId, KeyId, PlanId, RequestId, ResourceId, Timestamp, TxHash},
    error::StoreError,
};

/// What was bought: issuances, payments and keys, joined.
///
/// It is the same store as the [`PaymentStore`](super::PaymentStore) and the
/// [`DenialStore`](super::DenialStore).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::{MemoryStore, store::{PurchaseStore, spi::IssuanceKey}};
///
/// let store = MemoryStore::new();
/// let purchase = store.purchase(&IssuanceKey::Challenge("challenge-1".parse()?)).await?;
/// assert!(purchase.is_none(), "nothing is known of it yet");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait PurchaseStore: fmt::Debug + Send + Sync + 'static {
    /// One purchase; `None` where nothing is known of it. A claim without an issuance is nothing.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn purchase(&self, key: &IssuanceKey) -> Result<Option<Purchase>, StoreError>;

    /// A page of purchases, newest first. One that is there all the while stands on exactly one page of
    /// a listing, whatever is issued, paid or revoked between the pages: it stands where it was first
    /// seen, by its issuance or by its payment, whichever came first.
    ///
    /// A page can hold fewer purchases than asked for although more follow: a store bounds how many it
    /// looks through for one page. One that can't be read is left out, and logged.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn purchases(&self, query: &PurchaseQuery) -> Result<PurchasePage, StoreError>;

    /// Makes the handler of a payment due now, and notes who wanted it. `false`, and nothing is noted,
    /// where none waits. One that runs at the moment is left alone.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn retry_handler(
        &self,
        challenge_id: &ChallengeId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Gives the handler of a payment up, for this reason, and notes who did: it is not begun any more.
    /// `false`, and nothing is noted, where none waits.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn give_up_handler(
        &self,
        challenge_id: &ChallengeId,
        reason: &str,
        by: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Revokes a purchase, in one transaction, durably, and tells the listeners before it returns:
    ///
    /// - its key is revoked, as by [`revoke_because`](super::KeyRegistry::revoke_because);
    /// - its access tokens are denied until `tokens_until`, or as long as they are by now where that
    ///   is later;
    /// - from then on its issuance is [`Revoked`](super::spi::IssuanceState::Revoked), also one that is
    ///   claimed now and not completed, and one that nobody has asked for yet;
    /// - where its payment was received, the same becomes of whatever that payment's hash has bought under
    ///   another id. Where it has bought nothing, it is spent. A payment that comes later finds the same
    ///   done by [`record_payment`](super::PaymentStore::record_payment).
    ///
    /// The id is that of a challenge, which is always marked. So is the request of the same id, where an
    /// issuance without a challenge is known by it, or nothing is: whoever buys chooses the id of a
    /// request, and must not choose what a revocation spares.
    ///
    /// One that was revoked before keeps the time and the reason of the first time.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell whether it is revoked now.
    async fn revoke_purchase(
        &self,
        revocation: &PurchaseRevocation,
    ) -> Result<RevocationOutcome, StoreError>;
}

/// All that is known of one purchase. What an older version has not kept is absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Purchase {
    /// The challenge; without one, the request.
    pub key: IssuanceKey,
    /// The agent's request.
    pub request_id: Option<RequestId>,
    /// What was bought.
    pub resource_id: Option<ResourceId>,
    /// The plan that was bought.
    pub plan_id: Option<PlanId>,
    /// The payment on the chain: as it was reported, else in lower case.
    pub tx_hash: Option<TxHash>,
    /// The issuance.
    pub issued: Option<Issued>,
    /// The payment that was received.
    pub confirmed: Option<Confirmed>,
    /// Its revocation.
    pub revoked: Option<Revoked>,
    /// The key that was issued, as long as its record is there.
    pub issued_key: Option<PurchasedKey>,
}

/// The issuance of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issued {
    /// When it was issued.
    pub at: Timestamp,
    /// When the credential expires, as it was issued.
    pub expires_at: Option<Timestamp>,
}

/// The payment of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// When it was received.
    pub at: Timestamp,
    /// Whether its handler has still to succeed.
    pub waits: bool,
    /// How often its handler was begun.
    pub attempts: u32,
    /// When its handler succeeded.
    pub handled_at: Option<Timestamp>,
    /// What its handler failed with, where it has not succeeded since.
    pub last_error: Option<String>,
    /// Why its handler was given up, where it was.
    pub given_up: Option<String>,
}

/// The revocation of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// When.
    pub at: Timestamp,
    /// Why, where that was said.
    pub reason: Option<String>,
}

/// The key of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchasedKey {
    /// Its id.
    pub id: KeyId,
    /// What may be shown of it.
    pub display: String,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When it was first used.
    pub first_used_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// Its own revocation.
    pub revoked: Option<Revoked>,
}

/// What has become of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PurchaseState {
    /// `issued`: less than ten minutes ago and not confirmed yet, or without a challenge by which it
    /// could be.
    Issued,
    /// `confirmed`: it is issued, and its payment was received.
    Confirmed,
    /// `issued_unconfirmed`: its payment was not received.
    IssuedUnconfirmed,
    /// `confirmed_unissued`: its payment was received, and nothing is issued.
    ConfirmedUnissued,
    /// `waiting`: the handler of its payment has not succeeded.
    Waiting,
    /// `revoked`: it was revoked, or its key was.
    Revoked,
}

/// Which purchases to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseQuery {
    /// Only those of which this holds.
    pub filter: PurchaseFilter,
    /// Only those that come after this cursor.
    pub after: Option<PurchaseCursor>,
    /// How many at most; at least 1.
    pub limit: u32,
    /// The instant at which their states count.
    pub now: Timestamp,
}

/// What must hold of a purchase that is listed; by default nothing. By the first four a store finds
/// purchases without looking through others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurchaseFilter {
    /// This is its challenge; without one, its request.
    pub challenge_id: Option<ChallengeId>,
    /// This is its request.
    pub request_id: Option<RequestId>,
    /// This has paid for it. As of an [`IssuanceClaim`](super::spi::IssuanceClaim), case does not count,
    /// nor a leading `0x`.
    pub tx_hash: Option<TxHash>,
    /// This key was issued.
    pub key_id: Option<KeyId>,
    /// It was bought with this plan.
    pub plan_id: Option<PlanId>,
    /// It was bought for this resource.
    pub resource_id: Option<ResourceId>,
    /// It is in this state.
    pub state: Option<PurchaseState>,
}

/// A point in a listing: newer purchases come before it, older ones after it, and of those seen at the
/// same instant the one with the greater namespace and id comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PurchaseCursor {
    /// When the purchase at this cursor was first seen.
    pub seen_at: Timestamp,
    /// Which it is.
    pub key: IssuanceKey,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct PurchasePage {
    /// The purchases, newest first.
    pub purchases: Vec<Purchase>,
    /// Those that this version can't read, where nothing was asked of them but what they are found by.
    /// They stand in none of [`purchases`](Self::purchases).
    pub unreadable: Vec<UnreadablePurchase>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<PurchaseCursor>,
}

/// A purchase that this version can't read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadablePurchase {
    /// Its challenge, or without one its request, as it is stored.
    pub id: String,
    /// When it was first seen, as far as that is known.
    pub seen_at: Timestamp,
    /// How many of the page's [`purchases`](PurchasePage::purchases) come before it.
    pub place: usize,
}

/// How long after its issuance a purchase may still be confirmed without anything being amiss.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10 * 60);

impl PurchaseState {
    /// Every state.
    pub const ALL: &'static [Self] = &[
        Self::Issued,
        Self::Confirmed,
        Self::IssuedUnconfirmed,
        Self::ConfirmedUnissued,
        Self::Waiting,
        Self::Revoked,
    ];

    /// The state's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Confirmed => "confirmed",
            Self::IssuedUnconfirmed => "issued_unconfirmed",
            Self::ConfirmedUnissued => "confirmed_unissued",
            Self::Waiting => "waiting",
            Self::Revoked => "revoked",
        }
    }
}

impl Purchase {
    /// One of which nothing is known but that it was revoked.
    pub(crate) fn only_revoked(key: IssuanceKey, revocation: &PurchaseRevocation) -> Self {
        Self {
            key,
            request_id: None,
            resource_id: None,
            plan_id: None,
            tx_hash: None,
            issued: None,
            confirmed: None,
            revoked: Some(Revoked { at: revocation.at, reason: revocation.reason.clone() }),
            issued_key: None,
        }
    }

    /// Its state at this instant.
    pub fn state_at(&self, now: Timestamp) -> PurchaseState {
        let key_is_revoked = self.issued_key.as_ref().is_some_and(|key| key.revoked.is_some());
        match (&self.confirmed, &self.issued) {
            _ if self.revoked.is_some() || key_is_revoked => PurchaseState::Revoked,
            (Some(Confirmed { waits: true, .. }), _) => PurchaseState::Waiting,
            (Some(_), Some(_)) => PurchaseState::Confirmed,
            (Some(_), None) => PurchaseState::ConfirmedUnissued,
            (None, Some(Issued { at, .. })) => match self.key {
                IssuanceKey::Challenge(_) if now.since(*at) >= CONFIRMED_WITHIN => {
                    PurchaseState::IssuedUnconfirmed
                }
                _ => PurchaseState::Issued,
            },
            // Nothing but a revocation is known then.
            (None, None) => PurchaseState::Revoked,
        }
    }
}

impl PurchaseFilter {
    /// Whether it holds of this purchase at this instant.
    pub fn admits(&self, purchase: &Purchase, now: Timestamp) -> bool {
        fn is<T: PartialEq>(wanted: &Option<T>, found: Option<&T>) -> bool {
            wanted.is_none() || wanted.as_ref() == found
        }
        let hash = |hash: &TxHash| hash.normalized();
        self.challenge_id.as_ref().is_none_or(|id| id.as_str() == purchase.key.id())
            && is(&self.request_id, purchase.request_id.as_ref())
            && is(&self.tx_hash.as_ref().map(hash), purchase.tx_hash.as_ref().map(hash).as_ref())
            && is(&self.key_id, purchase.issued_key.as_ref().map(|key| &key.id))
            && is(&self.plan_id, purchase.plan_id.as_ref())
            && is(&self.resource_id, purchase.resource_id.as_ref())
            && self.state.is_none_or(|state| state == purchase.state_at(now))
    }
}
