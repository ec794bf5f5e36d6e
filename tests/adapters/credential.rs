//! `/credential` on both frameworks, over sockets: what a holder is told, and how one ends it.
#![cfg(all(feature = "axum", feature = "actix", feature = "testing"))]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{App, HttpServer};
use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use key0_auth::{
    ApiKeys, KeyStore, MemoryStore, Validator,
    api::CredentialApi,
    apikey::{BootstrapKeys, Grant, KeyFormat, KeyRecord},
    auth::Seller,
    domain::{Actor, Clock, KeyId, PlanId, ResourceId, Role, Secret, SystemClock},
    store::{DenialStore, DeniedTokens, KeyRegistry, spi::KeyEdit},
    testing::{FaultyStore, Mood, TokenSigner},
};
use serde_json::{Value, json};

use crate::http1;

const MASTER: &str = "the-master-key-of-the-holders-tests";
const FORM: &str = "application/x-www-form-urlencoded";

/// Both frameworks on one store.
struct Shop {
    servers: [SocketAddr; 2],
    store: Arc<FaultyStore<MemoryStore>>,
    signer: TokenSigner,
}

impl Shop {
    async fn open() -> Self {
        let store = FaultyStore::new(MemoryStore::new());
        let signer = TokenSigner::new();
        let master = Secret::new("a test's secret", MASTER).unwrap();
        let keys = ApiKeys::new(store.clone());
        let keys = Arc::new(keys.bootstrap(BootstrapKeys::new().key(Role::Master, master)));
        let denied = DeniedTokens::new(store.clone());
        let validator = Validator::builder()
            .access_tokens(signer.access_tokens())
            .denied_tokens(denied.clone())
            .api_keys(keys.clone())
            .seller(Seller::at("https://shop.example.com").unwrap())
            .build()
            .unwrap();
        let api = CredentialApi::new(validator.clone(), store.clone(), denied);
        let servers = serve(&validator, api).await;
        Self { servers, store, signer }
    }

    async fn key(&self, grant: Grant) -> (KeyRecord, String) {
        let plain = KeyFormat::default().generate().unwrap();
        let mut record = KeyRecord::new(KeyId::generate(), &plain, grant, SystemClock.now());
        record.expires_at = Some(SystemClock.now().plus(Duration::from_secs(600)).to_millis());
        record.label = Some("Ada’s".to_owned());
        self.store.insert(&record, &Actor::host()).await.unwrap();
        (record, plain.expose().to_owned())
    }

    /// The same request to both; their answers are equal.
    async fn send(&self, request: http::request::Builder, body: String) -> Response<Bytes> {
        let request = request.body(Bytes::from(body)).unwrap();
        let [one, two] = self.servers;
        let first = http1::send(one, request.clone()).await;
        let second = http1::send(two, request).await;
        assert_eq!(first.status(), second.status());
        assert_eq!(json_of(&first), json_of(&second));
        for name in ["content-type", "cache-control", "www-authenticate"] {
            assert_eq!(first.headers().get(name), second.headers().get(name), "{name}");
        }
        first
    }

    async fn show(&self, credential: &str) -> Response<Bytes> {
        let request = Request::get("/credential");
        let bearer = format!("Bearer {credential}");
        self.send(request.header("authorization", bearer), String::new()).await
    }

    async fn end(&self, credential: &str) -> Response<Bytes> {
        let request = Request::post("/credential/revoke").header("content-type", FORM);
        self.send(request, format!("token={credential}&token_type_hint=x")).await
    }

    async fn code(&self, credential: &str) -> (u16, Value) {
        let answer = self.show(credential).await;
        (answer.status().as_u16(), json_of(&answer)["code"].clone())
    }
}

/// What a body says, without what the time changes between two answers.
fn json_of(answer: &Response<Bytes>) -> Value {
    let mut value: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.remove("expiresInSeconds");
    }
    value
}

fn payment() -> Grant {
    Grant::Payment {
        resource_id: ResourceId::new("photo-1").unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
        permissions: None,
    }
}

