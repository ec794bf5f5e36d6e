//! A server that is away, hangs, or has lost what it knew.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use key0_auth::{
    apikey::KeyKind,
    error::StoreErrorKind,
    store::{
        IdempotencyStore,
        spi::{IdempotencyState, IssuanceState, PaymentOutcome, Rotation, Slot},
    },
};

use super::*;
use crate::{
    redis_server::Redis,
    samples::{at, challenge, claim, fingerprint, issuance, lease, new_digest, payment_key},
    servers::proxy::Proxy,
};

/// Every method that asks the server, each with what it has failed with.
pub(crate) async fn failures(
    store: &RedisStore,
    record: &KeyRecord,
) -> Vec<(&'static str, StoreError)> {
    let (host, claim) = (Actor::host(), claim(challenge("x"), "0xf"));
    let sold = payment_key();
    let slot = Slot { scope: "s".to_owned(), key: "k".to_owned() };
    let query = KeyQuery {
        kind: KeyKind::Integrator,
        in_force_at: None,
        filter: Default::default(),
        after: None,
        limit: 10,
    };
    let id = key0_auth::domain::ChallengeId::new("x").unwrap();
    let issued = issuance(&sold);
    vec![
        ("find", store.find(&record.digest).await.unwrap_err()),
        ("get", store.get(&record.id).await.unwrap_err()),
        ("list", store.list(&query).await.unwrap_err()),
        ("history", store.history(&record.id, 9).await.unwrap_err()),
        ("payment", store.payment(&id).await.unwrap_err()),
        ("ping", store.ping().await.unwrap_err()),
        ("insert", store.insert(&sold, &host).await.unwrap_err()),
        ("revoke", store.revoke(&record.id, &host, at(1)).await.unwrap_err()),
        ("touch", store.touch(&[(record.id.clone(), at(1))]).await.unwrap_err()),
        ("purge_keys", store.purge_keys(at(1), 9).await.unwrap_err()),
        ("begin", store.begin_issuance(&claim, at(0)).await.unwrap_err()),
        ("complete", store.complete_issuance(&claim, &issued, None).await.unwrap_err()),
        ("abandon", store.abandon_issuance(&claim).await.unwrap_err()),
        ("forget", store.forget_nonces(at(1), 9).await.unwrap_err()),
        ("lease", store.lease_payment(&lease(9), at(0)).await.unwrap_err()),
        ("finish", store.finish_payment(&id, &lease(9), at(9)).await.unwrap_err()),
        (
            "request",
            store.begin_request(&slot, &fingerprint("b"), &lease(9), at(0)).await.unwrap_err(),
        ),
        ("purge_requests", store.purge_requests(at(1), 9).await.unwrap_err()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_is_an_outage_and_comes_back_without_a_reopening() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let record = add(&store).await;
    server.stop();
    for (method, error) in failures(&store, &record).await {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{method}: {error:?}");
    }
    server.start_again();
    comes_about(async || store.find(&record.digest).await.is_ok()).await;
    assert_eq!(store.find(&record.digest).await.unwrap().as_ref(), Some(&record));
    comes_about(async || store.ping().await.is_ok()).await;
    // Reads and writes find it each by themselves.
    comes_about(async || store.touch(&[(record.id.clone(), at(1))]).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_an_append_only_file_loses_nothing_when_it_is_killed() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let (kept, revoked) = (add(&store).await, add(&store).await);
    store.revoke(&revoked.id, &Actor::host(), at(1)).await.unwrap().unwrap();
    let (first, sold) = (claim(challenge("c"), "0x1"), payment_key());
    let issued = issuance(&sold);
    store.begin_issuance(&first, at(0)).await.unwrap();
    assert!(store.complete_issuance(&first, &issued, Some(&sold)).await.unwrap());
    server.kill_9();
    server.start_again();
    comes_about(async || store.ping().await.is_ok()).await;
    assert_eq!(store.find(&kept.digest).await.unwrap(), Some(kept));
    assert!(store.find(&revoked.digest).await.unwrap().unwrap().revoked_at.is_some());
    assert_eq!(store.find(&sold.digest).await.unwrap(), Some(sold));
    comes_about(async || store.touch(&[(revoked.id.clone(), at(1))]).await.is_ok()).await;
    let state = store.begin_issuance(&first, at(1)).await.unwrap();
    assert_eq!(state, IssuanceState::Issued(issued));
    let thief = claim(challenge("d"), "0x1");
    assert_eq!(store.begin_issuance(&thief, at(1)).await.unwrap(), IssuanceState::Redeemed);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost_in_ten_crashes_under_load() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    for round in 0..10 {
        let before = acknowledged.load(SeqCst);
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
                tokio::spawn(async move {
                    let mut kept: Vec<(KeyRecord, bool)> = Vec::new();
                    loop {
                        let record = payment_key();
                        let host = Actor::host();
                        if store.insert(&record, &host).await.is_err() {
                            return kept;
                        }
                        let revoked = kept.len().is_multiple_of(2)
                            && matches!(store.revoke(&record.id, &host, at(1)).await, Ok(Some(_)));
                        kept.push((record, revoked));
                        acknowledged.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        // At another point of the work each time.
        comes_about(async || acknowledged.load(SeqCst) > before + 20 + 7 * round).await;
        server.kill_9();
        let mut kept = Vec::new();
        for writer in writers {
            kept.extend(writer.await.unwrap());
        }
        server.start_again();
        comes_about(async || store.ping().await.is_ok()).await;
        for (record, revoked) in &kept {
            let found = store.find(&record.digest).await.unwrap().expect("it was acknowledged");
            assert!(!revoked || found.revoked_at.is_some(), "a revocation is lost");
        }
        comes_about(async || store.touch(&[(kept[0].0.id.clone(), at(1))]).await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_an_outage_and_nothing_piles_up() {
    let Some(server) = Redis::start(&[]) else { return };
    // Long enough for all to be asked before the first is given up.
    let store = usual().read_timeout(Duration::from_secs(5));
    let store = Arc::new(store.open(&server.url("")).await.unwrap());
    let record = add(&store).await;
    comes_about(async || store.find(&record.digest).await.is_ok()).await;
    server.hang();
    let reads: Vec<_> = (0..3_000)
        .map(|_| {
            let (store, digest) = (Arc::clone(&store), record.digest);
            tokio::spawn(async move { store.find(&digest).await.unwrap_err().kind() })
        })
        .collect();
    let mut refused = 0;
    for read in reads {
        refused += usize::from(read.await.unwrap() == StoreErrorKind::Unavailable);
    }
    assert!(refused > 0, "more wait than the queue holds");
    store.find(&record.digest).await.unwrap_err();
    server.resume();
    comes_about(async || store.find(&record.digest).await.is_ok()).await;
    comes_about(async || matches!(store.find(&new_digest()).await, Ok(None))).await;
    comes_about(async || server.cli::<String>(&["CLIENT", "LIST"]).lines().count() < 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_are_made_again() {
    let Some(server) = Redis::start(&[]) else { return };
    let proxy = Proxy::to(server.address());
    let store = open(&server.url_through(proxy.port(), "")).await;
    let record = add(&store).await;
    for _ in 0..5 {
        proxy.cut();
        comes_about(async || store.find(&record.digest).await.is_ok()).await;
        comes_about(async || store.touch(&[(record.id.clone(), at(1))]).await.is_ok()).await;
    }
    proxy.refuse();
    store.find(&record.digest).await.unwrap_err();
    proxy.restore();
    comes_about(async || store.find(&record.digest).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_is_not_waited_for_and_tells_why() {
    let Some(server) = Redis::start(&[]) else { return };
    let long = 2 * servers::PATIENCE;
    let options = usual().read_timeout(long).write_timeout(long);
    let store = options.open(&server.url("")).await.unwrap();
    let record = add(&store).await;
    server.stop();
    // The first ones may go over the connection that was just lost.
    let asked = Instant::now();
    let refused = |error: &StoreError| key0_auth::error::chain(error).contains("refused");
    while !store.find(&record.digest).await.is_err_and(|error| refused(&error)) {
        assert!(asked.elapsed() < servers::PATIENCE, "nobody says that the server refuses");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let errors = [
        store.find(&record.digest).await.unwrap_err(),
        store.begin_issuance(&claim(challenge("c"), "0x1"), at(0)).await.unwrap_err(),
        store.ping().await.unwrap_err(),
    ];
    assert!(asked.elapsed() < servers::PATIENCE, "{:?}", asked.elapsed());
    for error in errors {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        let why = key0_auth::error::chain(&error);
        assert!(why.contains("refused"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_the_server_has_forgotten_are_loaded_again() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let record = add(&store).await;
    for _ in 0..3 {
        let () = server.cli(&["SCRIPT", "FLUSH"]);
        assert_eq!(store.find(&record.digest).await.unwrap(), Some(record.clone()));
        add(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_server_is_an_outage_and_no_unknown_key() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let record = add(&store).await;
    let () = server.cli(&["FLUSHALL"]);
    for (method, error) in failures(&store, &record).await {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{method}: {error:?}");
    }
    let left: Vec<String> = server.cli(&["KEYS", "*"]);
    assert!(left.is_empty(), "something was written: {left:?}");
    // Also after somebody has made a new one in its place.
    let other = open(&server.url("")).await;
    let new = add(&other).await;
    for (method, error) in failures(&store, &record).await {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{method}: {error:?}");
    }
    assert_eq!(other.find(&new.digest).await.unwrap(), Some(new));
    assert_eq!(other.find(&record.digest).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_thrown_out_is_a_fault_and_no_unknown_key() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let record = add(&store).await;
    let first = claim(challenge("c"), "0x1");
    store.begin_issuance(&first, at(0)).await.unwrap();
    assert!(store.complete_issuance(&first, &issuance(&payment_key()), None).await.unwrap());
    let () = server.cli(&["DEL", &format!("key0:key:{}", record.id), "key0:issuance:challenge:c"]);
    let error = store.find(&record.digest).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    let mixed_up = add(&store).await;
    let key = format!("key0:key:{}", mixed_up.id);
    let _: i64 = server.cli(&["HSET", &key, "digest", "01234567890123456789012345678901"]);
    let error = store.find(&mixed_up.digest).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    // A spent hash stays spent, whoever asks.
    for key in ["c", "d"] {
        let claim = claim(challenge(key), "0x1");
        let error = store.begin_issuance(&claim, at(1)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_has_lost_its_record_does_not_hold_up_the_others() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    for id in ["a", "b"] {
        let payment = payment(id);
        assert_eq!(store.record_payment(&payment).await.unwrap(), PaymentOutcome::Recorded);
    }
    let () = server.cli(&["DEL", "key0:payment:a"]);
    let error = store.lease_payment(&lease(100), at(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    let leased = store.lease_payment(&lease(100), at(1)).await.unwrap().unwrap();
    assert_eq!(leased.payment, payment("b"));
    let left: i64 = server.cli(&["EXISTS", "key0:payment:a"]);
    assert_eq!(left, 0, "half a record was made");
}

fn payment(id: &str) -> key0_auth::store::Payment {
    use key0_auth::domain::{ChallengeId, PlanId, RequestId, ResourceId};
    key0_auth::store::Payment::new(
        ChallengeId::new(id).unwrap(),
        RequestId::new("r").unwrap(),
        ResourceId::new("photo-1").unwrap(),
        PlanId::new("basic").unwrap(),
        samples::hash(&format!("0x{id}")),
        at(0),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_memory_is_full_nothing_is_taken_by_halves_and_keys_can_still_be_withdrawn() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let (record, revoked, leaked) = (add(&store).await, add(&store).await, add(&store).await);
    let () = server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let new = payment_key();
    store.insert(&new, &Actor::host()).await.unwrap_err();
    let claim = claim(challenge("c"), "0x1");
    store.begin_issuance(&claim, at(0)).await.unwrap_err();
    let slot = Slot { scope: "s".to_owned(), key: "k".to_owned() };
    let begin = async || store.begin_request(&slot, &fingerprint("b"), &lease(9), at(0)).await;
    begin().await.unwrap_err();
    assert_eq!(store.find(&record.digest).await.unwrap(), Some(record));
    assert_eq!(store.find(&new.digest).await.unwrap(), None);

    store.revoke(&revoked.id, &Actor::host(), at(1)).await.unwrap().unwrap();
    assert!(store.find(&revoked.digest).await.unwrap().unwrap().revoked_at.is_some());
    let rotation = Rotation {
        old: leaked.digest,
        new: new_digest(),
        display: "x".to_owned(),
        old_until: None,
    };
    assert!(store.rotate(&leaked.id, &rotation, &Actor::host(), at(1)).await.unwrap());
    assert_eq!(store.find(&leaked.digest).await.unwrap(), None);
    assert_eq!(store.purge_keys(at(2), 9).await.unwrap(), 1);
    assert_eq!(store.find(&revoked.digest).await.unwrap(), None);

    let () = server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    store.insert(&new, &Actor::host()).await.unwrap();
    assert_eq!(store.begin_issuance(&claim, at(0)).await.unwrap(), IssuanceState::Started);
    assert_eq!(begin().await.unwrap(), IdempotencyState::Started);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_takes_no_writes_is_read_all_the_same() {
    let Some(server) = Redis::start(&[]) else { return };
    let store = open(&server.url("")).await;
    let record = add(&store).await;
    let () = server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    store.insert(&payment_key(), &Actor::host()).await.unwrap_err();
    assert_eq!(store.find(&record.digest).await.unwrap(), Some(record));
}
