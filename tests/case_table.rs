//! The table of cases against axum with our layers: in process, and over a socket.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod cases;
#[path = "common/key_store.rs"]
mod key_store;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::Path,
    routing::{get, post},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use key0_auth::{
    AccessTokens, ApiKeys, AuthLayer, Identity, InternalAuth, InternalAuthLayer, MemoryStore,
    Policy, Rejection, RejectionKind, Validator,
    api::KeysApi,
    apikey::{BootstrapKeys, Grant},
    auth::InternalCaller,
    axum::{keys_routes, with_problem_fallbacks},
    domain::{Action, Clock, PlanId, ResourceId, Role, Secret, SecretSet, Timestamp},
    token::{Algorithm, TokenIssuer, VerifyingKey},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use self::{
    cases::{Placeholders, Served, Target, failures, table, wire},
    key_store::TestStore,
};

const MASTER_KEY: &str = "a-master-key-of-the-configuration-1";
const PREVIOUS_INTERNAL_SECRET: &str = "previous-internal-secret-of-32-bytes";
const AUDIENCE: &str = "backend-service";

#[tokio::test]
async fn in_process() {
    let (router, values) = backend();
    assert_none(failures(&InProcess { router, values }).await);
}

#[tokio::test]
async fn over_a_socket() {
    let (router, values) = backend();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    assert_none(failures(&Served { address, values, lacks: &[], without: &[] }).await);
    server.abort();
}

/// Every case tells a target apart that lets everybody in or nobody, and a target must know what
/// it lacks.
#[tokio::test]
async fn the_table_can_fail() {
    struct Fixed(u16, Option<String>);
    impl Target for Fixed {
        fn placeholder(&self, _: &str) -> Option<String> {
            self.1.clone()
        }
        async fn send(&self, _: Request<Bytes>) -> Response<Bytes> {
            Response::builder().status(self.0).body(Bytes::new()).unwrap()
        }
    }
    for status in [200, 401] {
        let told = failures(&Fixed(status, Some("x".into()))).await;
        for case in table() {
            let name = format!("{}: ", case.name);
            assert!(told.iter().any(|failure| failure.starts_with(&name)), "{name}{status}");
        }
    }
    let told = failures(&Fixed(200, None)).await;
    assert!(told.iter().any(|failure| failure.contains(r#""paymentKey""#)), "{told:?}");
}

/// The table has every refusal that a layer can give, and no name twice.
#[test]
fn the_table_is_whole() {
    let table = table();
    let names: BTreeSet<_> = table.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), table.len());
    let codes = table.iter().filter_map(|case| case.expect.problem.as_ref());
    let codes: BTreeSet<_> = codes.map(|problem| &*problem.code).collect();
    let wanted = [
        "insufficient_permissions",
        "invalid_api_key",
        "invalid_internal_auth",
        "invalid_request",
        "invalid_token",
        "key_expired",
        "key_revoked",
        "method_not_allowed",
        "missing_credential",
        "not_found",
        "store_unavailable",
        "token_expired",
        "unsupported_media_type",
    ];
    assert_eq!(codes, BTreeSet::from(wanted));
}

fn assert_none(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

struct InProcess {
    router: Router,
    values: Placeholders,
}

impl Target for InProcess {
    fn placeholder(&self, name: &str) -> Option<String> {
        self.values.get(name)
    }

    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        let response = self.router.clone().oneshot(request.map(Body::from)).await.unwrap();
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }
}

/// A while after the recording.
#[derive(Debug)]
struct TestClock;

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_795_310_000)
    }
}

/// A backend as the contract has it, and the values that open it.
fn backend() -> (Router, Placeholders) {
    let wire = wire();
    let secret = |name: &str| Secret::new(name, wire[name].as_str().unwrap()).unwrap();
    let current = secret("accessTokenSecret");
    let pem = wire["rs256PublicKeyPem"].as_str().unwrap();
    let tokens = Arc::new(
        AccessTokens::builder()
            .key(VerifyingKey::hs256(&current))
            .key(VerifyingKey::hs256(&secret("previousAccessTokenSecret")))
            .key(VerifyingKey::from_pem("rs256", Algorithm::Rs256, pem).unwrap())
            .build()
            .unwrap(),
    );
    let store = Arc::new(TestStore::new());
    let values = placeholders(&store, &TokenIssuer::hs256(&current));

    let master = Secret::new("master", MASTER_KEY).unwrap();
    let keys = ApiKeys::new(store).bootstrap(BootstrapKeys::new().key(Role::Master, master));
    let keys = Arc::new(keys);
    let validator = Validator::builder()
        .access_tokens(tokens.clone())
        .api_keys(keys.clone())
        .clock(Arc::new(TestClock))
        .build()
        .unwrap();
    let previous = Secret::new("previous", PREVIOUS_INTERNAL_SECRET).unwrap();
    let internal = InternalAuth::builder()
        .shared_secret(SecretSet::new(secret("internalAuthSecret")).previous(previous))
        .signed_jwt(tokens, AUDIENCE)
        .clock(Arc::new(TestClock))
        .build()
        .unwrap();
    let keys = KeysApi::new(Arc::new(MemoryStore::new()), keys).clock(Arc::new(TestClock));
    (router(&validator, internal, keys), values)
}

