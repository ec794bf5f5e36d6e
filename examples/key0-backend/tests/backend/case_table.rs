//! The table of cases against the sample backend and against its twin on actix-web: processes,
//! over sockets, on SQLite. Their answers are the same to the byte.

use std::{collections::BTreeSet, path::Path, time::Duration};

use bytes::Bytes;
use http::Request;
use key0_auth::{
    apikey::KeyDigest,
    domain::{Clock, Secret, SystemClock},
    token::TokenIssuer,
};
use serde_json::{Value, json};

use crate::{
    cases::{Case, Placeholders, Served, Target, differences, failures, failures_of, is_own, wire},
    process::{Backend, Request as RawRequest, Setup},
};

const MASTER_KEY: &str = "a-master-key-of-the-configuration-1";
const MINTER_KEY: &str = "a-minter-key-of-the-configuration-1";
const READ_KEY: &str = "a-read-key-of-the-configuration-001";
const PREVIOUS_INTERNAL_SECRET: &str = "previous-internal-secret-of-32-bytes";

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_answers_as_the_table_says() {
    let setup = configured(Setup::bare());
    let backend = setup.start();
    assert_none(failures(&target(&setup, &backend).await).await);
}

/// The partner API, which is the sample's own: a table of its own, `partner.json`.
fn partner_table() -> Vec<Case> {
    serde_json::from_str(include_str!("../../../../tests/support/cases/partner.json")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partner_api_answers_as_its_table_says() {
    for database in ["sqlite://key0-backend.db", "sqlite://folder/other.db"] {
        let setup = configured(Setup::bare()).set("DATABASE_URL", database);
        std::fs::create_dir_all(setup.path("folder")).unwrap();
        let backend = setup.start();
        let file = database.strip_prefix("sqlite://").unwrap();
        let target = target_at(&setup.path(file), &backend).await;
        assert_none(failures_of(partner_table(), &target).await);
        for (status, code, request) in too_large() {
            let answer = request.send(backend.public);
            assert_eq!((answer.status, &*answer.member("code")), (status, code));
        }
    }
}

/// Every case tells a backend apart that lets everybody in, or nobody.
#[tokio::test]
async fn the_partner_table_can_fail() {
    struct Fixed(u16);
    impl Target for Fixed {
        fn placeholder(&self, _: &str) -> Option<String> {
            Some("x".into())
        }
        async fn send(&self, _: Request<Bytes>) -> http::Response<Bytes> {
            http::Response::builder().status(self.0).body(Bytes::new()).unwrap()
        }
    }
    let table = partner_table();
    for status in [200, 401] {
        let told = failures_of(partner_table(), &Fixed(status)).await;
        for case in &table {
            let name = format!("{}: ", case.name);
            assert!(told.iter().any(|failure| failure.starts_with(&name)), "{name}{status}");
        }
    }
    let names: BTreeSet<_> = table.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), table.len());
    let statuses: BTreeSet<_> = table.iter().map(|case| case.expect.status).collect();
    let wanted = [200, 201, 202, 400, 401, 403, 404, 405, 409, 415, 422, 503];
    assert_eq!(statuses, BTreeSet::from(wanted));
}

