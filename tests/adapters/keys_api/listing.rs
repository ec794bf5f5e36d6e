use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use key0_auth::{KeyStore, SqliteStore, domain::Actor};
use rusqlite::Connection;

use crate::keys_api::{Office, START};

/// So many keys, five of them made in the same instant each time.
const KEYS: i64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_keys_stand_on_exactly_one_page_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = std::sync::Arc::new(SqliteStore::open(&path).unwrap());
    let raw = Connection::open(&path).unwrap();
    // One in ten is revoked while the listing goes on.
    raw.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO keys (id, digest, display, kind, role, metadata, created_at)
         SELECT iif(i % 10 = 0, 'passing-', 'lasting-') || i, randomblob(32), 'ak_1a2B…',
             'integrator', 'read', '{}', ?2 + (i / 5) * 1000 FROM n",
        (KEYS, START.as_micros() - KEYS * 1000),
    )
    .unwrap();
    let office = Office::on(store.clone(), folder);
    let done = AtomicBool::new(false);
    let disturb = async {
        let mut changes = 0;
        for i in (1..=KEYS / 10).rev() {
            if done.load(SeqCst) {
                break;
            }
            office.reader().await;
            let id = format!("passing-{}", i * 10).parse().unwrap();
            let revoked = store.revoke(&id, &Actor::host(), START).await;
            changes += 1 + usize::from(revoked.unwrap().is_some());
        }
        changes
    };
    let page_through = async {
        let mut seen = HashSet::new();
        let (mut pages, mut cursor) = (0, String::new());
        loop {
            let answer = office.call("GET", &format!("/keys?limit=997{cursor}")).await;
            let page = answer.json();
            for key in page["keys"].as_array().unwrap() {
                let id = key["id"].as_str().unwrap();
                assert!(seen.insert(id.to_owned()), "{id} stands on two pages");
            }
            pages += 1;
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        done.store(true, SeqCst);
        (seen, pages)
    };
    let ((seen, pages), changes) = tokio::join!(page_through, disturb);
    let lasting = seen.iter().filter(|id| id.starts_with("lasting-")).count();
    println!("{} keys on {pages} pages while {changes} changes were made", seen.len());
    assert_eq!(lasting as i64, KEYS - KEYS / 10);
    assert!(changes > pages, "nothing happened meanwhile");
}

#[tokio::test]
async fn the_default_page_has_a_hundred_keys() {
    let office = Office::on_memory();
    for _ in 0..101 {
        office.reader().await;
    }
    let page = office.call("GET", "/keys").await.json();
    assert_eq!(page["keys"].as_array().unwrap().len(), 100);
    let cursor = page["nextCursor"].as_str().unwrap();
    let rest = office.call("GET", &format!("/keys?cursor={cursor}")).await.json();
    assert_eq!(rest["keys"].as_array().unwrap().len(), 1);
    assert!(rest.get("nextCursor").is_none());
    let other = office.call("GET", &format!("/keys?status=all&cursor={cursor}")).await;
    other.assert_refused(400, "invalid_request", "cursor is not one of this listing");
    assert_eq!(office.call("HEAD", "/keys").await.status, 200);
}

#[tokio::test]
async fn an_empty_value_and_an_unknown_parameter_count_as_absent() {
    let office = Office::on_memory();
    office.reader().await;
    for query in
        ["limit=", "cursor=&kind=", "colour=red", "status=&limit=1&&colour=red&colour=blue"]
    {
        let page = office.call("GET", &format!("/keys?{query}")).await.json();
        assert_eq!(page["keys"].as_array().unwrap().len(), 1, "{query}");
    }
}
