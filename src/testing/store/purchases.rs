use async_trait::async_trait;

use super::FaultyStore;
use crate::{
    domain::{ChallengeId, Timestamp},
    error::StoreError,
    store::{
        IssuanceKey, Purchase, PurchasePage, PurchaseQuery, PurchaseRevocation, PurchaseStore,
        RevocationOutcome,
    },
};

#[async_trait]
impl<S: PurchaseStore + ?Sized> PurchaseStore for FaultyStore<S> {
    async fn purchase(&self, key: &IssuanceKey) -> Result<Option<Purchase>, StoreError> {
        self.run("purchase", self.inner.purchase(key)).await
    }

    async fn purchases(&self, query: &PurchaseQuery) -> Result<PurchasePage, StoreError> {
        self.run("purchases", self.inner.purchases(query)).await
    }

    async fn retry_handler(
        &self,
        challenge_id: &ChallengeId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run("retry_handler", self.inner.retry_handler(challenge_id, now)).await
    }

    async fn give_up_handler(
        &self,
        challenge_id: &ChallengeId,
        reason: &str,
    ) -> Result<bool, StoreError> {
        self.run("give_up_handler", self.inner.give_up_handler(challenge_id, reason)).await
    }

    async fn revoke_purchase(
        &self,
        revocation: &PurchaseRevocation,
    ) -> Result<RevocationOutcome, StoreError> {
        self.run("revoke_purchase", self.inner.revoke_purchase(revocation)).await
    }
}
