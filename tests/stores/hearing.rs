//! Each engine that others write to says truthfully up to when it has told of all changes.
#![cfg(all(feature = "testing", unix, any(feature = "postgres", feature = "sqlite")))]

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use key0_auth::{
    Cached, KeyStore,
    apikey::KeyRecord,
    domain::Actor,
    store::spi::{Change, ChangeListener},
    testing::FakeClock,
};

use crate::samples::{at, payment_key};

/// What a store has told, in order.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<Event>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Begins,
    Ends,
    Changed(Change),
}

impl ChangeListener for Told {
    fn changed(&self, change: Change) {
        self.0.lock().unwrap().push(Event::Changed(change));
    }

    fn catching_up(&self) {
        self.0.lock().unwrap().push(Event::Begins);
    }

    fn caught_up(&self) {
        self.0.lock().unwrap().push(Event::Ends);
    }
}

impl Told {
    fn on(store: &dyn KeyStore) -> Arc<Self> {
        let told = Arc::new(Self::default());
        let listener: Weak<Self> = Arc::downgrade(&told);
        store.subscribe(listener);
        told
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Waits for the end of a look that begins after so many events, and says where it stands.
    async fn a_look(&self, after: usize) -> usize {
        let mut at = None;
        until("a whole look", || {
            let events = self.0.lock().unwrap();
            let find = |wanted, from: usize| {
                events[from..].iter().position(|event| *event == wanted).map(|at| from + at)
            };
            at = find(Event::Begins, after).and_then(|begin| find(Event::Ends, begin));
            at.is_some()
        })
        .await;
        at.unwrap()
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what} does not come about");
}

/// Of two stores on one database, one writes and the other listens.
async fn proves_itself(writes: &dyn KeyStore, listens: Arc<dyn KeyStore>) {
    let told = Told::on(&*listens);
    let insert = async || {
        let key = payment_key();
        writes.insert(&key, &Actor::host()).await.unwrap();
        told.a_look(told.len()).await;
        key
    };
    let revoke = async |key: &KeyRecord| {
        writes.revoke(&key.id, &Actor::host(), at(1)).await.unwrap().unwrap();
    };
    // By the end of a look that began after it, a change was told, whatever else has told of it.
    for _ in 0..20 {
        let key = insert().await;
        let before = told.len();
        revoke(&key).await;
        let end = told.a_look(told.len()).await;
        let heard = told.0.lock().unwrap()[before..end].to_vec();
        let of_it = [Change::All, Change::Key(key.digest)].map(Event::Changed);
        assert!(heard.iter().any(|event| of_it.contains(event)), "{heard:?}");
    }

    // A cache by a clock that stands still until it is moved, each time by less than the time to live.
    assert!(listens.proves_changes());
    let clock = FakeClock::new();
    let cached = Cached::new(listens.clone(), clock.clone());
    let key = insert().await;
    let first = cached.find_shared(&key.digest).await.unwrap().unwrap();
    for _ in 0..14 {
        clock.advance(Duration::from_secs(4));
        // The cache is told after this listener, so the first of two looks is over for it.
        told.a_look(told.len()).await;
        told.a_look(told.len()).await;
        let same = |found: Arc<KeyRecord>| Arc::ptr_eq(&found, &first);
        assert!(cached.recall(&key.digest).flatten().is_some_and(same), "56 seconds, one reading");
    }
    revoke(&key).await;
    told.a_look(told.len()).await;
    told.a_look(told.len()).await;
    assert!(cached.recall(&key.digest).is_none());
    assert!(cached.find(&key.digest).await.unwrap().unwrap().revoked_at.is_some());
}

const POLL: Duration = Duration::from_millis(20);

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_proves_up_to_when_it_has_told_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let open = || key0_auth::store::SqliteOptions::new().poll_interval(POLL).open(&path).unwrap();
    proves_itself(&open(), Arc::new(open())).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn postgres_proves_up_to_when_it_has_told_of_all() {
    use crate::{postgres_server::Schema, servers::PATIENCE};
    let Some(schema) = Schema::fresh() else { return };
    let options = key0_auth::store::PostgresOptions::new().schema(&schema.name).poll_interval(POLL);
    let options = options.max_connections(3).open_timeout(PATIENCE);
    let options = options.read_timeout(PATIENCE).write_timeout(PATIENCE);
    let writes = options.clone().open(&schema.url).await.unwrap();
    let listens = options.open(&schema.url).await.unwrap();
    proves_itself(&writes, Arc::new(listens)).await;
}
