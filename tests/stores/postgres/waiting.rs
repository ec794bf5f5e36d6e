//! Single statements that meet what another instance has not committed yet: they wait for it, and
//! then go by it.

use key0_auth::{
    domain::{ChallengeId, PlanId, RequestId, ResourceId},
    store::{
        IdempotencyStore, Payment, PaymentStore, PurchaseStore,
        spi::{
            IdempotencyState, IssuanceState, PaymentOutcome, PurchaseRevocation, RevocationOutcome,
            Slot, StoredResponse,
        },
    },
};

use super::*;
use crate::samples::{challenge, claim, fingerprint, hash, issuance, lease, request};

/// Another instance is in the midst of the same issuance, or of one for the same payment.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuance_waits_for_another_and_then_goes_by_it() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    for (n, (id, expected)) in [("c0", "issued"), ("other", "redeemed")].into_iter().enumerate() {
        let print = fingerprint("body");
        let hex: String = print.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut other = ours.raw().await;
        let issuing = format!(
            "BEGIN; INSERT INTO issuances (namespace, id, fingerprint, tx_hash, digest, issued_at)
             VALUES ('challenge', 'c{n}', '\\x{hex}', '0xa{n}', sha256(''), 0)"
        );
        run(&mut other, &issuing).await;
        let claim = claim(challenge(id), &format!("0xA{n}"));
        let record = payment_key();
        let (issued, digest) = (issuance(&record), record.digest);
        let waiting = {
            let store = store.clone();
            tokio::spawn(
                async move { patiently!(store.issue(&claim, &issued, Some(&record), at(0))) },
            )
        };
        ours.waits_for_a_lock().await;
        run(&mut other, "COMMIT").await;
        let state = match waiting.await.unwrap() {
            IssuanceState::Issued(_) => "issued",
            IssuanceState::Redeemed => "redeemed",
            other => panic!("{other:?}"),
        };
        assert_eq!(state, expected);
        assert_eq!(store.find(&digest).await.unwrap(), None);
    }
}

/// Of the two forms of a hash the index knows each for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_waits_for_another_of_the_same_hash_in_its_other_form() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let digits = "ab".repeat(32);
    for (first, second) in
        [(digits.clone(), format!("0X{digits}")), (format!("0x{digits}"), digits.to_uppercase())]
    {
        let mut other = ours.raw().await;
        run(&mut other, "TRUNCATE payments").await;
        let recording = format!(
            "BEGIN; SELECT record_payment(
                 'first', 'r', 'photo-1', 'basic', '{first}', '{{}}', 0, '0x{digits}', '{digits}')"
        );
        run(&mut other, &recording).await;
        let payment = Payment::new(
            ChallengeId::new("second").unwrap(),
            RequestId::new("r").unwrap(),
            ResourceId::new("photo-1").unwrap(),
            PlanId::new("basic").unwrap(),
            hash(&second),
            at(0),
        );
        let waiting = {
            let store = store.clone();
            tokio::spawn(async move { patiently!(store.record_payment(&payment)) })
        };
        comes_about("it does not wait", async || {
            assert!(!waiting.is_finished(), "it does not wait");
            ours.waiting(&mut other).await > 0
        })
        .await;
        run(&mut other, "COMMIT").await;
        assert_eq!(waiting.await.unwrap(), PaymentOutcome::Conflict);
    }
}

/// Another instance is in the midst of claiming the same slot, anew or where its time is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_its_twin_and_then_goes_by_it() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let slot = Slot { scope: "a".to_owned(), key: "k".to_owned() };
    let print = fingerprint("body");
    let hex: String = print.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let until = at(300);
    let new = format!(
        "BEGIN; INSERT INTO idempotency (scope, key, fingerprint, free_at, lease_token)
         VALUES ('a', 'k', '\\x{hex}', {}, '\\x01')",
        until.as_micros()
    );
    let over = format!(
        "BEGIN; UPDATE idempotency SET free_at = {}, fingerprint = '\\x{hex}'",
        until.as_micros()
    );
    for twin in [new, over] {
        let mut other = ours.raw().await;
        let lapse = "UPDATE idempotency SET free_at = 0, fingerprint = sha256('another body')";
        run(&mut other, lapse).await;
        run(&mut other, &twin).await;
        let waiting = {
            let (store, slot) = (store.clone(), slot.clone());
            tokio::spawn(async move {
                patiently!(store.begin_request(&slot, &print, &lease(400), at(0)))
            })
        };
        ours.waits_for_a_lock().await;
        run(&mut other, "COMMIT").await;
        assert_eq!(waiting.await.unwrap(), IdempotencyState::InProgress { until });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_writes_nothing_and_waits_for_nobody() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let slot = Slot { scope: "a".to_owned(), key: "k".to_owned() };
    let (print, held) = (fingerprint("body"), lease(100));
    let response = StoredResponse { status: 201, headers: Vec::new(), body: b"{}".to_vec() };
    store.begin_request(&slot, &print, &held, at(0)).await.unwrap();
    assert!(store.complete_request(&slot, &held, &response, at(900)).await.unwrap());
    let (claim, record) = (claim(challenge("c"), "0x1"), payment_key());
    let issued = issuance(&record);
    store.issue(&claim, &issued, Some(&record), at(0)).await.unwrap();
    let mut other = ours.raw().await;
    // Whoever writes a row, or merely locks it, waits.
    run(&mut other, "BEGIN; SELECT FROM idempotency FOR UPDATE").await;
    run(&mut other, "SELECT FROM issuances FOR UPDATE").await;
    let state = store.begin_request(&slot, &print, &lease(200), at(1)).await.unwrap();
    assert_eq!(state, IdempotencyState::Done(response));
    let state = store.issue(&claim, &issuance(&record), Some(&record), at(1)).await.unwrap();
    assert_eq!(state, IssuanceState::Issued(issued));
}

