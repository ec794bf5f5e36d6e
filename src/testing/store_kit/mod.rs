#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a case fails by a panic")]

/// The cases of a group, in a list: each is a function over a fresh store.
macro_rules! cases {
    ($group:literal: $($case:ident,)+) => {
        &[$(Case {
            name: concat!($group, "::", stringify!($case)),
            run: |store| Box::pin($case(store)),
        }),+]
    };
}

mod at_once;
mod audit;
mod denials;
mod issuances;
mod issued_keys;
mod keys;
mod lifecycle;
mod paid_revocations;
mod payments;
mod purchase_revocations;
mod purchases;
mod registry;
mod replacements;
mod requests;
mod samples;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use tokio::task::JoinError;

use crate::{
    KeyStore,
    store::{AuditLog, DenialStore, IdempotencyStore, KeyRegistry, PaymentStore, PurchaseStore},
};

/// How long a case may take before it counts as one that never ends.
const LONGEST_CASE: Duration = Duration::from_secs(300);

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A case over a store that is known by a trait.
struct Case<T> {
    name: &'static str,
    run: fn(T) -> Running,
}

/// A store that issues what it keeps.
struct Both<K: ?Sized> {
    keys: Arc<K>,
    payments: Arc<dyn PaymentStore>,
}

/// A store that sells, and knows what it has sold.
struct Shop {
    keys: Arc<dyn KeyRegistry>,
    payments: Arc<dyn PaymentStore>,
    purchases: Arc<dyn PurchaseStore>,
    denials: Arc<dyn DenialStore>,
}

impl Shop {
    fn of<S>(store: Arc<S>) -> Self
    where
        S: PurchaseStore + PaymentStore + KeyRegistry + DenialStore,
    {
        Self {
            keys: store.clone(),
            payments: store.clone(),
            purchases: store.clone(),
            denials: store,
        }
    }
}

/// A store that tells what was done in it.
struct Audited {
    shop: Shop,
    log: Arc<dyn AuditLog>,
}

/// A case over the store that is under test.
struct Chosen<S> {
    name: &'static str,
    /// Whether it takes a store that tells listeners of changes.
    hears: bool,
    run: Box<dyn Fn(Arc<S>) -> Running + Send>,
}

/// The cases that every store of this crate passes, for a store of your own. The page `own_store` of
/// the guide has a complete small store.
///
/// ```
/// # #[tokio::main]
/// # async fn main() {
/// use std::sync::Arc;
/// use key0_auth::{MemoryStore, testing::StoreKit};
///
/// // In your tests: #[tokio::test(flavor = "multi_thread")]
/// StoreKit::new(async || Arc::new(MemoryStore::new())).keys().registry().run().await;
/// # }
/// ```
#[must_use = "no case has run before `run`"]
pub struct StoreKit<S, F> {
    make: F,
    hears: bool,
    cases: Vec<Chosen<S>>,
}

impl<S, F> fmt::Debug for StoreKit<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreKit").field("cases", &self.cases.len()).finish_non_exhaustive()
    }
}

impl<S, F> StoreKit<S, F>
where
    S: Send + Sync + 'static,
    F: AsyncFn() -> Arc<S>,
{
    /// A kit without cases yet. `make` is called before each case, and makes an empty store. No
    /// store is in use any more when the next one is made.
    pub fn new(make: F) -> Self {
        Self { make, hears: true, cases: Vec::new() }
    }

    /// Leaves out the cases in which listeners are told of changes: for a store that leaves
    /// [`KeyStore::subscribe`] as it is. Caches in front of it then hold for their time to live.
    pub fn without_change_notifications(mut self) -> Self {
        self.hears = false;
        self
    }

    /// Runs the cases that were asked for, one after the other, on a runtime of tokio. Those that
    /// race take one with several threads to mean something.
    ///
    /// # Panics
    ///
    /// Panics when a case failed, after all have run, and names each that did. Panics as well where
    /// no case was asked for.
    pub async fn run(self) {
        assert!(!self.cases.is_empty(), "no cases were asked for, as `keys()` does");
        let (mut ran, mut failed) = (0, Vec::new());
        for case in self.cases.iter().filter(|case| self.hears || !case.hears) {
            ran += 1;
            let mut running = tokio::spawn((case.run)((self.make)().await));
            let fault = match tokio::time::timeout(LONGEST_CASE, &mut running).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => reason(error),
                Err(_) => {
                    running.abort();
                    format!("not over after {LONGEST_CASE:?}")
                }
            };
            failed.push(format!("{}: {fault}", case.name));
        }
        let count = failed.len();
        assert!(count == 0, "{count} of {ran} cases failed:\n{}", failed.join("\n"));
    }

    fn add<T: 'static>(mut self, hears: bool, cases: &[Case<T>], of: fn(Arc<S>) -> T) -> Self {
        self.cases.extend(cases.iter().map(|&Case { name, run }| Chosen {
            name,
            hears,
            run: Box::new(move |store| run(of(store))),
        }));
        self
    }
}

