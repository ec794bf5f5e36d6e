//! API keys in a store of your own. The cache, the checks and the refusals stay ours.
//!
//! ```sh
//! cargo run --features axum --example custom_store
//! ```

mod common;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use axum::{Router, extract::Path, routing::get};
use key0_auth::{
    ApiKeys, AuthLayer, KeyStore, RejectionKind, Validator,
    apikey::{Grant, KeyDigest, KeyFormat, KeyRecord, PlainKey},
    domain::{Actor, Clock, KeyId, SystemClock, Timestamp},
    error::{StoreError, StoreErrorKind},
};

/// Keeps keys in a list. Yours may be a table, or another service.
#[derive(Debug, Default)]
struct ListStore(Mutex<Vec<KeyRecord>>);

impl ListStore {
    fn records(&self) -> MutexGuard<'_, Vec<KeyRecord>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyStore for ListStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.records().iter().find(|record| record.digest == *digest).cloned())
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.records().iter().find(|record| record.id == *id).cloned())
    }

    async fn insert(&self, new: &KeyRecord, _: &Actor) -> Result<(), StoreError> {
        let mut records = self.records();
        if records.iter().any(|known| known.id == new.id || known.digest == new.digest) {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        records.push(new.clone());
        Ok(())
    }

    async fn revoke(
        &self,
        id: &KeyId,
        _: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        let mut records = self.records();
        let in_force = |record: &&mut KeyRecord| record.id == *id && record.revoked_at.is_none();
        Ok(records.iter_mut().find(in_force).map(|record| {
            record.revoked_at = Some(at);
            record.digest
        }))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> common::Outcome {
    let keys = Arc::new(ApiKeys::new(Arc::new(ListStore::default())));
    let validator = Validator::builder().api_keys(keys.clone()).build()?;

    // A key that is revoked is refused from that moment on, although it was in the cache.
    let (id, key) = issue(&keys).await?;
    let header = format!("Bearer {}", key.expose());
    assert!(validator.validate([header.as_bytes()], []).await.is_ok());
    keys.store().revoke(&id, &Actor::host(), SystemClock.now()).await?;
    let refused = validator.validate([header.as_bytes()], []).await.map_err(|no| no.kind());
    assert!(matches!(refused, Err(RejectionKind::KeyRevoked)));

    let sold = AuthLayer::new(validator).sold("id");
    let app = Router::new().route("/photos/{id}", get(photo)).route_layer(sold);
    let listener = tokio::net::TcpListener::bind(common::address()?).await?;
    common::announce(listener.local_addr()?, issue(&keys).await?.1.expose());
    Ok(axum::serve(listener, app).await?)
}

/// A new key for `photo-1`. Its plain text is here and nowhere else.
async fn issue(keys: &ApiKeys) -> common::Outcome<(KeyId, PlainKey)> {
    let key = KeyFormat::default().generate()?;
    let grant = Grant::Payment {
        resource_id: "photo-1".parse()?,
        plan_id: "basic".parse()?,
        permissions: None,
    };
    let record = KeyRecord::new(KeyId::generate(), &key, grant, SystemClock.now());
    keys.store().insert(&record, &Actor::host()).await?;
    Ok((record.id, key))
}

async fn photo(Path(id): Path<String>) -> String {
    format!("photo {id}")
}
