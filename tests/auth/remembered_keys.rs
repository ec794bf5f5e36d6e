//! API keys that the cache remembers: they are decided without waiting, by the same rules as those
//! that are looked up, and without an allocation.

#![cfg(feature = "testing")]

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::flow::{SpyKeys, TestClock};
use key0_auth::{
    ApiKeys, Cached, Identity, KeyStore, Rejection,
    RejectionKind::{self, *},
    Validator,
    apikey::{Grant, KeyDigest, KeyFormat, KeyRecord, PlainKey},
    auth::IdentityKind,
    domain::{Actor, Clock, KeyId, SystemClock, Timestamp},
    store::KeyUsage,
};

const SECOND: Duration = Duration::from_secs(1);

struct Flow {
    clock: Arc<TestClock>,
    store: Arc<SpyKeys>,
    cached: Arc<Cached>,
    validator: Validator,
}

fn flow() -> Flow {
    let clock = TestClock::new();
    flow_with(clock.clone(), clock)
}

/// The cache may go by another clock.
fn flow_with(clock: Arc<TestClock>, of_the_cache: Arc<TestClock>) -> Flow {
    let store = SpyKeys::new();
    let cached = Arc::new(Cached::new(store.clone(), of_the_cache));
    let validator = Validator::builder()
        .api_keys(ApiKeys::cached(cached.clone()))
        .clock(clock.clone())
        .build()
        .unwrap();
    Flow { clock, store, cached, validator }
}

impl Flow {
    async fn key(&self, expires_at: Option<Timestamp>) -> (PlainKey, KeyId) {
        let (plain, mut record) = new_key(self.clock.now());
        record.expires_at = expires_at;
        self.cached.insert(&record, &Actor::host()).await.unwrap();
        (plain, record.id)
    }

    /// What is said without waiting.
    fn decided(&self, plain: &PlainKey) -> Result<Identity, Rejection> {
        at_once(&self.validator, plain.expose()).expect("it is remembered")
    }

    async fn look_up(&self, plain: &PlainKey) -> Result<Identity, Rejection> {
        let mut validating = pin!(self.validator.validate([], [plain.expose().as_bytes()]));
        let mut context = Context::from_waker(Waker::noop());
        let polled = validating.as_mut().poll(&mut context);
        assert!(polled.is_pending(), "decided: {polled:?}");
        validating.await
    }
}

fn new_key(now: Timestamp) -> (PlainKey, KeyRecord) {
    let plain = KeyFormat::default().generate().unwrap();
    let grant = Grant::Payment {
        resource_id: "photo-1".parse().unwrap(),
        plan_id: "basic".parse().unwrap(),
        permissions: None,
    };
    let record = KeyRecord::new(KeyId::generate(), &plain, grant, now);
    (plain, record)
}

/// What is decided of a key without waiting for anybody.
fn at_once(validator: &Validator, key: &str) -> Option<Result<Identity, Rejection>> {
    let validating = pin!(validator.validate([], [key.as_bytes()]));
    match validating.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(decided) => Some(decided),
        Poll::Pending => None,
    }
}

#[track_caller]
fn assert_refused(result: Result<Identity, Rejection>, kind: RejectionKind) {
    assert_eq!(result.unwrap_err().kind(), kind);
}

#[tokio::test]
async fn a_remembered_key_is_decided_without_waiting() {
    let flow = flow();
    let (plain, id) = flow.key(None).await;
    flow.look_up(&plain).await.unwrap();
    // Even when the store is away.
    flow.store.fails.store(true, SeqCst);
    for _ in 0..3 {
        let identity = flow.decided(&plain).unwrap();
        assert_eq!(identity.kind(), IdentityKind::PaymentKey);
        assert_eq!(identity.subject(), id.as_str());
    }
    assert_eq!(flow.store.finds(), 1);
    // And no longer than it is remembered.
    flow.clock.advance(5 * SECOND);
    assert_refused(flow.look_up(&plain).await, StoreUnavailable);
}

#[tokio::test]
async fn a_key_that_is_remembered_as_unknown_is_refused_without_waiting() {
    let flow = flow();
    let (plain, record) = new_key(flow.clock.now());
    assert_refused(flow.look_up(&plain).await, InvalidApiKey);
    assert_refused(flow.decided(&plain), InvalidApiKey);
    assert_eq!(flow.store.finds(), 1);
    flow.cached.insert(&record, &Actor::host()).await.unwrap();
    flow.look_up(&plain).await.unwrap();
}

