mod audit;
mod denials;
mod keys;
mod payments;
mod purchases;
mod requests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::error::{StoreError, StoreErrorKind};

/// A store around another one, of any kind, that fails, hangs or takes its time on demand.
///
/// Without a word it hands every call on, and counts it. Of `PaymentStore::issue` it hands on the two
/// steps, so that what breaks off between them can be tested: `begin_issuance` and
/// `complete_issuance`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::{ApiKeys, MemoryStore, RejectionKind, Validator};
/// use key0_auth::testing::{FaultyStore, Mood};
///
/// let store = FaultyStore::new(MemoryStore::new());
/// let validator = Validator::builder().api_keys(ApiKeys::new(store.clone())).build()?;
/// let key = b"ak_0123456789abcdef0123456789abcdef";
/// store.set(Mood::Fails);
/// let outage = validator.validate([], [&key[..]]).await.expect_err("nobody can tell");
/// assert_eq!(outage.kind(), RejectionKind::StoreUnavailable);
///
/// store.set(Mood::Works);
/// let refused = validator.validate([], [&key[..]]).await.expect_err("nobody made it");
/// assert_eq!(refused.kind(), RejectionKind::InvalidApiKey);
/// assert_eq!(store.calls("find"), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultyStore<S: ?Sized> {
    moods: watch::Sender<Moods>,
    counts: Mutex<HashMap<&'static str, Counts>>,
    inner: Arc<S>,
}

/// How a [`FaultyStore`] takes its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mood {
    /// Hands them on.
    Works,
    /// Fails, and nothing happened.
    Fails,
    /// Fails although all of it happened, as where a connection breaks before the answer.
    LosesItsAnswer,
    /// Fails although all of it happened, as where what was found can't be understood.
    CantRead,
    /// Waits until the mood is another one, before anything happens.
    Hangs,
    /// Waits so long, then hands the call on.
    Slow(Duration),
}

#[derive(Debug)]
struct Moods {
    of_all: Mood,
    of_one: HashMap<String, Mood>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    begun: usize,
    over: usize,
}

impl Moods {
    fn of(&self, method: &str) -> Mood {
        self.of_one.get(method).copied().unwrap_or(self.of_all)
    }
}

impl<S> FaultyStore<S> {
    /// Around a store, which works.
    pub fn new(inner: S) -> Arc<Self> {
        Self::over(Arc::new(inner))
    }
}

impl<S: ?Sized> FaultyStore<S> {
    /// Around a store that others hold as well, or that is known by a trait alone.
    pub fn over(inner: Arc<S>) -> Arc<Self> {
        let moods = Moods { of_all: Mood::Works, of_one: HashMap::new() };
        Arc::new(Self { moods: watch::Sender::new(moods), counts: Mutex::default(), inner })
    }

    /// The store inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Sets the mood for every method; calls that hang now follow it.
    pub fn set(&self, mood: Mood) {
        self.moods.send_modify(|moods| {
            moods.of_all = mood;
            moods.of_one.clear();
        });
    }

    /// Sets the mood for one method, as `find`, whatever the mood of the others is.
    pub fn set_for(&self, method: &str, mood: Mood) {
        self.moods.send_modify(|moods| {
            moods.of_one.insert(method.to_owned(), mood);
        });
    }

    /// How many calls of a method have begun.
    pub fn calls(&self, method: &str) -> usize {
        self.counts(method).begun
    }

    /// How many calls of a method have had their answer.
    pub fn answered(&self, method: &str) -> usize {
        self.counts(method).over
    }

    fn counts(&self, method: &str) -> Counts {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(method).copied().unwrap_or_default()
    }

    fn count(&self, method: &'static str, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        change(counts.entry(method).or_default());
    }

    /// Runs a call of a method as the mood wants it.
    async fn run<T>(
        &self,
        method: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.count(method, |counts| counts.begun += 1);
        let mut moods = self.moods.subscribe();
        let result = loop {
            let mood = moods.borrow_and_update().of(method);
            match mood {
                Mood::Works => break work.await,
                Mood::Fails => break Err(StoreError::new(StoreErrorKind::Unavailable)),
                Mood::LosesItsAnswer | Mood::CantRead => {
                    let kind = match mood {
                        Mood::CantRead => StoreErrorKind::Corrupt,
                        _ => StoreErrorKind::Unavailable,
                    };
                    break work.await.and(Err(StoreError::new(kind)));
                }
                Mood::Slow(delay) => {
                    tokio::time::sleep(delay).await;
                    break work.await;
                }
                // The sender lives as long as this store.
                Mood::Hangs => {
                    let _ = moods.changed().await;
                }
            }
        };
        self.count(method, |counts| counts.over += 1);
        result
    }
}
