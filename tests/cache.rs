//! The cache in front of a key store: what it remembers, what it must never remember, and how it
//! holds up against a crowd and a bad store.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::HashMap,
    error::Error,
    future::Future,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use key0_auth::{
    Cached, KeyStore,
    apikey::{Grant, KeyDigest, KeyFormat, KeyRecord},
    domain::{Clock, KeyId, PlanId, ResourceId, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::{CachedBuilder, Change, ChangeListener},
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// Within which every caller is answered, whatever the store does.
const ANSWERED: Duration = Duration::from_millis(600);

#[derive(Debug)]
struct TestClock(AtomicI64);

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START.as_millis())))
    }

    fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(SeqCst))
    }
}

/// A store that counts its reads and misbehaves on demand.
#[derive(Debug)]
struct TestStore {
    keys: Mutex<HashMap<[u8; 32], KeyRecord>>,
    listeners: Mutex<Vec<Weak<dyn ChangeListener>>>,
    tells: AtomicBool,
    reads: AtomicUsize,
    running: AtomicUsize,
    most_running: AtomicUsize,
    behaviour: Mutex<Behaviour>,
    /// One permit for each gated read that holds its answer.
    entered: Semaphore,
    /// One permit for each gated read that may go on.
    gate: Semaphore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Answer,
    /// Takes the answer, then waits at the gate with it.
    Gated,
    /// Takes the answer, then lets others run.
    Dawdle,
    Sleep(Duration),
    Fail(StoreErrorKind),
    FailLate,
    Hang,
    Panic,
}

impl TestStore {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            keys: Mutex::default(),
            listeners: Mutex::default(),
            tells: AtomicBool::new(true),
            reads: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            behaviour: Mutex::new(Behaviour::Answer),
            entered: Semaphore::new(0),
            gate: Semaphore::new(0),
        })
    }

    fn mute() -> Arc<Self> {
        let store = Self::new();
        store.tells.store(false, SeqCst);
        store
    }

    fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    fn reads(&self) -> usize {
        self.reads.load(SeqCst)
    }

    fn put(&self, record: &KeyRecord) {
        self.keys.lock().unwrap().insert(*record.digest.as_bytes(), record.clone());
    }

    fn set_revoked(&self, id: &KeyId, at: Timestamp) -> Option<KeyDigest> {
        let mut keys = self.keys.lock().unwrap();
        let record =
            keys.values_mut().find(|record| record.id == *id && record.revoked_at.is_none())?;
        record.revoked_at = Some(at);
        Some(record.digest)
    }

    fn tell(&self, change: Change) {
        let listeners = self.listeners.lock().unwrap().clone();
        listeners.iter().filter_map(Weak::upgrade).for_each(|listener| listener.changed(change));
    }

    async fn gated_read_began(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    /// Lets the reads at the gate go on, and later ones answer at once.
    fn open_gate(&self) {
        self.behave(Behaviour::Answer);
        self.gate.add_permits(1_000_000);
    }
}

/// Counts a read as running, also when it is dropped.
struct Running<'a>(&'a TestStore);

impl<'a> Running<'a> {
    fn new(store: &'a TestStore) -> Self {
        let running = store.running.fetch_add(1, SeqCst) + 1;
        store.most_running.fetch_max(running, SeqCst);
        Self(store)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

#[async_trait]
impl KeyStore for TestStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        self.reads.fetch_add(1, SeqCst);
        let _running = Running::new(self);
        let behaviour = *self.behaviour.lock().unwrap();
        let record = self.keys.lock().unwrap().get(digest.as_bytes()).cloned();
        match behaviour {
            Behaviour::Answer => {}
            Behaviour::Gated => {
                self.entered.add_permits(1);
                self.gate.acquire().await.unwrap().forget();
            }
            Behaviour::Dawdle => {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            }
            Behaviour::Sleep(duration) => sleep(duration).await,
            Behaviour::Fail(kind) => return Err(StoreError::new(kind)),
            Behaviour::FailLate => {
                sleep(Duration::from_millis(5)).await;
                return Err(StoreError::unavailable("the disk is gone"));
            }
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Panic => panic!("a store with a bug"),
        }
        Ok(record)
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.reads.fetch_add(1, SeqCst);
        Ok(self.keys.lock().unwrap().values().find(|record| record.id == *id).cloned())
    }

