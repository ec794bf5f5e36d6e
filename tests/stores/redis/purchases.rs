//! Purchases that a version has kept which did not list them.

use key0_auth::{
    domain::{ChallengeId, PlanId, RequestId, ResourceId},
    store::{
        Payment, PurchaseStore,
        spi::{IssuanceState, PurchaseFilter, PurchaseQuery},
    },
};

use super::*;
use crate::{
    redis_server::{RIGHTS, Redis},
    samples::{at, challenge, claim, hash, issuance, payment_key, request},
};

/// Two that were issued, and one that was paid, as version 4 has left them.
async fn leave(server: &Redis) -> KeyRecord {
    let store = open(&server.url("")).await;
    let (record, other) = (payment_key(), payment_key());
    for (claim, record) in
        [(claim(challenge("c"), "0x1"), &record), (claim(request("r"), "0x2"), &other)]
    {
        let issued = store.issue(&claim, &issuance(record), Some(record), at(0)).await.unwrap();
        assert_eq!(issued, IssuanceState::Started);
    }
    let paid = |id: &str, tx_hash: &str, seconds| {
        Payment::new(
            ChallengeId::new(id).unwrap(),
            RequestId::new("request-7").unwrap(),
            ResourceId::new("photo-1").unwrap(),
            PlanId::new("basic").unwrap(),
            hash(tx_hash),
            at(seconds),
        )
    };
    store.record_payment(&paid("c", "0x1", 10)).await.unwrap();
    store.record_payment(&paid("p", "0x3", 20)).await.unwrap();
    drop(store);
    for slot in ["challenge:c", "request:r"] {
        let name = format!("key0:issuance:{slot}");
        let () = server.cli(&["HDEL", &name, "request_id", "resource_id", "plan_id"]);
    }
    let () = server.cli(&["DEL", "key0:purchases", "key0:purchases_by"]);
    let version: String = server.cli(&["GET", "key0:version"]);
    let () = server.cli(&["SET", "key0:version", &version.replace(" 5 ", " 4 ")]);
    record
}

async fn listed(store: &RedisStore, filter: PurchaseFilter) -> Vec<String> {
    let query = PurchaseQuery { filter, after: None, limit: 10, now: at(30) };
    let page = store.purchases(&query).await.unwrap();
    page.purchases.iter().map(|purchase| purchase.key.id().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn purchases_of_an_older_version_are_listed_where_they_were_first_seen() {
    let Some(server) = Redis::start(&[]) else { return };
    let record = leave(&server).await;
    let store = open(&server.url("")).await;
    let all = || listed(&store, PurchaseFilter::default());
    comes_about(async || all().await.len() == 3).await;
    assert_eq!(all().await, ["p", "r", "c"]);
    let by_key = PurchaseFilter { key_id: Some(record.id), ..PurchaseFilter::default() };
    assert_eq!(listed(&store, by_key).await, ["c"]);
    let request_id = RequestId::new("request-7").ok();
    let by_request = PurchaseFilter { request_id, ..PurchaseFilter::default() };
    assert_eq!(listed(&store, by_request).await, ["p", "c"]);
    // It is done once.
    comes_about(async || server.cli::<u8>(&["EXISTS", "key0:unlisted"]) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_scan_finds_them_by_challenge_and_transaction() {
    let Some(server) = Redis::start(&[]) else { return };
    leave(&server).await;
    server.set_user(&[&["~key0:*", "&key0:*"], RIGHTS].concat());
    let store = open(&server.user_url()).await;
    let challenge_id = ChallengeId::new("c").ok();
    let by_challenge = PurchaseFilter { challenge_id, ..PurchaseFilter::default() };
    assert_eq!(listed(&store, by_challenge).await, ["c"]);
    let by_hash = PurchaseFilter { tx_hash: Some(hash("0x3")), ..PurchaseFilter::default() };
    assert_eq!(listed(&store, by_hash).await, ["p"]);
    assert_eq!(listed(&store, PurchaseFilter::default()).await, [""; 0]);
    // Until somebody may.
    let store = open(&server.url("")).await;
    comes_about(async || listed(&store, PurchaseFilter::default()).await.len() == 3).await;
}
