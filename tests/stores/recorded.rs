//! A database that an older version has left opens, and keeps all that stands in it.

#![cfg(all(feature = "sqlite", feature = "testing"))]

use std::sync::Arc;

use key0_auth::{
    ApiKeys, KeyStore, Rejection, RejectionKind, SqliteStore, Validator,
    api::IssueToken,
    apikey::{IssuanceSecrets, KeyAction},
    domain::{Actor, ChallengeId, KeyId, Secret, SecretSet, Timestamp},
    store::{
        KeyRegistry, PaymentStore, PurchaseStore, SqliteOptions,
        spi::{PurchaseFilter, PurchaseQuery, PurchaseRevocation, PurchaseState},
    },
    testing::FakeClock,
};
use rusqlite::Connection;
use tempfile::TempDir;

/// When the backend of that version was at work.
const THEN: Timestamp = Timestamp::from_seconds(1_795_996_970);

/// The secret that the backend of that version had for Key0's calls.
const INTERNAL: &str = "fixture: a secret for key0's calls 01";
const PARTNER: &str = "ak_XcKHMbgpctaf0cxoUzXWuiad5nWLIM4alzsM";
const EXPIRES: &str = "ak_uLZvI9ZiJen6VUJrBp6RrO8FGryq3h4AXj2h";
const REVOKED: &str = "ak_EFF7KU6ZLa3uWLriVGJE7RNdzXvfpJ3TfzbY";
const ROTATED: [&str; 2] =
    ["ak_EkYyl1y8NHW4s3YmK8DrolkZxyDOih1Sjofg", "ak_5dsPmUL51jp8PsuxGsX3dGUtKlBLww4FiPxi"];
const BOUGHT: [&str; 2] =
    ["ak_jW2LPTaVHufol7Q0409UuFg6QsQmGb3Bbvtr", "ak_7fV6IRXSjIEpeLNrUwIZ1gPzkxEs8Q3wqgg4"];
const REQUESTS: [&str; 2] = [
    r#"{"requestId":"http-1","challengeId":"chal-1","resourceId":"photo-1","planId":"basic","txHash":"0x1111111111111111111111111111111111111111111111111111111111111111"}"#,
    r#"{"requestId":"http-2","resourceId":"photo-2","planId":"gold","txHash":"0xABCDEF"}"#,
];

async fn recorded() -> (TempDir, Arc<SqliteStore>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let database = Connection::open(&path).unwrap();
    database.execute_batch(include_str!("../fixtures/sqlite-v2.sql")).unwrap();
    drop(database);
    (folder, Arc::new(SqliteOptions::new().open(&path).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_open_as_they_did() {
    let (_folder, store) = recorded().await;
    let clock = FakeClock::at(THEN);
    let keys = ApiKeys::new(store.clone());
    let validator = Validator::builder().api_keys(keys).clock(clock).build().unwrap();
    let ask = async |key: &str| {
        let identity = validator.validate([], [key.as_bytes()]).await;
        identity.map_err(|rejection: Rejection| rejection.kind())
    };
    for good in [PARTNER, EXPIRES, ROTATED[1], BOUGHT[0], BOUGHT[1]] {
        assert!(ask(good).await.is_ok(), "{good}");
    }
    assert_eq!(ask(REVOKED).await.unwrap_err(), RejectionKind::KeyRevoked);
    assert_eq!(ask(ROTATED[0]).await.unwrap_err(), RejectionKind::InvalidApiKey);

    let partner = ask(PARTNER).await.unwrap();
    assert_eq!(partner.metadata().unwrap()["a"], 1);
    assert!(partner.permissions().unwrap().allows("dpp", key0_auth::domain::Action::Create));
    let rotated = ask(ROTATED[1]).await.unwrap();
    let history = store.history(rotated.key_id().unwrap(), 10).await.unwrap();
    let actions: Vec<_> = history.iter().map(|event| event.action).collect();
    assert_eq!(actions, [KeyAction::Created, KeyAction::Rotated]);
    let record = store.get(&KeyId::new(partner.subject()).unwrap()).await.unwrap().unwrap();
    assert_eq!(record.label.as_deref(), Some("partner 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_get_the_same_credential_and_hashes_stay_spent() {
    let (_folder, store) = recorded().await;
    let clock = FakeClock::at(THEN);
    let internal = SecretSet::new(Secret::new("INTERNAL_AUTH_SECRET", INTERNAL).unwrap());
    let keys = ApiKeys::new(store.clone());
    let secrets = IssuanceSecrets::derived_from(&internal);
    let issue = IssueToken::new(store.clone(), keys, secrets).clock(clock);
    for (request, bought) in REQUESTS.iter().zip(BOUGHT) {
        let reply = issue.handle(request.as_bytes()).await.unwrap();
        assert!(String::from_utf8(reply.body).unwrap().contains(bought));
    }
    let other = REQUESTS[1].replace("http-2", "http-9");
    let refused = issue.handle(other.as_bytes()).await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::PaymentAlreadyRedeemed);
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_known() {
    let (_folder, store) = recorded().await;
    for (challenge, note) in [("chal-1", Some("kept")), ("chal-3", None)] {
        let payment = store.payment(&ChallengeId::new(challenge).unwrap()).await.unwrap().unwrap();
        assert_eq!(payment.details.get("note").and_then(|note| note.as_str()), note);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purchases_are_listed_with_what_was_kept_of_them() {
    let (_folder, store) = recorded().await;
    let ask = async |filter: PurchaseFilter| {
        let query = PurchaseQuery { filter, after: None, limit: 10, now: THEN };
        let page = store.purchases(&query).await.unwrap();
        assert_eq!(page.next, None);
        page.purchases
    };
    let all = ask(PurchaseFilter::default()).await;
    let mut ids: Vec<_> = all.iter().map(|purchase| purchase.key.id()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["chal-1", "chal-3", "http-2"]);
    for purchase in &all {
        let (resource, plan) = (&purchase.resource_id, &purchase.plan_id);
        assert!(resource.is_some() && plan.is_some() && purchase.tx_hash.is_some(), "{purchase:?}");
        assert!(purchase.request_id.is_some(), "{purchase:?}");
        if let Some(key) = &purchase.issued_key {
            let filter = PurchaseFilter { key_id: Some(key.id.clone()), ..Default::default() };
            assert_eq!(ask(filter).await, std::slice::from_ref(purchase));
        }
        let filter = PurchaseFilter { tx_hash: purchase.tx_hash.clone(), ..Default::default() };
        assert_eq!(ask(filter).await, std::slice::from_ref(purchase));
    }
    let revocation = PurchaseRevocation {
        id: ChallengeId::new("chal-1").unwrap(),
        reason: None,
        by: Actor::host(),
        at: THEN,
        tokens_until: THEN,
        unknown_a_day: 1,
    };
    store.revoke_purchase(&revocation).await.unwrap();
    let filter = PurchaseFilter { state: Some(PurchaseState::Revoked), ..Default::default() };
    assert_eq!(ask(filter).await[0].key.id(), "chal-1");
}
