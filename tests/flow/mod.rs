//! What the tests of the whole flow share: clocks that can be set, stores that can fail, and a
//! search for secrets in whatever is printed.

#![allow(dead_code, unreachable_pub)]

use std::{
    collections::{HashMap, HashSet},
    error::Error,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use key0_auth::{
    Identity, KeyStore, MemoryStore, Rejection, Validator,
    apikey::{KeyDigest, KeyRecord},
    domain::{Actor, ChallengeId, Clock, KeyId, Secret, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::{
        Issuance, IssuanceClaim, IssuanceKey, IssuanceState, Lease, LeasedPayment, Payment,
        PaymentOutcome, PaymentStore,
    },
};
use tokio::{sync::Semaphore, time::Instant};

pub const START: Timestamp = Timestamp::from_seconds(1_795_305_965);

pub fn secret(text: &str) -> Secret {
    Secret::new("a test secret", text).unwrap()
}

/// Stands still until it is told to go on.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START.as_micros())))
    }

    pub fn set(&self, to: Timestamp) {
        self.0.store(to.as_micros(), SeqCst);
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_micros() as i64, SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(SeqCst))
    }
}

/// Goes with the runtime's time, which a test can pause.
#[derive(Debug)]
pub struct RuntimeClock(Instant);

impl RuntimeClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        START.plus(self.0.elapsed())
    }
}

/// A memory store for keys that counts, and that can fail, lie and keep its changes to itself.
#[derive(Debug)]
pub struct SpyKeys {
    pub inner: MemoryStore,
    pub tells: bool,
    pub fails: AtomicBool,
    pub lie: Mutex<Option<KeyRecord>>,
    finds: AtomicI64,
}

impl SpyKeys {
    pub fn new() -> Arc<Self> {
        Self::over(MemoryStore::new(), true)
    }

    pub fn over(inner: MemoryStore, tells: bool) -> Arc<Self> {
        let (fails, finds) = (AtomicBool::new(false), AtomicI64::new(0));
        Arc::new(Self { inner, tells, fails, lie: Mutex::default(), finds })
    }

    pub fn finds(&self) -> i64 {
        self.finds.load(SeqCst)
    }

    fn gate(&self) -> Result<(), StoreError> {
        if self.fails.load(SeqCst) {
            Err(StoreError::new(StoreErrorKind::Unavailable))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl KeyStore for SpyKeys {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        self.finds.fetch_add(1, SeqCst);
        self.gate()?;
        let lie = self.lie.lock().unwrap().clone();
        if lie.is_some() { Ok(lie) } else { self.inner.find(digest).await }
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.gate()?;
        self.inner.get(id).await
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        self.inner.insert(record, by).await
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        self.inner.revoke(id, by, at).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.gate()
    }

    fn subscribe(&self, listener: std::sync::Weak<dyn key0_auth::store::ChangeListener>) {
        if self.tells {
            self.inner.subscribe(listener);
        }
    }
}

/// A store for payments that counts its calls; each of its methods can fail before its work or
/// after it, or hang.
#[derive(Debug)]
pub struct SpyPayments {
    inner: Arc<dyn PaymentStore>,
    calls: Mutex<HashMap<&'static str, usize>>,
    answered: Mutex<HashMap<&'static str, usize>>,
    moods: Mutex<HashMap<&'static str, Mood>>,
    /// One permit for each hanging call that may go on.
    pub gate: Semaphore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Fails, and nothing happened.
    Fails,
    /// Fails although all of it happened.
    LosesItsAnswer,
    /// Waits at the gate before it begins.
    Hangs,
}

impl SpyPayments {
    pub fn over(inner: Arc<dyn PaymentStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            calls: Mutex::default(),
            answered: Mutex::default(),
            moods: Mutex::default(),
            gate: Semaphore::new(0),
        })
    }

    pub fn calls(&self, method: &'static str) -> usize {
        self.calls.lock().unwrap().get(method).copied().unwrap_or(0)
    }

    /// How many calls are over.
    pub fn answered(&self, method: &'static str) -> usize {
        self.answered.lock().unwrap().get(method).copied().unwrap_or(0)
    }

    pub fn set(&self, method: &'static str, mood: Mood) {
        self.moods.lock().unwrap().insert(method, mood);
    }

