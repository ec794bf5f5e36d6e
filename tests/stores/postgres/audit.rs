//! In which order events are told, where transactions overlap and where a database was restored.

use key0_auth::{
    domain::{Actor, Timestamp},
    store::{
        AuditLog,
        spi::{AuditCursor, AuditQuery},
    },
};
use tokio::time::sleep;

use super::*;

/// All from here on.
fn after(after: AuditCursor) -> AuditQuery {
    AuditQuery { since: None, after, limit: 100 }
}

/// The keys of so many events after a cursor, as soon as they are told: whatever writes on the same
/// server can hold them back for a moment.
async fn told(store: &PostgresStore, query: &AuditQuery, count: usize) -> Vec<String> {
    let began = Instant::now();
    loop {
        let events = store.events(query).await.unwrap().events;
        if events.len() >= count || began.elapsed() > PATIENCE {
            return events.iter().map(|event| event.subject.id().to_owned()).collect();
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_committed_late_is_passed_over_by_nobody() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut raw = ours.raw().await;
    let slow = "BEGIN; INSERT INTO key_events (key_id, action, actor, at)
                VALUES ('slow', 'created', 'host', 1)";
    run(&mut raw, slow).await;
    let quick = payment_key();
    store.insert(&quick, &Actor::host()).await.unwrap();
    let page = store.events(&after(AuditCursor::default())).await.unwrap();
    assert_eq!((page.events, page.more), (vec![], false));
    run(&mut raw, "COMMIT").await;
    assert_eq!(told(&store, &after(page.next), 2).await, ["slow", quick.id.as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_restored_from_another_server_are_told() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut raw = ours.raw().await;
    let restored = "INSERT INTO key_events (key_id, action, actor, at, xid)
                    VALUES ('restored', 'created', 'host', 1, '9000000000000000000')";
    run(&mut raw, restored).await;
    let new = payment_key();
    store.insert(&new, &Actor::host()).await.unwrap();
    // As the housekeeping does every minute.
    store.purge_events(at(0), 10).await.unwrap();
    let all = after(AuditCursor::default());
    assert_eq!(told(&store, &all, 2).await, [new.id.as_str(), "restored"]);
    // Whoever has read the other server to its end misses nothing of this one.
    let of_the_other = AuditCursor { transaction: 9_000_000_000_000_000_001, event: 100 };
    assert_eq!(told(&store, &after(of_the_other), 2).await, [new.id.as_str(), "restored"]);
}

/// By number, and not by the text of the number.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_in_the_order_of_their_transactions() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut raw = ours.raw().await;
    for transaction in ["100", "9", "99", "10"] {
        let event = format!(
            "INSERT INTO key_events (key_id, action, actor, at, xid)
             VALUES ('k{transaction}', 'created', 'host', 1, '{transaction}')"
        );
        run(&mut raw, &event).await;
    }
    for since in [None, Some(Timestamp::from_micros(1))] {
        let mut query = AuditQuery { since, after: AuditCursor::default(), limit: 1 };
        let mut ids = Vec::new();
        loop {
            let page = store.events(&query).await.unwrap();
            ids.extend(page.events.iter().map(|event| event.subject.id().to_owned()));
            query.after = page.next;
            if !page.more {
                break;
            }
        }
        assert_eq!(ids, ["k9", "k10", "k99", "k100"], "{since:?}");
    }
}
