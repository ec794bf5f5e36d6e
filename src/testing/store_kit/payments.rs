//! Payments: recorded once, and handled by one worker at a time.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;

use super::{
    Case,
    samples::{after, at, challenge, claim, hash, lease},
};
use crate::{
    domain::{ChallengeId, PlanId, RequestId, ResourceId},
    store::{
        Payment, PaymentStore,
        spi::{IssuanceState, LONGEST_WAIT, Lease, LeasedPayment, PaymentOutcome, WaitingPayments},
    },
};

pub(super) fn payment(id: &str, tx_hash: &str) -> Payment {
    Payment {
        challenge_id: ChallengeId::new(id).unwrap(),
        request_id: RequestId::new("request-1").unwrap(),
        resource_id: ResourceId::new("photo-1").unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
        tx_hash: hash(tx_hash),
        details: serde_json::Map::new(),
        received_at: at(0),
    }
}

async fn record(store: &Arc<dyn PaymentStore>, payment: &Payment) -> PaymentOutcome {
    store.record_payment(payment).await.unwrap()
}

async fn take(store: &Arc<dyn PaymentStore>, lease: &Lease, now: i64) -> Option<LeasedPayment> {
    store.lease_payment(lease, at(now)).await.unwrap()
}

/// The id of the payment that is leased at `now` until `until`, and the lease.
async fn take_id(store: &Arc<dyn PaymentStore>, now: i64, until: i64) -> Option<(String, Lease)> {
    let lease = lease(until);
    let leased = take(store, &lease, now).await?;
    Some((leased.payment.challenge_id.to_string(), lease))
}

async fn a_payment_is_kept_once(store: Arc<dyn PaymentStore>) {
    let first = payment("c", "0x1");
    assert_eq!(record(&store, &first).await, PaymentOutcome::Recorded);
    let mut other = payment("c", "0x1");
    other.plan_id = PlanId::new("gold").unwrap();
    other.received_at = at(50);
    assert_eq!(record(&store, &other).await, PaymentOutcome::Repeated);
    let id = &first.challenge_id;
    assert_eq!(store.payment(id).await.unwrap(), Some(first.clone()));
    assert!(take_id(&store, 100, 200).await.is_some());
    assert!(take_id(&store, 100, 200).await.is_none(), "a repeat triggers nothing");
}

async fn those_that_wait_are_counted(store: Arc<dyn PaymentStore>) {
    let waiting = async || store.waiting_payments().await.unwrap();
    // A store may leave it out.
    let Some(none) = waiting().await else { return };
    assert_eq!(none, WaitingPayments { count: 0, oldest: None });
    record(&store, &payment("b", "0x2")).await;
    let mut late = payment("a", "0x1");
    late.received_at = at(50);
    record(&store, &late).await;
    assert_eq!(waiting().await, Some(WaitingPayments { count: 2, oldest: Some(at(0)) }));
    let (id, lease) = take_id(&store, 100, 200).await.unwrap();
    assert_eq!(waiting().await.map(|waiting| waiting.count), Some(2), "it is not handled yet");
    assert!(store.finish_payment(&ChallengeId::new(&id).unwrap(), &lease, at(60)).await.unwrap());
    assert_eq!(id, "b");
    assert_eq!(waiting().await, Some(WaitingPayments { count: 1, oldest: Some(at(50)) }));
}

async fn every_field_survives(store: Arc<dyn PaymentStore>) {
    let mut full = payment("c~!'\"%", &"F".repeat(256));
    full.details = json!({"type": "AccessGrant", "n": [1, {"x": null}], "ü": "\u{0}'", "": ""})
        .as_object()
        .unwrap()
        .clone();
    full.received_at = after(7, 1);
    record(&store, &full).await;
    let id = &full.challenge_id;
    assert_eq!(store.payment(id).await.unwrap(), Some(full.clone()));
    let leased = take(&store, &lease(100), 8).await.unwrap();
    assert_eq!(leased, LeasedPayment { payment: full, attempts: 0 });
}

async fn an_unknown_payment_is_none(store: Arc<dyn PaymentStore>) {
    record(&store, &payment("c", "0x1")).await;
    let other = ChallengeId::new("C").unwrap();
    assert_eq!(store.payment(&other).await.unwrap(), None);
}

async fn another_hash_or_another_challenge_is_a_conflict(store: Arc<dyn PaymentStore>) {
    record(&store, &payment("c", "0x1")).await;
    record(&store, &payment("d", "0x2")).await;
    for (id, tx_hash) in [("c", "0x3"), ("e", "0x1"), ("c", "0x2"), ("d", "0x1")] {
        let outcome = record(&store, &payment(id, tx_hash)).await;
        assert_eq!(outcome, PaymentOutcome::Conflict, "{id} {tx_hash}");
    }
    assert_eq!(record(&store, &payment("e", "0x3")).await, PaymentOutcome::Recorded);
}

