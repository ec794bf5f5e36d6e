//! Purchases: issuances, payments and keys, joined.

use super::{
    Case, Shop,
    payments::payment,
    purchase_revocations::revocation,
    samples::{at, challenge, claim, foreign_issuance, issuance, lease, payment_key, request},
};
use crate::{
    apikey::KeyRecord,
    domain::{ChallengeId, PlanId, RequestId, ResourceId, TxHash},
    store::{
        Payment,
        spi::{
            Confirmed, Issuance, IssuanceClaim, IssuanceKey, IssuanceState, Issued, PaymentOutcome,
            Purchase, PurchaseFilter, PurchaseQuery, PurchaseState, RevocationOutcome,
        },
    },
};

/// What is sold: a key.
pub(super) async fn sell(shop: &Shop, claim: &IssuanceClaim) -> KeyRecord {
    let record = payment_key();
    let state = shop.payments.issue(claim, &issuance(&record), Some(&record), at(0)).await;
    assert_eq!(state.unwrap(), IssuanceState::Started);
    record
}

pub(super) async fn found(shop: &Shop, key: &IssuanceKey) -> Purchase {
    shop.purchases.purchase(key).await.unwrap().expect("it is known")
}

async fn nothing_is_known_of_what_was_neither_issued_nor_paid(shop: Shop) {
    for key in [challenge("c"), request("c")] {
        assert_eq!(shop.purchases.purchase(&key).await.unwrap(), None);
    }
    let claim = claim(challenge("c"), "0x1");
    assert_eq!(shop.payments.begin_issuance(&claim, at(0)).await.unwrap(), IssuanceState::Started);
    assert_eq!(shop.purchases.purchase(&challenge("c")).await.unwrap(), None, "a claim is nothing");
    assert_eq!(shop.purchases.purchase(&request("c")).await.unwrap(), None);
}

async fn an_issuance_and_its_key_are_joined(shop: Shop) {
    let key = challenge("c");
    let record = sell(&shop, &claim(key.clone(), "0xAB")).await;
    shop.keys.touch(&[(record.id.clone(), at(50))]).await.unwrap();
    let purchase = found(&shop, &key).await;
    assert_eq!(purchase.key, key);
    assert_eq!(purchase.tx_hash, Some(TxHash::new("0xab").unwrap()));
    assert_eq!(purchase.resource_id.unwrap().as_str(), "photo-1");
    assert_eq!(purchase.plan_id.unwrap().as_str(), "basic");
    let expires_at = issuance(&record).expires_at;
    assert_eq!(purchase.issued, Some(Issued { at: at(0), expires_at }));
    assert_eq!((purchase.confirmed, purchase.revoked), (None, None));
    let issued_key = purchase.issued_key.unwrap();
    assert_eq!((issued_key.id, issued_key.display), (record.id, record.display));
    assert_eq!((issued_key.last_used_at, issued_key.revoked), (Some(at(50)), None));
}

async fn without_a_challenge_it_is_found_by_its_request(shop: Shop) {
    let claim = claim(request("r"), "0x1");
    let issued = foreign_issuance();
    shop.payments.issue(&claim, &issued, None, at(0)).await.unwrap();
    let purchase = found(&shop, &request("r")).await;
    assert_eq!(purchase.request_id.unwrap().as_str(), "r");
    assert_eq!(purchase.issued, Some(Issued { at: at(0), expires_at: None }));
    assert_eq!(purchase.issued_key, None);
    assert_eq!(shop.purchases.purchase(&challenge("r")).await.unwrap(), None);
}

