use std::sync::Arc;

use key0_auth::{
    domain::{ChallengeId, PlanId, RequestId, ResourceId},
    error::StoreErrorKind,
    store::{
        AuditLog, IdempotencyStore, Payment, PaymentStore, PurchaseStore,
        spi::{
            AuditCursor, AuditQuery, IdempotencyState, IssuanceState, KeyQuery, Lease,
            PaymentOutcome, PurchaseFilter, PurchaseQuery, Slot, StoredResponse,
        },
    },
};

use super::*;
use crate::samples::{
    challenge, claim, fingerprint, foreign_issuance, hash, issuance, lease, new_digest, request,
};

fn payment(id: &str, tx_hash: &str) -> Payment {
    Payment::new(
        ChallengeId::new(id).unwrap(),
        RequestId::new("r").unwrap(),
        ResourceId::new("photo-1").unwrap(),
        PlanId::new("basic").unwrap(),
        hash(tx_hash),
        at(0),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_payments_race_across_instances() {
    let Some(ours) = Ours::new() else { return };
    let stores = [ours.open().await, ours.open().await, ours.open().await];
    for round in 0..10 {
        let racing: Vec<_> = (0..30)
            .map(|i| {
                let store = stores[i % 3].clone();
                // Half of them by the same id, half by others on the same hash; all find the same
                // two lapsed claims.
                let key = if i % 2 == 0 { challenge("c") } else { request(&format!("r{i}")) };
                let mut claim = claim(key, "0xTITI");
                claim.lease = lease(100 * round + 100);
                tokio::spawn(async move {
                    let state = patiently!(store.begin_issuance(&claim, at(100 * round)));
                    let payment = payment(&format!("p{round}"), &format!("0x{round}"));
                    (state, patiently!(store.record_payment(&payment)))
                })
            })
            .collect();
        let (mut started, mut recorded) = (0, 0);
        for job in racing {
            let (state, outcome) = job.await.unwrap();
            match state {
                IssuanceState::Started => started += 1,
                IssuanceState::InProgress => {}
                other => panic!("{other:?}"),
            }
            match outcome {
                PaymentOutcome::Recorded => recorded += 1,
                PaymentOutcome::Repeated => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((started, recorded), (1, 1));
    }
}

/// The database speaks Turkish, where the small letter of I is another.
#[tokio::test(flavor = "multi_thread")]
async fn hashes_are_compared_in_no_language_and_ids_to_the_letter() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let started = IssuanceState::Started;
    assert_eq!(
        store.begin_issuance(&claim(challenge("I"), "0xIIII"), at(0)).await.unwrap(),
        started
    );
    let other = claim(challenge("i"), "0xiiii");
    assert_eq!(store.begin_issuance(&other, at(0)).await.unwrap(), IssuanceState::InProgress);
    assert_eq!(store.begin_issuance(&claim(challenge("i"), "0x2"), at(0)).await.unwrap(), started);
    let outcome = store.record_payment(&payment("I", "0xIIII")).await.unwrap();
    assert_eq!(outcome, PaymentOutcome::Recorded);
    let outcome = store.record_payment(&payment("I", "0xiiii")).await.unwrap();
    assert_eq!(outcome, PaymentOutcome::Repeated);
    let outcome = store.record_payment(&payment("i", "0xiiii")).await.unwrap();
    assert_eq!(outcome, PaymentOutcome::Conflict);
    // By hand, past what the store makes of it.
    let mut raw = ours.raw().await;
    run(
        &mut raw,
        "INSERT INTO payments (challenge_id, request_id, resource_id, plan_id, tx_hash,
         details, received_at) VALUES ('x', 'r', 'r', 'p', '0xI2', '{}', 0)",
    )
    .await;
    let outcome = store.record_payment(&payment("x", "0xi2")).await.unwrap();
    assert_eq!(outcome, PaymentOutcome::Repeated);
}

/// Another instance is in the midst of replacing the same issuance.
#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_waits_for_another_and_then_sees_it() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let claim = claim(challenge("c"), "0x1");
    let (old, new) = (foreign_issuance(), foreign_issuance());
    store.begin_issuance(&claim, at(0)).await.unwrap();
    assert!(store.complete_issuance(&claim, &old, None).await.unwrap());
    let mut other = ours.raw().await;
    run(&mut other, "BEGIN; UPDATE issuances SET digest = decode(repeat('07', 32), 'hex')").await;
    let replacing = {
        let (store, key) = (store.clone(), claim.key.clone());
        tokio::spawn(
            async move { patiently!(store.replace_issuance(&key, &old, &new, "…", at(1))) },
        )
    };
    ours.waits_for_a_lock().await;
    run(&mut other, "COMMIT").await;
    assert!(!replacing.await.unwrap(), "it is not what is stored any more");
    match store.begin_issuance(&claim, at(1)).await.unwrap() {
        IssuanceState::Issued(kept) => assert_eq!(kept.digest, KeyDigest::from_bytes([7; 32])),
        other => panic!("{other:?}"),
    }
}

/// Whoever waits for the first key holds none of the others: so two can't wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn uses_are_written_in_one_order_whatever_they_come_in() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut records: Vec<_> = (0..60).map(|_| payment_key()).collect();
    records.sort_by(|one, other| other.id.as_str().cmp(one.id.as_str()));
    for record in &records {
        store.insert(record, &Actor::host()).await.unwrap();
    }
    let first = &records.last().unwrap().id;
    let uses: Vec<_> = records.iter().map(|record| (record.id.clone(), at(9))).collect();
    let mut other = ours.raw().await;
    let lock = |condition: &str, how: &str| {
        format!("SELECT FROM keys WHERE id {condition} '{first}' ORDER BY id FOR UPDATE {how}")
    };
    run(&mut other, &format!("ANALYZE keys; BEGIN; {}", lock("=", ""))).await;
    let touching = {
        let store = store.clone();
        tokio::spawn(async move { patiently!(store.touch(&uses)) })
    };
    ours.waits_for_a_lock().await;
    run(&mut other, &lock("<>", "NOWAIT")).await;
    run(&mut other, "COMMIT").await;
    touching.await.unwrap();
    assert_eq!(store.get(first).await.unwrap().unwrap().last_used_at, Some(at(9)));
}