#[tokio::test]
async fn a_key_that_was_changed_is_looked_up_again() {
    let flow = flow();
    let (plain, id) = flow.key(None).await;
    flow.look_up(&plain).await.unwrap();
    flow.cached.forget(&KeyDigest::of(plain.expose()));
    flow.look_up(&plain).await.unwrap();
    flow.decided(&plain).unwrap();

    flow.cached.revoke(&id, &Actor::host(), flow.clock.now()).await.unwrap().unwrap();
    assert_refused(flow.look_up(&plain).await, KeyRevoked);
    assert_refused(flow.decided(&plain), KeyRevoked);
}

#[tokio::test]
async fn the_store_that_tells_of_a_change_is_heard() {
    let flow = flow();
    let (plain, id) = flow.key(None).await;
    flow.look_up(&plain).await.unwrap();
    flow.decided(&plain).unwrap();
    flow.store.revoke(&id, &Actor::host(), flow.clock.now()).await.unwrap().unwrap();
    assert_refused(flow.look_up(&plain).await, KeyRevoked);
}

#[tokio::test]
async fn the_time_is_validated_at_every_hit() {
    let clocks = (TestClock::new(), TestClock::new());
    let expires_at = clocks.0.now().plus(SECOND);
    let flow = flow_with(clocks.0, clocks.1);
    let (plain, _) = flow.key(Some(expires_at)).await;
    flow.look_up(&plain).await.unwrap();
    flow.decided(&plain).unwrap();
    // Where both go by one clock, the answer is forgotten at this instant.
    flow.clock.set(expires_at);
    assert_refused(flow.decided(&plain), KeyExpired);
    assert_eq!(flow.store.finds(), 1);
}

#[tokio::test]
async fn the_record_of_another_key_lets_nobody_in() {
    let flow = flow();
    let (plain, _) = new_key(flow.clock.now());
    let (_, another) = new_key(flow.clock.now());
    *flow.store.lie.lock().unwrap() = Some(another);
    assert_refused(flow.look_up(&plain).await, InvalidApiKey);
    assert_refused(flow.decided(&plain), InvalidApiKey);
    assert_eq!(flow.store.finds(), 1);
}

#[tokio::test]
async fn its_use_is_noted() {
    let (clock, store) = (TestClock::new(), SpyKeys::new());
    let usage = KeyUsage::new(Arc::new(store.inner.clone()));
    let cached = Arc::new(Cached::new(store, clock.clone()));
    let keys = ApiKeys::cached(cached.clone()).usage(usage.clone());
    let validator = Validator::builder().api_keys(keys).clock(clock.clone()).build().unwrap();
    let (plain, record) = new_key(clock.now());
    cached.insert(&record, &Actor::host()).await.unwrap();
    validator.validate([], [plain.expose().as_bytes()]).await.unwrap();
    clock.advance(SECOND);
    assert!(matches!(at_once(&validator, plain.expose()), Some(Ok(_))));
    usage.flush().await.unwrap();
    let stored = cached.get(&record.id).await.unwrap().unwrap();
    assert_eq!(stored.last_used_at, Some(clock.now()));
}

#[test]
fn a_hit_allocates_nothing() {
    const HITS: usize = 10_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cached = Cached::builder(SpyKeys::new(), Arc::new(SystemClock));
    let cached = Arc::new(cached.time_to_live(3_600 * SECOND).build().unwrap());
    let validator = Validator::builder().api_keys(ApiKeys::cached(cached.clone())).build().unwrap();
    let keys: Vec<_> = (0..100).map(|_| new_key(SystemClock.now())).collect();
    runtime.block_on(async {
        for (_, record) in &keys {
            cached.insert(record, &Actor::host()).await.unwrap();
        }
        for (plain, _) in &keys {
            validator.validate([], [plain.expose().as_bytes()]).await.unwrap();
        }
    });
    // What follows needs none.
    drop(runtime);
    let validate_all = |times: usize| {
        for (plain, _) in keys.iter().cycle().take(times) {
            assert!(matches!(at_once(&validator, plain.expose()), Some(Ok(_))));
        }
    };
    validate_all(HITS);
    let hits = allocation_counter::measure(|| validate_all(HITS));
    assert_eq!(hits.count_total, 0, "{hits:?}");
    let some = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(some.count_total, 1, "allocations are counted");
}
