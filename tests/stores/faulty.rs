//! Stores that fail, hang and dawdle. That they hand every call on is shown by the store kit.

use std::{sync::Arc, time::Duration};

use key0_auth::{
    KeyStore, MemoryStore,
    apikey::{Grant, KeyFormat, KeyRecord},
    domain::{Actor, KeyId, Role},
    error::StoreErrorKind,
    store::{IdempotencyStore, KeyRegistry, PaymentStore},
    testing::{FakeClock, FaultyStore, Mood},
};
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

fn record() -> KeyRecord {
    let key = KeyFormat::default().generate().unwrap();
    let grant = Grant::Integrator { role: Role::Read, permissions: None };
    KeyRecord::new(KeyId::generate(), &key, grant, FakeClock::START)
}

#[tokio::test]
async fn a_failure_comes_before_the_work_or_after_it() {
    let store = FaultyStore::new(MemoryStore::new());
    let record = record();
    store.set(Mood::Fails);
    let failed = store.insert(&record, &Actor::host()).await.unwrap_err();
    assert_eq!(failed.kind(), StoreErrorKind::Unavailable);
    assert_eq!(store.inner().get(&record.id).await.unwrap(), None, "nothing happened");

    store.set(Mood::LosesItsAnswer);
    let failed = store.insert(&record, &Actor::host()).await.unwrap_err();
    assert_eq!(failed.kind(), StoreErrorKind::Unavailable);
    assert!(store.inner().get(&record.id).await.unwrap().is_some(), "all of it happened");
    // What the store itself says of its failure stays.
    let failed = store.insert(&record, &Actor::host()).await.unwrap_err();
    assert_eq!(failed.kind(), StoreErrorKind::Conflict);
    assert_eq!((store.calls("insert"), store.answered("insert")), (3, 3));
    assert_eq!(store.calls("get"), 0);
}

/// One method of each trait stands for all: they all go the same way.
#[tokio::test]
async fn every_trait_can_fail() {
    let store = FaultyStore::new(MemoryStore::new());
    let now = FakeClock::START;
    store.set(Mood::Fails);
    assert!(store.ping().await.is_err());
    assert!(store.purge_keys(now, 1).await.is_err());
    assert!(store.forget_nonces(now, 1).await.is_err());
    assert!(store.purge_requests(now, 1).await.is_err());
    store.set(Mood::Works);
    assert!(store.ping().await.is_ok());
    assert!(store.purge_keys(now, 1).await.is_ok());
    assert!(store.forget_nonces(now, 1).await.is_ok());
    assert!(store.purge_requests(now, 1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_method_can_have_a_mood_of_its_own() {
    let known: Arc<dyn KeyStore> = Arc::new(MemoryStore::new());
    let store = FaultyStore::over(known);
    let id = KeyId::generate();
    store.set_for("get", Mood::Fails);
    assert!(store.get(&id).await.is_err());
    assert!(store.ping().await.is_ok());
    store.set(Mood::Slow(SECOND));
    let began = Instant::now();
    assert!(store.get(&id).await.is_ok(), "the mood of all is the mood of each again");
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_hangs_goes_on_in_the_next_mood() {
    let store = FaultyStore::new(MemoryStore::new());
    store.set(Mood::Hangs);
    assert!(timeout(1_000 * SECOND, store.ping()).await.is_err(), "it hangs for ever");
    for (mood, comes_out) in [(Mood::Works, true), (Mood::Fails, false)] {
        store.set(Mood::Hangs);
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.ping().await }
        });
        tokio::time::sleep(SECOND).await;
        // Another's mood does not wake it for good.
        store.set_for("get", Mood::Works);
        tokio::time::sleep(SECOND).await;
        assert!(!waiting.is_finished());
        store.set(mood);
        assert_eq!(waiting.await.unwrap().is_ok(), comes_out);
    }
    assert_eq!((store.calls("ping"), store.answered("ping")), (3, 2));
}