/// Another instance is in the midst of leasing the first one.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_another_is_leasing_is_passed_over() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    for id in ["p1", "p2"] {
        store.record_payment(&payment(id, id)).await.unwrap();
    }
    let mut other = ours.raw().await;
    let leasing = "BEGIN; UPDATE payments SET due_at = due_at + 1 WHERE challenge_id = 'p1'";
    run(&mut other, leasing).await;
    // Who waited would be refused: nobody lets go of it.
    let leased = store.lease_payment(&lease(100), at(1)).await.unwrap().unwrap();
    assert_eq!(leased.payment.challenge_id.as_str(), "p2");
    assert_eq!(store.lease_payment(&lease(100), at(1)).await.unwrap(), None);
}

/// Whoever waits for the first of two lapsed claims does not hold the second.
#[tokio::test(flavor = "multi_thread")]
async fn lapsed_claims_are_cleared_away_in_one_order() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    store.begin_issuance(&claim(request("z"), "0x2"), at(0)).await.unwrap();
    store.begin_issuance(&claim(challenge("a"), "0x1"), at(0)).await.unwrap();
    let mut other = ours.raw().await;
    run(&mut other, "BEGIN; SELECT FROM issuances WHERE id = 'a' FOR UPDATE").await;
    let mut both = claim(request("z"), "0x1");
    both.lease = lease(300);
    let beginning = {
        let store = store.clone();
        tokio::spawn(async move { patiently!(store.begin_issuance(&both, at(200))) })
    };
    ours.waits_for_a_lock().await;
    run(&mut other, "SELECT FROM issuances WHERE id = 'z' FOR UPDATE NOWAIT").await;
    run(&mut other, "COMMIT").await;
    assert_eq!(beginning.await.unwrap(), IssuanceState::Started);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_by_its_holder_and_never_waits_for_ever() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let slot = Slot { scope: "a".to_owned(), key: "k".to_owned() };
    let (first, print) = (lease(100), fingerprint("body"));
    let begin = async |lease: &Lease, now| {
        store.begin_request(&slot, &print, lease, at(now)).await.unwrap()
    };
    assert_eq!(begin(&first, 0).await, IdempotencyState::Started);
    let renewed = Lease { token: first.token, until: at(200) };
    assert_eq!(begin(&renewed, 50).await, IdempotencyState::Started);
    assert_eq!(begin(&lease(500), 199).await, IdempotencyState::InProgress { until: at(200) });
    let other = store.begin_request(&slot, &fingerprint("other"), &renewed, at(60)).await.unwrap();
    assert_eq!(other, IdempotencyState::Reused);
    // The clock was set back: nobody waits until it gets there again.
    assert_eq!(begin(&lease(-900), -1_000).await, IdempotencyState::Started);
}

