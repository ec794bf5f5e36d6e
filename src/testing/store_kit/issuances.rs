//! Issuances: claimed, completed, abandoned, and never forgotten.

use std::sync::Arc;

use super::{
    Both, Case,
    samples::{
        at, challenge, claim, fingerprint, foreign_issuance, hash, issuance, lease, payment_key,
        request,
    },
};
use crate::{
    KeyStore,
    domain::Actor,
    store::spi::{Issuance, IssuanceClaim, IssuanceState, LONGEST_WAIT},
};

pub(super) async fn begin(
    store: &Both<dyn KeyStore>,
    claim: &IssuanceClaim,
    now: i64,
) -> IssuanceState {
    store.payments.begin_issuance(claim, at(now)).await.unwrap()
}

/// The same wish again, as a retry makes it: with a lease of its own, here until `until`.
pub(super) fn again(claim: &IssuanceClaim, until: i64) -> IssuanceClaim {
    IssuanceClaim { lease: lease(until), ..claim.clone() }
}

async fn begin_then_complete_then_issued(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let issued = issuance(&record);
    assert_eq!(begin(&store, &claim, 0).await, IssuanceState::Started);
    assert!(store.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap());
    for now in [1, 99, 100, 1_000_000] {
        let state = begin(&store, &again(&claim, now + 10), now).await;
        assert_eq!(state, IssuanceState::Issued(issued.clone()));
    }
}

async fn the_record_is_kept_with_the_issuance(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    begin(&store, &claim, 0).await;
    assert_eq!(store.keys.get(&record.id).await.unwrap(), None);
    store.payments.complete_issuance(&claim, &issuance(&record), Some(&record)).await.unwrap();
    assert_eq!(store.keys.find(&record.digest).await.unwrap(), Some(record));
}

async fn an_issuance_without_a_record(store: Both<dyn KeyStore>) {
    let claim = claim(request("r"), "0x1");
    let issued = foreign_issuance();
    begin(&store, &claim, 0).await;
    assert!(store.payments.complete_issuance(&claim, &issued, None).await.unwrap());
    assert_eq!(store.keys.find(&issued.digest).await.unwrap(), None);
    let state = begin(&store, &again(&claim, 100), 1).await;
    assert_eq!(state, IssuanceState::Issued(issued));
}

async fn neither_is_kept_where_the_record_can_not_be(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    store.keys.insert(&record, &Actor::host()).await.unwrap();
    begin(&store, &claim, 0).await;
    let issued = issuance(&record);
    store.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap_err();
    assert_eq!(begin(&store, &again(&claim, 100), 1).await, IssuanceState::InProgress);
    // The claim still holds, and can be completed with a record that is new.
    let record = payment_key();
    let issued = issuance(&record);
    assert!(store.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap());
}