/// Another instance is in the midst of issuing what is being revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_waits_for_an_issuance_and_ends_it() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut other = ours.raw().await;
    run(
        &mut other,
        "BEGIN;
         INSERT INTO issuances (namespace, id, fingerprint, tx_hash, key_id, digest, issued_at)
             VALUES ('challenge', 'c', sha256(''), '0x1', 'k', sha256('k'), 0);
         INSERT INTO keys (id, digest, display, kind, resource_id, plan_id, metadata, created_at)
             VALUES ('k', sha256('k'), 'ak_k…', 'payment', 'photo-1', 'basic', '{}', 0)",
    )
    .await;
    let revocation = revocation("c");
    let waiting = {
        let (store, revocation) = (store.clone(), revocation.clone());
        tokio::spawn(async move { patiently!(store.revoke_purchase(&revocation)) })
    };
    ours.waits_for_a_lock().await;
    run(&mut other, "COMMIT").await;
    let digest = KeyDigest::of("k");
    let denials = revocation.denials(&[challenge("c")]);
    let ended = RevocationOutcome::Revoked { key: challenge("c"), digests: vec![digest], denials };
    assert_eq!(waiting.await.unwrap(), ended);
    let key = store.find(&digest).await.unwrap().unwrap();
    assert_eq!(key.revoked_at, Some(revocation.at));
}

/// Another instance is in the midst of recording its payment.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_waits_for_a_payment_and_spends_it() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut other = ours.raw().await;
    let pay =
        "BEGIN; SELECT confirm_payment('c', 'r', 'photo-1', 'basic', '0x1', '{}', 0, '0x1', '')";
    run(&mut other, pay).await;
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { patiently!(store.revoke_purchase(&revocation("c"))) })
    };
    ours.waits_for_a_lock().await;
    run(&mut other, "COMMIT").await;
    waiting.await.unwrap();
    let thief = claim(challenge("d"), "0x1");
    let state = store.begin_issuance(&thief, at(20)).await.unwrap();
    assert_eq!(state, IssuanceState::Redeemed);
}

/// Another instance is in the midst of issuing for its payment under another id.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_waits_for_what_its_payment_buys_under_another_id() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut other = ours.raw().await;
    run(
        &mut other,
        "INSERT INTO payments (challenge_id, request_id, resource_id, plan_id, tx_hash, details,
             received_at)
             VALUES ('c', 'r', 'photo-1', 'basic', '0x1', '{}', 0)",
    )
    .await;
    run(
        &mut other,
        "BEGIN;
         INSERT INTO issuances (namespace, id, fingerprint, tx_hash, key_id, digest, issued_at)
             VALUES ('request', 'r', sha256(''), '0x1', 'k', sha256('k'), 0);
         INSERT INTO keys (id, digest, display, kind, resource_id, plan_id, metadata, created_at)
             VALUES ('k', sha256('k'), 'ak_k…', 'payment', 'photo-1', 'basic', '{}', 0)",
    )
    .await;
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { patiently!(store.revoke_purchase(&revocation("c"))) })
    };
    ours.waits_for_a_lock().await;
    run(&mut other, "COMMIT").await;
    waiting.await.unwrap();
    let key = store.find(&KeyDigest::of("k")).await.unwrap().unwrap();
    assert_eq!(key.revoked_at, Some(revocation("c").at));
}

