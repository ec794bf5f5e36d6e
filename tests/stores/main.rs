//! The stores: each engine by the same kit, what only one of them does, and the cache around any.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[macro_use]
#[allow(dead_code, unused_macros)]
#[path = "../support/store_kit/mod.rs"]
mod store_kit;

mod cache;
mod engines;
#[cfg(feature = "testing")]
mod faulty;
mod postgres;
#[cfg(all(feature = "postgres", unix))]
#[allow(dead_code)]
#[path = "../support/servers/postgres.rs"]
mod postgres_server;
mod redis;
#[cfg(all(feature = "redis", unix))]
#[allow(dead_code)]
#[path = "../support/servers/redis.rs"]
mod redis_server;
#[cfg(all(any(feature = "postgres", feature = "redis"), unix))]
#[path = "../support/servers/mod.rs"]
mod servers;
mod sqlite;