/// A job that is stuck holds up neither another kind of work nor the server.
#[tokio::test(flavor = "multi_thread")]
async fn writes_that_are_stuck_keep_no_read_from_its_answer() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.options().read_timeout(Duration::from_millis(500)).open(&ours.url("")).await;
    let store = Arc::new(store.unwrap());
    let record = inserted(&store).await;
    let mut other = ours.raw().await;
    run(&mut other, "BEGIN; LOCK TABLE issuances IN ACCESS EXCLUSIVE MODE").await;
    let stuck: Vec<_> = (0..20)
        .map(|i| {
            let (store, claim) =
                (store.clone(), claim(challenge(&format!("c{i}")), &format!("{i}")));
            tokio::spawn(async move { store.begin_issuance(&claim, at(0)).await })
        })
        .collect();
    // Each takes its second, and they come in turn: a read that stood in their line would only be
    // answered when the last is over.
    let is_stuck = || stuck.iter().any(|job| !job.is_finished());
    while !matches!(store.find(&record.digest).await, Ok(Some(_))) || store.ping().await.is_err() {
        assert!(is_stuck(), "reads wait for writes");
    }
    assert!(is_stuck(), "reads wait for writes");
    assert!(ours.connections(&mut other).await <= 16);
    let recorder = samples::ChangeRecorder::on(&*store);
    let mut raw = ours.raw().await;
    run(&mut raw, "UPDATE keys SET label = 'news'").await;
    eventually("the news", || recorder.heard_of(record.digest)).await;
    for job in stuck {
        assert_eq!(job.await.unwrap().unwrap_err().kind(), StoreErrorKind::TimedOut);
    }
    run(&mut other, "ROLLBACK").await;
    store.begin_issuance(&claim(challenge("c"), "0x"), at(0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_given_up_is_given_up_by_the_server_too() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.options().read_timeout(Duration::from_millis(500)).open(&ours.url("")).await;
    let store = store.unwrap();
    let mut other = ours.raw().await;
    let mut raw = ours.raw().await;
    run(&mut other, "BEGIN; LOCK TABLE keys IN ACCESS EXCLUSIVE MODE").await;
    let digest = new_digest();
    let reads: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.find(&digest).await.unwrap_err().kind() })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap(), StoreErrorKind::TimedOut);
    }
    comes_about("some still wait", async || ours.waiting(&mut raw).await == 0).await;
    run(&mut other, "ROLLBACK").await;
    assert_eq!(found(&store, &digest).await, None);
}

