use std::fmt;

use async_trait::async_trait;

use super::{Change, Denial, IssuanceKey, TokenDigest};
use crate::{
    apikey::KeyDigest,
    domain::{Actor, ChallengeId, KeyId, PlanId, RequestId, ResourceId, Timestamp, TxHash},
    error::StoreError,
};

/// What was bought: issuances, payments and keys, joined.
///
/// It is the same store as the [`PaymentStore`](super::PaymentStore) and the
/// [`DenialStore`](super::DenialStore).
#[async_trait]
pub trait PurchaseStore: fmt::Debug + Send + Sync + 'static {
    /// One purchase; `None` where nothing is known of it. A claim without an issuance is nothing.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn purchase(&self, key: &IssuanceKey) -> Result<Option<Purchase>, StoreError>;

    /// Revokes a purchase, in one transaction, durably, and tells the listeners before it returns:
    ///
    /// - its key is revoked, as by [`revoke_because`](super::KeyRegistry::revoke_because);
    /// - its access tokens are denied until `tokens_until`, or as long as they are by now where that
    ///   is later;
    /// - from then on its issuance is [`Revoked`](super::spi::IssuanceState::Revoked), also one that is
    ///   claimed now and not completed, and one that nobody has asked for yet.
    ///
    /// The id is that of a challenge. Where only an issuance without a challenge is known by it, it is
    /// that of a request; where nothing is known by it, it is taken for both.
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

/// A wish to revoke a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseRevocation {
    /// The purchase's challenge; without one, its request.
    pub id: ChallengeId,
    /// Why.
    pub reason: Option<String>,
    /// Who revokes it.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// Until when its access tokens are denied.
    pub tokens_until: Timestamp,
    /// How many purchases may be revoked on one day (UTC) of which nothing is known.
    pub unknown_a_day: u32,
}

/// What became of a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationOutcome {
    /// It is revoked, now or since before.
    Revoked {
        /// What the id stood for.
        key: IssuanceKey,
        /// The secrets that died by it.
        digests: Vec<KeyDigest>,
    },
    /// Nothing is known of it, and as many such were revoked on this day as may be. Nothing has
    /// changed.
    TooMany,
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
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// Its own revocation.
    pub revoked: Option<Revoked>,
}

impl PurchaseRevocation {
    /// The denial of the purchase's access tokens, of which there are none without a challenge.
    pub fn denial(&self, key: &IssuanceKey) -> Option<Denial> {
        match key {
            IssuanceKey::Challenge(id) => {
                Some(Denial { token: TokenDigest::of(id), until: self.tokens_until })
            }
            IssuanceKey::Request(_) => None,
        }
    }

    /// The day on which it counts, where nothing is known of the purchase: since 1970, in UTC.
    pub fn day(&self) -> i64 {
        self.at.as_seconds().div_euclid(24 * 60 * 60)
    }

    /// What listeners are to be told of.
    pub(crate) fn changes(&self, outcome: &RevocationOutcome) -> Vec<Change> {
        let RevocationOutcome::Revoked { key, digests } = outcome else { return Vec::new() };
        let keys = digests.iter().copied().map(Change::Key);
        let tokens = self.denial(key).map(|denial| Change::Token(denial.token));
        keys.chain(tokens).collect()
    }

    /// What the id stands for, by what is known: an issuance or a payment of the challenge, an
    /// issuance without one. The first is what was found.
    pub(crate) fn keys(&self, challenge: bool, request: bool) -> Vec<IssuanceKey> {
        let id = || IssuanceKey::Challenge(self.id.clone());
        // Both are ids of the same form.
        let by_request = || RequestId::new(self.id.as_str()).ok().map(IssuanceKey::Request);
        match (challenge, request) {
            (true, _) => vec![id()],
            (false, true) => by_request().into_iter().collect(),
            (false, false) => [Some(id()), by_request()].into_iter().flatten().collect(),
        }
    }
}
