use async_trait::async_trait;

use super::FaultyStore;
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{Denial, DenialStore, TokenDigest},
};

#[async_trait]
impl<S: DenialStore + ?Sized> DenialStore for FaultyStore<S> {
    async fn deny(&self, denial: &Denial) -> Result<(), StoreError> {
        self.run("deny", self.inner.deny(denial)).await
    }

    async fn denials(
        &self,
        after: Option<&TokenDigest>,
        limit: u32,
    ) -> Result<Vec<Denial>, StoreError> {
        self.run("denials", self.inner.denials(after, limit)).await
    }

    async fn purge_denials(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.run("purge_denials", self.inner.purge_denials(before, limit)).await
    }
}
