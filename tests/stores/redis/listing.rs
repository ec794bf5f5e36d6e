//! Listings stay within bounds, whatever they look through.

use key0_auth::{apikey::KeyKind, domain::KeyId};
use serde_json::json;

use super::*;
use crate::{
    redis_server::Redis,
    samples::{at, partner_key},
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
