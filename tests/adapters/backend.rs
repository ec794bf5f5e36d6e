//! The paved road: one builder for everything, on both frameworks.
#![cfg(all(feature = "axum", feature = "actix", feature = "backend", feature = "testing"))]

use std::sync::{Arc, Mutex};

use actix_web::{
    App,
    body::to_bytes,
    test::{TestRequest, call_service, init_service},
};
use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes as read},
    routing::get,
};
use http::Request;
use key0_auth::{
    MemoryStore,
    actix::Routes,
    api::{
        Decision, HandlerError, HookError, IssuanceHook, IssuanceRequest, PaymentHandler, Terms,
    },
    auth::{Problem, ProblemBody},
    backend::{Backend, Secrets},
    domain::{Clock, KeyId},
    store::{Payment, Store, StoreOpenError, open},
    testing::{FakeClock, FaultyStore, Mood, assert_guarded, assert_sold},
};
use serde_json::{Value, json};
use tower::ServiceExt;

const TOKENS: &str = "an-access-token-secret-of-the-tests";
const INTERNAL: &str = "an-internal-secret-of-the-tests-32-";
const MASTER: &str = "a-master-key-of-the-tests-32-bytes-";

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "KEY0_ACCESS_TOKEN_SECRET" => TOKENS,
        "INTERNAL_AUTH_SECRET" => INTERNAL,
        "MASTER_API_KEYS" => MASTER,
        _ => return None,
    };
    Some(value.to_owned())
}

/// The code of a problem in a form of the application's own.
#[derive(Debug)]
struct Code;

impl ProblemBody for Code {
    fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
        ("text/plain".into(), problem.code().into())
    }
}

/// Sells everything but `secret`, and knows what was paid.
#[derive(Debug, Clone, Default)]
struct Shop(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl PaymentHandler for Shop {
    async fn handle(&self, payment: &Payment) -> Result<(), HandlerError> {
        self.0.lock().unwrap().push(payment.challenge_id.to_string());
        Ok(())
    }
}

#[async_trait]
impl IssuanceHook for Shop {
    async fn decide(&self, request: &IssuanceRequest) -> Result<Decision, HookError> {
        Ok(match request.resource_id.as_str() {
            "secret" => Decision::Refuse,
            _ => Decision::Approve(Terms::default()),
        })
    }
}

/// A request: method, path, headers, body.
pub(crate) type Sent<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Option<Value>);