async fn a_payment_is_joined_whether_it_comes_before_or_after(shop: Shop) {
    let paid = payment("c", "0xAB");
    shop.payments.record_payment(&paid).await.unwrap();
    let confirmed = |waits, attempts| {
        let at = paid.received_at;
        let (handled_at, last_error, given_up) = (None, None, None);
        Some(Confirmed { at, waits, attempts, handled_at, last_error, given_up })
    };
    let first = found(&shop, &challenge("c")).await;
    assert_eq!((first.issued, first.confirmed), (None, confirmed(true, 0)));
    assert_eq!(first.request_id, Some(paid.request_id.clone()));
    assert_eq!(first.resource_id, Some(paid.resource_id.clone()));
    assert_eq!(first.plan_id, Some(paid.plan_id.clone()));
    assert_eq!(first.tx_hash, Some(paid.tx_hash.clone()));

    let record = sell(&shop, &claim(challenge("c"), "0xab")).await;
    let joined = found(&shop, &challenge("c")).await;
    assert_eq!(joined.issued.unwrap().at, at(0));
    assert_eq!(joined.issued_key.unwrap().id, record.id);
    assert_eq!(
        (joined.confirmed, joined.tx_hash),
        (confirmed(true, 0), Some(paid.tx_hash.clone()))
    );

    let lease = lease(100);
    shop.payments.lease_payment(&lease, paid.received_at).await.unwrap().expect("it is due");
    assert_eq!(found(&shop, &challenge("c")).await.confirmed, confirmed(true, 1));
    assert!(shop.payments.finish_payment(&paid.challenge_id, &lease, at(70)).await.unwrap());
    let handled = Confirmed { handled_at: Some(at(70)), ..confirmed(false, 1).unwrap() };
    assert_eq!(found(&shop, &challenge("c")).await.confirmed, Some(handled));
}

/// What stands in a listing, page by page: the ids.
async fn listed(shop: &Shop, filter: &PurchaseFilter, limit: u32) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let query = PurchaseQuery { filter: filter.clone(), after, limit, now: at(1_000) };
        let page = shop.purchases.purchases(&query).await.unwrap();
        assert!(page.purchases.len() <= limit as usize);
        ids.extend(page.purchases.iter().map(|purchase| purchase.key.id().to_owned()));
        match page.next {
            Some(next) => after = Some(next),
            None => return ids,
        }
    }
}

async fn issue_at(shop: &Shop, claim: &IssuanceClaim, seconds: i64) -> KeyRecord {
    let record = payment_key();
    let issued = Issuance { issued_at: at(seconds), ..issuance(&record) };
    let state = shop.payments.issue(claim, &issued, Some(&record), at(0)).await.unwrap();
    assert_eq!(state, IssuanceState::Started);
    record
}

async fn pay_at(shop: &Shop, id: &str, tx_hash: &str, seconds: i64) {
    let paid = Payment { received_at: at(seconds), ..payment(id, tx_hash) };
    assert_eq!(shop.payments.record_payment(&paid).await.unwrap(), PaymentOutcome::Recorded);
}

/// Ten purchases, the oldest first: issued, paid, or both in either order.
async fn fill(shop: &Shop) {
    for n in 0..10 {
        let (id, tx_hash, seen) = (format!("c{n}"), format!("0xA{n}"), n * 10);
        let claim = claim(challenge(&id), &tx_hash);
        match n % 4 {
            0 => drop(issue_at(shop, &claim, seen).await),
            1 => pay_at(shop, &id, &tx_hash, seen).await,
            2 => {
                issue_at(shop, &claim, seen).await;
                pay_at(shop, &id, &tx_hash, seen + 500).await;
            }
            _ => {
                pay_at(shop, &id, &tx_hash, seen).await;
                issue_at(shop, &claim, seen + 500).await;
            }
        }
    }
    // What is claimed only is none.
    shop.payments.begin_issuance(&claim(challenge("x"), "0xB"), at(0)).await.unwrap();
}

const NEWEST_FIRST: [&str; 10] = ["c9", "c8", "c7", "c6", "c5", "c4", "c3", "c2", "c1", "c0"];

async fn each_stands_once_where_it_was_first_seen(shop: Shop) {
    fill(&shop).await;
    let all = PurchaseFilter::default();
    for limit in [1, 2, 3, 7, 10, 11, 1_000] {
        assert_eq!(listed(&shop, &all, limit).await, NEWEST_FIRST, "{limit}");
    }
}

