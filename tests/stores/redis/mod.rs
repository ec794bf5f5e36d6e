//! What only the Redis engine does.

#![cfg(all(feature = "redis", unix))]

#[cfg(feature = "sqlite")]
mod alike;
mod change_notifications;
mod failover;
mod listing;
mod opening;
mod outage;

use std::time::{Duration, Instant};

use key0_auth::{
    KeyStore, RedisStore,
    apikey::KeyRecord,
    domain::Actor,
    error::StoreError,
    store::{KeyRegistry, PaymentStore, RedisOptions, spi::KeyQuery},
};

use crate::{samples, servers};

/// A store on this server, with the usual prefix and a poll that only the tests of it speed up.
async fn open(url: &str) -> RedisStore {
    RedisStore::open(url).await.unwrap()
}

async fn add(store: &RedisStore) -> KeyRecord {
    let record = samples::partner_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    record
}

/// Waits until something holds, without standing in the way of the runtime.
async fn comes_about(mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < servers::PATIENCE, "it never comes about");
        tokio::time::sleep(servers::GLANCE).await;
    }
    began.elapsed()
}
