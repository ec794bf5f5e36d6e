//! A store of keys that counts how often it is read.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use key0_auth::{
    ApiKeys, KeyStore, SqliteStore, Validator,
    apikey::{KeyDigest, KeyRecord},
    domain::{Actor, KeyId, Timestamp},
    error::StoreError,
    store::spi::ChangeListener,
};
use tokio::task::JoinSet;

use crate::support;

/// Where a server tells how often its store was read.
pub const READS: &str = "/reads";

/// How many keys are written at a time: so many that they share commits.
const AT_A_TIME: usize = 256;

/// A store and the reads that got through to it.
#[derive(Debug)]
pub struct Counting {
    inner: Arc<SqliteStore>,
    reads: AtomicU64,
}

impl Counting {
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl KeyStore for Counting {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.find(digest).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.inner.get(id).await
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        self.inner.insert(record, by).await
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        self.inner.revoke(id, by, at).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.inner.subscribe(listener);
    }
}

/// A validator of so many keys, which are in SQLite behind a cache with its defaults.
pub async fn hot_keys(keys: usize) -> (Validator, Arc<Counting>, Vec<String>) {
    let inner = Arc::new(SqliteStore::open("keys.db").expect("a file of our own"));
    let mut texts = Vec::with_capacity(keys);
    let mut writes = JoinSet::new();
    for _ in 0..keys {
        let (key, record) = support::new_key();
        texts.push(key.expose().to_owned());
        if writes.len() == AT_A_TIME {
            writes.join_next().await;
        }
        let store = inner.clone();
        let write = async move { store.insert(&record, &Actor::host()).await };
        writes.spawn(async { write.await.expect("it is new") });
    }
    writes.join_all().await;
    let store = Arc::new(Counting { inner, reads: AtomicU64::new(0) });
    let validator = Validator::builder().api_keys(ApiKeys::new(store.clone())).build();
    (validator.expect("there is what it needs"), store, texts)
}