async fn of_racing_claims_exactly_one_starts(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0x1");
    let racing: Vec<_> = (0..100)
        .map(|_| {
            let (payments, claim) = (Arc::clone(&store.payments), again(&first, 100));
            tokio::spawn(async move { payments.begin_issuance(&claim, at(0)).await.unwrap() })
        })
        .collect();
    let mut started = 0;
    for claim in racing {
        match claim.await.unwrap() {
            IssuanceState::Started => started += 1,
            IssuanceState::InProgress => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(started, 1);
}

async fn of_racing_claims_on_one_hash_exactly_one_starts(store: Both<dyn KeyStore>) {
    let racing: Vec<_> = (0..100)
        .map(|i| {
            let payments = Arc::clone(&store.payments);
            let claim = claim(challenge(&format!("c{i}")), if i % 2 == 0 { "0xA" } else { "0xa" });
            tokio::spawn(async move { payments.begin_issuance(&claim, at(0)).await.unwrap() })
        })
        .collect();
    let mut started = 0;
    for claim in racing {
        match claim.await.unwrap() {
            IssuanceState::Started => started += 1,
            IssuanceState::InProgress => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(started, 1);
}

async fn a_running_claim_is_in_progress(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0x1");
    begin(&store, &first, 0).await;
    assert_eq!(begin(&store, &again(&first, 200), 0).await, IssuanceState::InProgress);
    assert_eq!(begin(&store, &again(&first, 200), 99).await, IssuanceState::InProgress);
    // Asking has not made the lease longer, nor taken it.
    let record = payment_key();
    let issued = issuance(&record);
    assert!(store.payments.complete_issuance(&first, &issued, Some(&record)).await.unwrap());
}

async fn another_fingerprint_is_a_conflict(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0x1");
    let mut other = again(&first, 100);
    other.fingerprint = fingerprint("another body");
    let mut other_hash = other.clone();
    other_hash.tx_hash = hash("0x2");
    begin(&store, &first, 0).await;
    // As long as nothing is issued, it may still come to nothing.
    assert_eq!(begin(&store, &other, 1).await, IssuanceState::InProgress);
    assert_eq!(begin(&store, &other_hash, 1).await, IssuanceState::InProgress);
    let record = payment_key();
    store.payments.complete_issuance(&first, &issuance(&record), Some(&record)).await.unwrap();
    assert_eq!(begin(&store, &other, 1).await, IssuanceState::Conflict);
    assert_eq!(begin(&store, &other_hash, 1_000).await, IssuanceState::Conflict);
    // The conflict has claimed nothing.
    let free = claim(challenge("d"), "0x2");
    assert_eq!(begin(&store, &free, 1).await, IssuanceState::Started);
}

async fn a_hash_of_another_id_is_redeemed(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0xAb");
    begin(&store, &first, 0).await;
    for (key, text) in [(challenge("d"), "0xAb"), (challenge("e"), "0xaB"), (request("c"), "0XAB")]
    {
        // A claim has bought nothing yet.
        let state = begin(&store, &claim(key, text), 1).await;
        assert_eq!(state, IssuanceState::InProgress, "{text}, claimed");
    }
    let record = payment_key();
    store.payments.complete_issuance(&first, &issuance(&record), Some(&record)).await.unwrap();
    for (key, text) in [(challenge("d"), "0xAb"), (challenge("e"), "0xaB"), (request("c"), "0XAB")]
    {
        let state = begin(&store, &claim(key, text), 1_000_000).await;
        assert_eq!(state, IssuanceState::Redeemed, "{text}, spent");
    }
    // The refused claims have taken nothing.
    assert_eq!(begin(&store, &claim(challenge("d"), "0x2"), 1).await, IssuanceState::Started);
}

async fn hashes_differ_by_more_than_case(store: Both<dyn KeyStore>) {
    for (i, text) in ["0x1", "0x2", "0x_", "0x%", "[", "{", "@", "`"].into_iter().enumerate() {
        let state = begin(&store, &claim(challenge(&format!("c{i}")), text), 0).await;
        assert_eq!(state, IssuanceState::Started, "{text}");
    }
    // Ids, unlike hashes, are opaque.
    assert_eq!(begin(&store, &claim(challenge("C0"), "0x9"), 0).await, IssuanceState::Started);
}

async fn a_leading_0x_makes_no_other_hash(store: Both<dyn KeyStore>) {
    let [one, other] = ["aB".repeat(32), "cD".repeat(32)];
    for (i, [first, second]) in
        [[one.clone(), format!("0x{one}")], [format!("0X{other}"), other.to_lowercase()]]
            .iter()
            .enumerate()
    {
        let first = claim(challenge(&format!("first{i}")), first);
        let second = claim(challenge(&format!("second{i}")), second);
        assert_eq!(begin(&store, &first, 0).await, IssuanceState::Started);
        assert_eq!(begin(&store, &second, 0).await, IssuanceState::InProgress);
        let record = payment_key();
        let issued = issuance(&record);
        assert!(store.payments.complete_issuance(&first, &issued, Some(&record)).await.unwrap());
        assert_eq!(begin(&store, &second, 0).await, IssuanceState::Redeemed);
    }
}

async fn challenge_and_request_are_separate_namespaces(store: Both<dyn KeyStore>) {
    let mut other = claim(request("same"), "0x2");
    other.fingerprint = fingerprint("another body");
    assert_eq!(begin(&store, &claim(challenge("same"), "0x1"), 0).await, IssuanceState::Started);
    assert_eq!(begin(&store, &other, 0).await, IssuanceState::Started);
}

async fn a_lapsed_claim_counts_as_never_made(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0x1");
    begin(&store, &first, 0).await;
    assert_eq!(begin(&store, &again(&first, 200), 99).await, IssuanceState::InProgress);
    assert_eq!(begin(&store, &again(&first, 200), 100).await, IssuanceState::Started);
    // With another body and another hash too, and the old hash is free then.
    let mut other = again(&first, 300);
    other.fingerprint = fingerprint("another body");
    other.tx_hash = hash("0x2");
    assert_eq!(begin(&store, &other, 200).await, IssuanceState::Started);
    assert_eq!(begin(&store, &claim(challenge("d"), "0x1"), 200).await, IssuanceState::Started);
    let third = claim(challenge("e"), "0x2");
    assert_eq!(begin(&store, &third, 200).await, IssuanceState::InProgress);
}

async fn a_lapsed_claim_frees_its_hash_for_another_id(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0xA");
    let other = claim(challenge("d"), "0xa");
    begin(&store, &first, 0).await;
    assert_eq!(begin(&store, &other, 99).await, IssuanceState::InProgress);
    assert_eq!(begin(&store, &again(&other, 200), 100).await, IssuanceState::Started);
    // The first id is free again, but its payment is not.
    assert_eq!(begin(&store, &again(&first, 200), 101).await, IssuanceState::InProgress);
    let unpaid = IssuanceClaim { tx_hash: hash("0x3"), ..again(&first, 200) };
    assert_eq!(begin(&store, &unpaid, 101).await, IssuanceState::Started);
}

async fn a_lost_lease_completes_nothing(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0x1");
    let second = again(&first, 200);
    begin(&store, &first, 0).await;
    begin(&store, &second, 100).await;
    let late = payment_key();
    let issued = issuance(&late);
    assert!(!store.payments.complete_issuance(&first, &issued, Some(&late)).await.unwrap());
    assert_eq!(store.keys.get(&late.id).await.unwrap(), None);
    let record = payment_key();
    let issued = issuance(&record);
    assert!(store.payments.complete_issuance(&second, &issued, Some(&record)).await.unwrap());
    let unknown = claim(challenge("never-claimed"), "0x9");
    assert!(!store.payments.complete_issuance(&unknown, &issued, None).await.unwrap());
}

async fn a_lapsed_lease_that_nobody_took_completes(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0x1");
    begin(&store, &first, 0).await;
    begin(&store, &claim(challenge("d"), "0x2"), 500).await;
    let record = payment_key();
    let issued = issuance(&record);
    assert!(store.payments.complete_issuance(&first, &issued, Some(&record)).await.unwrap());
}

async fn completing_twice_keeps_the_first(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let (record, late) = (payment_key(), payment_key());
    let issued = issuance(&record);
    begin(&store, &claim, 0).await;
    assert!(store.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap());
    let second = store.payments.complete_issuance(&claim, &issuance(&late), Some(&late)).await;
    assert!(!second.unwrap());
    assert_eq!(store.keys.get(&late.id).await.unwrap(), None);
    assert_eq!(begin(&store, &again(&claim, 200), 1).await, IssuanceState::Issued(issued));
}

async fn abandoning_frees_id_and_hash(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0x1");
    begin(&store, &first, 0).await;
    store.payments.abandon_issuance(&first).await.unwrap();
    let mut other = claim(challenge("c"), "0x2");
    other.fingerprint = fingerprint("another body");
    assert_eq!(begin(&store, &other, 1).await, IssuanceState::Started);
    assert_eq!(begin(&store, &claim(challenge("d"), "0x1"), 1).await, IssuanceState::Started);
    let record = payment_key();
    let issued = issuance(&record);
    assert!(!store.payments.complete_issuance(&first, &issued, Some(&record)).await.unwrap());
}

async fn abandoning_with_a_lost_lease_or_after_the_end_does_nothing(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0x1");
    let second = again(&first, 200);
    begin(&store, &first, 0).await;
    begin(&store, &second, 100).await;
    store.payments.abandon_issuance(&first).await.unwrap();
    assert_eq!(begin(&store, &again(&first, 300), 101).await, IssuanceState::InProgress);
    let record = payment_key();
    let issued = issuance(&record);
    assert!(store.payments.complete_issuance(&second, &issued, Some(&record)).await.unwrap());
    store.payments.abandon_issuance(&second).await.unwrap();
    let state = begin(&store, &again(&first, 300), 102).await;
    assert_eq!(state, IssuanceState::Issued(issued));
    store.payments.abandon_issuance(&claim(challenge("d"), "0x2")).await.unwrap();
}

async fn an_issuance_never_lapses(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0x1");
    let record = payment_key();
    let issued = issuance(&record);
    begin(&store, &first, 0).await;
    store.payments.complete_issuance(&first, &issued, Some(&record)).await.unwrap();
    let far = 40_000_000;
    store.payments.forget_nonces(at(far), 1_000).await.unwrap();
    let other = claim(challenge("d"), "0x1");
    assert_eq!(begin(&store, &again(&other, far + 9), far).await, IssuanceState::Redeemed);
    let state = begin(&store, &again(&first, far + 9), far).await;
    let forgotten = Issuance { nonce: None, ..issued };
    assert_eq!(state, IssuanceState::Issued(forgotten));
}

async fn nonces_are_forgotten_by_age_and_in_bounds(store: Both<dyn KeyStore>) {
    let mut claims = Vec::new();
    for i in 0..5 {
        let claim = claim(challenge(&format!("c{i}")), &format!("0x{i}"));
        let record = payment_key();
        let mut issued = issuance(&record);
        issued.issued_at = at(i);
        begin(&store, &claim, 0).await;
        store.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap();
        claims.push(claim);
    }
    let pending = claim(challenge("pending"), "0xp");
    begin(&store, &pending, 0).await;
    let own = claim(challenge("own"), "0xo");
    begin(&store, &own, 0).await;
    store.payments.complete_issuance(&own, &foreign_issuance(), None).await.unwrap();

    let forget =
        async |before, limit| store.payments.forget_nonces(at(before), limit).await.unwrap();
    assert_eq!(forget(0, 10).await, 0, "none was made before 0");
    assert_eq!(forget(4, 0).await, 0);
    assert_eq!(forget(4, 3).await, 3);
    assert_eq!(forget(4, 3).await, 1, "one is left before 4, and none is counted twice");
    assert_eq!(forget(4, 3).await, 0, "the one that was made at 4 stays");
    for (i, claim) in claims.iter().enumerate() {
        let IssuanceState::Issued(issued) = begin(&store, &again(claim, 200), 50).await else {
            panic!("it is issued")
        };
        assert_eq!(issued.nonce.is_some(), i == 4, "{i}");
        assert!(issued.secret.is_some() && issued.key_id.is_some());
        assert!(store.keys.find(&issued.digest).await.unwrap().is_some());
    }
    assert_eq!(begin(&store, &again(&pending, 200), 50).await, IssuanceState::InProgress);
}

async fn a_clock_that_was_set_back_holds_up_no_claim(store: Both<dyn KeyStore>) {
    let wait = LONGEST_WAIT.as_secs() as i64;
    let first = claim(challenge("c"), "0x1");
    begin(&store, &again(&first, wait), 0).await;
    assert_eq!(begin(&store, &again(&first, 10), 0).await, IssuanceState::InProgress);
    // An hour back, its lease would end in over an hour.
    let other = claim(challenge("d"), "0x1");
    assert_eq!(begin(&store, &again(&other, -3_590), -3_600).await, IssuanceState::Started);
    assert_eq!(begin(&store, &again(&first, -3_590), -3_600).await, IssuanceState::InProgress);
    assert_eq!(begin(&store, &again(&first, -3_580), -3_590).await, IssuanceState::Started);
}

pub(super) const CASES: &[Case<Both<dyn KeyStore>>] = cases!["issuances":
    begin_then_complete_then_issued,
    the_record_is_kept_with_the_issuance,
    an_issuance_without_a_record,
    neither_is_kept_where_the_record_can_not_be,
    of_racing_claims_exactly_one_starts,
    of_racing_claims_on_one_hash_exactly_one_starts,
    a_running_claim_is_in_progress,
    another_fingerprint_is_a_conflict,
    a_hash_of_another_id_is_redeemed,
    hashes_differ_by_more_than_case,
    a_leading_0x_makes_no_other_hash,
    challenge_and_request_are_separate_namespaces,
    a_lapsed_claim_counts_as_never_made,
    a_lapsed_claim_frees_its_hash_for_another_id,
    a_clock_that_was_set_back_holds_up_no_claim,
    a_lost_lease_completes_nothing,
    a_lapsed_lease_that_nobody_took_completes,
    completing_twice_keeps_the_first,
    abandoning_frees_id_and_hash,
    abandoning_with_a_lost_lease_or_after_the_end_does_nothing,
    an_issuance_never_lapses,
    nonces_are_forgotten_by_age_and_in_bounds,
];
