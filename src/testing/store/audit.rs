use async_trait::async_trait;

use super::FaultyStore;
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{AuditEvent, AuditLog, AuditPage, AuditQuery},
};

#[async_trait]
impl<S: AuditLog + ?Sized> AuditLog for FaultyStore<S> {
    async fn events(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.run("events", self.inner.events(query)).await
    }

    async fn note_rejection(&self, rejection: &AuditEvent) -> Result<(), StoreError> {
        self.run("note_rejection", self.inner.note_rejection(rejection)).await
    }

    async fn purge_events(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.run("purge_events", self.inner.purge_events(before, limit)).await
    }
}