/// What is between the two can be more than a store reads at a time.
async fn one_that_is_paid_long_after_stands_where_it_was_issued(shop: Shop) {
    issue_at(&shop, &claim(challenge("old"), "0xAA"), 0).await;
    for n in 1..=120 {
        issue_at(&shop, &claim(challenge(&format!("c{n}")), &format!("0xB{n}")), n).await;
    }
    pay_at(&shop, "old", "0xAA", 500).await;
    let expected: Vec<_> = (1..=120).rev().map(|n| format!("c{n}")).collect();
    for limit in [10, 100] {
        let ids = listed(&shop, &PurchaseFilter::default(), limit).await;
        assert_eq!(ids, [&expected[..], &["old".to_owned()]].concat(), "{limit}");
    }
}

async fn at_one_instant_namespaces_and_ids_decide(shop: Shop) {
    for id in ["b", "a"] {
        sell(&shop, &claim(challenge(id), &format!("0x{id}"))).await;
        sell(&shop, &claim(request(id), &format!("0x{id}{id}"))).await;
        pay_at(&shop, &format!("p{id}"), &format!("0x{id}{id}{id}"), 0).await;
    }
    // Issued and paid at the same instant.
    pay_at(&shop, "a", "0xa", 0).await;
    for limit in [1, 2, 4, 5] {
        let ids = listed(&shop, &PurchaseFilter::default(), limit).await;
        assert_eq!(ids, ["b", "a", "pb", "pa", "b", "a"], "{limit}");
    }
}

async fn pages_survive_what_happens_in_between(shop: Shop) {
    fill(&shop).await;
    let mut after = None;
    let mut ids = Vec::new();
    for round in 0.. {
        let filter = PurchaseFilter::default();
        let query = PurchaseQuery { filter, after, limit: 2, now: at(1_000) };
        let page = shop.purchases.purchases(&query).await.unwrap();
        ids.extend(page.purchases.iter().map(|purchase| purchase.key.id().to_owned()));
        after = page.next;
        if after.is_none() {
            break;
        }
        match round {
            // New ones, and the second half of old ones, listed before and not listed yet.
            0 => drop(issue_at(&shop, &claim(challenge("new"), "0xC"), 800).await),
            1 => drop(issue_at(&shop, &claim(challenge("c9"), "0xA9"), 900).await),
            2 => pay_at(&shop, "c0", "0xA0", 900).await,
            3 => {
                let outcome = shop.purchases.revoke_purchase(&revocation("c1")).await.unwrap();
                assert!(matches!(outcome, RevocationOutcome::Revoked { .. }));
            }
            _ => {}
        }
    }
    assert_eq!(ids, NEWEST_FIRST);
}

async fn purchases_are_found_by_what_identifies_them(shop: Shop) {
    fill(&shop).await;
    let without = sell(&shop, &claim(request("r"), "0xE")).await;
    let mut asked = claim(challenge("asked"), &format!("0x{}", "AB".repeat(32)));
    asked.order.request_id = RequestId::new("request-2").unwrap();
    let sold = issue_at(&shop, &asked, 5).await;
    let none = PurchaseFilter::default();
    let by_challenge = |id: &str| PurchaseFilter {
        challenge_id: Some(ChallengeId::new(id).unwrap()),
        ..none.clone()
    };
    let by_hash =
        |text: &str| PurchaseFilter { tx_hash: Some(TxHash::new(text).unwrap()), ..none.clone() };
    let by_key = |key: &KeyRecord| PurchaseFilter { key_id: Some(key.id.clone()), ..none.clone() };
    let by_request =
        |id: &str| PurchaseFilter { request_id: Some(RequestId::new(id).unwrap()), ..none.clone() };
    for (filter, expected) in [
        (by_challenge("c3"), vec!["c3"]),
        (by_challenge("C3"), vec![]),
        (by_challenge("r"), vec!["r"]),
        (by_challenge("x"), vec![]),
        (by_hash("0xa0"), vec!["c0"]),
        (by_hash("0XA1"), vec!["c1"]),
        (by_hash("0xA2"), vec!["c2"]),
        (by_hash(&"ab".repeat(32)), vec!["asked"]),
        (by_hash("0xB"), vec![]),
        (by_key(&sold), vec!["asked"]),
        (by_key(&without), vec!["r"]),
        (by_key(&payment_key()), vec![]),
        (by_request("request-2"), vec!["asked"]),
        (by_request("r"), vec!["r"]),
        (by_request("request"), vec![]),
    ] {
        assert_eq!(listed(&shop, &filter, 10).await, expected, "{filter:?}");
    }
    for limit in [3, 100] {
        let mut all = NEWEST_FIRST.to_vec();
        // Of the same instant.
        all.insert(9, "r");
        assert_eq!(listed(&shop, &by_request("request-1"), limit).await, all);
    }
    let two = PurchaseFilter { plan_id: Some(PlanId::new("gold").unwrap()), ..by_challenge("c3") };
    assert_eq!(listed(&shop, &two, 10).await, Vec::<String>::new());
}

