//! A key store for tests: a map, with an outage on demand.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use key0_auth::{
    KeyStore,
    apikey::{Grant, KeyDigest, KeyFormat, KeyRecord, PlainKey},
    domain::{Actor, KeyId, Timestamp},
    error::StoreError,
};
use tokio::sync::Semaphore;

#[derive(Debug)]
pub(crate) struct TestStore {
    records: Mutex<HashMap<[u8; 32], KeyRecord>>,
    /// Digests for which the store has an outage.
    broken: Mutex<Vec<KeyDigest>>,
    down: AtomicBool,
    /// A permit lets one look-up through, and is given back after it.
    gate: Semaphore,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        Self {
            records: Mutex::default(),
            broken: Mutex::default(),
            down: AtomicBool::new(false),
            gate: Semaphore::new(1),
        }
    }

    /// A new key with this grant, changed as `change` says before it is kept.
    pub(crate) fn add(&self, grant: Grant, change: impl FnOnce(&mut KeyRecord)) -> PlainKey {
        let key = KeyFormat::default().generate().unwrap();
        let created = Timestamp::from_seconds(1_795_305_965);
        let mut record = KeyRecord::new(KeyId::generate(), &key, grant, created);
        change(&mut record);
        self.records.lock().unwrap().insert(*record.digest.as_bytes(), record);
        key
    }

    /// A key that can't be looked up.
    pub(crate) fn add_unreachable(&self) -> PlainKey {
        let key = KeyFormat::default().generate().unwrap();
        self.broken.lock().unwrap().push(key.digest());
        key
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// Makes every look-up wait until [`release`](Self::release).
    pub(crate) fn hold(&self) {
        self.gate.forget_permits(1);
    }

    pub(crate) fn release(&self) {
        self.gate.add_permits(1);
    }
}

#[async_trait]
impl KeyStore for TestStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        let _permit = self.gate.acquire().await.unwrap();
        if self.down.load(Ordering::SeqCst) || self.broken.lock().unwrap().contains(digest) {
            return Err(StoreError::unavailable("the cable is cut"));
        }
        Ok(self.records.lock().unwrap().get(digest.as_bytes()).cloned())
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.records.lock().unwrap().values().find(|record| record.id == *id).cloned())
    }

    async fn insert(&self, record: &KeyRecord, _: &Actor) -> Result<(), StoreError> {
        self.records.lock().unwrap().insert(*record.digest.as_bytes(), record.clone());
        Ok(())
    }

    async fn revoke(
        &self,
        id: &KeyId,
        _: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        let mut records = self.records.lock().unwrap();
        let Some(record) = records.values_mut().find(|record| record.id == *id) else {
            return Ok(None);
        };
        record.revoked_at = Some(at);
        Ok(Some(record.digest))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