async fn serve(validator: &Validator, api: CredentialApi) -> [SocketAddr; 2] {
    let router: Router = key0_auth::axum::credential_routes(api.clone());
    let router = key0_auth::axum::with_problem_fallbacks(router, validator.responder());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let axum_at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let actix_at = listener.local_addr().unwrap();
    let responder = validator.responder().clone();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                let routes = key0_auth::actix::credential_routes(api.clone());
                App::new().configure(routes.with_problem_fallbacks(&responder))
            });
            server.workers(1).disable_signals().listen(listener).unwrap().run().await.unwrap();
        });
    });
    [axum_at, actix_at]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_is_told_what_it_holds() {
    let shop = Shop::open().await;
    let token = shop.signer.token().resource("photo-1").plan("basic").sign();
    let offer = json!([{"planId": "basic", "resourceId": "photo-1", "request": {
        "method": "POST", "url": "https://shop.example.com/x402/access",
        "body": {"planId": "basic", "resourceId": "photo-1"}}}]);
    let answer = shop.show(&token).await;
    let told = json_of(&answer);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!((&told["kind"], &told["renew"]), (&json!("access_token"), &offer));
    assert_eq!((&told["planId"], &told["tierId"]), (&json!("basic"), &json!("basic")));
    let left = &serde_json::from_slice::<Value>(answer.body()).unwrap()["expiresInSeconds"];
    assert!(left.as_u64().is_some_and(|left| left > 0), "{left}");

    let (record, key) = shop.key(payment()).await;
    assert_eq!(
        json_of(&shop.show(&key).await),
        json!({
            "kind": "payment_key", "resourceId": "photo-1", "planId": "basic", "tierId": "basic",
            "label": "Ada’s", "display": record.display, "issuedAt": record.created_at,
            "expiresAt": record.expires_at, "renew": offer,
        })
    );
    let (record, key) = shop.key(Grant::Integrator { role: Role::Read, permissions: None }).await;
    assert_eq!(
        json_of(&shop.show(&key).await),
        json!({
            "kind": "integrator_key", "role": "read", "label": "Ada’s", "display": record.display,
            "issuedAt": record.created_at, "expiresAt": record.expires_at,
        })
    );
    let told = json_of(&shop.show(MASTER).await);
    assert_eq!(told, json!({"kind": "bootstrap_key", "role": "master"}));
    assert_eq!(shop.code(&shop.signer.token().expired().sign()).await.1, "token_expired");
    let nothing = shop.send(Request::get("/credential"), String::new()).await;
    assert_eq!(json_of(&nothing)["code"], "missing_credential");
    let two =
        Request::get("/credential").header("x-api-key", key).header("authorization", "Bearer x");
    assert_eq!(shop.send(two, String::new()).await.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_knows_a_credential_may_end_it() {
    let shop = Shop::open().await;
    let token = shop.signer.token().challenge_id("c-1").sign();
    let other = shop.signer.token().challenge_id("c-2").sign();
    assert_eq!(shop.code(&token).await.0, 200);
    assert_eq!(shop.end(&token).await.status(), 200);
    assert_eq!(shop.code(&token).await, (401, json!("token_revoked")));
    assert_eq!(shop.code(&other).await.0, 200);
    // Only what was signed is denied.
    let stranger = shop.signer.token().challenge_id("c-2").signed_by_a_stranger().sign();
    assert_eq!(shop.end(&stranger).await.status(), 200);
    assert_eq!(shop.code(&other).await.0, 200);
    assert_eq!(shop.store.denials(None, 10).await.unwrap().len(), 1);

    let reader = Grant::Integrator { role: Role::Read, permissions: None };
    for grant in [payment(), reader.clone()] {
        let (record, key) = shop.key(grant).await;
        assert_eq!(shop.end(&key).await.status(), 200);
        assert_eq!(shop.code(&key).await, (401, json!("key_revoked")));
        let record = shop.store.get(&record.id).await.unwrap().unwrap();
        assert_eq!(record.revoked_reason.as_deref(), Some("ended by its holder"));
        assert_eq!(shop.end(&key).await.status(), 200);
    }
    let (record, key) = shop.key(reader).await;
    let suspend = KeyEdit { suspended: Some(true), ..KeyEdit::default() };
    shop.store.edit(&record.id, &suspend, &Actor::host(), SystemClock.now()).await.unwrap();
    assert_eq!(shop.end(&key).await.status(), 200);
    assert!(shop.store.get(&record.id).await.unwrap().unwrap().revoked_at.is_some());

    for unknown in ["x", "a.b.c", "ak_0123456789abcdef0123456789abcdef", "%20", MASTER] {
        assert_eq!(shop.end(unknown).await.status(), 200, "{unknown}");
    }
    assert_eq!(shop.code(MASTER).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_form_with_one_token_is_refused() {
    let shop = Shop::open().await;
    let (_, key) = shop.key(payment()).await;
    let post = |form: &str| Request::post("/credential/revoke").header("content-type", form);
    let token = format!("token={key}");
    for (request, body, status) in [
        (post("application/json"), json!({"token": key}).to_string(), 415),
        (Request::post("/credential/revoke"), token.clone(), 415),
        (post(FORM).header("content-encoding", "gzip"), token.clone(), 415),
        (post(FORM), String::new(), 400),
        (post(FORM), "token=".to_owned(), 400),
        (post(FORM), format!("{token}&{token}"), 400),
        (post(FORM), "token=%ff".to_owned(), 400),
        (post(FORM), format!("token={}", "x".repeat(70_000)), 413),
        (Request::get("/credential/revoke"), String::new(), 405),
    ] {
        assert_eq!(shop.send(request, body).await.status(), status);
    }
    assert_eq!(shop.code(&key).await.0, 200);
}

/// An outage is neither a refusal nor a pass, and ends no token that is good.
#[tokio::test(flavor = "multi_thread")]
async fn in_an_outage_nothing_is_said_to_be_ended() {
    let shop = Shop::open().await;
    let (_, key) = shop.key(payment()).await;
    let (ended, good) = (shop.signer.token().challenge_id("c-1"), shop.signer.token());
    let (ended, good) = (ended.sign(), good.challenge_id("c-2").sign());
    assert_eq!(shop.end(&ended).await.status(), 200);
    shop.store.set(Mood::Fails);
    for credential in [&good, &key] {
        let answer = shop.end(credential).await;
        assert_eq!(
            (answer.status().as_u16(), &json_of(&answer)["code"]),
            (503, &json!("store_unavailable"))
        );
    }
    assert_eq!(shop.code(&ended).await, (401, json!("token_revoked")));
    assert_eq!(shop.code(&good).await.0, 200);
    shop.store.set(Mood::Works);
    assert_eq!(shop.code(&key).await.0, 200);
}