async fn purchases_are_sifted_by_what_they_are(shop: Shop) {
    fill(&shop).await;
    let mut gold = claim(challenge("gold"), "0xE");
    gold.order.plan_id = PlanId::new("gold").unwrap();
    gold.order.resource_id = ResourceId::new("photo-2").unwrap();
    let own = foreign_issuance();
    shop.payments.issue(&gold, &own, None, at(0)).await.unwrap();
    shop.purchases.revoke_purchase(&revocation("c4")).await.unwrap();
    shop.purchases.revoke_purchase(&revocation("unknown")).await.unwrap();
    let handled = lease(3_000);
    shop.payments.lease_payment(&handled, at(2_000)).await.unwrap().expect("c1 is due");
    let first = ChallengeId::new("c1").unwrap();
    assert!(shop.payments.finish_payment(&first, &handled, at(2_001)).await.unwrap());
    let filter = PurchaseFilter::default;
    let state = |state| PurchaseFilter { state: Some(state), ..filter() };
    let plan = PurchaseFilter { plan_id: Some(PlanId::new("gold").unwrap()), ..filter() };
    let resource = ResourceId::new("photo-2").unwrap();
    let resource = PurchaseFilter { resource_id: Some(resource), ..filter() };
    for (filter, expected) in [
        (plan, vec!["gold"]),
        (resource, vec!["gold"]),
        (state(PurchaseState::Revoked), vec!["c4", "unknown"]),
        (state(PurchaseState::ConfirmedUnissued), vec!["c1"]),
        (state(PurchaseState::Waiting), vec!["c9", "c7", "c6", "c5", "c3", "c2"]),
        (state(PurchaseState::IssuedUnconfirmed), vec!["c8", "gold", "c0"]),
        (state(PurchaseState::Confirmed), vec![]),
        (state(PurchaseState::Issued), vec![]),
    ] {
        for limit in [1, 100] {
            assert_eq!(listed(&shop, &filter, limit).await, expected, "{filter:?}");
        }
    }
}

async fn how_a_handler_fared_is_kept(shop: Shop) {
    pay_at(&shop, "c", "0x1", 0).await;
    let id = ChallengeId::new("c").unwrap();
    let confirmed = async || found(&shop, &challenge("c")).await.confirmed.unwrap();
    let run = async |now: i64| {
        let lease = lease(now + 60);
        let leased = shop.payments.lease_payment(&lease, at(now)).await.unwrap();
        leased.map(|_| lease)
    };
    let first = run(0).await.expect("it is due");
    assert!(shop.purchases.retry_handler(&id, at(1)).await.unwrap(), "it runs");
    assert!(run(1).await.is_none(), "and is left alone");
    let failed = shop.payments.retry_payment(&id, &first, at(500), Some("no credits"));
    assert!(failed.await.unwrap());
    assert_eq!(confirmed().await.last_error.as_deref(), Some("no credits"));
    assert!(run(499).await.is_none());
    assert!(shop.purchases.retry_handler(&id, at(100)).await.unwrap());
    let second = run(100).await.expect("it is due now");
    // One that steps back has not failed with anything else.
    assert!(shop.payments.retry_payment(&id, &second, at(101), None).await.unwrap());
    assert_eq!(confirmed().await.last_error.as_deref(), Some("no credits"));
    let third = run(101).await.expect("it is due");
    assert!(shop.payments.finish_payment(&id, &third, at(102)).await.unwrap());
    let handled = confirmed().await;
    assert_eq!((handled.handled_at, handled.last_error), (Some(at(102)), None));
    assert_eq!((handled.waits, handled.attempts), (false, 3));
    assert!(!shop.purchases.retry_handler(&id, at(103)).await.unwrap(), "nothing waits any more");
    assert!(!shop.purchases.give_up_handler(&id, "late").await.unwrap());
    assert!(!shop.purchases.retry_handler(&ChallengeId::new("d").unwrap(), at(0)).await.unwrap());
}

