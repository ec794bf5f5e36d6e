//! A server with several workers: what is built once is shared by all.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::ThreadId,
};

use actix_web::{App, HttpServer};
use async_trait::async_trait;
use key0_auth::{
    ApiKeys, Identity, KeyStore, Validator,
    actix::{AuthMiddleware, Routes},
    apikey::{KeyDigest, KeyRecord},
    domain::{Actor, KeyId, Timestamp},
    error::StoreError,
};

use crate::actix::{key_store::TestStore, payment_key};
use crate::{http1, pool};

/// Counts how often it is looked into.
#[derive(Debug)]
struct Counting {
    store: TestStore,
    finds: AtomicUsize,
}

#[async_trait]
impl KeyStore for Counting {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        self.finds.fetch_add(1, Ordering::SeqCst);
        self.store.find(digest).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.store.get(id).await
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        self.store.insert(record, by).await
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        self.store.revoke(id, by, at).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }
}

#[tokio::test]
async fn all_workers_share_one_cache() {
    let store = Arc::new(Counting { store: TestStore::new(), finds: AtomicUsize::new(0) });
    let key = payment_key(&store.store, "basic");
    let validator = Validator::builder().api_keys(ApiKeys::new(store.clone())).build().unwrap();
    let auth = AuthMiddleware::new(validator.clone());
    let workers: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = workers.clone();
    let server = HttpServer::new(move || {
        let (auth, seen) = (auth.clone(), seen.clone());
        let note = move |_: Identity| {
            let worker: ThreadId = std::thread::current().id();
            seen.lock().unwrap().insert(format!("{worker:?}"));
            async { "photo" }
        };
        let routes = Routes::new().get("/", note).each(|route| route.wrap(auth.clone()));
        App::new().configure(routes.with_problem_fallbacks(validator.responder()))
    })
    .workers(3)
    .disable_signals()
    .bind("127.0.0.1:0")
    .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    for _ in 0..9 {
        let request = http::Request::get("/").header("x-api-key", key.expose());
        let answer = http1::send(address, request.body(bytes::Bytes::new()).unwrap()).await;
        assert_eq!(answer.status(), 200);
    }
    handle.stop(true).await;
    assert!(workers.lock().unwrap().len() > 1, "one worker did it all");
    assert_eq!(store.finds.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn no_request_of_a_kept_connection_is_lost() {
    let store = Arc::new(TestStore::new());
    let key = payment_key(&store, "basic");
    let validator = crate::actix::validator(&store);
    let server = HttpServer::new(move || {
        let auth = AuthMiddleware::new(validator.clone());
        let gold = auth.clone().policy(key0_auth::Policy::plan("gold"));
        let gold = Routes::new().post("/gold", async || "").each(|route| route.wrap(gold.clone()));
        let basic = Routes::new().get("/basic", async || "").each(|route| route.wrap(auth.clone()));
        App::new().configure(gold.merge(basic).with_problem_fallbacks(validator.responder()))
    })
    .workers(1)
    .disable_signals()
    .bind("127.0.0.1:0")
    .unwrap();
    let mut pool = pool::Pool::new(server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    let good = format!("x-api-key: {}\r\n", key.expose());
    for (line, headers, status) in [
        ("POST /gold", "", 401),
        ("POST /gold", &*good, 403),
        ("POST /nowhere", "", 404),
        ("PUT /gold", "", 405),
        ("GET /basic", "", 401),
        ("GET /basic", &good, 200),
    ] {
        for length in [200, 20_000, 100_000, 1_000_000] {
            for number in 0..5 {
                let head = format!("{line} HTTP/1.1\r\n{headers}");
                let answer = pool.send(&head, &vec![b'x'; length]).await;
                let case = format!("{line} {length} {number}");
                let told = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
                assert_eq!(told, status, "{case}");
            }
        }
    }
    handle.stop(false).await;
}