    async fn insert(&self, record: &KeyRecord) -> Result<(), StoreError> {
        self.put(record);
        if self.tells.load(SeqCst) {
            self.tell(Change::Key(record.digest));
        }
        Ok(())
    }

    async fn revoke(&self, id: &KeyId, at: Timestamp) -> Result<Option<KeyDigest>, StoreError> {
        let digest = self.set_revoked(id, at);
        if let (true, Some(digest)) = (self.tells.load(SeqCst), digest) {
            self.tell(Change::Key(digest));
        }
        if *self.behaviour.lock().unwrap() == Behaviour::Hang {
            std::future::pending::<()>().await;
        }
        Ok(digest)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        match *self.behaviour.lock().unwrap() {
            Behaviour::Fail(kind) => Err(StoreError::new(kind)),
            _ => Ok(()),
        }
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.listeners.lock().unwrap().push(listener);
    }
}

fn new_key() -> KeyRecord {
    let key = KeyFormat::default().generate().unwrap();
    let grant = Grant::Payment {
        resource_id: ResourceId::new("photo-1").unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
        permissions: None,
    };
    KeyRecord::new(KeyId::generate(), &key, grant, START)
}

fn builder(store: &Arc<TestStore>, clock: &Arc<TestClock>) -> CachedBuilder {
    Cached::builder(store.clone(), clock.clone())
}

fn cached(store: &Arc<TestStore>) -> Arc<Cached> {
    Arc::new(Cached::new(store.clone(), TestClock::new()))
}

fn spawn_find(
    cache: &Arc<Cached>,
    digest: KeyDigest,
) -> tokio::task::JoinHandle<Result<Option<Arc<KeyRecord>>, StoreError>> {
    let cache = cache.clone();
    tokio::spawn(async move { cache.find_shared(&digest).await })
}

async fn is_revoked(cache: &Cached, digest: &KeyDigest) -> bool {
    cache.find_shared(digest).await.unwrap().unwrap().revoked_at.is_some()
}

/// Returns when every task waits for something. Needs a paused clock.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

mod remembering {
    use super::*;

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

        let cache =
            builder(&store, &clock).time_to_live(Duration::from_millis(20)).build().unwrap();
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
        let kinds =
            [StoreErrorKind::Unavailable, StoreErrorKind::TimedOut, StoreErrorKind::Corrupt];
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
        cache.insert(&key).await.unwrap();
        for reads in 1..=2 {
            assert_eq!(cache.get(&key.id).await.unwrap().as_ref(), Some(&key));
            assert_eq!(store.reads(), reads);
        }
        assert_eq!(cache.revoke(&key.id, START).await.unwrap(), Some(key.digest));
        assert_eq!(cache.revoke(&key.id, START).await.unwrap(), None);
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
}

mod fence {
    use super::*;

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
                cache.revoke(&key.id, START).await.unwrap().unwrap();
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
            revoke(way, &cache, &store, &key).await;
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
                cache.insert(&key).await.unwrap();
            } else {
                store.insert(&key).await.unwrap();
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
        let revocation = cache.revoke(&key.id, START);
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
        cache.revoke(&key.id, START).await.unwrap();
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
                        let is_revoked = is_revoked(&cache, &digest).await;
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
                cache.revoke(&key.id, START).await.unwrap().unwrap();
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
}

mod crowd {
    use super::*;

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
            let cache = cached(&store);
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
        let cache = Arc::new(builder(&store, &clock).max_concurrent_reads(8).build().unwrap());
        let callers: Vec<_> = (0..400).map(|_| spawn_find(&cache, new_key().digest)).collect();
        for caller in callers {
            assert!(caller.await.unwrap().unwrap().is_none());
        }
        assert_eq!((store.reads(), store.most_running.load(SeqCst)), (400, 8));
    }
}

mod bad_store {
    use super::*;

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
    ) -> tokio::task::JoinHandle<(Option<StoreErrorKind>, Duration)> {
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
            other.map(tokio::runtime::Runtime::shutdown_background);
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
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
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
}
