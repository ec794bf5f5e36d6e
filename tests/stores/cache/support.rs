use std::{
    collections::HashMap,
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
    domain::{Actor, Clock, KeyId, PlanId, ResourceId, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::{
        CachedBuilder,
        spi::{Change, ChangeListener},
    },
};
use tokio::{sync::Semaphore, task::JoinHandle, time::sleep};

pub(crate) const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START.as_millis())))
    }

    pub(crate) fn advance(&self, millis: i64) {
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
pub(crate) struct TestStore {
    keys: Mutex<HashMap<[u8; 32], KeyRecord>>,
    pub(crate) listeners: Mutex<Vec<Weak<dyn ChangeListener>>>,
    pub(crate) tells: AtomicBool,
    pub(crate) proves: AtomicBool,
    reads: AtomicUsize,
    pub(crate) running: AtomicUsize,
    pub(crate) most_running: AtomicUsize,
    behaviour: Mutex<Behaviour>,
    /// One permit for each gated read that holds its answer.
    entered: Semaphore,
    /// One permit for each gated read that may go on.
    gate: Semaphore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
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
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            keys: Mutex::default(),
            listeners: Mutex::default(),
            tells: AtomicBool::new(true),
            proves: AtomicBool::new(true),
            reads: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            behaviour: Mutex::new(Behaviour::Answer),
            entered: Semaphore::new(0),
            gate: Semaphore::new(0),
        })
    }

    pub(crate) fn mute() -> Arc<Self> {
        let store = Self::new();
        store.tells.store(false, SeqCst);
        store
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.load(SeqCst)
    }

    pub(crate) fn put(&self, record: &KeyRecord) {
        self.keys.lock().unwrap().insert(*record.digest.as_bytes(), record.clone());
    }

    pub(crate) fn remove(&self, digest: &KeyDigest) {
        self.keys.lock().unwrap().remove(digest.as_bytes());
    }

    pub(crate) fn set_revoked(&self, id: &KeyId, at: Timestamp) -> Option<KeyDigest> {
        let mut keys = self.keys.lock().unwrap();
        let record =
            keys.values_mut().find(|record| record.id == *id && record.revoked_at.is_none())?;
        record.revoked_at = Some(at);
        Some(record.digest)
    }

    pub(crate) fn tell(&self, change: Change) {
        let listeners = self.listeners.lock().unwrap().clone();
        listeners.iter().filter_map(Weak::upgrade).for_each(|listener| listener.changed(change));
    }

    pub(crate) async fn gated_read_began(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    /// Lets the reads at the gate go on, and later ones answer at once.
    pub(crate) fn open_gate(&self) {
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

    async fn insert(&self, record: &KeyRecord, _by: &Actor) -> Result<(), StoreError> {
        self.put(record);
        if self.tells.load(SeqCst) {
            self.tell(Change::Key(record.digest));
        }
        Ok(())
    }

    async fn revoke(
        &self,
        id: &KeyId,
        _by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
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

    fn proves_changes(&self) -> bool {
        self.proves.load(SeqCst)
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.listeners.lock().unwrap().push(listener);
    }
}

pub(crate) fn new_key() -> KeyRecord {
    let key = KeyFormat::default().generate().unwrap();
    let grant = Grant::Payment {
        resource_id: ResourceId::new("photo-1").unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
        permissions: None,
    };
    KeyRecord::new(KeyId::generate(), &key, grant, START)
}

pub(crate) fn builder(store: &Arc<TestStore>, clock: &Arc<TestClock>) -> CachedBuilder {
    Cached::builder(store.clone(), clock.clone())
}

pub(crate) fn cached(store: &Arc<TestStore>) -> Arc<Cached> {
    Arc::new(Cached::new(store.clone(), TestClock::new()))
}

pub(crate) fn spawn_find(
    cache: &Arc<Cached>,
    digest: KeyDigest,
) -> JoinHandle<Result<Option<Arc<KeyRecord>>, StoreError>> {
    let cache = cache.clone();
    tokio::spawn(async move { cache.find_shared(&digest).await })
}

pub(crate) async fn is_revoked(cache: &Cached, digest: &KeyDigest) -> bool {
    cache.find_shared(digest).await.unwrap().unwrap().revoked_at.is_some()
}

/// Returns when every task waits for something. Needs a paused clock.
pub(crate) async fn settle() {
    sleep(Duration::from_millis(1)).await;
}
