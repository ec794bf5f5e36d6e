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
    auth::{Problem, ProblemBody, Seller, Source, ValidatorBuilder},
    domain::{Actor, Clock, KeyId, PlanId, ResourceId, Role, Secret, SystemClock, Timestamp},
    store::{
        DenialStore, DeniedTokens, KeyRegistry, KeyUsage,
        spi::{KeyEdit, Rotation},
    },
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
    usage: KeyUsage,
}

/// A body of the application's own form.
#[derive(Debug)]
struct Plain;

impl ProblemBody for Plain {
    fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
        let text = format!("{} at {:?}", problem.code(), problem.instance());
        ("text/plain".to_owned(), serde_json::to_vec(&text).unwrap())
    }
}

impl Shop {
    async fn open() -> Self {
        Self::with(|validator| validator).await
    }

    async fn with(change: impl FnOnce(ValidatorBuilder) -> ValidatorBuilder) -> Self {
        let store = FaultyStore::new(MemoryStore::new());
        let signer = TokenSigner::new();
        let master = Secret::new("a test's secret", MASTER).unwrap();
        let usage = KeyUsage::new(store.clone());
        let keys = ApiKeys::new(store.clone()).usage(usage.clone());
        let keys = Arc::new(keys.bootstrap(BootstrapKeys::new().key(Role::Master, master)));
        let denied = DeniedTokens::new(store.clone());
        let validator = Validator::builder()
            .access_tokens(signer.access_tokens())
            .denied_tokens(denied.clone())
            .api_keys(keys.clone())
            .seller(Seller::at("https://shop.example.com").unwrap());
        let validator = change(validator).build().unwrap();
        let api = CredentialApi::new(validator.clone(), store.clone(), denied);
        let servers = serve(&validator, api).await;
        Self { servers, store, signer, usage }
    }

    async fn record(&self, id: &KeyId) -> KeyRecord {
        self.store.get(id).await.unwrap().unwrap()
    }

