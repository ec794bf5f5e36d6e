//! Every engine against the same kit. A new engine is one function and one line at the end.

use key0_auth::MemoryStore;

#[cfg(all(feature = "postgres", unix))]
use crate::postgres_server;
#[cfg(all(feature = "redis", unix))]
use crate::redis_server;
use crate::store_kit::Engine;

async fn memory() -> Engine {
    Engine::new(MemoryStore::new(), ())
}

#[cfg(feature = "sqlite")]
async fn sqlite() -> Engine {
    let folder = tempfile::tempdir().unwrap();
    let store = key0_auth::SqliteStore::open(folder.path().join("store.db")).unwrap();
    Engine::new(store, folder)
}

#[cfg(all(feature = "postgres", unix))]
async fn postgres() -> Option<Engine> {
    let schema = postgres_server::Schema::fresh()?;
    let options = key0_auth::store::PostgresOptions::new().schema(&schema.name);
    // Many tests share one server.
    let store = options.max_connections(3).open(&schema.url).await.unwrap();
    Some(Engine::new(store, schema))
}

#[cfg(all(feature = "redis", unix))]
async fn redis() -> Option<Engine> {
    let fresh = redis_server::Fresh::new()?;
    let store = key0_auth::RedisStore::open(&fresh.url).await.unwrap();
    Some(Engine::new(store, fresh))
}

/// What stands around a store for tests hands every call on, while it is told nothing else.
#[cfg(feature = "testing")]
async fn faulty() -> Engine {
    Engine::shared(key0_auth::testing::FaultyStore::new(MemoryStore::new()), ())
}

store_kit!(memory);
#[cfg(feature = "testing")]
store_kit!(faulty);
#[cfg(feature = "sqlite")]
store_kit!(sqlite);
#[cfg(all(feature = "postgres", unix))]
store_kit!(postgres);
#[cfg(all(feature = "redis", unix))]
store_kit!(redis);
