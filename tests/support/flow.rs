//! What the tests of the whole flow share: clocks that can be set, stores that can fail, and a
//! search for secrets in whatever is printed.

#![allow(dead_code, unreachable_pub)]

use std::{
    collections::HashSet,
    error::Error,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
pub use key0_auth::testing::FakeClock as TestClock;
use key0_auth::{
    Identity, KeyStore, MemoryStore, Rejection, Validator,
    apikey::{KeyDigest, KeyRecord},
    domain::{Actor, Clock, KeyId, Secret, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::PaymentStore,
    testing::FaultyStore,
};
use tokio::time::Instant;

pub const START: Timestamp = TestClock::START;

pub fn secret(text: &str) -> Secret {
    Secret::new("a test secret", text).unwrap()
}

/// Shows what a clock shows, with nothing to compare it with: it is believed from the start on.
#[derive(Debug)]
pub struct Believed(pub Arc<TestClock>);

impl Clock for Believed {
    fn now(&self) -> Timestamp {
        self.0.now()
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

    fn subscribe(&self, listener: std::sync::Weak<dyn key0_auth::store::spi::ChangeListener>) {
        if self.tells {
            self.inner.subscribe(listener);
        }
    }
}

/// A store for payments that counts its calls; each of its methods can fail before its work or
/// after it, or hang.
pub type SpyPayments = FaultyStore<dyn PaymentStore>;

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
