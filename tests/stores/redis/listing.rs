//! Listings stay within bounds, whatever they look through.

use key0_auth::{
    apikey::KeyKind,
    domain::{ChallengeId, KeyId, PlanId, RequestId, ResourceId},
    error::StoreErrorKind,
    store::{
        AuditLog, Payment, PurchaseStore,
        spi::{AuditCursor, AuditQuery, Lease, PurchaseFilter, PurchaseQuery},
    },
};
use serde_json::json;

use super::*;
use crate::{
    redis_server::Redis,
    samples::{at, hash, partner_key},
};

fn query(limit: u32) -> KeyQuery {
    KeyQuery {
        kind: KeyKind::Integrator,
        in_force_at: Some(at(50)),
        filter: Default::default(),
        after: None,
        limit,
    }
}

/// All keys of a listing, and how many pages they were on.
async fn everything(store: &RedisStore, mut query: KeyQuery) -> (Vec<KeyRecord>, usize) {
    let (mut keys, mut pages) = (Vec::new(), 0);
    loop {
        let page = store.list(&query).await.unwrap();
        keys.extend(page.keys);
        pages += 1;
        match page.next {
            Some(next) => query.after = Some(next),
            None => return (keys, pages),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_keys_among_very_many_that_are_over_are_found_page_by_page() {
    let Some(server) = Redis::start(&["--appendfsync", "no"]) else { return };
    let store = open(&server.url("")).await;
    let mut first = partner_key();
    first.created_at = at(-10);
    store.insert(&first, &Actor::host()).await.unwrap();
    // As the store keeps them, 25,000 that expired, all made after the first.
    let script = r"
        for i = 1, 25000 do
          local id, place = 'id-' .. i, ARGV[1] .. 'id-' .. i
          redis.call('HSET', 'key0:key:' .. id, 'id', id, 'place', place, 'expires_at', ARGV[2])
          redis.call('ZADD', 'key0:keys:integrator', 0, place)
        end";
    let micros = at(1).as_micros();
    let place = format!("{:016x}", micros.cast_unsigned() ^ (1 << 63));
    let () = server.cli(&["EVAL", script, "0", &place, &micros.to_string()]);
    let last = add(&store).await;
    assert!(last.created_at < at(1), "it stands behind those that are over");
    let (keys, pages) = everything(&store, query(10)).await;
    let ids: Vec<KeyId> = keys.into_iter().map(|record| record.id).collect();
    assert_eq!(ids, [last.id, first.id]);
    assert_eq!(pages, 3, "each looks through 10,000 at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_records_make_short_pages() {
    let Some(server) = Redis::start(&["--appendfsync", "no"]) else { return };
    let store = open(&server.url("")).await;
    let mut inserted = Vec::new();
    for i in 0..40 {
        let mut record = partner_key();
        record.created_at = at(-i);
        record.metadata =
            json!({"pad": "x".repeat(256 * 1024)}).as_object().unwrap().clone().into();
        store.insert(&record, &Actor::host()).await.unwrap();
        inserted.push(record);
    }
    let (keys, pages) = everything(&store, query(1_000)).await;
    assert!(keys == inserted, "another listing");
    assert!(pages >= 3, "{pages}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_can_not_be_read_hides_no_other() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let (first, second, third) = (add(&store).await, add(&store).await, add(&store).await);
    let key = format!("key0:key:{}", second.id);
    let _: i64 = server.cli(&["HSET", &key, "metadata", "{"]);
    let page = store.list(&query(10)).await.unwrap();
    assert_eq!(page.keys, [third, first]);
    assert_eq!(page.unreadable.iter().map(|key| &key.id).collect::<Vec<_>>(), [&second.id]);
    let page = store.list(&query(2)).await.unwrap();
    assert_eq!((page.keys.len(), page.unreadable.len(), page.next.is_some()), (1, 1, true));
    store.revoke(&second.id, &Actor::host(), at(1)).await.unwrap().unwrap();
    assert_eq!(store.list(&query(10)).await.unwrap().unreadable, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_purchases_that_can_not_be_read_are_listed_as_such() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    for n in 0..4 {
        add(&store).await;
        let paid = Payment::new(
            ChallengeId::new(&format!("c{n}")).unwrap(),
            RequestId::new("r").unwrap(),
            ResourceId::new("photo-1").unwrap(),
            PlanId::new("basic").unwrap(),
            hash(&format!("0x{n}")),
            at(0),
        );
        store.record_payment(&paid).await.unwrap();
    }
    let events: Vec<String> = server.cli(&["ZRANGE", "key0:events", "0", "-1"]);
    assert_eq!(events.len(), 4);
    for (event, bad) in events.iter().zip(["thing", "kx created soon host"]) {
        let (position, _) = event.split_at(event.find(|c: char| !c.is_ascii_hexdigit()).unwrap());
        let _: i64 = server.cli(&["ZREM", "key0:events", event]);
        let _: i64 = server.cli(&["ZADD", "key0:events", "0", &format!("{position}{bad}")]);
    }
    let _: i64 = server.cli(&["HSET", "key0:payment:c1", "request_id", "a b"]);
    let _: i64 = server.cli(&["HSET", "key0:payment:c2", "attempts", "often"]);
    let _: i64 = server.cli(&["ZADD", "key0:purchases", "0", "8000000000000000challenge:c 4"]);
    for limit in 1..=5 {
        let (mut events, mut unreadable, mut after) = (0, 0, AuditCursor::default());
        loop {
            let page = store.events(&AuditQuery { since: None, after, limit }).await.unwrap();
            events += page.events.len();
            unreadable += page.unreadable.len();
            after = page.next;
            if !page.more {
                break;
            }
        }
        assert_eq!((events, unreadable), (2, 2), "{limit}");
        let (mut listed, mut unreadable, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let filter = PurchaseFilter::default();
            let page =
                store.purchases(&PurchaseQuery { filter, after, limit, now: at(9) }).await.unwrap();
            listed.extend(page.purchases.into_iter().map(|it| it.key.id().to_owned()));
            unreadable.extend(page.unreadable.into_iter().map(|it| it.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        listed.sort();
        unreadable.sort();
        assert_eq!(listed, ["c0", "c3"], "{limit}");
        assert_eq!(unreadable, ["c 4", "c1", "c2"], "{limit}");
    }
    // The one that counts no attempts holds up no other.
    let mut leased = 0;
    for _ in 0..4 {
        let lease = Lease::new(at(100));
        match store.lease_payment(&lease, at(50)).await {
            Ok(found) => leased += usize::from(found.is_some()),
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Corrupt),
        }
    }
    assert_eq!(leased, 2);
}
