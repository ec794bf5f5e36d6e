//! The table of cases against the sample backend and against its twin on actix-web: processes,
//! over sockets. Their answers are the same to the byte.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::Request;
use key0_auth::{apikey::KeyDigest, domain::Secret};

use crate::{
    cases::{
        Case, Circumstance, Known, Served, Target, Values, cases, cases_of, cases_when,
        differences, failures, is_own,
    },
    documented::Documented,
    postgres_server::{self, run_sql},
    process::{Backend, Request as RawRequest, Setup},
    redis_server::Redis,
};

const MASTER_KEY: &str = "a-master-key-of-the-configuration-1";
const MINTER_KEY: &str = "a-minter-key-of-the-configuration-1";
const READ_KEY: &str = "a-read-key-of-the-configuration-001";
const TOKEN_SECRET: &str = "the-secret-of-access-tokens-of-these-tests";
const PREVIOUS_TOKEN_SECRET: &str = "the-secret-of-access-tokens-before-that-one";
const INTERNAL_SECRET: &str = "the-secret-of-internal-calls-of-these-tests";
const PREVIOUS_INTERNAL_SECRET: &str = "the-secret-of-internal-calls-before-that-one";

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_answers_as_the_table_says() {
    let setup = configured(Setup::bare());
    let backend = setup.start();
    let values = values(&backend, &Records::Sqlite(setup.database()));
    assert_none(failures(&cases(), values, &served(&backend)).await);
}

