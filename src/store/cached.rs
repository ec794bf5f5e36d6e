use std::sync::Arc;

use async_trait::async_trait;

use super::keys::KeyStore;
use crate::{
    apikey::{KeyDigest, KeyRecord},
    domain::{Clock, KeyId, Timestamp},
    error::StoreError,
};

/// A key store behind a cache. Passes every call through until the cache is there.
#[derive(Debug)]
pub struct Cached {
    inner: Arc<dyn KeyStore>,
}

impl Cached {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn KeyStore>, _clock: Arc<dyn Clock>) -> Self {
        Self { inner }
    }

    /// As [`KeyStore::find`], without a copy of the record.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    pub async fn find_shared(
        &self,
        digest: &KeyDigest,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        Ok(self.inner.find(digest).await?.map(Arc::new))
    }

    /// Forgets what is cached of this digest.
    pub fn forget(&self, _digest: &KeyDigest) {}
}

#[async_trait]
impl KeyStore for Cached {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        self.inner.find(digest).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.inner.get(id).await
    }

    async fn insert(&self, record: &KeyRecord) -> Result<(), StoreError> {
        self.inner.insert(record).await
    }

    async fn revoke(&self, id: &KeyId, at: Timestamp) -> Result<Option<KeyDigest>, StoreError> {
        self.inner.revoke(id, at).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
}