async fn hashes_that_differ_in_case_are_the_same(store: Arc<dyn PaymentStore>) {
    record(&store, &payment("c", "0xAb")).await;
    assert_eq!(record(&store, &payment("c", "0XaB")).await, PaymentOutcome::Repeated);
    assert_eq!(record(&store, &payment("d", "0xab")).await, PaymentOutcome::Conflict);
    let id = ChallengeId::new("c").unwrap();
    let kept = store.payment(&id).await.unwrap().unwrap();
    assert_eq!(kept.tx_hash.as_str(), "0xAb", "kept as it was reported first");
}

async fn hashes_that_differ_in_a_leading_0x_are_the_same(store: Arc<dyn PaymentStore>) {
    let digits = "aB".repeat(32);
    let with_0x = format!("0X{digits}");
    record(&store, &payment("c", &digits)).await;
    assert_eq!(record(&store, &payment("c", &with_0x)).await, PaymentOutcome::Repeated);
    assert_eq!(record(&store, &payment("d", &with_0x)).await, PaymentOutcome::Conflict);
    let racing = (0..20).map(|i| {
        let payments = Arc::clone(&store);
        let hash = format!("{}{}", if i % 2 == 0 { "0x" } else { "" }, "7".repeat(64));
        let payment = payment(&format!("r{i}"), &hash);
        tokio::spawn(async move { payments.record_payment(&payment).await.unwrap() })
    });
    let mut recorded = 0;
    for report in racing.collect::<Vec<_>>() {
        recorded += usize::from(report.await.unwrap() == PaymentOutcome::Recorded);
    }
    assert_eq!(recorded, 1);
}

