use std::time::Duration;

use super::{Change, Denial, IssuanceKey, Payment, TokenDigest};
use crate::{
    apikey::KeyDigest,
    domain::{Actor, ChallengeId, RequestId, Timestamp},
};

/// How long the access tokens of a revoked purchase are denied, unless another time is set.
pub(crate) const USUAL_DENIAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The longest time that can be set.
pub(crate) const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

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
        /// The secrets that are dead, by it or since before.
        digests: Vec<KeyDigest>,
        /// The access tokens that are denied by it.
        denials: Vec<Denial>,
    },
    /// Nothing is known of it, and as many such were revoked on this day as may be. Nothing has
    /// changed.
    TooMany,
}

impl PurchaseRevocation {
    /// The same once more, for a payment that came after the revocation: it must buy nothing.
    pub(crate) fn of_paid(payment: &Payment) -> Self {
        Self {
            id: payment.challenge_id.clone(),
            reason: Some("its purchase was revoked before it was paid".to_owned()),
            by: Actor::key0(),
            at: payment.received_at,
            // What is set, a store does not know.
            tokens_until: payment.received_at.plus(LONGEST_TOKEN_LIFE),
            unknown_a_day: u32::MAX,
        }
    }

    /// The denials of the access tokens of these purchases. Without a challenge there are none.
    pub fn denials(&self, keys: &[IssuanceKey]) -> Vec<Denial> {
        let ids = keys.iter().filter_map(|key| match key {
            IssuanceKey::Challenge(id) => Some(id),
            IssuanceKey::Request(_) => None,
        });
        ids.map(|id| Denial { token: TokenDigest::of(id), until: self.tokens_until }).collect()
    }

    /// The day on which it counts, where nothing is known of the purchase: since 1970, in UTC.
    pub fn day(&self) -> i64 {
        self.at.as_seconds().div_euclid(24 * 60 * 60)
    }

    /// What listeners are to be told of.
    pub(crate) fn changes(outcome: &RevocationOutcome) -> Vec<Change> {
        let RevocationOutcome::Revoked { digests, denials, .. } = outcome else {
            return Vec::new();
        };
        let keys = digests.iter().copied().map(Change::Key);
        keys.chain(denials.iter().map(|denial| Change::Token(denial.token))).collect()
    }

    /// What is marked, by what is known: an issuance or a payment of the challenge, an issuance without
    /// one. The first is what was found.
    pub(crate) fn keys(&self, challenge: bool, request: bool) -> Vec<IssuanceKey> {
        let id = IssuanceKey::Challenge(self.id.clone());
        // Both are ids of the same form.
        let by_request = RequestId::new(self.id.as_str()).ok().map(IssuanceKey::Request);
        match (challenge, request) {
            (true, false) => vec![id],
            (false, true) => by_request.into_iter().chain([id]).collect(),
            _ => [id].into_iter().chain(by_request).collect(),
        }
    }
}