/// A server that acknowledges before it writes is told to write first.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_on_the_disk_whatever_the_server_is_set_to() {
    let Some(ours) = Ours::new() else { return };
    let hasty = ours.url("&options=-c%20synchronous_commit=off");
    let store = ours.options().open(&hasty).await.unwrap();
    let mut raw = ours.raw().await;
    run(
        &mut raw,
        "CREATE TABLE seen (setting text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO seen VALUES (current_setting('synchronous_commit'));
             RETURN NULL;
         END $$;
         CREATE TRIGGER see AFTER INSERT ON keys FOR EACH ROW EXECUTE FUNCTION see()",
    )
    .await;
    store.insert(&payment_key(), &Actor::host()).await.unwrap();
    for table in ["issuances", "payments", "idempotency"] {
        let seen = format!(
            "CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON {table}
             FOR EACH ROW EXECUTE FUNCTION see()"
        );
        run(&mut raw, &seen).await;
    }
    // All that is one statement: a transaction by itself.
    let record = payment_key();
    let begun = claim(challenge("c"), "0x1");
    store.issue(&begun, &issuance(&record), Some(&record), at(0)).await.unwrap();
    let (record, begun) = (payment_key(), claim(challenge("d"), "0x2"));
    store.begin_issuance(&begun, at(0)).await.unwrap();
    store.complete_issuance(&begun, &issuance(&record), Some(&record)).await.unwrap();
    store.record_payment(&payment("p", "0x1")).await.unwrap();
    let leased = lease(100);
    store.lease_payment(&leased, at(1)).await.unwrap().unwrap();
    let challenge = ChallengeId::new("p").unwrap();
    assert!(store.finish_payment(&challenge, &leased, at(1)).await.unwrap());
    let slot = Slot { scope: "a".to_owned(), key: "k".to_owned() };
    let (print, held) = (fingerprint("body"), lease(100));
    let response = StoredResponse { status: 200, headers: Vec::new(), body: Vec::new() };
    store.begin_request(&slot, &print, &held, at(0)).await.unwrap();
    assert!(store.complete_request(&slot, &held, &response, at(2)).await.unwrap());
    let held = lease(100);
    store.begin_request(&slot, &print, &held, at(3)).await.unwrap();
    store.release_request(&slot, &held).await.unwrap();
    let seen: Vec<String> =
        sqlx::query_scalar("SELECT setting FROM seen").fetch_all(&mut raw).await.unwrap();
    assert_eq!(seen, ["on"; 13]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_understood_is_an_error_of_its_own_kind() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut raw = ours.raw().await;
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    for bad in [
        "metadata = '{'",
        "kind = 'integrator'",
        "created_at = 9223372036854775807",
        "permissions = '[]'",
        "id = ''",
    ] {
        run(&mut raw, "CREATE TABLE kept AS SELECT * FROM keys").await;
        run(&mut raw, &format!("UPDATE keys SET {bad}")).await;
        let kind = store.find(&record.digest).await.unwrap_err().kind();
        assert_eq!(kind, StoreErrorKind::Corrupt, "{bad}");
        if bad.starts_with("metadata") || bad.starts_with("created_at") {
            let kind = record.kind();
            let query = KeyQuery {
                kind,
                in_force_at: None,
                filter: Default::default(),
                after: None,
                limit: 10,
            };
            let page = store.list(&query).await.unwrap();
            assert_eq!(page.keys, []);
            assert_eq!(page.unreadable.iter().map(|key| &key.id).collect::<Vec<_>>(), [&record.id]);
            store.revoke(&record.id, &Actor::host(), at(9)).await.unwrap().unwrap();
            let revoked = "SELECT count(*) FROM keys WHERE revoked_at IS NOT NULL";
            let revoked: i64 = sqlx::query_scalar(revoked).fetch_one(&mut raw).await.unwrap();
            assert_eq!(revoked, 1, "{bad}");
        }
        run(&mut raw, "DELETE FROM keys; INSERT INTO keys SELECT * FROM kept; DROP TABLE kept")
            .await;
    }
    assert_eq!(store.find(&record.digest).await.unwrap(), Some(record.clone()));
    let claim = claim(challenge("c"), "0x1");
    store.begin_issuance(&claim, at(0)).await.unwrap();
    let issued = issuance(&payment_key());
    assert!(store.complete_issuance(&claim, &issued, None).await.unwrap());
    run(&mut raw, "UPDATE issuances SET digest = '\\x01'").await;
    let kind = store.begin_issuance(&claim, at(0)).await.unwrap_err().kind();
    assert_eq!(kind, StoreErrorKind::Corrupt);
    store.record_payment(&payment("p1", "0x1")).await.unwrap();
    store.record_payment(&payment("p2", "0x2")).await.unwrap();
    run(&mut raw, "UPDATE payments SET details = '[]' WHERE challenge_id = 'p1'").await;
    let kind = store.lease_payment(&lease(100), at(1)).await.unwrap_err().kind();
    assert_eq!(kind, StoreErrorKind::Corrupt);
    let next = store.lease_payment(&lease(100), at(1)).await.unwrap().unwrap();
    assert_eq!(next.payment.challenge_id.as_str(), "p2", "a bad one holds up no other");
    // A table that is gone is an outage, and noticed by whoever asks whether the store is ready.
    run(&mut raw, "ALTER TABLE key0_auth RENAME TO gone").await;
    assert_eq!(store.ping().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
}

/// Events and purchases that can't be read are listed as such, and hide no other.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_read_is_listed_as_such() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut raw = ours.raw().await;
    for n in 0..4 {
        store.insert(&partner_key(), &Actor::host()).await.unwrap();
        let id = format!("c{n}");
        let mut paid = payment(&id, &format!("0x{n}"));
        paid.received_at = at(n);
        store.record_payment(&paid).await.unwrap();
    }
    run(
        &mut raw,
        "UPDATE key_events SET kind = 'thing' WHERE event = (SELECT min(event) FROM key_events);
         UPDATE key_events SET actor = 'a b' WHERE event = (SELECT max(event) FROM key_events);
         UPDATE payments SET request_id = 'a b' WHERE challenge_id = 'c1';
         UPDATE payments SET received_at = 9223372036854775807 WHERE challenge_id = 'c2';
         UPDATE payments SET challenge_id = 'c 3' WHERE challenge_id = 'c3'",
    )
    .await;
    // Events are held back while other transactions of the server go on.
    comes_about("all events are told", async || {
        let query = AuditQuery { since: None, after: AuditCursor::default(), limit: 100 };
        let page = store.events(&query).await.unwrap();
        page.events.len() + page.unreadable.len() == 4
    })
    .await;
    for limit in 1..=5 {
        let (mut events, mut unreadable, mut after) = (0, 0, AuditCursor::default());
        loop {
            let query = AuditQuery { since: None, after, limit };
            let page = store.events(&query).await.unwrap();
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
            let query = PurchaseQuery { filter, after, limit, now: at(9) };
            let page = store.purchases(&query).await.unwrap();
            listed.extend(page.purchases.into_iter().map(|it| it.key.id().to_owned()));
            unreadable.extend(page.unreadable.into_iter().map(|it| it.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        unreadable.sort();
        assert_eq!(
            (listed, unreadable),
            (vec!["c0".into()], vec!["c 3".into(), "c1".into(), "c2".into()]),
            "{limit}"
        );
    }
}

/// After a restore without the sequences.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_was_given_before_is_no_conflict() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    let outcome = store.record_payment(&payment("p1", "0x1")).await.unwrap();
    assert_eq!(outcome, PaymentOutcome::Recorded);
    let mut raw = ours.raw().await;
    run(&mut raw, "ALTER TABLE payments ALTER COLUMN arrival RESTART WITH 1").await;
    run(&mut raw, "ALTER TABLE key_events ALTER COLUMN event RESTART WITH 1").await;
    let error = store.record_payment(&payment("p2", "0x2")).await.expect_err("it is not kept");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let outcome = store.record_payment(&payment("p2", "0x2")).await.unwrap();
    assert_eq!(outcome, PaymentOutcome::Recorded);
    let other = payment_key();
    let error = store.insert(&other, &Actor::host()).await.expect_err("its history is not kept");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let shown = format!("{error:?}");
    assert!(shown.contains("23505") && !shown.contains("already exists"), "{shown}");
    store.insert(&other, &Actor::host()).await.unwrap();
    let error = store.insert(&record, &Actor::host()).await.expect_err("it is there");
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_locked_holds_up_others_for_a_moment_only() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    let mut raw = ours.raw().await;
    run(&mut raw, "BEGIN; SELECT FROM keys FOR UPDATE").await;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let (store, id) = (store.clone(), record.id.clone());
            tokio::spawn(async move { store.revoke(&id, &Actor::host(), at(1)).await })
        })
        .collect();
    // While the row is locked, until the end of this test.
    patiently!(store.insert(&payment_key(), &Actor::host()));
    for waiting in waiting {
        let error = waiting.await.unwrap().expect_err("it is locked");
        assert_eq!(error.kind(), StoreErrorKind::TimedOut);
    }
    run(&mut raw, "ROLLBACK").await;
    store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap().unwrap();
}
