//! The stores: each engine by the same kit, what only one of them does, and the cache around any.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

// For `samples`, which the library has as well.
#[allow(unused_imports)]
use key0_auth::{KeyStore, apikey, domain, store};

mod cache;
#[cfg(all(feature = "postgres", feature = "redis", feature = "sqlite", unix))]
mod copying;
#[cfg(feature = "testing")]
mod denied;
#[cfg(feature = "testing")]
mod engines;
#[cfg(feature = "testing")]
mod faulty;
mod hearing;
#[cfg(feature = "testing")]
mod kit;
mod postgres;
#[cfg(all(feature = "postgres", unix))]
#[allow(dead_code)]
#[path = "../support/servers/postgres.rs"]
mod postgres_server;
mod recorded;
mod redis;
#[cfg(all(feature = "redis", unix))]
#[allow(dead_code)]
#[path = "../support/servers/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../../src/testing/store_kit/samples.rs"]
mod samples;
#[cfg(all(any(feature = "postgres", feature = "redis"), unix))]
#[path = "../support/servers/mod.rs"]
mod servers;
mod sqlite;
