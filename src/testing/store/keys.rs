use std::sync::Weak;

use async_trait::async_trait;

use super::FaultyStore;
use crate::{
    KeyStore,
    apikey::{KeyDigest, KeyEvent, KeyRecord},
    domain::{Actor, KeyId, Timestamp},
    error::StoreError,
    store::{ChangeListener, KeyEdit, KeyPage, KeyQuery, KeyRegistry, Rotation},
};

#[async_trait]
impl<S: KeyStore + ?Sized> KeyStore for FaultyStore<S> {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        self.run("find", self.inner.find(digest)).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.run("get", self.inner.get(id)).await
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        self.run("insert", self.inner.insert(record, by)).await
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        self.run("revoke", self.inner.revoke(id, by, at)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.run("ping", self.inner.ping()).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.run("close", self.inner.close()).await
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.inner.subscribe(listener);
    }
}

#[async_trait]
impl<S: KeyRegistry + ?Sized> KeyRegistry for FaultyStore<S> {
    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.run("list", self.inner.list(query)).await
    }

    async fn history(&self, id: &KeyId, limit: u32) -> Result<Vec<KeyEvent>, StoreError> {
        self.run("history", self.inner.history(id, limit)).await
    }

    async fn rotate(
        &self,
        id: &KeyId,
        rotation: &Rotation,
        by: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run("rotate", self.inner.rotate(id, rotation, by, at)).await
    }

    async fn edit(
        &self,
        id: &KeyId,
        edit: &KeyEdit,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyRecord>, StoreError> {
        self.run("edit", self.inner.edit(id, edit, by, at)).await
    }

    async fn revoke_because(
        &self,
        id: &KeyId,
        reason: Option<&str>,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        self.run("revoke", self.inner.revoke_because(id, reason, by, at)).await
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        self.run("touch", self.inner.touch(uses)).await
    }

    async fn purge_keys(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.run("purge_keys", self.inner.purge_keys(before, limit)).await
    }
}
