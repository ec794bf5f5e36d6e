use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use key0_auth::{Cached, KeyStore, apikey::KeyRecord, domain::Actor, store::spi::Change};
use tokio::task::JoinSet;

use crate::cache::support::{
    Behaviour, START, TestStore, cached, is_revoked, new_key, settle, spawn_find,
};

/// The ways in which a change reaches the cache.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Through the cache, whose store tells nobody.
    Revoke,
    /// Through the store, which tells its listeners of this key.
    TellKey,
    /// Through the store, which only says that something changed.
    TellAll,
    /// Past both.
    Forget,
}

const WAYS: [Way; 4] = [Way::Revoke, Way::TellKey, Way::TellAll, Way::Forget];

async fn revoke(way: Way, cache: &Cached, store: &TestStore, key: &KeyRecord) {
    match way {
        Way::Revoke => {
            cache.revoke(&key.id, &Actor::host(), START).await.unwrap().unwrap();
        }
        Way::TellKey => {
            store.set_revoked(&key.id, START).unwrap();
            store.tell(Change::Key(key.digest));
        }
        Way::TellAll => {
            store.set_revoked(&key.id, START).unwrap();
            store.tell(Change::All);
        }
        Way::Forget => {
            store.set_revoked(&key.id, START).unwrap();
            cache.forget(&key.digest);
        }
    }
}

#[tokio::test]
async fn a_remembered_key_is_forgotten() {
    for way in WAYS {
        let (store, key) = (TestStore::mute(), new_key());
        store.put(&key);
        let cache = cached(&store);
        assert!(!is_revoked(&cache, &key.digest).await);
        assert!(cache.recall(&key.digest).is_some());
        revoke(way, &cache, &store, &key).await;
        assert!(cache.recall(&key.digest).is_none(), "{way:?}");
        assert!(is_revoked(&cache, &key.digest).await, "{way:?}");
        // And what was read since is remembered.
        assert!(is_revoked(&cache, &key.digest).await, "{way:?}");
        assert_eq!(store.reads(), 2, "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_under_way_leaves_nothing_behind() {
    for way in WAYS {
        let (store, key) = (TestStore::mute(), new_key());
        store.put(&key);
        let cache = cached(&store);
        store.behave(Behaviour::Gated);
        let early = spawn_find(&cache, key.digest);
        store.gated_read_began().await;
        revoke(way, &cache, &store, &key).await;
        store.open_gate();
        early.await.unwrap().unwrap();
        settle().await;
        assert!(cache.recall(&key.digest).is_none(), "{way:?}");
        assert!(is_revoked(&cache, &key.digest).await, "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_joins_a_read_that_began_before_the_change() {
    for way in WAYS {
        let (store, key) = (TestStore::mute(), new_key());
        store.put(&key);
        let cache = cached(&store);
        store.behave(Behaviour::Gated);
        let early = spawn_find(&cache, key.digest);
        store.gated_read_began().await;
        revoke(way, &cache, &store, &key).await;
        let late = spawn_find(&cache, key.digest);
        settle().await;
        store.open_gate();
        let late = late.await.unwrap().unwrap().unwrap();
        assert!(late.revoked_at.is_some(), "{way:?}");
        early.await.unwrap().unwrap();
        settle().await;
        assert!(is_revoked(&cache, &key.digest).await, "{way:?}");
        assert_eq!(store.reads(), 2, "{way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_key_counts_at_once() {
    for (tells, through_cache) in [(false, true), (true, false), (true, true)] {
        let (store, key) = (TestStore::new(), new_key());
        store.tells.store(tells, SeqCst);
        let cache = cached(&store);
        assert!(cache.find(&key.digest).await.unwrap().is_none());
        assert!(cache.find(&key.digest).await.unwrap().is_none());
        assert_eq!(store.reads(), 1);
        // A second one misses it, too, and ends after it is there.
        cache.forget(&key.digest);
        store.behave(Behaviour::Gated);
        let early = spawn_find(&cache, key.digest);
        store.gated_read_began().await;
        if through_cache {
            cache.insert(&key, &Actor::host()).await.unwrap();
        } else {
            store.insert(&key, &Actor::host()).await.unwrap();
        }
        store.open_gate();
        assert!(early.await.unwrap().unwrap().is_none());
        assert!(cache.find(&key.digest).await.unwrap().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_nobody_waits_for_counts_when_the_store_tells_of_it() {
    let (store, key) = (TestStore::new(), new_key());
    store.put(&key);
    let cache = cached(&store);
    assert!(!is_revoked(&cache, &key.digest).await);
    store.behave(Behaviour::Hang);
    let host = Actor::host();
    let revocation = cache.revoke(&key.id, &host, START);
    assert!(tokio::time::timeout(Duration::from_secs(1), revocation).await.is_err());
    store.behave(Behaviour::Answer);
    assert!(is_revoked(&cache, &key.digest).await);
}

#[tokio::test]
async fn other_keys_stay_remembered() {
    let (store, key) = (TestStore::new(), new_key());
    let others: Vec<_> = (0..20).map(|_| new_key()).collect();
    others.iter().for_each(|key| store.put(key));
    store.put(&key);
    let cache = cached(&store);
    for key in others.iter().chain([&key]) {
        cache.find(&key.digest).await.unwrap();
    }
    cache.revoke(&key.id, &Actor::host(), START).await.unwrap();
    for key in &others {
        cache.find(&key.digest).await.unwrap();
    }
    // One key in 4096 shares the fate of the revoked one.
    assert!((21..=23).contains(&store.reads()), "{} reads", store.reads());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_revoked_key_passes_under_stress() {
    const ROUNDS: usize = 2_000;
    for round in 0..ROUNDS {
        let (store, key) = (TestStore::mute(), new_key());
        store.put(&key);
        store.behave(Behaviour::Dawdle);
        let cache = cached(&store);
        let revoked = Arc::new(AtomicBool::new(false));
        let mut finders = JoinSet::new();
        for _ in 0..8 {
            let (cache, revoked, digest) = (cache.clone(), revoked.clone(), key.digest);
            finders.spawn(async move {
                let mut after = 0;
                while after < 4 {
                    let begins_after = revoked.load(SeqCst);
                    let is_revoked = match cache.recall(&digest) {
                        Some(found) => found.unwrap().revoked_at.is_some(),
                        None => is_revoked(&cache, &digest).await,
                    };
                    assert!(is_revoked || !begins_after, "a revoked key passed");
                    after += usize::from(begins_after);
                    tokio::task::yield_now().await;
                }
            });
        }
        for _ in 0..round % 16 {
            tokio::task::yield_now().await;
        }
        if round % 2 == 0 {
            cache.revoke(&key.id, &Actor::host(), START).await.unwrap().unwrap();
        } else {
            store.set_revoked(&key.id, START).unwrap();
            store.tell(Change::Key(key.digest));
        }
        revoked.store(true, SeqCst);
        while let Some(finder) = finders.join_next().await {
            finder.unwrap();
        }
    }
}
