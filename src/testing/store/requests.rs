use async_trait::async_trait;

use super::FaultyStore;
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{IdempotencyState, IdempotencyStore, Lease, RequestFingerprint, Slot, StoredResponse},
};

#[async_trait]
impl<S: IdempotencyStore + ?Sized> IdempotencyStore for FaultyStore<S> {
    async fn claim(
        &self,
        slot: &Slot,
        fingerprint: &RequestFingerprint,
        lease: &Lease,
        now: Timestamp,
        answers_over_at: Timestamp,
    ) -> Result<IdempotencyState, StoreError> {
        let claimed = self.inner.claim(slot, fingerprint, lease, now, answers_over_at);
        self.run("begin_request", claimed).await
    }

    async fn complete_request(
        &self,
        slot: &Slot,
        lease: &Lease,
        response: &StoredResponse,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run("complete_request", self.inner.complete_request(slot, lease, response, expires_at))
            .await
    }

    async fn release_request(&self, slot: &Slot, lease: &Lease) -> Result<(), StoreError> {
        self.run("release_request", self.inner.release_request(slot, lease)).await
    }

    async fn purge_requests(&self, now: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.run("purge_requests", self.inner.purge_requests(now, limit)).await
    }
}