fn router(validator: &Validator, internal: InternalAuth, keys: KeysApi) -> Router {
    let auth = AuthLayer::new(validator.clone());
    let sold = Router::new()
        .route("/api/photos/{id}", get(photo))
        .route("/api/data/{id}", get(data))
        .route_layer(auth.clone());
    let partner = Router::new()
        .route("/v1/dpp/passports", post(async || Json(json!({"status": "draft"}))))
        .route_layer(auth.policy(Policy::permission("dpp", Action::Create)));
    let internal = Router::new()
        .route("/internal/issue-token", post(async |_: InternalCaller, _: Bytes| ()))
        .route("/internal/payment-received", post(payment_received))
        .route_layer(InternalAuthLayer::new(internal));
    let health = get(async || Json(json!({"status": "ok", "service": "backend"})));
    let router = Router::new().route("/health", health);
    let keys = keys_routes(validator.clone(), keys);
    let router = router.merge(sold).merge(partner).merge(internal).merge(keys);
    with_problem_fallbacks(router, validator.responder())
}

async fn photo(Path(id): Path<String>, identity: Identity) -> Result<Json<Value>, Rejection> {
    Policy::resource(&*id).check(&identity)?;
    let plan = identity.plan_id();
    Ok(Json(json!({
        "id": id,
        "tierId": plan,
        "planId": plan,
        "url": format!("https://cdn.example.com/photos/{id}.jpg"),
        "title": format!("Photo {id}"),
        "resolution": "4K",
    })))
}

async fn data(Path(id): Path<String>, identity: Identity) -> Result<Json<Value>, Rejection> {
    Policy::resource(&*id).check(&identity)?;
    let plan = identity.plan_id();
    Ok(Json(json!({
        "id": id,
        "data": "premium content",
        "tierId": plan,
        "planId": plan,
        "resourceId": identity.resource_id(),
    })))
}

async fn payment_received(_: InternalCaller, body: Bytes) -> Result<Json<Value>, Rejection> {
    let grant: Value =
        serde_json::from_slice(&body).map_err(|_| Rejection::from(RejectionKind::InvalidBody))?;
    Ok(Json(json!({ "received": grant["challengeId"].is_string() })))
}

fn placeholders(store: &TestStore, issuer: &TokenIssuer) -> Placeholders {
    let now = TestClock.now();
    let bought = |resource: &str| Grant::Payment {
        resource_id: ResourceId::new(resource).unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
        permissions: None,
    };
    let staff = |role| Grant::Integrator { role, permissions: None };
    let key = |grant| store.add(grant, |_| ()).expose().to_owned();
    let revoked = store.add(bought("photo-1"), |record| record.revoked_at = Some(now));
    let expired = store.add(bought("photo-1"), |record| record.expires_at = Some(now));
    let system = |audience| issuer.system_token(audience, now, Duration::from_secs(60)).unwrap();
    Placeholders(vec![
        ("paymentKey", key(bought("photo-1"))),
        ("paymentKeyForAll", key(bought("default"))),
        ("minterKey", key(staff(Role::Minter))),
        ("readKey", key(staff(Role::Read))),
        ("masterKey", MASTER_KEY.to_owned()),
        ("revokedKey", revoked.expose().to_owned()),
        ("expiredKey", expired.expose().to_owned()),
        ("unreachableKey", store.add_unreachable().expose().to_owned()),
        ("system60s", system(AUDIENCE)),
        ("systemForAnother", system("another-service")),
        ("previousInternalSecret", PREVIOUS_INTERNAL_SECRET.to_owned()),
    ])
}