/// Bodies over the limit, and what is judged before and after their size.
fn too_large() -> Vec<(u16, &'static str, RawRequest)> {
    let mut requests = Vec::new();
    for (path, limit) in [
        ("/v1/dpp/passports", 64 * 1024),
        ("/v1/dpp/passports/publish", 64 * 1024),
        ("/v1/imports", 1024 * 1024),
        ("/v1/loyalty/reward-tiers", 64 * 1024),
        ("/v1/loyalty/account/a/mint", 64 * 1024),
    ] {
        let post = |key: &str| RawRequest::new("POST", path).header("x-api-key", key);
        let typed = |key: &str| post(key).header("content-type", "application/json");
        let large = || vec![b'{'; limit + 1];
        requests.extend([
            (413, "body_too_large", typed(MINTER_KEY).body(large())),
            (413, "body_too_large", typed(MINTER_KEY).body(large()).chunked()),
            (413, "body_too_large", typed(MINTER_KEY).header("idempotency-key", "l").body(large())),
            (400, "invalid_request", typed(MINTER_KEY).body(&large()[1..])),
            (400, "invalid_request", typed(MINTER_KEY).body(&large()[1..]).chunked()),
            (415, "unsupported_media_type", post(MINTER_KEY).body(large())),
            (403, "insufficient_permissions", typed(READ_KEY).body(large())),
        ]);
    }
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_on_actix_answers_as_the_table_says_and_as_its_twin() {
    let Some(setup) = Setup::example("actix_backend") else { return };
    let setup = configured(setup).set("DATABASE_URL", "sqlite://key0-backend.db");
    let on_actix = setup.start_example("listening on");
    let mut target_on_actix = target(&setup, &on_actix).await;
    target_on_actix.without = &["/v1/"];
    assert_none(failures(&target_on_actix).await);

    let setup = configured(Setup::bare());
    let on_axum = setup.start();
    let target_on_axum = target(&setup, &on_axum).await;
    assert_none(differences(&target_on_axum, &target_on_actix).await);
    for (status, request) in beyond_the_table() {
        let [one, other] = [&on_axum, &on_actix].map(|backend| {
            let mut answer = request.send(backend.public);
            answer.headers.retain(|(name, _)| !is_own(name));
            answer.headers.sort_by(|(one, _), (other, _)| one.cmp(other));
            answer
        });
        let head = String::from_utf8(request.head()).unwrap();
        assert_eq!(one.status, status, "{head}");
        assert_eq!(one, other, "{head}");
    }
    let answer = RawRequest::get("/health").header("x-request-id", "mine").send(on_actix.public);
    assert_eq!(answer.header("x-request-id"), Some("mine"));
}

/// What the sample backend adds to the layers, with the status that each must get.
fn beyond_the_table() -> Vec<(u16, RawRequest)> {
    let wire = wire();
    let [secret, token] =
        [&wire["internalAuthSecret"], &wire["tokens"]["hs256DefaultResource"]].map(text);
    let post = |body: &str| {
        let request = RawRequest::new("POST", "/internal/payment-received").internal(&secret);
        request.header("content-type", "application/json").body(body)
    };
    let large = "x".repeat(64 * 1024 + 1);
    vec![
        (405, RawRequest::new("POST", "/ready")),
        (404, RawRequest::get("/api/photos/%FF").bearer(&token)),
        (401, RawRequest::get("/api/photos/%FF")),
        (200, RawRequest::get("/api/photos/%C3%A9%2F%25").bearer(&token)),
        (200, RawRequest::get("/api/data/a+b%20c").bearer(&token)),
        (400, post("[]")),
        (400, post("")),
        (400, post(&large[1..])),
        (413, post(&large)),
        (413, post(&large).chunked()),
    ]
}

fn configured(setup: Setup) -> Setup {
    let wire = wire();
    setup
        .set("KEY0_ACCESS_TOKEN_SECRET", text(&wire["accessTokenSecret"]))
        .set("KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS", text(&wire["previousAccessTokenSecret"]))
        .set("KEY0_PUBLIC_KEY", text(&wire["rs256PublicKeyPem"]))
        .set("INTERNAL_AUTH_STRATEGY", "shared-secret,signed-jwt")
        .set("INTERNAL_AUTH_SECRET", text(&wire["internalAuthSecret"]))
        .set("INTERNAL_AUTH_PREVIOUS_SECRETS", PREVIOUS_INTERNAL_SECRET)
        .set("MASTER_API_KEYS", MASTER_KEY)
        .set("MINTER_API_KEYS", MINTER_KEY)
        .set("READ_API_KEYS", READ_KEY)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A running backend, and the values that open it.
async fn target(setup: &Setup, backend: &Backend) -> Served {
    target_at(&setup.database(), backend).await
}

async fn target_at(database: &Path, backend: &Backend) -> Served {
    let wire = wire();
    let values = Placeholders(Vec::new());
    let mut target = Served { address: backend.public, values, lacks: &[], without: &[] };

    let mut keys = Vec::new();
    for (name, resource, damage) in [
        ("paymentKey", "photo-1", None),
        ("paymentKeyForAll", "default", None),
        ("revokedKey", "photo-1", Some("revoked_at = created_at")),
        ("expiredKey", "photo-1", Some("expires_at = created_at")),
        // Nobody can tell what this one is: an outage, as far as it is concerned.
        ("unreachableKey", "photo-1", Some("kind = 'visitor'")),
    ] {
        let key = issue(&target, &text(&wire["internalAuthSecret"]), name, resource).await;
        if let Some(damage) = damage {
            let database = rusqlite::Connection::open(database).unwrap();
            let sql = format!("UPDATE keys SET {damage} WHERE digest = ?1");
            let digest = KeyDigest::of(&key);
            assert_eq!(database.execute(&sql, [digest.as_bytes().as_slice()]).unwrap(), 1);
        }
        keys.push((name, key));
    }
    let secret = Secret::new("the recorded secret", text(&wire["accessTokenSecret"])).unwrap();
    let issuer = TokenIssuer::hs256(&secret);
    let minute = Duration::from_secs(60);
    let system = |audience| issuer.system_token(audience, SystemClock.now(), minute).unwrap();
    keys.extend([
        ("minterKey", MINTER_KEY.to_owned()),
        ("readKey", READ_KEY.to_owned()),
        ("masterKey", MASTER_KEY.to_owned()),
        ("system60s", system("backend-service")),
        ("systemForAnother", system("another-service")),
        ("previousInternalSecret", PREVIOUS_INTERNAL_SECRET.to_owned()),
    ]);
    target.values = Placeholders(keys);
    target
}

fn assert_none(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// A key from the backend itself.
async fn issue(target: &impl Target, secret: &str, name: &str, resource: &str) -> String {
    let body = json!({
        "requestId": name,
        "challengeId": name,
        "resourceId": resource,
        "planId": "basic",
        "txHash": format!("0x{name}"),
    });
    let request = Request::post("/internal/issue-token")
        .header("content-type", "application/json")
        .header("x-internal-auth", secret)
        .body(Bytes::from(body.to_string()))
        .unwrap();
    let response = target.send(request).await;
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    body["token"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}