impl<S, F> StoreKit<S, F>
where
    S: KeyStore,
    F: AsyncFn() -> Arc<S>,
{
    /// Asks for the cases of [`KeyStore`].
    pub fn keys(self) -> Self {
        self.add(false, keys::CASES, |store| store).add(true, keys::NOTIFICATIONS, |store| store)
    }
}

impl<S, F> StoreKit<S, F>
where
    S: KeyRegistry,
    F: AsyncFn() -> Arc<S>,
{
    /// Asks for the cases of [`KeyRegistry`], beyond those of [`keys`](Self::keys).
    pub fn registry(self) -> Self {
        self.add(false, registry::CASES, |store| store)
            .add(true, registry::NOTIFICATIONS, |store| store)
            .add(false, lifecycle::CASES, |store| store)
            .add(true, lifecycle::NOTIFICATIONS, |store| store)
    }
}

impl<S, F> StoreKit<S, F>
where
    S: PaymentStore + KeyStore,
    F: AsyncFn() -> Arc<S>,
{
    /// Asks for the cases of [`PaymentStore`]. It keeps the keys that it issues, so that it is a
    /// [`KeyStore`] as well.
    pub fn payments(self) -> Self {
        let both =
            |store: Arc<S>| Both { keys: store.clone() as Arc<dyn KeyStore>, payments: store };
        self.add(false, payments::CASES, |store| store)
            .add(false, issuances::CASES, both)
            .add(false, at_once::CASES, both)
            .add(false, replacements::CASES, both)
            .add(true, replacements::NOTIFICATIONS, both)
    }
}

impl<S, F> StoreKit<S, F>
where
    S: PaymentStore + KeyRegistry,
    F: AsyncFn() -> Arc<S>,
{
    /// Asks for the cases of a store that is both a [`PaymentStore`] and a [`KeyRegistry`]: what
    /// the registry tells of keys that were issued for a payment.
    pub fn issued_keys(self) -> Self {
        self.add(false, issued_keys::CASES, |store| Both { keys: store.clone(), payments: store })
    }
}

impl<S, F> StoreKit<S, F>
where
    S: PurchaseStore + PaymentStore + KeyRegistry + DenialStore,
    F: AsyncFn() -> Arc<S>,
{
    /// Asks for the cases of [`PurchaseStore`]. It joins what payments, keys and
    /// denials are kept as.
    pub fn purchases(self) -> Self {
        self.add(false, purchases::CASES, Shop::of)
            .add(false, purchase_revocations::CASES, Shop::of)
            .add(false, paid_revocations::CASES, Shop::of)
            .add(true, purchase_revocations::NOTIFICATIONS, Shop::of)
    }
}

impl<S, F> StoreKit<S, F>
where
    S: AuditLog + PurchaseStore + PaymentStore + KeyRegistry + DenialStore,
    F: AsyncFn() -> Arc<S>,
{
    /// Asks for the cases of [`AuditLog`]. It tells what is done to keys and purchases.
    pub fn audit(self) -> Self {
        let audited = |store: Arc<S>| Audited { shop: Shop::of(store.clone()), log: store };
        self.add(false, audit::CASES, audited)
    }
}

impl<S, F> StoreKit<S, F>
where
    S: DenialStore,
    F: AsyncFn() -> Arc<S>,
{
    /// Asks for the cases of [`DenialStore`].
    pub fn denials(self) -> Self {
        self.add(false, denials::CASES, |store| store)
            .add(true, denials::NOTIFICATIONS, |store| store)
    }
}

impl<S, F> StoreKit<S, F>
where
    S: IdempotencyStore,
    F: AsyncFn() -> Arc<S>,
{
    /// Asks for the cases of [`IdempotencyStore`].
    pub fn requests(self) -> Self {
        self.add(false, requests::CASES, |store| store)
    }
}

/// What a case said when it failed.
fn reason(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was ended".to_owned() };
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or("it failed", |text| text).to_owned(),
    }
}
