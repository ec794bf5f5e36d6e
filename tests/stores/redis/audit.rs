//! Events that a version has kept which knew histories alone.

use key0_auth::{
    error::StoreErrorKind,
    store::{
        AuditLog, Copying,
        spi::{AuditCursor, AuditQuery},
    },
};

use super::*;
use crate::{
    redis_server::{RIGHTS, Redis},
    samples::at,
};

const ALL: AuditQuery =
    AuditQuery { since: None, after: AuditCursor { transaction: 0, event: 0 }, limit: 100 };

/// A key that was revoked, as version 5 has left it.
async fn leave(server: &Redis) -> KeyRecord {
    let store = open(&server.url("")).await;
    let record = add(&store).await;
    store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap().unwrap();
    drop(store);
    let history = format!("key0:history:{}", record.id);
    let lines: Vec<String> = server.cli(&["LRANGE", &history, "0", "-1"]);
    let () = server.cli(&["DEL", &history, "key0:events", "key0:events_noted"]);
    for line in &lines {
        let _: i64 = server.cli(&["RPUSH", &history, &line[16..]]);
    }
    let version: String = server.cli(&["GET", "key0:version"]);
    let () = server.cli(&["SET", "key0:version", &version.replace(" 6 ", " 5 ")]);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_an_older_version_come_first_and_go_like_others() {
    let Some(server) = Redis::start(&[]) else { return };
    let record = leave(&server).await;
    let store = open(&server.url("")).await;
    let new = add(&store).await;
    comes_about(async || store.events(&ALL).await.is_ok()).await;
    let told = async || {
        let events = store.events(&ALL).await.unwrap().events;
        let told = |event: key0_auth::store::spi::AuditEvent| {
            (event.subject.id().to_owned(), event.action)
        };
        events.into_iter().map(told).collect::<Vec<_>>()
    };
    let of = |record: &KeyRecord, action: &str| (record.id.as_str().to_owned(), action.to_owned());
    let created = of(&new, "created");
    let expected = [of(&record, "created"), of(&record, "revoked"), created.clone()];
    assert_eq!(told().await, expected);
    let history = store.history(&record.id, 10).await.unwrap();
    assert_eq!(
        history.iter().map(|event| event.action.as_str()).collect::<Vec<_>>(),
        ["created", "revoked"]
    );

    assert_eq!(store.purge_keys(at(10), 10).await.unwrap(), 1);
    assert_eq!(told().await, expected);
    assert_eq!(store.purge_events(at(11), 10).await.unwrap(), 1);
    assert_eq!(told().await, [created]);
    let left: Vec<String> = server.cli(&["KEYS", &format!("*{}", record.id)]);
    assert!(left.is_empty(), "{left:?}");
}

/// Many were made at one instant, as by an import.
#[tokio::test(flavor = "multi_thread")]
async fn no_page_passes_over_older_events_of_one_microsecond() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let mut expected = Vec::new();
    for _ in 0..9 {
        expected.push(add(&store).await.id.as_str().to_owned());
    }
    drop(store);
    let () = server.cli(&["DEL", "key0:events", "key0:events_noted"]);
    for id in &expected {
        let history = format!("key0:history:{id}");
        let lines: Vec<String> = server.cli(&["LRANGE", &history, "0", "-1"]);
        let () = server.cli(&["DEL", &history]);
        let _: i64 = server.cli(&["RPUSH", &history, &lines[0][16..]]);
    }
    let version: String = server.cli(&["GET", "key0:version"]);
    let () = server.cli(&["SET", "key0:version", &version.replace(" 6 ", " 5 ")]);

    let store = open(&server.url("")).await;
    comes_about(async || store.events(&ALL).await.is_ok()).await;
    expected.push(add(&store).await.id.as_str().to_owned());
    let (mut seen, mut query) = (Vec::new(), AuditQuery { limit: 2, ..ALL });
    loop {
        let page = store.events(&query).await.unwrap();
        assert!(page.next >= query.after, "{page:?}");
        seen.extend(page.events.iter().map(|event| event.subject.id().to_owned()));
        query.after = page.next;
        if !page.more {
            break;
        }
    }
    assert_eq!(seen.last(), expected.last());
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);

    // A copy passes over none either.
    let Some(other) = Redis::start(&[]) else { return };
    let to = open(&other.url("")).await;
    let mut copy = Copying::begin(&store, &to, "the source").await.unwrap();
    while copy.step().await.unwrap() {}
    copy.end().await.unwrap();
    assert_eq!(to.events(&ALL).await.unwrap().events, store.events(&ALL).await.unwrap().events);
}

/// Half of a log would look like all of it.
#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_told_before_all_of_an_older_version_are_listed() {
    let Some(server) = Redis::start(&[]) else { return };
    leave(&server).await;
    server.set_user(&[&["~key0:*", "&key0:*"], RIGHTS].concat());
    let store = open(&server.user_url()).await;
    let error = store.events(&ALL).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    // Until somebody may `scan`.
    let store = open(&server.url("")).await;
    comes_about(async || store.events(&ALL).await.is_ok()).await;
}
