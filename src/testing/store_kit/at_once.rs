//! Issuances that are claimed and completed in one.

use std::sync::Arc;

use super::{
    Both, Case,
    issuances::{again, begin},
    samples::{
        at, challenge, claim, fingerprint, foreign_issuance, issuance, payment_key, request,
    },
};
use crate::{
    KeyStore,
    domain::Actor,
    store::spi::{Issuance, IssuanceClaim, IssuanceState},
};

/// Issues a new key, and says which.
async fn issue(
    store: &Both<dyn KeyStore>,
    claim: &IssuanceClaim,
    now: i64,
) -> (IssuanceState, Issuance) {
    let record = payment_key();
    let issued = issuance(&record);
    let state = store.payments.issue(claim, &issued, Some(&record), at(now)).await.unwrap();
    let found = store.keys.find(&record.digest).await.unwrap();
    let is_kept = state == IssuanceState::Started;
    assert_eq!(found, is_kept.then_some(record), "the key is there where it was issued");
    (state, issued)
}

async fn what_is_issued_in_one_step_is_kept_and_found(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let (state, issued) = issue(&store, &claim, 0).await;
    assert_eq!(state, IssuanceState::Started);
    for now in [1, 1_000_000] {
        let retry = again(&claim, now + 10);
        assert_eq!(issue(&store, &retry, now).await.0, IssuanceState::Issued(issued.clone()));
        assert_eq!(begin(&store, &retry, now).await, IssuanceState::Issued(issued.clone()));
    }
    assert!(!store.payments.complete_issuance(&claim, &foreign_issuance(), None).await.unwrap());
}

async fn without_a_record_in_one_step(store: Both<dyn KeyStore>) {
    let claim = claim(request("r"), "0x1");
    let issued = foreign_issuance();
    let state = store.payments.issue(&claim, &issued, None, at(0)).await.unwrap();
    assert_eq!(state, IssuanceState::Started);
    assert_eq!(begin(&store, &again(&claim, 100), 1).await, IssuanceState::Issued(issued));
}

async fn another_body_or_id_buys_nothing_in_one_step(store: Both<dyn KeyStore>) {
    let digits = "ab".repeat(32);
    let first = claim(challenge("c"), &format!("0x{digits}"));
    issue(&store, &first, 0).await;
    let mut other = again(&first, 100);
    other.fingerprint = fingerprint("another body");
    assert_eq!(issue(&store, &other, 1).await.0, IssuanceState::Conflict);
    for spelled in [format!("0x{digits}"), format!("0X{}", digits.to_uppercase()), digits] {
        let (state, _) = issue(&store, &claim(challenge("d"), &spelled), 1).await;
        assert_eq!(state, IssuanceState::Redeemed, "{spelled}");
    }
    let (state, _) = issue(&store, &claim(request("c"), "0x2"), 1).await;
    assert_eq!(state, IssuanceState::Started, "a namespace of its own");
}

async fn a_claim_that_runs_holds_up_one_step_and_a_lapsed_one_does_not(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0x1");
    begin(&store, &first, 0).await;
    for waits in [again(&first, 200), claim(challenge("d"), "0x1")] {
        assert_eq!(issue(&store, &waits, 99).await.0, IssuanceState::InProgress);
    }
    assert_eq!(issue(&store, &again(&first, 200), 100).await.0, IssuanceState::Started);
    // By its id and by its hash.
    begin(&store, &claim(challenge("e"), "0x5"), 0).await;
    assert_eq!(issue(&store, &claim(challenge("f"), "0x5"), 100).await.0, IssuanceState::Started);
    assert_eq!(begin(&store, &claim(challenge("e"), "0x6"), 0).await, IssuanceState::Started);
}

async fn neither_is_kept_in_one_step_where_the_record_can_not_be(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    store.keys.insert(&record, &Actor::host()).await.unwrap();
    let issued = issuance(&record);
    store.payments.issue(&claim, &issued, Some(&record), at(0)).await.unwrap_err();
    // At the latest when the claim has run out that a store of two steps has left.
    assert_eq!(issue(&store, &again(&claim, 300), 100).await.0, IssuanceState::Started);
}

async fn of_racing_issuances_exactly_one_is_kept(store: Both<dyn KeyStore>) {
    let first = claim(challenge("c"), "0xA");
    let racing: Vec<_> = (0..100)
        .map(|i| {
            let payments = Arc::clone(&store.payments);
            // Half of them by the same id, half by others on the same hash.
            let other = claim(challenge(&format!("c{i}")), if i % 4 == 1 { "0xa" } else { "0xA" });
            let claim = if i % 2 == 0 { again(&first, 100) } else { other };
            tokio::spawn(async move {
                let record = payment_key();
                let issued = issuance(&record);
                let state = payments.issue(&claim, &issued, Some(&record), at(0)).await.unwrap();
                (state, issued)
            })
        })
        .collect();
    let (mut started, mut replayed) = (Vec::new(), Vec::new());
    for job in racing {
        let (state, issued) = job.await.unwrap();
        let found = store.keys.find(&issued.digest).await.unwrap();
        assert_eq!(found.is_some(), state == IssuanceState::Started);
        match state {
            IssuanceState::Started => started.push(issued),
            IssuanceState::Issued(issued) => replayed.push(issued),
            IssuanceState::InProgress | IssuanceState::Redeemed => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(started.len(), 1);
    assert!(replayed.iter().all(|issued| *issued == started[0]));
}

pub(super) const CASES: &[Case<Both<dyn KeyStore>>] = cases!["at_once":
    what_is_issued_in_one_step_is_kept_and_found,
    without_a_record_in_one_step,
    another_body_or_id_buys_nothing_in_one_step,
    a_claim_that_runs_holds_up_one_step_and_a_lapsed_one_does_not,
    neither_is_kept_in_one_step_where_the_record_can_not_be,
    of_racing_issuances_exactly_one_is_kept,
];
