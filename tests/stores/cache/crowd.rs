use std::{
    error::Error,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use key0_auth::error::StoreErrorKind;

use crate::cache::support::{
    Behaviour, TestClock, TestStore, builder, cached, new_key, settle, spawn_find,
};

const CROWD: usize = 10_000;

#[tokio::test(start_paused = true)]
async fn ten_thousand_misses_are_one_read() {
    for exists in [true, false] {
        let (store, key) = (TestStore::new(), new_key());
        if exists {
            store.put(&key);
        }
        store.behave(Behaviour::Gated);
        let cache = cached(&store);
        let callers: Vec<_> = (0..CROWD).map(|_| spawn_find(&cache, key.digest)).collect();
        settle().await;
        store.open_gate();
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap().is_some(), exists);
        }
        assert_eq!(store.reads(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn latecomers_do_not_read_again() {
    for round in 0..300 {
        let (store, key) = (TestStore::new(), new_key());
        let exists = round % 2 == 0;
        if exists {
            store.put(&key);
        }
        // So late that no busy machine comes to it.
        let cache = builder(&store, &TestClock::new()).read_deadline(Duration::from_secs(60));
        let cache = Arc::new(cache.build().unwrap());
        let callers: Vec<_> = (0..64).map(|_| spawn_find(&cache, key.digest)).collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap().is_some(), exists);
        }
        assert_eq!(store.reads(), 1, "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_reaches_everyone_who_waits() {
    let (store, key) = (TestStore::new(), new_key());
    store.behave(Behaviour::FailLate);
    let cache = cached(&store);
    let callers: Vec<_> = (0..100).map(|_| spawn_find(&cache, key.digest)).collect();
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert_eq!(error.source().unwrap().to_string(), "the disk is gone");
    }
    assert_eq!(store.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_costs_no_read() {
    let (store, key) = (TestStore::new(), new_key());
    store.put(&key);
    store.behave(Behaviour::Gated);
    let cache = cached(&store);
    let leader = spawn_find(&cache, key.digest);
    store.gated_read_began().await;
    let callers: Vec<_> = (0..1_000).map(|_| spawn_find(&cache, key.digest)).collect();
    settle().await;
    leader.abort();
    settle().await;
    store.open_gate();
    for caller in callers {
        assert!(caller.await.unwrap().unwrap().is_some());
    }
    assert_eq!(store.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn hundreds_who_leave_one_by_one_harm_nobody() {
    let (store, key) = (TestStore::new(), new_key());
    store.put(&key);
    store.behave(Behaviour::Gated);
    let cache = cached(&store);
    let leaving: Vec<_> = (0..400).map(|_| spawn_find(&cache, key.digest)).collect();
    settle().await;
    let staying: Vec<_> = (0..10).map(|_| spawn_find(&cache, key.digest)).collect();
    settle().await;
    for caller in leaving {
        caller.abort();
        settle().await;
    }
    store.open_gate();
    for caller in staying {
        assert!(caller.await.unwrap().unwrap().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn reads_at_once_are_capped() {
    let (store, clock) = (TestStore::new(), TestClock::new());
    store.behave(Behaviour::Sleep(Duration::from_millis(5)));
    let cache = Arc::new(builder(&store, &clock).max_concurrent_reads(32).build().unwrap());
    let callers: Vec<_> = (0..400).map(|_| spawn_find(&cache, new_key().digest)).collect();
    for caller in callers {
        assert!(caller.await.unwrap().unwrap().is_none());
    }
    // A quarter of them, as nobody knows these keys.
    assert_eq!((store.reads(), store.most_running.load(SeqCst)), (400, 8));
}