/// A claim on its payment is over, and another instance is in the midst of taking the payment over.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_what_took_its_payment_over_while_it_waited() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut other = ours.raw().await;
    run(
        &mut other,
        "INSERT INTO payments (challenge_id, request_id, resource_id, plan_id, tx_hash, details,
             received_at)
             VALUES ('c', 'r', 'photo-1', 'basic', '0x1', '{}', 0);
         INSERT INTO issuances (namespace, id, fingerprint, tx_hash, lease_token, lease_until)
             VALUES ('request', 'r', sha256(''), '0x1', sha256('lease'), 0)",
    )
    .await;
    run(
        &mut other,
        "BEGIN;
         DELETE FROM issuances WHERE id = 'r';
         INSERT INTO issuances (namespace, id, fingerprint, tx_hash, key_id, digest, issued_at)
             VALUES ('request', 's', sha256(''), '0x1', 'k', sha256('k'), 0);
         INSERT INTO keys (id, digest, display, kind, resource_id, plan_id, metadata, created_at)
             VALUES ('k', sha256('k'), 'ak_k…', 'payment', 'photo-1', 'basic', '{}', 0)",
    )
    .await;
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { patiently!(store.revoke_purchase(&revocation("c"))) })
    };
    ours.waits_for_a_lock().await;
    run(&mut other, "COMMIT").await;
    waiting.await.unwrap();
    let key = store.find(&KeyDigest::of("k")).await.unwrap().unwrap();
    assert_eq!(key.revoked_at, Some(revocation("c").at));
}

/// Another instance spends the payment for another purchase, while the revocation wants to spend it for
/// nothing: in its own row, or beside the hash that was issued for.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_sees_who_spends_its_payment_while_it_waits() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let issued = claim(challenge("c1"), "0x9");
    let record = payment_key();
    let state = store.issue(&issued, &issuance(&record), Some(&record), at(0)).await.unwrap();
    assert_eq!(state, IssuanceState::Started);
    for id in ["c0", "c1"] {
        patiently!(store.record_payment(&payment(id, &format!("0x{id}"))));
        let mut other = ours.raw().await;
        let spend = format!(
            "BEGIN; INSERT INTO issuances (namespace, id, fingerprint, tx_hash, digest, issued_at)
             VALUES ('request', 'r{id}', sha256(''), '0x{id}', sha256(''), 0)"
        );
        run(&mut other, &spend).await;
        let waiting = {
            let store = store.clone();
            tokio::spawn(async move { patiently!(store.revoke_purchase(&revocation(id))) })
        };
        ours.waits_for_a_lock().await;
        run(&mut other, "COMMIT").await;
        waiting.await.unwrap();
        let taken = store.purchase(&request(&format!("r{id}"))).await.unwrap().unwrap();
        assert!(taken.revoked.is_some(), "{id}: {taken:?}");
    }
}

/// Where it is no race after all, the server is not asked for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_clashes_each_time_is_given_up() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut raw = ours.raw().await;
    // What a sequence has counted is not rolled back.
    run(
        &mut raw,
        "CREATE SEQUENCE tries;
         CREATE FUNCTION clash() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM nextval('tries'); RAISE unique_violation; END $$;
         CREATE TRIGGER clash BEFORE INSERT ON issuances
             FOR EACH ROW EXECUTE FUNCTION clash()",
    )
    .await;
    store.revoke_purchase(&revocation("c")).await.expect_err("it can't be marked");
    let tries: i64 =
        sqlx::query_scalar("SELECT last_value FROM tries").fetch_one(&mut raw).await.unwrap();
    assert_eq!(tries, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_finds_what_an_older_version_sold_without_0x() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let digits = "ab".repeat(32);
    let insert = format!(
        "INSERT INTO issuances (namespace, id, fingerprint, tx_hash, digest, issued_at)
         VALUES ('request', 'r', sha256(''), '{digits}', sha256(''), 0)"
    );
    run(&mut ours.raw().await, &insert).await;
    patiently!(store.record_payment(&payment("c", &format!("0x{digits}"))));
    patiently!(store.revoke_purchase(&revocation("c")));
    assert!(store.purchase(&request("r")).await.unwrap().unwrap().revoked.is_some());
}

/// Another instance is in the midst of revoking what is being issued.
#[tokio::test(flavor = "multi_thread")]
async fn an_issuance_waits_for_a_revocation_and_is_refused() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut other = ours.raw().await;
    let revoke = "BEGIN; INSERT INTO issuances
         (namespace, id, fingerprint, tx_hash, issued_at, revoked_at)
         VALUES ('challenge', 'c', sha256(''), ' none', 0, 0)";
    run(&mut other, revoke).await;
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let (issued, digest) = (issuance(&record), record.digest);
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { patiently!(store.issue(&claim, &issued, Some(&record), at(0))) })
    };
    ours.waits_for_a_lock().await;
    run(&mut other, "COMMIT").await;
    assert_eq!(waiting.await.unwrap(), IssuanceState::Revoked);
    assert_eq!(store.find(&digest).await.unwrap(), None);
}

fn revocation(id: &str) -> PurchaseRevocation {
    PurchaseRevocation {
        id: ChallengeId::new(id).unwrap(),
        reason: None,
        by: Actor::host(),
        at: at(10),
        tokens_until: at(100),
        unknown_a_day: 10,
    }
}

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
