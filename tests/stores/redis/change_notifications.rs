//! What one instance changes, and others hear of.

use std::{sync::Arc, time::Duration};

use key0_auth::{
    apikey::KeyDigest,
    store::spi::{Change, Rotation},
};

use super::*;
use crate::{
    redis_server::Redis,
    samples::{ChangeRecorder, at, challenge, claim, issuance, new_digest, payment_key},
    servers::proxy::Proxy,
};

/// Longer than a test takes, so that what is heard was pushed.
const NEVER: Duration = Duration::from_secs(3_600);

async fn polling(url: &str, interval: Duration) -> RedisStore {
    unhurried().poll_interval(interval).open(url).await.unwrap()
}

async fn hears(recorder: &ChangeRecorder, change: Change) {
    comes_about(async || recorder.heard(change)).await;
}

async fn revoke(store: &RedisStore, record: &KeyRecord) -> KeyDigest {
    store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn others_hear_of_every_change_at_once() {
    let Some(server) = Redis::start(&[]) else { return };
    let (one, other) =
        (polling(&server.url(""), NEVER).await, polling(&server.url(""), NEVER).await);
    let recorder = ChangeRecorder::on(&other);
    let record = add(&one).await;
    hears(&recorder, Change::Key(record.digest)).await;
    let rotation = Rotation {
        old: record.digest,
        new: new_digest(),
        display: "x".to_owned(),
        old_until: None,
    };
    recorder.forget();
    assert!(one.rotate(&record.id, &rotation, &Actor::host(), at(1)).await.unwrap());
    hears(&recorder, Change::Key(rotation.old)).await;
    hears(&recorder, Change::Key(rotation.new)).await;

    let (claim, sold) = (claim(challenge("c"), "0x1"), payment_key());
    let old = issuance(&sold);
    one.begin_issuance(&claim, at(0)).await.unwrap();
    assert!(one.complete_issuance(&claim, &old, Some(&sold)).await.unwrap());
    hears(&recorder, Change::Key(sold.digest)).await;
    recorder.forget();
    let mut new = old.clone();
    new.digest = new_digest();
    assert!(one.replace_issuance(&claim.key, &old, &new, "x", at(1)).await.unwrap());
    hears(&recorder, Change::Key(old.digest)).await;
    hears(&recorder, Change::Key(new.digest)).await;

    recorder.forget();
    revoke(&one, &record).await;
    hears(&recorder, Change::Key(rotation.new)).await;
    recorder.forget();
    assert_eq!(one.purge_keys(at(2), 100).await.unwrap(), 1);
    hears(&recorder, Change::Key(rotation.new)).await;
    assert!(!recorder.heard(Change::All));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_subscription_anything_may_have_changed() {
    let Some(server) = Redis::start(&[]) else { return };
    let (one, other) =
        (polling(&server.url(""), NEVER).await, polling(&server.url(""), NEVER).await);
    let recorder = ChangeRecorder::on(&other);
    for _ in 0..3 {
        recorder.forget();
        let killed: i64 = server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        assert!(killed >= 1);
        hears(&recorder, Change::All).await;
        // And it hears again.
        comes_about(async || {
            let record = add(&one).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            recorder.heard_of(record.digest)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_pushed_is_found_by_the_poll() {
    let Some(server) = Redis::start(&[]) else { return };
    let (one, other) = (open(&server.url("")).await, open(&server.url("")).await);
    // Nobody may publish any more: the change is made all the same.
    let () = server.cli(&["ACL", "SETUSER", "default", "-publish"]);
    let record = add(&one).await;
    let recorder = ChangeRecorder::on(&other);
    revoke(&one, &record).await;
    hears(&recorder, Change::Key(record.digest)).await;
    assert!(!recorder.heard(Change::All));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_tell_may_be_anything() {
    let Some(server) = Redis::start(&[]) else { return };
    let fast = Duration::from_millis(50);
    let (one, other) =
        (polling(&server.url(""), NEVER).await, polling(&server.url(""), fast).await);
    let () = server.cli(&["ACL", "SETUSER", "default", "-publish"]);
    for damage in [
        &["DEL", "key0:changes"][..],
        &["LSET", "key0:changes", "-1", "0:nonsense"],
        &["INCRBY", "key0:revision", "5000"],
        &["SET", "key0:revision", "0"],
    ] {
        let recorder = ChangeRecorder::on(&other);
        let record = add(&one).await;
        hears(&recorder, Change::Key(record.digest)).await;
        recorder.forget();
        // Both at once, so that no look comes between.
        let mut connection = redis::Client::open(server.url("")).unwrap().get_connection().unwrap();
        let () = redis::pipe()
            .atomic()
            .cmd("INCR")
            .arg("key0:revision")
            .ignore()
            .cmd("RPUSH")
            .arg("key0:changes")
            .arg("x")
            .ignore()
            .add_command(redis::cmd(damage[0]).arg(&damage[1..]).to_owned())
            .ignore()
            .query(&mut connection)
            .unwrap();
        hears(&recorder, Change::All).await;
        drop(recorder);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_messages_are_no_news_and_stop_nothing() {
    let Some(server) = Redis::start(&[]) else { return };
    let (one, other) =
        (polling(&server.url(""), NEVER).await, polling(&server.url(""), NEVER).await);
    let recorder = ChangeRecorder::on(&other);
    let version: String = server.cli(&["GET", "key0:version"]);
    let channel = format!("key0:changes:{version}");
    for forged in ["", ":", "x", "1:", "-1:x", "99999999999999999999:x", "7:short"] {
        let heard_by: i64 = server.cli(&["PUBLISH", &channel, forged]);
        assert_eq!(heard_by, 2, "{forged}");
    }
    let record = add(&one).await;
    hears(&recorder, Change::Key(record.digest)).await;
    assert!(!recorder.heard(Change::All));
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_and_prefixes_share_neither_keys_nor_news() {
    let Some(server) = Redis::start(&[]) else { return };
    let one = polling(&server.url(""), NEVER).await;
    let record = add(&one).await;
    for rest in ["/1", "/0?prefix=b:", "/0?prefix=key0"] {
        let other = polling(&server.url(rest), NEVER).await;
        assert_eq!(other.find(&record.digest).await.unwrap(), None, "{rest}");
        // Both count alike, so that a change of one could be taken for the next of the other.
        let counted: u64 = server.cli(&["GET", "key0:revision"]);
        for _ in 0..counted {
            add(&other).await;
        }
        let recorder = ChangeRecorder::on(&other);
        let foreign = add(&one).await;
        revoke(&one, &foreign).await;
        let own = add(&other).await;
        hears(&recorder, Change::Key(own.digest)).await;
        assert!(!recorder.heard(Change::All) && !recorder.heard_of(foreign.digest), "{rest}");
        assert_eq!(one.find(&own.digest).await.unwrap(), None, "{rest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything_is_noticed() {
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::to(server.address());
    let one = open(&server.url("")).await;
    let other = usual().open(&server.url_through(proxy.port(), "")).await.unwrap();
    let recorder = ChangeRecorder::on(&other);
    let record = add(&one).await;
    hears(&recorder, Change::Key(record.digest)).await;
    proxy.stall();
    recorder.forget();
    revoke(&one, &record).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!recorder.heard_of(record.digest) && !recorder.heard(Change::All));
    proxy.cut();
    proxy.restore();
    hears(&recorder, Change::All).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_dropped_leaves_no_connection() {
    let Some(server) = Redis::start(&[]) else { return };
    let clients = || -> usize {
        let clients: String = server.cli(&["CLIENT", "LIST"]);
        clients.lines().filter(|line| !line.contains("cmd=client")).count()
    };
    let before = clients();
    let stores: Vec<_> = {
        let mut stores = Vec::new();
        for _ in 0..5 {
            let store = Arc::new(open(&server.url("")).await);
            let record = add(&store).await;
            store.find(&record.digest).await.unwrap();
            stores.push(store);
        }
        stores
    };
    // One for reads, one for writes, one for news.
    comes_about(async || clients() == before + 15).await;
    drop(stores);
    comes_about(async || clients() == before).await;
}
