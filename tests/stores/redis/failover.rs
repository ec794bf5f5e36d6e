//! A primary that another server takes over from, and the name that leads to it.

use key0_auth::{error::StoreErrorKind, store::spi::Change};

use super::{outage::failures, *};
use crate::{
    redis_server::Redis,
    samples::{ChangeRecorder, at, challenge, claim, issuance, lease, payment_key},
    servers::proxy::Proxy,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_primary_any_more_is_not_believed_and_left_for_the_one_that_is() {
    let Some(old) = Redis::start(&[]) else { return };
    let proxy = Proxy::to(old.address());
    let store = open(&old.url_through(proxy.port(), "")).await;
    let record = add(&store).await;
    store.find(&record.digest).await.unwrap();
    let new = Redis::start(&[]).unwrap();
    new.follow(&old);
    new.lead(true);
    old.lead(false);
    let elsewhere = open(&new.url("")).await;
    elsewhere.revoke(&record.id, &Actor::host(), at(1)).await.unwrap().unwrap();
    for (method, error) in failures(&store, &record).await {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{method}: {error:?}");
    }

    let recorder = ChangeRecorder::on(&store);
    // No connection is cut: the store must leave by itself.
    proxy.lead_to(new.address());
    comes_about(async || store.find(&record.digest).await.is_ok()).await;
    assert!(store.find(&record.digest).await.unwrap().unwrap().revoked_at.is_some());
    comes_about(async || recorder.heard(Change::All)).await;
    comes_about(async || store.ping().await.is_ok()).await;
    comes_about(async || store.touch(&[(record.id.clone(), at(1))]).await.is_ok()).await;
    let record = add(&elsewhere).await;
    comes_about(async || recorder.heard(Change::Key(record.digest))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_not_believed_either_that_there_is_nothing_to_write() {
    let Some(server) = Redis::start(&[]) else { return };
    let url = server.url("");
    // One for each, since the first refusal drops the connection.
    let (one, two, three, four) =
        (open(&url).await, open(&url).await, open(&url).await, open(&url).await);
    let claim = claim(challenge("c"), "0x1");
    let issued = issuance(&payment_key());
    server.lead(false);
    one.revoke(&payment_key().id, &Actor::host(), at(1)).await.unwrap_err();
    two.complete_issuance(&claim, &issued, None).await.unwrap_err();
    three.abandon_issuance(&claim).await.unwrap_err();
    four.lease_payment(&lease(9), at(0)).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_led_astray_for_a_while_leads_back() {
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::to(server.address());
    let store = open(&server.url_through(proxy.port(), "")).await;
    let record = add(&store).await;
    let another = Redis::start(&[]).unwrap();
    add(&open(&another.url("")).await).await;
    proxy.lead_to(another.address());
    proxy.cut();
    comes_about(async || store.find(&record.digest).await.is_err()).await;
    store.find(&record.digest).await.unwrap_err();
    proxy.lead_to(server.address());
    comes_about(async || store.find(&record.digest).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_became_a_replica_is_not_ready_until_it_is_the_primary_again() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let record = add(&store).await;
    store.ping().await.unwrap();
    server.lead(false);
    store.ping().await.unwrap_err();
    store.insert(&payment_key(), &Actor::host()).await.unwrap_err();
    server.lead(true);
    comes_about(async || store.ping().await.is_ok()).await;
    let revoked = async || store.revoke(&record.id, &Actor::host(), at(1)).await.is_ok();
    comes_about(revoked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_left_at_once_and_asked_again_with_pauses() {
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::to(server.address());
    let store = open(&server.url_through(proxy.port(), "")).await;
    let record = add(&store).await;
    server.lead(false);
    let before = proxy.taken();
    for _ in 0..100 {
        store.insert(&payment_key(), &Actor::host()).await.unwrap_err();
        store.find(&record.digest).await.unwrap_err();
        store.ping().await.unwrap_err();
    }
    let taken = proxy.taken() - before;
    assert!((2..150).contains(&taken), "{taken} connections for 300 calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_no_more_patient_with_a_connection_than_it_takes_to_make_one() {
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::to(server.address());
    let store = usual().write_timeout(Duration::from_secs(3_600));
    let store = store.open(&server.url_through(proxy.port(), "")).await.unwrap();
    let record = add(&store).await;
    let touch = async || store.touch(&[(record.id.clone(), at(1))]).await;
    proxy.stall();
    // As soon as the feed has noticed, though nobody has written anything.
    comes_about(async || {
        let touched = tokio::time::timeout(Duration::from_secs(5), touch()).await;
        touched.is_ok_and(|touched| touched.is_err())
    })
    .await;
    proxy.cut();
    proxy.restore();
    comes_about(async || touch().await.is_ok()).await;
}
