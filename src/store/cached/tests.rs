#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Cached,
    told::{Clocks, Life, Moment},
};
use crate::{
    apikey::{Grant, KeyDigest, KeyFormat, KeyRecord},
    domain::{Actor, Clock, KeyId, PlanId, ResourceId, SystemClock, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::keys::{Change, ChangeListener, KeyStore},
};

/// Holds some keys, and counts its reads.
#[derive(Debug, Default)]
struct Keys {
    keys: Vec<KeyRecord>,
    reads: AtomicUsize,
}

#[async_trait]
impl KeyStore for Keys {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        self.reads.fetch_add(1, Relaxed);
        let at = self.keys.binary_search_by_key(digest.as_bytes(), |key| *key.digest.as_bytes());
        Ok(at.ok().map(|at| self.keys[at].clone()))
    }

    async fn get(&self, _id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        Ok(None)
    }

    async fn insert(&self, _record: &KeyRecord, _by: &Actor) -> Result<(), StoreError> {
        Ok(())
    }

    async fn revoke(
        &self,
        _id: &KeyId,
        _by: &Actor,
        _at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        Ok(None)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// As much as an operator can keep with a key.
fn worst_metadata() -> crate::apikey::Metadata {
    let members = (0..680).map(|n| (format!("{n:x}"), serde_json::Value::Null));
    members.collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test]
async fn what_is_remembered_is_bounded_by_its_bytes() {
    const MAX_BYTES: u64 = 4 << 20;
    let mut keys = Keys::new(2_000);
    for key in &mut Arc::get_mut(&mut keys).unwrap().keys {
        key.metadata = worst_metadata();
    }
    let cached = Cached::builder(keys.clone(), Arc::new(SystemClock)).max_bytes(MAX_BYTES);
    let cached = cached.build().unwrap();
    for key in &keys.keys {
        cached.find(&key.digest).await.unwrap().unwrap();
    }
    let remembered: Vec<_> =
        keys.keys.iter().filter_map(|key| cached.recall(&key.digest)).collect();
    let bytes: usize = remembered.iter().flatten().map(|record| record.bytes()).sum();
    assert!(bytes as u64 <= MAX_BYTES && remembered.len() > 400, "{bytes}, {}", remembered.len());
}

/// Prints what the process takes.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: scale"]
async fn long_scale_a_hundred_thousand_keys_with_the_worst_metadata_fit_into_256_mib() {
    #[derive(Debug)]
    struct Endless;

    #[async_trait]
    impl KeyStore for Endless {
        async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
            let grant = Grant::Integrator { role: crate::domain::Role::Read, permissions: None };
            let now = Timestamp::from_seconds(0);
            let mut record = KeyRecord::of_digest(KeyId::generate(), *digest, grant, now);
            record.metadata = worst_metadata();
            Ok(Some(record))
        }

        async fn get(&self, _: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
            Ok(None)
        }

        async fn insert(&self, _: &KeyRecord, _: &Actor) -> Result<(), StoreError> {
            Ok(())
        }

        async fn revoke(
            &self,
            _: &KeyId,
            _: &Actor,
            _: Timestamp,
        ) -> Result<Option<KeyDigest>, StoreError> {
            Ok(None)
        }

        async fn ping(&self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    let cached = Cached::new(Arc::new(Endless), Arc::new(SystemClock));
    for n in 0..100_000_u32 {
        cached.find_shared(&KeyDigest::of(&n.to_string())).await.unwrap().unwrap();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("{} MiB", kib / 1024);
    assert!(kib < 256 * 1024, "{kib}");
}

impl Keys {
    fn new(count: usize) -> Arc<Self> {
        let grant = Grant::Payment {
            resource_id: ResourceId::new("photo-1").unwrap(),
            plan_id: PlanId::new("basic").unwrap(),
            permissions: None,
        };
        let new_key = |_| {
            let key = KeyFormat::default().generate().unwrap();
            KeyRecord::new(KeyId::generate(), &key, grant.clone(), Timestamp::from_seconds(0))
        };
        let mut keys: Vec<_> = (0..count).map(new_key).collect();
        keys.sort_by_key(|key| *key.digest.as_bytes());
        Arc::new(Self { keys, reads: AtomicUsize::new(0) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_keys_displaces_no_known_one() {
    const KNOWN: usize = 1_000;
    const FLOOD: usize = 60_000;
    const MAX_MISSES: u64 = 5_000;

    let store = Keys::new(KNOWN);
    let cache = Cached::builder(store.clone(), Arc::new(SystemClock))
        .time_to_live(Duration::from_secs(3600))
        // The cache is made of parts, which fill unevenly.
        .max_keys(2 * KNOWN as u64)
        .max_misses(MAX_MISSES)
        .build()
        .unwrap();
    let cache = Arc::new(cache);
    for key in &store.keys {
        assert!(cache.find_shared(&key.digest).await.unwrap().is_some());
    }

    let flood = |from: usize| {
        let cache = cache.clone();
        async move {
            for n in from..from + FLOOD / 2 {
                let unknown = KeyDigest::of(&n.to_string());
                assert!(cache.find_shared(&unknown).await.unwrap().is_none());
                if n % 5_000 == 0 {
                    let remembered = cache.loader.state.unknown.len() as u64;
                    assert!(remembered <= MAX_MISSES, "{remembered}");
                }
            }
        }
    };
    let (one, other) = (tokio::spawn(flood(0)), tokio::spawn(flood(FLOOD)));
    one.await.unwrap();
    other.await.unwrap();
    assert!(cache.loader.state.unknown.len() as u64 > MAX_MISSES / 2);
    assert_eq!(cache.loader.state.found.len(), KNOWN);

    let before = store.reads.load(Relaxed);
    assert!(before >= KNOWN + FLOOD);
    for key in &store.keys {
        assert!(cache.find_shared(&key.digest).await.unwrap().is_some());
    }
    assert_eq!(store.reads.load(Relaxed), before);
}

#[tokio::test]
async fn digests_that_begin_alike_stay_apart() {
    let digest = |last| {
        let mut bytes = [7; 32];
        bytes[31] = last;
        KeyDigest::from_bytes(bytes)
    };
    let known = KeyRecord { digest: digest(1), ..Keys::new(1).keys[0].clone() };
    let store = Arc::new(Keys { keys: vec![known], reads: AtomicUsize::new(0) });
    let cache = Cached::new(store.clone(), Arc::new(SystemClock));
    for _ in 0..2 {
        assert!(cache.find_shared(&digest(1)).await.unwrap().is_some());
        assert!(cache.find_shared(&digest(2)).await.unwrap().is_none());
    }
    assert_eq!(store.reads.load(Relaxed), 2, "both are remembered");
}

#[tokio::test]
async fn debug_shows_no_digest_and_no_key() {
    let store = Keys::new(1);
    let cache = Cached::new(store.clone(), Arc::new(SystemClock));
    cache.find(&store.keys[0].digest).await.unwrap();
    cache.find(&KeyDigest::of("unknown")).await.unwrap();
    let state = format!("{:?}", cache.loader.state);
    assert_eq!(state, "State { found: 1, unknown: 1, .. }");
    let bytes = format!("{:?}", store.keys[0].digest.as_bytes());
    assert!(!format!("{cache:?}").contains(bytes.trim_matches(['[', ']'])));
}

#[test]
fn limits_that_make_no_sense_are_refused_together() {
    let store: Arc<dyn KeyStore> = Keys::new(0);
    let builder = || Cached::builder(store.clone(), Arc::new(SystemClock));
    let error = builder()
        .time_to_live(Duration::MAX)
        .read_deadline(Duration::ZERO)
        .max_concurrent_reads(0)
        .build()
        .unwrap_err();
    assert_eq!(error.faults().len(), 3, "{error}");
    assert!(builder().max_concurrent_reads(usize::MAX).build().is_err());
    let extremes = builder()
        .time_to_live(Duration::ZERO)
        .read_deadline(Duration::MAX)
        .max_keys(0)
        .max_misses(0);
    assert!(extremes.build().is_ok());
    assert!(builder().max_keys(u64::MAX).max_misses(u64::MAX).build().is_ok());
}

#[tokio::test]
async fn extreme_limits_work() {
    let store = Keys::new(1);
    let cache = Cached::builder(store.clone(), Arc::new(SystemClock))
        .read_deadline(Duration::MAX)
        .max_keys(0)
        .max_misses(0)
        .build()
        .unwrap();
    for _ in 0..3 {
        assert!(cache.find(&store.keys[0].digest).await.unwrap().is_some());
        assert!(cache.find(&KeyDigest::of("unknown")).await.unwrap().is_none());
    }
}

#[derive(Debug)]
struct Held(AtomicI64);

impl Clock for Held {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Relaxed))
    }
}

/// Each clock ends a life by itself: one that was set, and one that stood still.
#[test]
fn a_life_ends_with_its_bound_or_with_the_key() {
    let clock = Arc::new(Held(AtomicI64::new(100_000_000)));
    let clocks = Clocks::new(clock.clone());
    let (asked_at, bound) = (clocks.now(), Duration::from_secs(5));
    let life = |expires: Option<i64>| Life::new(asked_at, expires.map(Timestamp::from_seconds));
    let at = |micros| {
        clock.0.store(micros, Relaxed);
        clocks.now()
    };
    for (expires_at, until) in
        [(None, 105), (Some(103), 103), (Some(106), 105), (Some(100), 105), (Some(99), 105)]
    {
        let (life, until) = (life(expires_at), until * 1_000_000);
        assert!(life.includes(at(100_000_000), bound) && life.includes(at(until - 1), bound));
        assert!(!life.includes(at(until), bound), "{expires_at:?}");
        assert!(!life.includes(at(100_000_000 - 1), bound));
    }
    let instant = |passed| Moment::of_numbers([100_000_000, passed]).unwrap();
    let life = Life::new(instant(1_000), None);
    assert!(life.includes(instant(5_000_000_999), bound));
    assert!(!life.includes(instant(5_000_001_000), bound) && !life.includes(instant(999), bound));
}

#[test]
fn a_moment_survives_as_numbers_and_none_is_told_at_first() {
    let now = Clocks::new(Arc::new(Held(AtomicI64::new(-7)))).now();
    assert_eq!(Moment::of_numbers(now.numbers()), Some(now));
    assert_eq!(Moment::of_numbers([0, 0]), None);
}

/// Knows one key, and hangs where it is asked for another.
#[derive(Debug)]
struct HangsOnUnknown(KeyRecord);

#[async_trait]
impl KeyStore for HangsOnUnknown {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        if *digest == self.0.digest {
            return Ok(Some(self.0.clone()));
        }
        std::future::pending().await
    }

    async fn get(&self, _: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        Ok(None)
    }

    async fn insert(&self, _: &KeyRecord, _: &Actor) -> Result<(), StoreError> {
        Ok(())
    }

    async fn revoke(
        &self,
        _: &KeyId,
        _: &Actor,
        _: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        Ok(None)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_keys_holds_up_none_that_was_found_lately() {
    let key = Keys::new(1).keys[0].clone();
    let cached = Cached::builder(Arc::new(HangsOnUnknown(key.clone())), Arc::new(SystemClock))
        .time_to_live(Duration::ZERO)
        .max_concurrent_reads(2)
        .build()
        .unwrap();
    let cached = Arc::new(cached);
    cached.find(&key.digest).await.unwrap().unwrap();
    for n in 0..100 {
        let cached = Arc::clone(&cached);
        tokio::spawn(async move { cached.find(&KeyDigest::of(&n.to_string())).await });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    for _ in 0..10 {
        assert_eq!(cached.find(&key.digest).await.unwrap().as_ref(), Some(&key));
        cached.forget(&key.digest);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_keys_holds_up_none_that_was_just_issued() {
    let key = Keys::new(1).keys[0].clone();
    let inner = Arc::new(HangsOnUnknown(key.clone()));
    let cached = Arc::new(Cached::new(inner, Arc::new(SystemClock)));
    for n in 0..100 {
        let cached = Arc::clone(&cached);
        tokio::spawn(async move { cached.find(&KeyDigest::of(&n.to_string())).await });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    // By this instance, or by another one that the store tells of.
    cached.loader.state.changed(Change::Key(key.digest));
    assert_eq!(cached.find(&key.digest).await.unwrap(), Some(key));
}

#[tokio::test(start_paused = true)]
async fn whoever_has_no_turn_in_half_the_time_is_not_read_at_all() {
    let inner = Arc::new(HangsOnUnknown(Keys::new(1).keys[0].clone()));
    let cached = Cached::builder(inner, Arc::new(SystemClock))
        .max_concurrent_reads(1)
        .read_deadline(Duration::from_secs(1))
        .build()
        .unwrap();
    let cached = Arc::new(cached);
    let first = Arc::clone(&cached);
    tokio::spawn(async move { first.find(&KeyDigest::of("first")).await });
    tokio::task::yield_now().await;
    let began = tokio::time::Instant::now();
    let error = cached.find(&KeyDigest::of("second")).await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed().as_millis()), (StoreErrorKind::TimedOut, 500));
}