    /// Gives a key another secret, while the old one works until then.
    async fn rotate(&self, record: &KeyRecord, until: Timestamp) -> String {
        let plain = KeyFormat::default().generate().unwrap();
        let rotation = Rotation {
            old: record.digest,
            new: plain.digest(),
            display: plain.masked(),
            old_until: Some(until),
        };
        let now = SystemClock.now();
        assert!(self.store.rotate(&record.id, &rotation, &Actor::host(), now).await.unwrap());
        plain.expose().to_owned()
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
        for name in ["content-type", "cache-control", "www-authenticate", "link"] {
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

fn reader() -> Grant {
    Grant::Integrator { role: Role::Read, permissions: None }
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
    // Whoever did not get it from Key0 learns nothing of it.
    let forged = shop.signer.token().challenge_id("c-1").signed_by_a_stranger().sign();
    assert_eq!(shop.code(&forged).await, (401, json!("invalid_token")));
    let over = shop.signer.token().challenge_id("c-1").expired().sign();
    assert_eq!(shop.code(&over).await, (401, json!("token_expired")));
    // Only what was signed is denied.
    let stranger = shop.signer.token().challenge_id("c-2").signed_by_a_stranger().sign();
    assert_eq!(shop.end(&stranger).await.status(), 200);
    assert_eq!(shop.code(&other).await.0, 200);
    assert_eq!(shop.store.denials(None, 10).await.unwrap().len(), 1);

    for grant in [payment(), reader()] {
        let (record, key) = shop.key(grant).await;
        assert_eq!(shop.end(&key).await.status(), 200);
        assert_eq!(shop.code(&key).await, (401, json!("key_revoked")));
        let record = shop.store.get(&record.id).await.unwrap().unwrap();
        assert_eq!(record.revoked_reason.as_deref(), Some("ended by its holder"));
        assert_eq!(shop.end(&key).await.status(), 200);
    }
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

/// What is good no more, or not yet, and can be good later on.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_good_later_on_can_be_ended_now() {
    // Wherever the application takes credentials from.
    for sources in [vec![Source::Bearer], vec![Source::ApiKeyScheme], vec![Source::ApiKeyHeader]] {
        let shop = Shop::with(|validator| validator.sources(sources)).await;
        let (suspended, key) = shop.key(reader()).await;
        let suspend = KeyEdit { suspended: Some(true), ..KeyEdit::default() };
        shop.store.edit(&suspended.id, &suspend, &Actor::host(), SystemClock.now()).await.unwrap();
        assert_eq!(shop.end(&key).await.status(), 200);
        assert!(shop.record(&suspended.id).await.revoked_at.is_some());

        let (expired, key) = shop.key(payment()).await;
        let past = Some(Some(SystemClock.now().minus(Duration::from_secs(60)).to_millis()));
        let expire = KeyEdit { expires_at: past, ..KeyEdit::default() };
        shop.store.edit(&expired.id, &expire, &Actor::host(), SystemClock.now()).await.unwrap();
        assert_eq!(shop.end(&key).await.status(), 200);
        assert!(shop.record(&expired.id).await.revoked_at.is_some());

        let early = shop.signer.token().challenge_id("early").not_yet_valid().sign();
        assert_eq!(shop.end(&early).await.status(), 200);
        assert_eq!(shop.store.denials(None, 10).await.unwrap().len(), 1);
    }
    let shop = Shop::open().await;
    let early = shop.signer.token().challenge_id("early").not_yet_valid().sign();
    assert_eq!(shop.end(&early).await.status(), 200);
    let later = shop.signer.token().challenge_id("early").sign();
    assert_eq!(shop.code(&later).await, (401, json!("token_revoked")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_or_of_another_kind_ends_nothing() {
    let shop = Shop::open().await;
    let expired = SystemClock.now().as_seconds() - 2 * 24 * 60 * 60;
    let expired = shop.signer.token().claim("exp", expired).sign();
    let system = shop.signer.system_token("backend-service").sign();
    for credential in [&expired, &system] {
        assert_eq!(shop.end(credential).await.status(), 200);
    }
    assert_eq!(shop.store.denials(None, 10).await.unwrap(), []);
    assert_eq!(shop.code(&expired).await, (401, json!("token_expired")));
    assert_eq!(shop.code(&system).await, (401, json!("invalid_token")));
}

/// The clock of this instance may run ahead of another one's, where the token is good.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_just_expired_is_ended_all_the_same() {
    let shop = Shop::open().await;
    assert_eq!(shop.end(&shop.signer.token().expired().sign()).await.status(), 200);
    assert_eq!(shop.store.denials(None, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_its_grace_is_told_its_own_end_and_ends_the_whole_key() {
    let shop = Shop::open().await;
    let (record, old) = shop.key(reader()).await;
    let until = SystemClock.now().plus(Duration::from_secs(60)).to_millis();
    let new = shop.rotate(&record, until).await;
    let now = shop.record(&record.id).await;
    let told = json_of(&shop.show(&old).await);
    assert_eq!(told["display"], json!(record.display));
    assert_eq!(told["replacedBy"], json!(now.display));
    assert_eq!(told["expiresAt"], json!(until));
    let told = json_of(&shop.show(&new).await);
    assert_eq!(told["display"], json!(now.display));
    assert_eq!(told["replacedBy"], Value::Null);
    assert_eq!(told["expiresAt"], json!(record.expires_at));
    assert_eq!(shop.end(&old).await.status(), 200);
    for secret in [&old, &new] {
        assert_eq!(shop.code(secret).await, (401, json!("key_revoked")));
    }

    // The key may be over before the grace is.
    let (record, old) = shop.key(reader()).await;
    shop.rotate(&record, SystemClock.now().plus(Duration::from_secs(6_000)).to_millis()).await;
    assert_eq!(json_of(&shop.show(&old).await)["expiresAt"], json!(record.expires_at));

    // After the grace it has no power over its successor.
    let (record, old) = shop.key(reader()).await;
    let new =
        shop.rotate(&record, SystemClock.now().minus(Duration::from_secs(1)).to_millis()).await;
    assert_eq!(shop.code(&old).await, (401, json!("key_rotated")));
    assert_eq!(shop.end(&old).await.status(), 200);
    assert_eq!(shop.code(&new).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn to_end_a_key_is_not_to_use_it() {
    let shop = Shop::open().await;
    let (record, key) = shop.key(payment()).await;
    assert_eq!(shop.end(&key).await.status(), 200);
    shop.usage.flush().await.unwrap();
    assert_eq!(shop.record(&record.id).await.last_used_at, None);
    let (record, key) = shop.key(payment()).await;
    assert_eq!(shop.code(&key).await.0, 200);
    shop.usage.flush().await.unwrap();
    assert!(shop.record(&record.id).await.last_used_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_form_of_all_others() {
    let shop = Shop::open().await;
    let refused = shop.send(Request::post("/credential/revoke"), String::new()).await;
    assert_eq!(json_of(&refused)["instance"], json!("/credential/revoke"));
    let shop = Shop::with(|validator| validator.problem_body(Plain)).await;
    for request in [Request::post("/credential/revoke"), Request::get("/credential")] {
        let path = request.uri_ref().unwrap().path().to_owned();
        let refused = shop.send(request, String::new()).await;
        assert_eq!(refused.headers()["content-type"], "text/plain");
        assert!(json_of(&refused).as_str().unwrap().ends_with(&format!("at Some({path:?})")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_last_tenth_of_its_life_a_credential_is_told_where_to_renew_it() {
    let shop = Shop::open().await;
    let now = SystemClock.now().as_seconds();
    let living = |past: i64, left: u64| {
        let token = shop.signer.token().claim("iat", now - past);
        token.expires_in(Duration::from_secs(left)).sign()
    };
    let link = "<https://shop.example.com/discover>; rel=\"payment\"";
    for (token, is_told) in [
        (living(0, 3_600), false),
        (living(3_600, 600), false),
        (living(3_600, 60), true),
        (living(36_000, 3_600), true),
    ] {
        let answer = shop.show(&token).await;
        assert_eq!(answer.status(), 200);
        let links: Vec<_> = answer.headers().get_all("link").iter().collect();
        assert_eq!(links, if is_told { vec![link] } else { vec![] });
    }
    // A partner's key is not for sale.
    for (grant, is_told) in [(payment(), true), (reader(), false)] {
        let plain = KeyFormat::default().generate().unwrap();
        let now = SystemClock.now();
        let made = now.minus(Duration::from_secs(36_000));
        let mut record = KeyRecord::new(KeyId::generate(), &plain, grant, made);
        record.expires_at = Some(now.plus(Duration::from_secs(600)).to_millis());
        shop.store.insert(&record, &Actor::host()).await.unwrap();
        let answer = shop.show(plain.expose()).await;
        assert_eq!(
            (answer.status(), answer.headers().contains_key("link")),
            (200.try_into().unwrap(), is_told)
        );
    }
}

/// Whoever sends them has proven nothing, and may send as many as they like.
#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_to_end_asks_the_store_for_a_few_at_a_time() {
    let store = FaultyStore::new(MemoryStore::new());
    let validator = Validator::builder().api_keys(ApiKeys::new(store.clone())).build().unwrap();
    let api = CredentialApi::new(validator, store.clone(), DeniedTokens::new(store.clone()));
    store.set_for("find", Mood::Hangs);
    let revoking: Vec<_> = (0..16)
        .map(|_| {
            let api = api.clone();
            let form = format!("token={}", KeyFormat::default().generate().unwrap().expose());
            tokio::spawn(async move { api.revoke(form.as_bytes()).await })
        })
        .collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.calls("find"), 4);
    for revoked in revoking {
        let refusal = revoked.await.unwrap().unwrap_err();
        assert_eq!(refusal.kind(), key0_auth::RejectionKind::StoreUnavailable);
    }
    store.set(Mood::Works);
    let unknown = format!("token={}", KeyFormat::default().generate().unwrap().expose());
    assert!(api.revoke(unknown.as_bytes()).await.is_ok(), "a turn is given back");
}
