//! No request that starts after a revocation was answered succeeds with the old secret.
//!
//! Without the fence of the cache (an `Epoch::advance` that does nothing) all of these fail.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use key0_auth::{Validator, api::Operator};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};

use crate::keys_api::{MASTER, Office};

const ROUNDS: usize = 100;
const MANY_ROUNDS: usize = 1_000;
const TASKS: usize = 8;
/// How many requests each task begins after the key has died.
const AFTERWARDS: usize = 3;

/// Whether a request that begins now begins after the key has died; how many did.
#[derive(Default)]
struct Death {
    answered: AtomicBool,
    validated: AtomicUsize,
}

async fn in_process(office: Office, rounds: usize) {
    let mut validated = 0;
    for round in 0..rounds {
        let (id, key) = office.reader().await;
        let death = Arc::new(Death::default());
        let mut users = JoinSet::new();
        for _ in 0..TASKS {
            users.spawn(use_until_dead(office.validator.clone(), key.clone(), death.clone()));
        }
        for _ in 0..round % 16 {
            tokio::task::yield_now().await;
        }
        if round % 2 == 0 {
            office.api.revoke(&Operator::host(), &id, None).await.unwrap();
        } else {
            office.api.rotate(&Operator::host(), &id, b"").await.unwrap();
        }
        death.answered.store(true, SeqCst);
        while let Some(user) = users.join_next().await {
            user.unwrap();
        }
        validated += death.validated.load(SeqCst);
    }
    assert_eq!(validated, rounds * TASKS * AFTERWARDS);
}

async fn use_until_dead(validator: Validator, key: String, death: Arc<Death>) {
    let mut afterwards = 0;
    while afterwards < AFTERWARDS {
        let dead = death.answered.load(SeqCst);
        let validated = validator.validate([], [key.as_bytes()]).await;
        assert!(!dead || validated.is_err(), "a dead key was let in");
        if dead {
            death.validated.fetch_add(1, SeqCst);
            afterwards += 1;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_process_on_memory() {
    in_process(Office::on_memory(), ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_process_on_sqlite() {
    in_process(Office::on_sqlite(), ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "long: revocations"]
async fn long_revocations_in_process_and_over_http() {
    in_process(Office::on_memory(), MANY_ROUNDS).await;
    in_process(Office::on_sqlite(), MANY_ROUNDS).await;
    calls(MANY_ROUNDS).await;
}

/// A connection that is kept.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, address }
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        key: &str,
        body: &str,
    ) -> (StatusCode, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header("x-api-key", key)
            .header("content-type", "application/json")
            .body(Full::from(body.to_owned()))
            .unwrap();
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn over_http() {
    calls(ROUNDS).await;
}

async fn calls(rounds: usize) {
    let office = Office::on_sqlite();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn({
        let router = office.router.clone();
        async move { axum::serve(listener, router).await }
    });
    let mut operator = Client::connect(address).await;
    let mut clients = Vec::new();
    for _ in 0..TASKS {
        clients.push(Client::connect(address).await);
    }
    let mut validated = 0;
    for round in 0..rounds {
        let (status, made) = operator.send("POST", "/keys", MASTER, r#"{"role":"read"}"#).await;
        assert_eq!(status, 201);
        let made: Value = serde_json::from_slice(&made).unwrap();
        let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap().to_owned());
        let death = Arc::new(Death::default());
        let mut users = JoinSet::new();
        for client in clients.drain(..) {
            users.spawn(call_until_dead(client, key.clone(), death.clone()));
        }
        for _ in 0..round % 16 {
            tokio::task::yield_now().await;
        }
        let (status, body) = if round % 2 == 0 {
            operator.send("DELETE", &format!("/keys/{id}"), MASTER, "").await
        } else {
            operator.send("POST", &format!("/keys/{id}/rotate"), MASTER, "").await
        };
        assert!(matches!(status.as_u16(), 200 | 204), "{status} {body:?}");
        death.answered.store(true, SeqCst);
        while let Some(user) = users.join_next().await {
            clients.push(user.unwrap());
        }
        validated += death.validated.load(SeqCst);
    }
    assert_eq!(validated, rounds * TASKS * AFTERWARDS);
    server.abort();
}

async fn call_until_dead(mut client: Client, key: String, death: Arc<Death>) -> Client {
    let mut afterwards = 0;
    while afterwards < AFTERWARDS {
        let dead = death.answered.load(SeqCst);
        let (status, _) = client.send("GET", "/v1/dpp", &key, "").await;
        if dead {
            assert_eq!(status, 401, "a dead key was let in");
            death.validated.fetch_add(1, SeqCst);
            afterwards += 1;
        } else {
            assert!(matches!(status.as_u16(), 200 | 401), "{status}");
        }
    }
    client
}