/// The partner API, which is the sample's own: a table of its own, `partner.json`.
fn partner_table() -> Vec<Case> {
    cases_of(include_str!("../../../../tests/support/cases/partner.json"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partner_api_answers_as_its_table_says() {
    let setup = configured(Setup::bare());
    std::fs::create_dir_all(setup.path("folder")).unwrap();
    let mut databases: Vec<(String, Records)> = ["key0-backend.db", "folder/other.db"]
        .map(|file| (format!("sqlite://{file}"), Records::Sqlite(setup.path(file))))
        .into();
    databases.extend(postgres_server::shared().map(|server| {
        let url = server.new_database();
        (url.clone(), Records::Postgres(url))
    }));
    let redis = Redis::start(&[]);
    databases.extend(redis.iter().map(|server| {
        let url = server.url("");
        (url.clone(), Records::Redis(url))
    }));
    for (database, records) in databases {
        let backend = setup.clone().set("DATABASE_URL", database).start();
        let mut values = values(&backend, &records);
        keep_partner_keys(&mut values, &backend, &records);
        assert_none(failures(&partner_table(), values, &served(&backend)).await);
        for (status, code, request) in too_large() {
            let answer = request.send(backend.public);
            assert_eq!((answer.status, &*answer.member("code")), (status, code));
        }
    }
}

/// The document tells every answer of both tables, whether it is the one that is wanted or not.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_tells_every_answer() {
    let verify_secret = "the-secret-of-proxies-of-these-tests";
    let setup = configured(Setup::bare()).set("VERIFY_SECRET", verify_secret);
    let backend = setup.start();
    let records = Records::Sqlite(setup.database());
    let documented = Documented::new(served(&backend)).await;
    let verify = Some(Secret::new("a secret of these tests", verify_secret).unwrap());
    let unreachable = values(&backend, &records).get("unreachableKey").ok();
    let mut values = Values::new(Known { verify, unreachable, ..known() }).unwrap();
    keep_partner_keys(&mut values, &backend, &records);
    let all = [Circumstance::SignedJwt, Circumstance::Introspection, Circumstance::Verification];
    failures(&cases_when(&all), values.clone(), &documented).await;
    failures(&partner_table(), values, &documented).await;
    ask_the_rest(&documented).await;
    assert_none(documented.faults());
    // No payment's handler waits here.
    let unseen = ["POST /purchases/{id}/retry 200", "POST /purchases/{id}/settle 200"];
    assert_eq!(documented.unseen(), unseen);
}

/// Asks for what no table asks for, or not with success.
async fn ask_the_rest(documented: &Documented) {
    let token = Values::new(known()).unwrap().get("tokenForAll").unwrap();
    let console = ["/console", "/console/main.js", "/console/console.css", "/console/icon.svg"];
    let pages = ["/", "/docs", "/llms.txt", "/openapi.json", "/metrics", "/refusals", "/audit"];
    for path in pages.into_iter().chain(console).chain(["/api/photo-1"]) {
        let key = if path == "/api/photo-1" { &token } else { MASTER_KEY };
        documented.ask("GET", path, key, None).await;
    }
    let reason = serde_json::json!({ "reason": "refunded" });
    documented.ask("POST", "/purchases/c-1/revoke", MASTER_KEY, Some(&reason)).await;
    for path in ["/purchases/c-1", "/purchases?state=revoked&limit=1"] {
        documented.ask("GET", path, MASTER_KEY, None).await;
    }
    let permissions = serde_json::json!({ "dpp": ["create"] });
    let new = serde_json::json!({
        "role": "read", "label": "a", "permissions": permissions, "metadata": { "a": [1] },
        "expiresAt": "2099-01-01T00:00:00.000Z",
    });
    let made = documented.ask("POST", "/keys", MASTER_KEY, Some(&new)).await;
    let path = format!("/keys/{}", made["id"].as_str().unwrap());
    let grace = serde_json::json!({ "gracePeriodSeconds": 60 });
    documented.ask("POST", &format!("{path}/rotate"), MASTER_KEY, Some(&grace)).await;
    documented.ask("POST", &format!("{path}/rotate"), MASTER_KEY, None).await;
    documented.ask("POST", &format!("{path}/rotate"), MASTER_KEY, Some(&grace)).await;
    let edit = serde_json::json!({ "suspended": true, "label": null, "metadata": null });
    documented.ask("PATCH", &path, MASTER_KEY, Some(&edit)).await;
    let display = documented.ask("GET", &path, MASTER_KEY, None).await["display"].clone();
    let sought = serde_json::json!({ "display": display });
    documented.ask("POST", "/keys/find", MASTER_KEY, Some(&sought)).await;
    documented.ask("DELETE", &format!("{path}?reason=over"), MASTER_KEY, None).await;
    for query in ["status=all&limit=1", "kind=payment&status=all", "label=a&idleDays=1"] {
        documented.ask("GET", &format!("/keys?{query}"), MASTER_KEY, None).await;
    }
    documented.ask("GET", &path, MASTER_KEY, None).await;
    let passport = serde_json::json!({
        "granularity": "item", "application": "a", "network": "b", "modelNumber": "c", "name": "d",
    });
    let made = documented.ask("POST", "/v1/dpp/passports", MINTER_KEY, Some(&passport)).await;
    let path = format!("/v1/dpp/passports/{}", made["id"].as_str().unwrap());
    documented.ask("GET", &path, MINTER_KEY, None).await;
    let import = serde_json::json!({ "rows": [passport, {}] });
    let queued = documented.ask("POST", "/v1/imports", MINTER_KEY, Some(&import)).await;
    let path = format!("/v1/imports/{}", queued["id"].as_str().unwrap());
    while documented.ask("GET", &path, MINTER_KEY, None).await["status"] != "done" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every case tells a backend apart that lets everybody in, or nobody.
#[tokio::test]
async fn the_partner_table_can_fail() {
    struct Fixed(u16);
    impl Target for Fixed {
        async fn send(&self, _: Request<Bytes>) -> http::Response<Bytes> {
            http::Response::builder().status(self.0).body(Bytes::new()).unwrap()
        }
    }
    let table = partner_table();
    let mut values = Values::new(known()).unwrap();
    for name in ["paymentKey", "revokedKey", "expiredKey", "minterKey", "readKey"] {
        values.keep(name, "x".to_owned());
    }
    for status in [200, 401] {
        let told = failures(&table, values.clone(), &Fixed(status)).await;
        assert_eq!(told.len(), table.len(), "{status}");
    }
    let names: BTreeSet<_> = table.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), table.len());
    let steps = table.iter().flat_map(|case| &case.steps);
    let statuses: BTreeSet<_> = steps.map(|step| step.expect.as_slice()[0].status).collect();
    let wanted = [200, 201, 202, 400, 401, 403, 404, 405, 409, 415, 422, 503];
    assert_eq!(statuses, BTreeSet::from(wanted));
}

/// Bodies over the limit, and what is checked before and after their size.
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
    let values_on_actix = values(&on_actix, &Records::Sqlite(setup.database()));
    let unreachable_on_actix = values_on_actix.get("unreachableKey").unwrap();
    assert_none(failures(&cases(), values_on_actix, &served(&on_actix)).await);

    let Some(setup) = Setup::example("axum_backend") else { return };
    let setup = configured(setup).set("DATABASE_URL", "sqlite://key0-backend.db");
    let on_axum = setup.start_example("listening on");
    let values_on_axum = values(&on_axum, &Records::Sqlite(setup.database()));
    let mut values_on_actix = values_on_axum.clone();
    values_on_actix.keep("unreachableKey", unreachable_on_actix);
    let [one, two] = [&on_axum, &on_actix].map(served);
    assert_none(differences(&cases(), (values_on_axum, &one), (values_on_actix, &two)).await);
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

/// What stands around the routes of a backend, with the status that each must get.
fn beyond_the_table() -> Vec<(u16, RawRequest)> {
    let token = Values::new(known()).unwrap().get("tokenForAll").unwrap();
    let post = |body: &str| {
        let request =
            RawRequest::new("POST", "/internal/payment-received").internal(INTERNAL_SECRET);
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
    setup
        .set("KEY0_ACCESS_TOKEN_SECRET", TOKEN_SECRET)
        .set("KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS", PREVIOUS_TOKEN_SECRET)
        .set("INTERNAL_AUTH_STRATEGY", "shared-secret,signed-jwt")
        .set("INTERNAL_AUTH_SECRET", INTERNAL_SECRET)
        .set("INTERNAL_AUTH_PREVIOUS_SECRETS", PREVIOUS_INTERNAL_SECRET)
        .set("MASTER_API_KEYS", MASTER_KEY)
        .set("MINTER_API_KEYS", MINTER_KEY)
        .set("READ_API_KEYS", READ_KEY)
}

fn known() -> Known {
    let secret = |text: &str| Some(Secret::new("a secret of these tests", text).unwrap());
    Known {
        tokens: secret(TOKEN_SECRET),
        previous_tokens: secret(PREVIOUS_TOKEN_SECRET),
        internal: secret(INTERNAL_SECRET),
        previous_internal: secret(PREVIOUS_INTERNAL_SECRET),
        master: secret(MASTER_KEY),
        audience: "backend-service".to_owned(),
        unreachable: Some("ak_unreachable".to_owned()),
        ..Known::default()
    }
}

fn served(backend: &Backend) -> Served {
    Served { address: backend.public, without: &[], request_ids: true }
}

/// What opens a backend, and a key that its store can't read.
fn values(backend: &Backend, records: &Records) -> Values {
    let unreachable = issue(backend, "unreachableKey");
    // Nobody can tell what this one is: an outage, as far as it is concerned.
    records.change(&unreachable, "kind = 'visitor'");
    Values::new(Known { unreachable: Some(unreachable), ..known() }).unwrap()
}

/// What the partner's table needs besides.
fn keep_partner_keys(values: &mut Values, backend: &Backend, records: &Records) {
    for (name, damage) in [
        ("paymentKey", None),
        ("revokedKey", Some("revoked_at = created_at")),
        ("expiredKey", Some("expires_at = created_at")),
    ] {
        let key = issue(backend, name);
        damage.iter().for_each(|damage| records.change(&key, damage));
        values.keep(name, key);
    }
    values.keep("minterKey", MINTER_KEY.to_owned());
    values.keep("readKey", READ_KEY.to_owned());
}

/// Where a backend keeps its records.
enum Records {
    Sqlite(PathBuf),
    Postgres(String),
    Redis(String),
}

impl Records {
    /// Changes the record of a key behind the backend's back: one column becomes another, or a text.
    fn change(&self, key: &str, what: &str) {
        let digest = KeyDigest::of(key);
        let digest = digest.as_bytes().as_slice();
        match self {
            Self::Sqlite(file) => {
                let database = rusqlite::Connection::open(file).unwrap();
                let sql = format!("UPDATE keys SET {what} WHERE digest = ?1");
                assert_eq!(database.execute(&sql, [digest]).unwrap(), 1);
            }
            Self::Postgres(url) => {
                let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                let sql = format!("UPDATE key0.keys SET {what} WHERE digest = '\\x{digest}'");
                run_sql(url, &sql);
            }
            Self::Redis(url) => {
                let mut server = redis::Client::open(&**url).unwrap().get_connection().unwrap();
                let digest = [b"key0:digest:", digest].concat();
                let id: String = redis::cmd("GET").arg(digest).query(&mut server).unwrap();
                let record = format!("key0:key:{id}");
                let (field, value) = what.split_once(" = ").unwrap();
                let value: String = match value.strip_prefix('\'') {
                    Some(text) => text.trim_end_matches('\'').to_owned(),
                    None => redis::cmd("HGET").arg(&record).arg(value).query(&mut server).unwrap(),
                };
                let set = redis::cmd("HSET").arg(&record).arg(field).arg(value).clone();
                let () = set.query(&mut server).unwrap();
            }
        }
    }
}

/// A key for photo-1, from the backend itself.
fn issue(backend: &Backend, name: &str) -> String {
    let order = serde_json::json!({
        "requestId": name,
        "challengeId": name,
        "resourceId": "photo-1",
        "planId": "basic",
        "txHash": format!("0x{name}"),
    });
    let request = RawRequest::post("/internal/issue-token", &order).internal(INTERNAL_SECRET);
    request.send(backend.public).member("token")
}

fn assert_none(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
