use async_trait::async_trait;

use super::FaultyStore;
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{IdempotencyState, IdempotencyStore, Lease, RequestFingerprint, Slot, StoredResponse},
};

#[async_trait]
impl<S: IdempotencyStore + ?Sized> IdempotencyStore for FaultyStore<S> {
    async fn begin_request(
        &self,
        slot: &Slot,
        fingerprint: &RequestFingerprint,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<IdempotencyState, StoreError> {
        self.run("begin_request", self.inner.begin_request(slot, fingerprint, lease, now)).await
    }

    async fn begin_unless_answered(
        &self,
        slot: &Slot,
        fingerprint: &RequestFingerprint,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<IdempotencyState, StoreError> {
        // A way to begin: tests say of both at once how they go.
        let begun = self.inner.begin_unless_answered(slot, fingerprint, lease, now);
        self.run("begin_request", begun).await
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