    pub fn calm(&self) {
        self.moods.lock().unwrap().clear();
    }

    async fn run<T>(
        &self,
        method: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        *self.calls.lock().unwrap().entry(method).or_default() += 1;
        let mood = self.moods.lock().unwrap().get(method).copied();
        let outage = || Err(StoreError::new(StoreErrorKind::Unavailable));
        let result = match mood {
            None => work.await,
            Some(Mood::Fails) => outage(),
            Some(Mood::LosesItsAnswer) => {
                work.await?;
                outage()
            }
            Some(Mood::Hangs) => {
                self.gate.acquire().await.unwrap().forget();
                work.await
            }
        };
        *self.answered.lock().unwrap().entry(method).or_default() += 1;
        result
    }
}

#[async_trait]
impl PaymentStore for SpyPayments {
    async fn begin_issuance(
        &self,
        claim: &IssuanceClaim,
        now: Timestamp,
    ) -> Result<IssuanceState, StoreError> {
        self.run("begin_issuance", self.inner.begin_issuance(claim, now)).await
    }

    async fn complete_issuance(
        &self,
        claim: &IssuanceClaim,
        issuance: &Issuance,
        record: Option<&KeyRecord>,
    ) -> Result<bool, StoreError> {
        self.run("complete_issuance", self.inner.complete_issuance(claim, issuance, record)).await
    }

    async fn abandon_issuance(&self, claim: &IssuanceClaim) -> Result<(), StoreError> {
        self.run("abandon_issuance", self.inner.abandon_issuance(claim)).await
    }

    async fn replace_issuance(
        &self,
        key: &IssuanceKey,
        old: &Issuance,
        new: &Issuance,
        display: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run("replace_issuance", self.inner.replace_issuance(key, old, new, display, at)).await
    }

    async fn forget_nonces(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.run("forget_nonces", self.inner.forget_nonces(before, limit)).await
    }

    async fn record_payment(&self, payment: &Payment) -> Result<PaymentOutcome, StoreError> {
        self.run("record_payment", self.inner.record_payment(payment)).await
    }

    async fn payment(&self, challenge_id: &ChallengeId) -> Result<Option<Payment>, StoreError> {
        self.run("payment", self.inner.payment(challenge_id)).await
    }

    async fn lease_payment(
        &self,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Option<LeasedPayment>, StoreError> {
        self.run("lease_payment", self.inner.lease_payment(lease, now)).await
    }

    async fn finish_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
    ) -> Result<bool, StoreError> {
        self.run("finish_payment", self.inner.finish_payment(challenge_id, lease)).await
    }

    async fn retry_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        next_attempt: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run("retry_payment", self.inner.retry_payment(challenge_id, lease, next_attempt)).await
    }
}

/// Judges a bearer credential.
pub async fn bearer(validator: &Validator, credential: &str) -> Result<Identity, Rejection> {
    let header = format!("Bearer {credential}");
    validator.validate([header.as_bytes()], []).await
}

/// Judges a credential in the header for API keys.
pub async fn x_api_key(validator: &Validator, credential: &str) -> Result<Identity, Rejection> {
    validator.validate([], [credential.as_bytes()]).await
}

/// Everything that an error says of itself and of its causes.
pub fn whole_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        text.push_str(&format!("{error} | {error:?} | {error:#?}\n"));
        next = error.source();
    }
    text
}

/// Things that must not show.
#[derive(Default)]
pub struct Secrets(HashSet<String>);

impl Secrets {
    pub fn add(&mut self, secret: &str) {
        self.0.insert(secret.to_owned());
    }

    /// Whether one of them stands in the text, as it is or as the numbers of its bytes.
    pub fn shows_in(&self, text: &str) -> bool {
        let dense: String = text.split_whitespace().collect();
        self.0.iter().any(|secret| {
            let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
            text.contains(secret) || dense.contains(&bytes.join(","))
        })
    }

    #[track_caller]
    pub fn assert_not_in(&self, what: &str, shown: impl fmt::Debug) {
        for text in [format!("{shown:?}"), format!("{shown:#?}")] {
            assert!(!self.shows_in(&text), "{what}: {text}");
        }
    }
}
