//! Every engine against the same kit. A new engine is one function and one line at the end.

use std::{cell::Cell, sync::Arc};

use key0_auth::{
    MemoryStore,
    testing::{FaultyStore, StoreKit},
};

#[cfg(all(feature = "postgres", unix))]
use crate::postgres_server;
#[cfg(all(feature = "redis", unix))]
use crate::redis_server;
#[cfg(all(any(feature = "postgres", feature = "redis"), unix))]
use crate::servers::PATIENCE;

/// A fresh store, and what must live as long: a folder, a schema. Nothing where it needs a server
/// that is not installed.
type Made<S, G> = Option<(Arc<S>, G)>;

async fn memory() -> Made<MemoryStore, ()> {
    Some((Arc::new(MemoryStore::new()), ()))
}

/// What stands around a store for tests hands every call on, while it is told nothing else.
async fn faulty() -> Made<FaultyStore<MemoryStore>, ()> {
    Some((FaultyStore::new(MemoryStore::new()), ()))
}

#[cfg(feature = "sqlite")]
async fn sqlite() -> Made<key0_auth::SqliteStore, tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let store = key0_auth::SqliteStore::open(folder.path().join("store.db")).unwrap();
    Some((Arc::new(store), folder))
}

#[cfg(all(feature = "postgres", unix))]
async fn postgres() -> Made<key0_auth::PostgresStore, postgres_server::Schema> {
    let schema = postgres_server::Schema::fresh()?;
    let options = key0_auth::store::PostgresOptions::new().schema(&schema.name);
    // Many tests share one server, and a busy machine.
    let options = options.max_connections(3).open_timeout(PATIENCE);
    let options = options.read_timeout(PATIENCE).write_timeout(PATIENCE);
    let store = options.open(&schema.url).await.unwrap();
    Some((Arc::new(store), schema))
}

#[cfg(all(feature = "redis", unix))]
async fn redis() -> Made<key0_auth::RedisStore, redis_server::Fresh> {
    let fresh = redis_server::Fresh::new()?;
    let options = key0_auth::store::RedisOptions::new().open_timeout(PATIENCE);
    let options = options.read_timeout(PATIENCE).write_timeout(PATIENCE);
    let store = options.open(&fresh.url).await.unwrap();
    Some((Arc::new(store), fresh))
}

/// One test for each group of cases, in a module named after the function that makes the stores.
macro_rules! every_case {
    ($engine:ident: $($group:ident)*) => {
        mod $engine {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $group() {
                    if super::$engine().await.is_none() {
                        return;
                    }
                    let guard = Cell::new(None);
                    let make = async || {
                        let (store, kept) = super::$engine().await.expect("it was there before");
                        guard.set(Some(kept));
                        store
                    };
                    StoreKit::new(make).$group().run().await;
                }
            )*
        }
    };
    ($engine:ident) => {
        every_case!($engine: keys registry payments issued_keys purchases denials requests);
    };
}

every_case!(memory);
every_case!(faulty);
#[cfg(feature = "sqlite")]
every_case!(sqlite);
#[cfg(all(feature = "postgres", unix))]
every_case!(postgres);
#[cfg(all(feature = "redis", unix))]
every_case!(redis);
