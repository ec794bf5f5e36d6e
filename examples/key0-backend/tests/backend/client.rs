//! The client against the sample backend, with each credential that it takes.

use std::time::Duration;

use key0_auth::{
    client::{Client, ClientBuilder, Error},
    domain::{Claims, Clock, Secret, SystemClock},
    token::TokenIssuer,
};
use serde_json::{Value, json};

use crate::process::{Backend, INTERNAL_SECRET, Setup, token_secret};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
const MASTER: &str = "hush-a-master-key-of-these-tests-32-bytes";

fn start() -> Backend {
    let setup = Setup::new().set("DATABASE_URL", "memory://").set("MASTER_API_KEYS", MASTER);
    setup.set("INTERNAL_AUTH_STRATEGY", "shared-secret,signed-jwt").start()
}

fn builder(backend: &Backend) -> ClientBuilder {
    Client::builder(format!("http://{}", backend.public)).timeout(PATIENCE)
}

fn internal_secret() -> Secret {
    Secret::new("the tests' internal secret", INTERNAL_SECRET).unwrap()
}

async fn issue(client: &Client, id: &str) -> Result<String, Error> {
    let order = json!({
        "requestId": id, "challengeId": id, "resourceId": "photo-1", "planId": "basic",
        "txHash": format!("0x{id}"),
    });
    let issued = client.post("/internal/issue-token").json(&order).allow_repeats();
    Ok(issued.send::<Value>().await?["token"].as_str().unwrap().to_owned())
}

async fn photo(client: &Client) -> Result<Value, Error> {
    client.get("/api/photos/photo-1").send().await
}

#[tokio::test]
async fn key0s_part_is_played_with_a_secret_and_with_tokens() {
    let backend = start();
    let with_secret = builder(&backend).internal_secret(internal_secret()).build().unwrap();
    let issuer = TokenIssuer::hs256(&token_secret());
    let with_tokens = builder(&backend).system_tokens(issuer, "backend-service").build().unwrap();
    // Whoever asks, and however often: the same credential.
    let key = issue(&with_secret, "1").await.unwrap();
    assert_eq!(issue(&with_tokens, "1").await.unwrap(), key);
    let agent = builder(&backend).bearer(key).build().unwrap();
    assert_eq!(photo(&agent).await.unwrap()["id"], "photo-1");

    let issuer = TokenIssuer::hs256(&token_secret());
    let elsewhere = builder(&backend).system_tokens(issuer, "another-service").build().unwrap();
    let error = issue(&elsewhere, "2").await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(401), Some("invalid_internal_auth")));
    // A system token opens nothing else.
    let error = photo(&with_tokens).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(401), Some("invalid_token")));
    backend.kill();
}

#[tokio::test]
async fn an_agent_calls_with_a_token_and_an_operator_with_a_key() {
    let backend = start();
    let claims = Claims::new(
        "request-1".parse().unwrap(),
        "challenge-1".parse().unwrap(),
        "photo-1".parse().unwrap(),
        "basic".parse().unwrap(),
        "0xabc".parse().unwrap(),
        SystemClock.now().plus(Duration::from_secs(3_600)),
    );
    let token = TokenIssuer::hs256(&token_secret()).access_token(&claims).unwrap();
    let agent = builder(&backend).bearer(token).build().unwrap();
    assert_eq!(photo(&agent).await.unwrap()["title"], "Photo photo-1");

    let operator = builder(&backend).api_key(MASTER).build().unwrap();
    let new = operator.post("/keys").json(&json!({"role": "read"})).once();
    let made = new.response().await.unwrap();
    assert_eq!((made.status(), made.attempts()), (201, 1));
    let made: Value = made.json().unwrap();
    let reader = builder(&backend).api_key(made["key"].as_str().unwrap()).build().unwrap();
    let error = reader.get("/keys").send::<Value>().await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(403), Some("insufficient_permissions")));
    let problem = error.problem().unwrap();
    assert_eq!(problem.title(), Some("Forbidden"));
    assert_eq!(problem.detail(), Some("Only a master API key can access key management"));
    assert!(error.request_id().is_some());
    let path = format!("/keys/{}", made["id"].as_str().unwrap());
    operator.delete(&path).send::<()>().await.unwrap();
    let error = operator.delete(&path).send::<()>().await.unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(404), 1));
    backend.kill();
}

/// Of two answers to one call the second is the first one again, also where the call was made anew
/// under its key.
#[tokio::test]
async fn what_is_minted_under_one_key_is_minted_once() {
    let backend = start();
    let operator = builder(&backend).api_key(MASTER).build().unwrap();
    let new = json!({"role": "read", "permissions": {"loyalty": ["read", "update"]}});
    let made: Value = operator.post("/keys").json(&new).once().send().await.unwrap();
    let office = builder(&backend).api_key(made["key"].as_str().unwrap()).build().unwrap();
    let mint = || office.post("/v1/loyalty/account/ada/mint").json(&json!({"amount": 600}));
    let call = mint();
    let first = call.response().await.unwrap();
    let key = first.idempotency_key().unwrap().to_owned();
    let again = call.response().await.unwrap();
    let anew = mint().idempotency_key(key).response().await.unwrap();
    assert_eq!(first.json::<Value>().unwrap(), json!({"newamount": 600}));
    assert!(!first.is_replayed() && again.is_replayed() && anew.is_replayed());
    assert!(again.bytes() == first.bytes() && anew.bytes() == first.bytes());
    assert_eq!(mint().send::<Value>().await.unwrap(), json!({"newamount": 1_200}));
    let orders = office.get("/v1/loyalty/orders").query("walletId", "ada");
    let settled = orders.poll_until(PATIENCE, |seen: &Value| {
        let orders = seen["orders"].as_array().unwrap();
        assert_eq!(orders.len(), 2);
        orders.iter().all(|order| order["status"] == "settled")
    });
    settled.await.unwrap();
    backend.kill();
}
