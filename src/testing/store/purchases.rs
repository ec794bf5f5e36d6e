use async_trait::async_trait;

use super::FaultyStore;
use crate::{
    error::StoreError,
    store::{IssuanceKey, Purchase, PurchaseRevocation, PurchaseStore, RevocationOutcome},
};

#[async_trait]
impl<S: PurchaseStore + ?Sized> PurchaseStore for FaultyStore<S> {
    async fn purchase(&self, key: &IssuanceKey) -> Result<Option<Purchase>, StoreError> {
        self.run("purchase", self.inner.purchase(key)).await
    }

    async fn revoke_purchase(
        &self,
        revocation: &PurchaseRevocation,
    ) -> Result<RevocationOutcome, StoreError> {
        self.run("revoke_purchase", self.inner.revoke_purchase(revocation)).await
    }
}
