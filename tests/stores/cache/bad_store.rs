use std::{
    future::Future,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use key0_auth::{
    Cached, KeyStore,
    apikey::{KeyDigest, KeyRecord},
    error::{StoreError, StoreErrorKind},
};
use tokio::{task::JoinHandle, time::Instant};

use crate::cache::support::{
    Behaviour, TestClock, TestStore, builder, cached, new_key, settle, spawn_find,
};

/// Within which every caller is answered, whatever the store does.
const ANSWERED: Duration = Duration::from_millis(600);

/// How a find ended, and after how long.
async fn timed(
    find: impl Future<Output = Result<Option<Arc<KeyRecord>>, StoreError>>,
) -> (Option<StoreErrorKind>, Duration) {
    let began = Instant::now();
    let kind = find.await.err().map(|error| error.kind());
    (kind, began.elapsed())
}

fn spawn_timed(
    cache: &Arc<Cached>,
    digest: KeyDigest,
) -> JoinHandle<(Option<StoreErrorKind>, Duration)> {
    let cache = cache.clone();
    tokio::spawn(async move { timed(cache.find_shared(&digest)).await })
}

#[tokio::test(start_paused = true)]
async fn everyone_is_answered_in_time_when_the_store_hangs() {
    for same_key in [true, false] {
        let store = TestStore::new();
        store.behave(Behaviour::Hang);
        let cache = cached(&store);
        let first = new_key().digest;
        let mut callers = Vec::new();
        for n in 0..1_000 {
            let digest = if same_key { first } else { new_key().digest };
            callers.push(spawn_timed(&cache, digest));
            if n % 2 == 0 {
                settle().await;
            }
        }
        for caller in callers {
            let (kind, took) = caller.await.unwrap();
            assert_eq!(kind, Some(StoreErrorKind::TimedOut));
            assert!(took < ANSWERED, "{took:?}");
        }
        // The places are free again.
        assert_eq!(store.running.load(SeqCst), 0);
        store.behave(Behaviour::Answer);
        assert!(cache.find(&first).await.unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_stands_still_or_ends_holds_nobody_up() {
    for ends in [false, true] {
        let store = TestStore::new();
        store.behave(Behaviour::Gated);
        let cache = cached(&store);
        let digest = new_key().digest;
        // The read begins on another runtime, which then runs no more.
        let other = std::thread::spawn({
            let (store, cache) = (store.clone(), cache.clone());
            move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_time().build().unwrap();
                runtime.block_on(async {
                    let find = spawn_find(&cache, digest);
                    store.gated_read_began().await;
                    drop(find);
                });
                runtime
            }
        })
        .join()
        .unwrap();
        let callers: Vec<_> = (0..100).map(|_| spawn_timed(&cache, digest)).collect();
        settle().await;
        let other = if ends {
            other.shutdown_background();
            store.open_gate();
            None
        } else {
            Some(other)
        };
        for caller in callers {
            let (kind, took) = caller.await.unwrap();
            assert_eq!(kind, (!ends).then_some(StoreErrorKind::TimedOut));
            assert!(took < ANSWERED, "{took:?}");
        }
        assert_eq!(store.reads(), if ends { 2 } else { 1 });
        if let Some(other) = other {
            other.shutdown_background();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_turn_counts() {
    let (store, clock) = (TestStore::new(), TestClock::new());
    store.behave(Behaviour::Sleep(Duration::from_millis(400)));
    let cache = Arc::new(builder(&store, &clock).max_concurrent_reads(1).build().unwrap());
    let first = spawn_timed(&cache, new_key().digest);
    settle().await;
    let second = spawn_timed(&cache, new_key().digest);
    assert_eq!(first.await.unwrap(), (None, Duration::from_millis(400)));
    let (kind, took) = second.await.unwrap();
    assert_eq!(kind, Some(StoreErrorKind::TimedOut));
    assert!(took < ANSWERED, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hit_waits_for_nobody() {
    let (store, key) = (TestStore::new(), new_key());
    store.put(&key);
    let cache = cached(&store);
    cache.find(&key.digest).await.unwrap();
    store.behave(Behaviour::Hang);
    let waiting: Vec<_> = (0..100).map(|_| spawn_find(&cache, new_key().digest)).collect();
    settle().await;
    let (kind, took) = timed(cache.find_shared(&key.digest)).await;
    assert_eq!((kind, took), (None, Duration::ZERO));
    waiting.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn a_store_that_panics_is_unavailable() {
    let (store, key) = (TestStore::new(), new_key());
    store.put(&key);
    store.behave(Behaviour::Panic);
    let cache = cached(&store);
    let error = cache.find(&key.digest).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    store.behave(Behaviour::Answer);
    assert!(cache.find(&key.digest).await.unwrap().is_some());
}
