//! The kit itself: it must fail for a store that breaks a promise, and name the promise.

use std::sync::Arc;

use async_trait::async_trait;
use key0_auth::{
    KeyStore, MemoryStore,
    apikey::{KeyDigest, KeyRecord},
    domain::{Actor, KeyId, Timestamp},
    error::StoreError,
    testing::{FaultyStore, Mood, StoreKit},
};

/// What the kit says of a store that does not pass.
async fn complaint<S: KeyStore>(make: impl AsyncFn() -> Arc<S> + Send + 'static) -> String {
    // A runtime of its own, as what makes the stores need not be `Send`.
    let running = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(StoreKit::new(make).keys().run());
    });
    *running.join().expect_err("the store breaks a promise").downcast::<String>().unwrap()
}

/// Tells no listener of anything.
#[derive(Debug, Default)]
pub(crate) struct Silent(pub(crate) MemoryStore);

#[async_trait]
impl KeyStore for Silent {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        self.0.find(digest).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.0.get(id).await
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        self.0.insert(record, by).await
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        self.0.revoke(id, by, at).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.0.ping().await
    }
}

#[tokio::test]
async fn each_case_that_failed_is_named_and_no_other() {
    let said = complaint(async || {
        let store = FaultyStore::new(MemoryStore::new());
        store.set_for("get", Mood::Fails);
        store
    })
    .await;
    assert!(said.contains("\nkeys::what_is_inserted_is_found_by_digest_and_by_id: "), "{said}");
    assert!(said.contains("\nkeys::a_revoked_key_is_still_found_with_the_time: "), "{said}");
    assert!(!said.contains("every_field_survives"), "{said}");
}

#[tokio::test]
async fn a_store_without_change_notifications_says_so() {
    let said = complaint(async || Arc::new(Silent::default())).await;
    assert!(said.starts_with("2 of 11 cases failed:\nkeys::listeners_hear_of_insert"), "{said}");
    let make = async || Arc::new(Silent::default());
    StoreKit::new(make).keys().without_change_notifications().run().await;
}