pub(crate) async fn by_axum(
    backend: &Backend,
    (method, path, headers, body): Sent<'_>,
) -> (u16, String) {
    let photos = Router::new()
        .route("/photos/{id}", get(async || "a photo"))
        .route_layer(backend.layer().sold("id"));
    let router: Router = backend.router(photos);
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
    let response = router.oneshot(request.body(body).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = read(response.into_body(), 100_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub(crate) async fn by_actix(
    backend: &Backend,
    (method, path, headers, body): Sent<'_>,
) -> (u16, String) {
    let sold = backend.middleware().sold("id");
    let photos = Routes::new().get("/photos/{id}", async || "a photo");
    let photos = photos.each(|route| route.wrap(sold.clone()));
    let app = init_service(App::new().configure(backend.configure(photos))).await;
    let mut request = TestRequest::with_uri(path).method(method.parse().unwrap());
    for (name, value) in headers {
        request = request.insert_header((*name, *value));
    }
    if let Some(body) = body {
        request = request.set_json(body);
    }
    let response = call_service(&app, request.to_request()).await;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body()).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn order(challenge: &str, resource: &str) -> Option<Value> {
    let tx_hash = format!("0x{challenge}");
    Some(json!({
        "requestId": challenge, "challengeId": challenge, "resourceId": resource,
        "planId": "basic", "txHash": tx_hash,
    }))
}

#[actix_web::test]
async fn one_builder_makes_the_whole_backend() {
    for axum in [true, false] {
        let shop = Shop::default();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let secrets = Secrets::read(variables).unwrap();
        let backend = Backend::builder(store.clone(), secrets)
            .on_payment(shop.clone())
            .approve(shop.clone())
            .problem_body(Code)
            .build()
            .unwrap();
        let send = async |sent: Sent<'_>| match axum {
            true => by_axum(&backend, sent).await,
            false => by_actix(&backend, sent).await,
        };
        let internal: &[(&str, &str)] = &[("x-internal-auth", INTERNAL)];
        let master: &[(&str, &str)] = &[("x-api-key", MASTER)];
        let issue = "/internal/issue-token";
        // One form for all refusals.
        for (sent, status, code) in [
            (("GET", "/nowhere", internal, None), 404, "not_found"),
            (("PUT", "/photos/photo-1", internal, None), 405, "method_not_allowed"),
            (("GET", "/photos/photo-1", internal, None), 401, "missing_credential"),
            (("POST", issue, &[][..], order("c", "photo-1")), 401, "invalid_internal_auth"),
            (("POST", issue, internal, order("c", "secret")), 422, "not_for_sale"),
            (("GET", "/keys", &[][..], None), 401, "missing_credential"),
        ] {
            assert_eq!(send(sent.clone()).await, (status, code.to_owned()), "{sent:?}");
        }
        let (status, issued) = send(("POST", issue, internal, order("c1", "photo-1"))).await;
        assert_eq!(status, 200, "{issued}");
        let issued: Value = serde_json::from_str(&issued).unwrap();
        let bearer = format!("Bearer {}", issued["token"].as_str().unwrap());
        let bearer: &[(&str, &str)] = &[("authorization", &bearer)];
        let opened = send(("GET", "/photos/photo-1", bearer, None)).await;
        assert_eq!(opened, (200, "a photo".to_owned()));
        assert_eq!(send(("GET", "/photos/photo-2", bearer, None)).await.0, 403);
        let paid = send(("POST", "/internal/payment-received", internal, order("c1", "photo-1")));
        assert_eq!(paid.await.0, 200);
        let handled = async {
            while shop.0.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        let patience = std::time::Duration::from_secs(30);
        tokio::time::timeout(patience, handled).await.expect("the payment is dealt with");
        let (status, made) = send(("POST", "/keys", master, Some(json!({"role": "read"})))).await;
        assert_eq!(status, 201, "{made}");
        let made: Value = serde_json::from_str(&made).unwrap();
        let id = KeyId::new(made["id"].as_str().unwrap()).unwrap();
        let key: &[(&str, &str)] = &[("x-api-key", made["key"].as_str().unwrap())];
        assert_eq!(send(("GET", "/photos/photo-1", key, None)).await.0, 403);
        backend.ready().await.unwrap();
        // What is kept in memory until then is written at the end.
        assert_eq!(store.get(&id).await.unwrap().unwrap().last_used_at, None);
        backend.close().await;
        assert!(store.get(&id).await.unwrap().unwrap().last_used_at.is_some());
    }
}

/// The cache, too, lives by the clock that is handed in, and an outage is no readiness.
#[tokio::test]
async fn the_clock_reaches_the_cache() {
    let (clock, store) = (FakeClock::new(), FaultyStore::new(MemoryStore::new()));
    let secrets = Secrets::read(variables).unwrap();
    let backend = Backend::builder(store.clone(), secrets).clock(clock.clone()).build().unwrap();
    let unknown = key0_auth::apikey::KeyFormat::default().generate().unwrap();
    let ask = async || {
        let header = unknown.expose().as_bytes();
        backend.validator().validate([], [header]).await.unwrap_err();
        store.calls("find")
    };
    assert_eq!((ask().await, ask().await), (1, 1));
    clock.advance(std::time::Duration::from_secs(6));
    assert_eq!(ask().await, 2, "remembered for five seconds of this clock");
    assert!(clock.now() > key0_auth::domain::Timestamp::from_seconds(0));
    store.set(Mood::Fails);
    let kind = backend.ready().await.unwrap_err().kind();
    assert_eq!(kind, key0_auth::RejectionKind::StoreUnavailable);
}

#[tokio::test]
async fn its_routes_are_guarded_and_sold() {
    let backend = Backend::builder(Arc::new(MemoryStore::new()), Secrets::read(variables).unwrap());
    let backend = backend.build().unwrap();
    let photos = Router::new()
        .route("/photos/{id}", get(async || "a photo"))
        .route_layer(backend.layer().sold("id"));
    let router: Router = backend.router(photos);
    let sold: &[(&str, &str)] = &[("GET", "/photos/{id}")];
    let closed = [
        ("POST", "/internal/issue-token"),
        ("POST", "/internal/payment-received"),
        ("GET", "/keys"),
        ("DELETE", "/keys/{id}"),
    ];
    assert_guarded(router.clone(), &[sold, &closed].concat(), &[]).await;
    let secret = key0_auth::domain::Secret::new("tokens", TOKENS).unwrap();
    let signer = key0_auth::testing::TokenSigner::with(secret);
    assert_sold(router, |resource| signer.token().resource(resource).sign(), sold).await;
}

#[track_caller]
fn assert_faults(change: &[(&str, &str)], told: &[&str]) {
    let read = Secrets::read(|name| match change.iter().find(|(known, _)| *known == name) {
        Some((_, "")) => None,
        Some((_, value)) => Some((*value).to_owned()),
        None => variables(name),
    });
    let error = read.expect_err("a fault");
    assert_eq!(error.faults().len(), told.len(), "{error}");
    for part in told {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

/// Every fault is told at once, by the name of its variable.
#[test]
fn faults_of_the_secrets_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let whole = file("secret", &format!("{TOKENS}\n"));
    let empty = file("empty", "\n");
    let read = Secrets::read(|name| match name {
        "KEY0_ACCESS_TOKEN_SECRET" => None,
        "KEY0_ACCESS_TOKEN_SECRET_FILE" => Some(whole.clone()),
        name => variables(name),
    });
    assert!(read.is_ok(), "{read:?}");
    assert_faults(
        &[("KEY0_ACCESS_TOKEN_SECRET", ""), ("INTERNAL_AUTH_SECRET", "")],
        &["KEY0_ACCESS_TOKEN_SECRET is required", "INTERNAL_AUTH_SECRET is required"],
    );
    assert_faults(
        &[
            ("KEY0_ACCESS_TOKEN_SECRET_FILE", &whole),
            ("INTERNAL_AUTH_SECRET", "short"),
            ("MASTER_API_KEYS", "also-short"),
            ("KEY0_JWKS_URL", "https://id.example.com"),
            ("INTERNAL_AUTH_MAX_LIFETIME_SECONDS", "0"),
            ("KEY0_URL", "nowhere"),
        ],
        &[
            "KEY0_ACCESS_TOKEN_SECRET_FILE is given as well",
            "INTERNAL_AUTH_SECRET is too short",
            "MASTER_API_KEYS (number 1) is too short",
            "KEY0_JWKS_URL is not valid",
            "INTERNAL_AUTH_MAX_LIFETIME_SECONDS is not valid",
            "KEY0_URL is not valid",
        ],
    );
    assert_faults(&[("MASTER_API_KEYS", TOKENS)], &["hold the same secret"]);
    assert_faults(&[("ISSUANCE_SECRET", TOKENS)], &["hold the same secret"]);
    // The name of a key is no part of it, and names one key of its role.
    let named = format!("ada={TOKENS}");
    assert_faults(&[("MASTER_API_KEYS", &named)], &["hold the same secret"]);
    assert_faults(&[("READ_API_KEYS", "ada=short")], &["READ_API_KEYS (number 1) is too short"]);
    let twice = "ada=one-key-of-ada-that-is-long-enough,ada=another-key-of-ada-that-is-long-enough";
    assert_faults(&[("READ_API_KEYS", twice)], &["another key has the same name"]);
    let ends = [("\"", "quote"), ("\u{feff}", "invisible"), ("\u{a0}", "white space")];
    for (end, told) in ends {
        let text = format!("{end}{TOKENS}");
        assert_faults(&[("KEY0_ACCESS_TOKEN_SECRET", &text)], &[told]);
        if told != "white space" {
            // That between the items of a list is nobody's.
            assert_faults(&[("INTERNAL_AUTH_PREVIOUS_SECRETS", &text)], &[told]);
        }
    }
    assert_faults(&[("INTERNAL_AUTH_STRATEGY", "none")], &["INTERNAL_AUTH_STRATEGY"]);
    assert_faults(
        &[("KEY0_ACCESS_TOKEN_SECRET", ""), ("KEY0_ACCESS_TOKEN_SECRET_FILE", &empty)],
        &["KEY0_ACCESS_TOKEN_SECRET_FILE is not valid: the file is empty"],
    );
    assert_faults(
        &[("INTERNAL_AUTH_STRATEGY", "signed-jwt"), ("INTERNAL_AUTH_SECRET", "")],
        &["ISSUANCE_SECRET is required"],
    );
}

#[test]
fn outside_of_a_runtime_nothing_is_built() {
    let builder = Backend::builder(Arc::new(MemoryStore::new()), Secrets::read(variables).unwrap());
    let error = builder.cache_life(std::time::Duration::MAX).build().unwrap_err();
    let faults = error.to_string();
    assert_eq!(error.faults().len(), 2, "{faults}");
    assert!(faults.contains("the tokio runtime") && faults.contains("time to live"), "{faults}");
}

#[tokio::test]
async fn a_store_is_opened_by_its_url() {
    open("memory://").await.unwrap().ping().await.unwrap();
    for url in [
        "",
        "memory",
        "memory://x",
        "mysql://localhost",
        "sqlite://",
        "sqlite://a?b=c",
        "sqlite:backend.db",
        "sqlite:///backend.db",
        "sqlite://my%20keys.db",
        "sqlite://:memory:",
    ] {
        let error = open(url).await.unwrap_err();
        assert!(matches!(error, StoreOpenError::Url(_)), "{url}: {error}");
        assert!(error.to_string().contains("DATABASE_URL"), "{url}: {error}");
    }
    #[cfg(feature = "sqlite")]
    {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backend.db");
        let store = open(&format!("sqlite://{}", file.display())).await.unwrap();
        store.ping().await.unwrap();
        store.close().await.unwrap();
        assert!(file.exists());
    }
}
