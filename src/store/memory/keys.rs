use std::{collections::HashMap, sync::Weak};

use async_trait::async_trait;

use super::MemoryStore;
use crate::{
    apikey::{KeyDigest, KeyRecord},
    domain::{KeyId, Timestamp},
    error::StoreError,
    store::{Change, ChangeListener, keys::KeyStore},
};

#[derive(Default)]
pub(super) struct Keys {
    records: HashMap<KeyId, KeyRecord>,
    ids: HashMap<KeyDigest, KeyId>,
}

impl Keys {
    pub(super) fn insert(&mut self, record: &KeyRecord) -> Result<(), StoreError> {
        if self.records.contains_key(&record.id) || self.ids.contains_key(&record.digest) {
            return Err(StoreError::unavailable("the key's id or digest is taken"));
        }
        self.ids.insert(record.digest, record.id.clone());
        self.records.insert(record.id.clone(), record.clone());
        Ok(())
    }

    /// Gives a record another digest; `false` where it does not have the old one any more.
    pub(super) fn replace(
        &mut self,
        id: &KeyId,
        old: KeyDigest,
        new: KeyDigest,
        display: &str,
    ) -> Result<bool, StoreError> {
        if old != new && self.ids.contains_key(&new) {
            return Err(StoreError::unavailable("the key's digest is taken"));
        }
        let Some(record) = self.records.get_mut(id).filter(|record| record.digest == old) else {
            return Ok(false);
        };
        record.digest = new;
        record.display = display.to_owned();
        self.ids.remove(&old);
        self.ids.insert(new, id.clone());
        Ok(true)
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        self.with(|state| {
            let id = state.keys.ids.get(digest);
            Ok(id.and_then(|id| state.keys.records.get(id)).cloned())
        })
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.with(|state| Ok(state.keys.records.get(id).cloned()))
    }

    async fn insert(&self, record: &KeyRecord) -> Result<(), StoreError> {
        self.with(|state| state.keys.insert(record))?;
        self.shared.listeners.tell(&[Change::Key(record.digest)]);
        Ok(())
    }

    async fn revoke(&self, id: &KeyId, at: Timestamp) -> Result<Option<KeyDigest>, StoreError> {
        let revoked = self.with(|state| {
            let record = state.keys.records.get_mut(id);
            Ok(record.filter(|record| record.revoked_at.is_none()).map(|record| {
                record.revoked_at = Some(at);
                record.digest
            }))
        })?;
        if let Some(digest) = revoked {
            self.shared.listeners.tell(&[Change::Key(digest)]);
        }
        Ok(revoked)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.with(|_| Ok(()))
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.shared.listeners.add(listener);
    }
}