async fn of_racing_reports_one_is_recorded(store: Arc<dyn PaymentStore>) {
    let racing: Vec<_> = (0..50)
        .map(|i| {
            let payments = Arc::clone(&store);
            let payment = payment("c", if i % 2 == 0 { "0xA" } else { "0xa" });
            tokio::spawn(async move { payments.record_payment(&payment).await.unwrap() })
        })
        .collect();
    let mut recorded = 0;
    for report in racing {
        match report.await.unwrap() {
            PaymentOutcome::Recorded => recorded += 1,
            PaymentOutcome::Repeated => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(recorded, 1);
}

async fn issuances_and_payments_share_no_hashes(store: Arc<dyn PaymentStore>) {
    let claim = claim(challenge("c"), "0x1");
    let state = store.begin_issuance(&claim, at(0)).await.unwrap();
    assert_eq!(state, IssuanceState::Started);
    assert_eq!(record(&store, &payment("c", "0x1")).await, PaymentOutcome::Recorded);
}

async fn the_first_attempt_is_due_at_once(store: Arc<dyn PaymentStore>) {
    assert!(take_id(&store, 0, 100).await.is_none(), "nothing is there");
    record(&store, &payment("c", "0x1")).await;
    assert!(take_id(&store, 0, 100).await.is_some());
}

async fn a_leased_payment_is_leased_to_nobody_else(store: Arc<dyn PaymentStore>) {
    record(&store, &payment("c", "0x1")).await;
    assert!(take_id(&store, 1, 100).await.is_some());
    assert!(take_id(&store, 1, 100).await.is_none());
    assert!(take_id(&store, 99, 200).await.is_none());
}

async fn racing_workers_get_different_payments(store: Arc<dyn PaymentStore>) {
    for i in 0..20 {
        record(&store, &payment(&format!("c{i}"), &format!("0x{i}"))).await;
    }
    let racing: Vec<_> = (0..40)
        .map(|_| {
            let payments = Arc::clone(&store);
            tokio::spawn(async move {
                let leased = payments.lease_payment(&lease(100), at(1)).await.unwrap();
                leased.map(|leased| leased.payment.challenge_id.to_string())
            })
        })
        .collect();
    let mut taken = Vec::new();
    for worker in racing {
        taken.extend(worker.await.unwrap());
    }
    assert_eq!(taken.len(), 20);
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>().len(), 20);
}

async fn the_one_due_longest_comes_first(store: Arc<dyn PaymentStore>) {
    for (id, seconds) in [("late", 30), ("early", 10), ("middle", 20), ("twin", 20)] {
        let mut payment = payment(id, &format!("0x{id}"));
        payment.received_at = at(seconds);
        record(&store, &payment).await;
    }
    for expected in ["early", "middle", "twin", "late"] {
        let (id, _) = take_id(&store, 50, 100).await.unwrap();
        assert_eq!(id, expected);
    }
}

async fn a_lapsed_lease_is_taken_over(store: Arc<dyn PaymentStore>) {
    record(&store, &payment("c", "0x1")).await;
    take_id(&store, 0, 100).await.unwrap();
    let second = lease(200);
    let leased = take(&store, &second, 100).await.unwrap();
    assert_eq!(leased.attempts, 1);
    assert!(take_id(&store, 199, 300).await.is_none());
}

async fn a_lost_lease_ends_nothing(store: Arc<dyn PaymentStore>) {
    record(&store, &payment("c", "0x1")).await;
    let id = ChallengeId::new("c").unwrap();
    let (_, first) = take_id(&store, 0, 100).await.unwrap();
    let (_, second) = take_id(&store, 100, 200).await.unwrap();
    let payments = &store;
    assert!(!payments.finish_payment(&id, &first, at(60)).await.unwrap());
    assert!(!payments.retry_payment(&id, &first, at(101), None).await.unwrap());
    assert!(!payments.finish_payment(&id, &lease(500), at(60)).await.unwrap());
    assert!(
        !payments.finish_payment(&ChallengeId::new("d").unwrap(), &second, at(60)).await.unwrap()
    );
    assert!(take_id(&store, 150, 300).await.is_none(), "the second lease is in force");
    // It ran out, but nobody took over: it still ends the work.
    assert!(payments.finish_payment(&id, &second, at(60)).await.unwrap());
    assert!(take_id(&store, 1_000, 2_000).await.is_none());
}

async fn a_finished_payment_is_done_and_still_known(store: Arc<dyn PaymentStore>) {
    let first = payment("c", "0x1");
    record(&store, &first).await;
    let (_, lease) = take_id(&store, 0, 100).await.unwrap();
    let id = &first.challenge_id;
    assert!(store.finish_payment(id, &lease, at(60)).await.unwrap());
    assert!(!store.finish_payment(id, &lease, at(60)).await.unwrap());
    assert!(!store.retry_payment(id, &lease, at(1), None).await.unwrap());
    assert!(take_id(&store, 1_000_000, 2_000_000).await.is_none());
    assert_eq!(store.payment(id).await.unwrap(), Some(first.clone()));
    assert_eq!(record(&store, &first).await, PaymentOutcome::Repeated);
    assert_eq!(record(&store, &payment("d", "0x1")).await, PaymentOutcome::Conflict);
    assert!(take_id(&store, 1_000_000, 2_000_000).await.is_none());
}

async fn a_retry_waits_for_its_time_and_counts_attempts(store: Arc<dyn PaymentStore>) {
    record(&store, &payment("c", "0x1")).await;
    let id = ChallengeId::new("c").unwrap();
    for attempts in 0..4 {
        let now = i64::from(attempts) * 50;
        let lease = lease(now + 1_000);
        assert_eq!(take(&store, &lease, now).await.unwrap().attempts, attempts);
        assert!(store.retry_payment(&id, &lease, at(now + 50), None).await.unwrap());
        assert!(!store.retry_payment(&id, &lease, at(0), None).await.unwrap());
        assert!(take_id(&store, now + 49, now + 1_000).await.is_none());
    }
}

async fn a_retried_payment_queues_behind_those_due_before(store: Arc<dyn PaymentStore>) {
    for i in 0..2 {
        record(&store, &payment(&format!("c{i}"), &format!("0x{i}"))).await;
    }
    let (id, lease) = take_id(&store, 1, 100).await.unwrap();
    assert_eq!(id, "c0");
    let id = ChallengeId::new("c0").unwrap();
    store.retry_payment(&id, &lease, at(2), None).await.unwrap();
    assert_eq!(take_id(&store, 10, 100).await.unwrap().0, "c1");
    assert_eq!(take_id(&store, 10, 100).await.unwrap().0, "c0");
}

async fn a_clock_that_was_set_back_holds_up_no_payment(store: Arc<dyn PaymentStore>) {
    let wait = LONGEST_WAIT.as_secs() as i64;
    record(&store, &payment("new", "0x1")).await;
    record(&store, &payment("held", "0x2")).await;
    let (_, lease) = take_id(&store, 0, wait).await.unwrap();
    store.retry_payment(&ChallengeId::new("new").unwrap(), &lease, at(wait), None).await.unwrap();
    assert!(take_id(&store, 0, wait).await.is_some());
    assert!(take_id(&store, 0, wait).await.is_none(), "both are put off, and not for too long");
    // An hour back, both would wait for over an hour.
    let mut taken = BTreeSet::new();
    for _ in 0..2 {
        taken.insert(take_id(&store, -3_600, -3_500).await.unwrap().0);
    }
    assert_eq!(taken, BTreeSet::from(["new".to_owned(), "held".to_owned()]));
    assert!(take_id(&store, -3_600, -3_500).await.is_none());
}

pub(super) const CASES: &[Case<Arc<dyn PaymentStore>>] = cases!["payments":
    a_payment_is_kept_once,
    those_that_wait_are_counted,
    every_field_survives,
    an_unknown_payment_is_none,
    another_hash_or_another_challenge_is_a_conflict,
    hashes_that_differ_in_case_are_the_same,
    hashes_that_differ_in_a_leading_0x_are_the_same,
    of_racing_reports_one_is_recorded,
    issuances_and_payments_share_no_hashes,
    the_first_attempt_is_due_at_once,
    a_leased_payment_is_leased_to_nobody_else,
    racing_workers_get_different_payments,
    the_one_due_longest_comes_first,
    a_lapsed_lease_is_taken_over,
    a_lost_lease_ends_nothing,
    a_finished_payment_is_done_and_still_known,
    a_retry_waits_for_its_time_and_counts_attempts,
    a_retried_payment_queues_behind_those_due_before,
    a_clock_that_was_set_back_holds_up_no_payment,
];
