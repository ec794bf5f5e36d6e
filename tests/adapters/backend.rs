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
    apikey::{Grant, KeyDigest, KeyRecord},
    auth::{Problem, ProblemBody},
    backend::{Backend, Secrets},
    domain::{Actor, Clock, KeyId, SystemClock},
    store::{Payment, Store, StoreOpenError, open},
    testing::{FakeClock, FaultyStore, Mood, assert_guarded, assert_sold},
};
use serde_json::{Value, json};
use tower::ServiceExt;

const TOKENS: &str = "an-access-token-secret-of-the-tests";
const INTERNAL: &str = "an-internal-secret-of-the-tests-32-";
const MASTER: &str = "a-master-key-of-the-tests-32-bytes-";
const GATEWAY: &str = "a-secret-of-key0-s-gateway-32-bytes-";

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
            ("KEY0_JWKS_URL", "http://id.example.com"),
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

/// Those of the gateway and of identity providers, too.
#[test]
fn faults_of_other_callers_are_told_by_name() {
    let gateway = ("GATEWAY_SECRET", GATEWAY);
    assert_faults(&[gateway], &["GATEWAY_ROUTES is required"]);
    assert_faults(&[("GATEWAY_ROUTES", "a=GET /a")], &["GATEWAY_SECRET is required"]);
    assert_faults(&[("GATEWAY_PREVIOUS_SECRETS", GATEWAY)], &["GATEWAY_SECRET is required"]);
    let routes = [
        ("photo", "has no id"),
        ("a=GET /keys/{id}", "is never sold per call"),
        ("a=GET /a, a=GET /b", "stands twice"),
        ("a=GET", "is not a method and a path"),
    ];
    for (routes, told) in routes {
        assert_faults(&[gateway, ("GATEWAY_ROUTES", routes)], &[told]);
    }
    let routes = ("GATEWAY_ROUTES", "photo=GET /photos/{id}");
    for same in [TOKENS, INTERNAL, MASTER] {
        assert_faults(&[("GATEWAY_SECRET", same), routes], &["hold the same secret"]);
    }
    let headers = ("GATEWAY_PAYMENT_HEADERS", "yes");
    assert_faults(&[gateway, routes, headers], &["GATEWAY_PAYMENT_HEADERS is not valid"]);
    assert_faults(&[("FOREIGN_API_KEYS", "perhaps")], &["FOREIGN_API_KEYS is not valid"]);
    assert_faults(&[("ISSUE_TOKEN_AUTH", "body")], &["ISSUE_TOKEN_AUTH is not valid"]);
    // What restricts is never ignored.
    for file in ["INTERNAL_OAUTH_SCOPE_FILE", "KEY0_ACCESS_TOKEN_ISSUER_FILE"] {
        assert_faults(&[(file, "/run/secrets/x")], &["only secrets come from files"]);
    }
    #[cfg(feature = "jwks")]
    {
        let oauth = ("INTERNAL_AUTH_STRATEGY", "shared-secret,oauth");
        assert_faults(&[oauth], &["INTERNAL_OAUTH_ISSUER is required"]);
        let issuer = ("INTERNAL_OAUTH_ISSUER", "https://id.example.com/");
        assert_faults(&[oauth, issuer], &["INTERNAL_OAUTH_AUDIENCE is required"]);
        let keys = ("INTERNAL_OAUTH_JWKS_URL", "file:///keys");
        let clients = ("INTERNAL_OAUTH_CLIENT_IDS", "key0");
        let told = ["INTERNAL_OAUTH_JWKS_URL is not valid"];
        assert_faults(&[oauth, issuer, clients, keys], &told);
        let none = [("INTERNAL_OAUTH_CLIENT_IDS", " , "), ("INTERNAL_OAUTH_AUDIENCE", "here")];
        assert_faults(&[oauth, issuer, none[0], none[1]], &["it is given and holds none"]);
    }
    #[cfg(not(feature = "jwks"))]
    assert_faults(&[("INTERNAL_OAUTH_SCOPE", "a")], &["it needs the feature jwks"]);
}

/// What the sample backend reads of the gateway, of another service's keys and of a provider's.
#[actix_web::test]
async fn the_gateway_and_foreign_keys_reach_the_backend() {
    const FOREIGN: &str = "sk_live_a_key_of_another_service";
    let secrets = Secrets::read(|name| match name {
        "GATEWAY_SECRET" => Some(GATEWAY.to_owned()),
        "GATEWAY_ROUTES" => Some("photo=GET /photos/{id}".to_owned()),
        "FOREIGN_API_KEYS" => Some("true".to_owned()),
        _ => variables(name),
    });
    let backend = Backend::builder(Arc::new(MemoryStore::new()), secrets.unwrap());
    let backend = backend.build().unwrap();
    let digest = KeyDigest::of(FOREIGN);
    let grant = Grant::Payment {
        resource_id: "photo-1".parse().unwrap(),
        plan_id: "basic".parse().unwrap(),
        permissions: None,
    };
    let record = KeyRecord::of_digest(KeyId::generate(), digest, grant, SystemClock.now());
    backend.store().insert(&record, &Actor::host()).await.unwrap();
    let proxied: &[(&str, &str)] = &[("x-key0-internal-token", GATEWAY)];
    let foreign = format!("Bearer {FOREIGN}");
    let foreign: &[(&str, &str)] = &[("authorization", &foreign)];
    for (path, headers, status) in [
        ("/photos/photo-1", proxied, 200),
        ("/keys", proxied, 403),
        ("/photos/photo-1", foreign, 200),
        ("/photos/photo-2", foreign, 403),
    ] {
        assert_eq!(by_axum(&backend, ("GET", path, headers, None)).await.0, status, "{path}");
        assert_eq!(by_actix(&backend, ("GET", path, headers, None)).await.0, status, "{path}");
    }
}

/// The keys of a provider are fetched before the first request needs them.
#[cfg(feature = "jwks")]
#[tokio::test]
async fn the_keys_of_providers_are_fetched_from_the_start() {
    use std::collections::BTreeSet;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let secrets = Secrets::read(|name| match name {
        "KEY0_ACCESS_TOKEN_SECRET" => None,
        "KEY0_JWKS_URL" => Some(format!("{url}/tokens")),
        "INTERNAL_AUTH_STRATEGY" => Some("oauth,shared-secret".to_owned()),
        "INTERNAL_OAUTH_ISSUER" => Some(url.clone()),
        "INTERNAL_OAUTH_JWKS_URL" => Some(format!("{url}/oauth")),
        "INTERNAL_OAUTH_CLIENT_IDS" => Some("key0\nanother".to_owned()),
        "INTERNAL_OAUTH_SCOPE" => Some("issue".to_owned()),
        _ => variables(name),
    });
    let backend = Backend::builder(Arc::new(MemoryStore::new()), secrets.unwrap());
    let _backend = backend.build().unwrap();
    let asked = async {
        let mut paths = BTreeSet::new();
        while paths.len() < 2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 2_048];
            let length = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            paths.insert(head.split(' ').nth(1).unwrap().to_owned());
            let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
        paths
    };
    let patience = std::time::Duration::from_secs(60);
    let asked = tokio::time::timeout(patience, asked).await.expect("both are fetched");
    assert_eq!(Vec::from_iter(asked), ["/oauth", "/tokens"]);
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
