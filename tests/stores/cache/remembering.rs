use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use key0_auth::{
    KeyStore,
    domain::Actor,
    error::StoreErrorKind,
    store::spi::{Change, ChangeListener},
};
use tokio::time::sleep;

use crate::cache::support::{Behaviour, START, TestClock, TestStore, builder, cached, new_key};

#[tokio::test]
async fn a_hit_reads_nothing_and_copies_nothing() {
    let (store, key) = (TestStore::new(), new_key());
    store.put(&key);
    let cache = cached(&store);
    assert_eq!(cache.find(&key.digest).await.unwrap().as_ref(), Some(&key));
    let first = cache.find_shared(&key.digest).await.unwrap().unwrap();
    let second = cache.find_shared(&key.digest).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(store.reads(), 1);
}

#[tokio::test]
async fn what_is_remembered_is_recalled_without_waiting() {
    let (store, clock, key) = (TestStore::new(), TestClock::new(), new_key());
    let unknown = new_key().digest;
    store.put(&key);
    let cache = builder(&store, &clock).build().unwrap();
    assert!(cache.recall(&key.digest).is_none() && cache.recall(&unknown).is_none());
    let found = cache.find_shared(&key.digest).await.unwrap().unwrap();
    assert!(cache.find_shared(&unknown).await.unwrap().is_none());
    clock.advance(4_999);
    assert!(Arc::ptr_eq(&found, &cache.recall(&key.digest).unwrap().unwrap()));
    assert!(cache.recall(&unknown).unwrap().is_none());
    clock.advance(1);
    assert!(cache.recall(&key.digest).is_none() && cache.recall(&unknown).is_none());
    assert_eq!(store.reads(), 2);
}

/// The cache's own clock has not gone on meanwhile, and would still give the key.
#[tokio::test]
async fn a_clock_that_was_set_back_and_goes_on_brings_nothing_back() {
    let (store, clock, key) = (TestStore::mute(), TestClock::new(), new_key());
    store.put(&key);
    let cache = builder(&store, &clock).build().unwrap();
    assert!(cache.find(&key.digest).await.unwrap().is_some());
    clock.advance(-1_000);
    store.remove(&key.digest);
    assert!(cache.find(&key.digest).await.unwrap().is_none());
    clock.advance(1_000);
    assert!(cache.find(&key.digest).await.unwrap().is_none());
    assert_eq!(store.reads(), 2);
}

#[tokio::test]
async fn an_answer_lives_for_the_time_to_live() {
    let (store, clock, key) = (TestStore::new(), TestClock::new(), new_key());
    let unknown = new_key().digest;
    store.put(&key);
    let cache = builder(&store, &clock).build().unwrap();
    for (advance, reads) in [(0, 2), (4_999, 2), (1, 4), (4_999, 4), (1, 6)] {
        clock.advance(advance);
        assert!(cache.find(&key.digest).await.unwrap().is_some());
        assert!(cache.find(&unknown).await.unwrap().is_none());
        assert_eq!(store.reads(), reads, "after {advance} ms more");
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_or_stands_still_prolongs_nothing() {
    let (store, clock, key) = (TestStore::new(), TestClock::new(), new_key());
    let unknown = new_key().digest;
    store.put(&key);
    let cache = builder(&store, &clock).build().unwrap();
    for (advance, reads) in [(0, 2), (-1, 4), (0, 4)] {
        clock.advance(advance);
        cache.find(&key.digest).await.unwrap();
        cache.find(&unknown).await.unwrap();
        assert_eq!(store.reads(), reads);
    }

    let cache = builder(&store, &clock).time_to_live(Duration::from_millis(20)).build().unwrap();
    cache.find(&key.digest).await.unwrap();
    cache.find(&unknown).await.unwrap();
    // What is left is the cache's own clock, which nobody can advance.
    sleep(Duration::from_millis(40)).await;
    let before = store.reads();
    cache.find(&key.digest).await.unwrap();
    cache.find(&unknown).await.unwrap();
    assert_eq!(store.reads(), before + 2);
}

#[tokio::test]
async fn an_answer_lives_no_longer_than_its_key() {
    let (store, clock, mut key) = (TestStore::new(), TestClock::new(), new_key());
    key.expires_at = Some(START.plus(Duration::from_secs(2)));
    store.put(&key);
    let cache = builder(&store, &clock).build().unwrap();
    // From its expiry on it is an expired key, which is remembered like any other.
    for (advance, reads) in [(0, 1), (1_999, 1), (1, 2), (4_999, 2), (1, 3)] {
        clock.advance(advance);
        assert!(cache.find(&key.digest).await.unwrap().is_some());
        assert_eq!(store.reads(), reads, "after {advance} ms more");
    }
}

#[tokio::test]
async fn no_time_to_live_remembers_nothing() {
    let (store, clock, key) = (TestStore::new(), TestClock::new(), new_key());
    store.put(&key);
    let cache = builder(&store, &clock).time_to_live(Duration::ZERO).build().unwrap();
    for reads in 1..=3 {
        assert!(cache.find(&key.digest).await.unwrap().is_some());
        assert_eq!(store.reads(), reads);
    }
}

#[tokio::test]
async fn an_error_is_not_remembered() {
    let (store, key) = (TestStore::new(), new_key());
    store.put(&key);
    let cache = cached(&store);
    let kinds = [StoreErrorKind::Unavailable, StoreErrorKind::TimedOut, StoreErrorKind::Corrupt];
    for (n, kind) in kinds.into_iter().enumerate() {
        store.behave(Behaviour::Fail(kind));
        let error = cache.find(&key.digest).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(store.reads(), n + 1);
    }
    store.behave(Behaviour::Answer);
    assert!(cache.find(&key.digest).await.unwrap().is_some());
}

#[tokio::test]
async fn an_outage_leaves_what_is_remembered() {
    let (store, clock, key) = (TestStore::new(), TestClock::new(), new_key());
    store.put(&key);
    let cache = builder(&store, &clock).build().unwrap();
    cache.find(&key.digest).await.unwrap();
    store.behave(Behaviour::Fail(StoreErrorKind::Unavailable));
    clock.advance(4_999);
    assert!(cache.find(&key.digest).await.unwrap().is_some());
    clock.advance(1);
    assert_eq!(cache.find(&key.digest).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn everything_else_goes_to_the_store() {
    let (store, key) = (TestStore::new(), new_key());
    let cache = cached(&store);
    cache.insert(&key, &Actor::host()).await.unwrap();
    for reads in 1..=2 {
        assert_eq!(cache.get(&key.id).await.unwrap().as_ref(), Some(&key));
        assert_eq!(store.reads(), reads);
    }
    assert_eq!(cache.revoke(&key.id, &Actor::host(), START).await.unwrap(), Some(key.digest));
    assert_eq!(cache.revoke(&key.id, &Actor::host(), START).await.unwrap(), None);
    cache.ping().await.unwrap();
    store.behave(Behaviour::Fail(StoreErrorKind::Unavailable));
    assert!(cache.ping().await.is_err());

    let listeners = || store.listeners.lock().unwrap().len();
    assert_eq!(listeners(), 1);
    cache.subscribe(Weak::<Deaf>::new());
    assert_eq!(listeners(), 2);
}

#[derive(Debug)]
struct Deaf;

impl ChangeListener for Deaf {
    fn changed(&self, _change: Change) {}
}
