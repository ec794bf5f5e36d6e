//! What only the Redis engine does.

#![cfg(all(feature = "redis", unix))]

#[cfg(feature = "sqlite")]
mod alike;
mod change_notifications;
mod failover;
mod listing;
mod opening;
mod outage;
mod purchases;

use std::time::{Duration, Instant};

use key0_auth::{
    KeyStore, RedisStore,
    apikey::KeyRecord,
    domain::Actor,
    error::StoreError,
    store::{KeyRegistry, PaymentStore, RedisOptions, spi::KeyQuery},
};

use crate::{samples, servers};

/// For tests that are not about a deadline: a busy machine reaches none of these.
fn unhurried() -> RedisOptions {
    usual().read_timeout(servers::PATIENCE).write_timeout(servers::PATIENCE)
}

/// The usual deadlines of reads and writes.
fn usual() -> RedisOptions {
    RedisOptions::new().open_timeout(servers::PATIENCE)
}

/// A store on this server, with the usual prefix and a poll that only the tests of it speed up.
async fn open(url: &str) -> RedisStore {
    unhurried().open(url).await.unwrap()
}

/// A key that is stored as soon as the server takes one.
async fn add(store: &RedisStore) -> KeyRecord {
    let mut record = samples::partner_key();
    comes_about(async || {
        record = samples::partner_key();
        store.insert(&record, &Actor::host()).await.is_ok()
    })
    .await;
    record
}

/// Waits until something holds, without standing in the way of the runtime.
async fn comes_about(mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < servers::PATIENCE, "it never comes about");
        tokio::time::sleep(servers::GLANCE).await;
    }
}
