//! The table of cases against the sample backend: a process, over a socket, on SQLite.
#![cfg(feature = "backend")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod cases;
mod process;

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use key0_auth::{
    apikey::KeyDigest,
    domain::{Clock, Secret, SystemClock},
    token::TokenIssuer,
};
use serde_json::{Value, json};

use self::{
    cases::{Placeholders, Served, Target, failures, wire},
    process::Setup,
};

const MASTER_KEY: &str = "a-master-key-of-the-configuration-1";
const MINTER_KEY: &str = "a-minter-key-of-the-configuration-1";
const READ_KEY: &str = "a-read-key-of-the-configuration-001";
const PREVIOUS_INTERNAL_SECRET: &str = "previous-internal-secret-of-32-bytes";

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_answers_as_the_table_says() {
    let wire = wire();
    let text = |name: &str| wire[name].as_str().unwrap().to_owned();
    let setup = Setup::bare()
        .set("KEY0_ACCESS_TOKEN_SECRET", text("accessTokenSecret"))
        .set("KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS", text("previousAccessTokenSecret"))
        .set("KEY0_PUBLIC_KEY", text("rs256PublicKeyPem"))
        .set("INTERNAL_AUTH_STRATEGY", "shared-secret,signed-jwt")
        .set("INTERNAL_AUTH_SECRET", text("internalAuthSecret"))
        .set("INTERNAL_AUTH_PREVIOUS_SECRETS", PREVIOUS_INTERNAL_SECRET)
        .set("MASTER_API_KEYS", MASTER_KEY)
        .set("MINTER_API_KEYS", MINTER_KEY)
        .set("READ_API_KEYS", READ_KEY);
    let backend = setup.start();
    let values = Placeholders(Vec::new());
    let mut target = Served { address: backend.public, values, lacks: &[], without: &["/v1/"] };

    let mut keys = Vec::new();
    for (name, resource, damage) in [
        ("paymentKey", "photo-1", None),
        ("paymentKeyForAll", "default", None),
        ("revokedKey", "photo-1", Some("revoked_at = created_at")),
        ("expiredKey", "photo-1", Some("expires_at = created_at")),
        // Nobody can tell what this one is: an outage, as far as it is concerned.
        ("unreachableKey", "photo-1", Some("kind = 'visitor'")),
    ] {
        let key = issue(&target, &text("internalAuthSecret"), name, resource).await;
        if let Some(damage) = damage {
            let database = rusqlite::Connection::open(setup.database()).unwrap();
            let sql = format!("UPDATE keys SET {damage} WHERE digest = ?1");
            let digest = KeyDigest::of(&key);
            assert_eq!(database.execute(&sql, [digest.as_bytes().as_slice()]).unwrap(), 1);
        }
        keys.push((name, key));
    }
    let secret = Secret::new("the recorded secret", text("accessTokenSecret")).unwrap();
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
    let failures = failures(&target).await;
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