async fn a_handler_that_is_given_up_never_runs_again(shop: Shop) {
    let id = ChallengeId::new("c").unwrap();
    pay_at(&shop, "c", "0x1", 0).await;
    let first = lease(60);
    shop.payments.lease_payment(&first, at(0)).await.unwrap().expect("it is due");
    shop.payments.retry_payment(&id, &first, at(1), Some("no credits")).await.unwrap();
    let second = lease(70);
    shop.payments.lease_payment(&second, at(10)).await.unwrap().expect("it is due");
    // Also while it runs.
    assert!(shop.purchases.give_up_handler(&id, "paid back").await.unwrap());
    assert!(!shop.payments.retry_payment(&id, &second, at(11), None).await.unwrap());
    assert!(!shop.payments.finish_payment(&id, &second, at(11)).await.unwrap());
    assert!(shop.payments.lease_payment(&lease(5_000), at(4_000)).await.unwrap().is_none());
    let kept = found(&shop, &challenge("c")).await;
    assert_eq!(kept.state_at(at(20)), PurchaseState::ConfirmedUnissued);
    let kept = kept.confirmed.unwrap();
    assert_eq!((kept.waits, kept.handled_at), (false, None));
    assert_eq!(kept.last_error.as_deref(), Some("no credits"));
    assert_eq!(kept.given_up.as_deref(), Some("paid back"));
    assert_eq!(
        shop.payments.record_payment(&payment("c", "0x1")).await.unwrap(),
        PaymentOutcome::Repeated
    );
}

async fn the_first_use_of_a_key_is_kept(shop: Shop) {
    let record = sell(&shop, &claim(challenge("c"), "0x1")).await;
    let used = async || {
        let key = found(&shop, &challenge("c")).await.issued_key.unwrap();
        (key.first_used_at, key.last_used_at)
    };
    assert_eq!(used().await, (None, None));
    let touch = async |seconds: &[i64]| {
        let uses: Vec<_> = seconds.iter().map(|at_| (record.id.clone(), at(*at_))).collect();
        shop.keys.touch(&uses).await.unwrap();
    };
    touch(&[50, 90]).await;
    assert_eq!(used().await, (Some(at(50)), Some(at(90))));
    touch(&[200, 150]).await;
    assert_eq!(used().await, (Some(at(50)), Some(at(200))));
    // Another instance was slower to write.
    touch(&[40, 60]).await;
    assert_eq!(used().await, (Some(at(40)), Some(at(200))));
}

pub(super) const CASES: &[Case<Shop>] = cases!["purchases":
    nothing_is_known_of_what_was_neither_issued_nor_paid,
    an_issuance_and_its_key_are_joined,
    without_a_challenge_it_is_found_by_its_request,
    a_payment_is_joined_whether_it_comes_before_or_after,
    each_stands_once_where_it_was_first_seen,
    one_that_is_paid_long_after_stands_where_it_was_issued,
    at_one_instant_namespaces_and_ids_decide,
    pages_survive_what_happens_in_between,
    purchases_are_found_by_what_identifies_them,
    purchases_are_sifted_by_what_they_are,
    how_a_handler_fared_is_kept,
    a_handler_that_is_given_up_never_runs_again,
    the_first_use_of_a_key_is_kept,
];
