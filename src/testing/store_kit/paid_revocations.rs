//! Purchases that are revoked although their payment has bought, or buys, under another id.

use std::sync::Arc;

use super::{
    Case, Shop,
    payments::payment,
    purchase_revocations::{denied_until, is_never_issued, revoke},
    purchases::sell,
    samples::{self, at, challenge, claim, issuance, lease, payment_key, request},
};
use crate::store::spi::{
    IssuanceClaim, IssuanceKey, IssuanceState, PaymentOutcome, PurchaseFilter, PurchaseQuery,
};

/// A hash in the two forms that are one.
fn hash(n: usize) -> (String, String) {
    let digits = format!("{n:04x}").repeat(16);
    (format!("0x{digits}"), digits.to_uppercase())
}

/// What purchases there are, newest first.
async fn listed(shop: &Shop, tx_hash: Option<&str>) -> Vec<IssuanceKey> {
    let tx_hash = tx_hash.map(samples::hash);
    let filter = PurchaseFilter { tx_hash, ..PurchaseFilter::default() };
    let query = PurchaseQuery { filter, after: None, limit: 100, now: at(20) };
    let page = shop.purchases.purchases(&query).await.unwrap();
    page.purchases.into_iter().map(|purchase| purchase.key).collect()
}

async fn what_a_revoked_payment_has_bought_under_another_id_is_dead(shop: Shop) {
    let others = [request("r"), challenge("d")];
    for (n, other) in others.into_iter().enumerate() {
        let (id, (told, asked)) = (format!("c{n}"), hash(n));
        let record = sell(&shop, &claim(other.clone(), &asked)).await;
        shop.payments.record_payment(&payment(&id, &told)).await.unwrap();
        assert_eq!(revoke(&shop, &id).await, challenge(&id));
        let dead = shop.keys.find(&record.digest).await.unwrap().unwrap();
        assert_eq!(dead.revoked_at, Some(at(10)), "{other:?}");
        is_never_issued(&shop, &other, &asked).await;
    }
    assert_eq!(denied_until(&shop, "d").await, Some(1_000));
    // One that is claimed is not completed.
    let (claimed, record) = (claim(request("s"), "0xAB"), payment_key());
    assert_eq!(
        shop.payments.begin_issuance(&claimed, at(0)).await.unwrap(),
        IssuanceState::Started
    );
    shop.payments.record_payment(&payment("e", "0xab")).await.unwrap();
    revoke(&shop, "e").await;
    let issued = issuance(&record);
    assert!(!shop.payments.complete_issuance(&claimed, &issued, Some(&record)).await.unwrap());
    assert_eq!(shop.keys.find(&record.digest).await.unwrap(), None);
}

async fn a_revoked_payment_buys_nothing_under_another_id(shop: Shop) {
    for (n, paid_first) in [true, false].into_iter().enumerate() {
        let (id, (told, asked)) = (format!("c{n}"), hash(n));
        if !paid_first {
            revoke(&shop, &id).await;
        }
        let paid = payment(&id, &told);
        let outcome = shop.payments.record_payment(&paid).await.unwrap();
        assert_eq!(outcome, PaymentOutcome::Recorded);
        revoke(&shop, &id).await;
        for thief in [claim(request("r"), &asked), claim(challenge("d"), &told)] {
            let state = shop.payments.begin_issuance(&thief, at(20)).await.unwrap();
            assert_eq!(state, IssuanceState::Redeemed, "{id} {paid_first}");
        }
        is_never_issued(&shop, &challenge(&id), &told).await;
        let outcome = shop.payments.record_payment(&paid).await.unwrap();
        assert_eq!(outcome, PaymentOutcome::Repeated);
    }
}

async fn a_payment_that_comes_after_the_revocation_ends_what_it_has_bought(shop: Shop) {
    let (told, asked) = hash(1);
    let record = sell(&shop, &claim(request("r"), &asked)).await;
    revoke(&shop, "c").await;
    assert!(shop.keys.find(&record.digest).await.unwrap().unwrap().revoked_at.is_none());
    let paid = payment("c", &told);
    assert_eq!(shop.payments.record_payment(&paid).await.unwrap(), PaymentOutcome::Recorded);
    assert!(shop.keys.find(&record.digest).await.unwrap().unwrap().revoked_at.is_some());
    // Nor does it buy anything where nothing was bought.
    revoke(&shop, "d").await;
    let (told, asked) = hash(2);
    shop.payments.record_payment(&payment("d", &told)).await.unwrap();
    let state = shop.payments.begin_issuance(&claim(request("s"), &asked), at(20)).await.unwrap();
    assert_eq!(state, IssuanceState::Redeemed);
}

/// Also one that names another hash than its issuance: then both are spent.
async fn a_paid_hash_buys_nothing_for_another_challenge(shop: Shop) {
    let begun = async |key: IssuanceKey, hash: &str| {
        let claim = claim(key, hash);
        shop.payments.begin_issuance(&claim, at(20)).await.unwrap()
    };
    for (n, is_revoked) in [false, true].into_iter().enumerate() {
        let (id, (issued, _), (told, asked)) = (format!("c{n}"), hash(n), hash(n + 2));
        sell(&shop, &claim(challenge(&id), &issued)).await;
        let outcome = shop.payments.record_payment(&payment(&id, &told)).await.unwrap();
        assert_eq!(outcome, PaymentOutcome::Recorded);
        // Once more: what is spent already stays so.
        for _ in 0..if is_revoked { 2 } else { 0 } {
            revoke(&shop, &id).await;
        }
        assert_eq!(listed(&shop, Some(&asked)).await, [challenge(&id)]);
        for hash in [&issued, &told, &asked] {
            for other in [challenge("d"), request("r")] {
                assert_eq!(begun(other, hash).await, IssuanceState::Redeemed, "{id} {hash}");
            }
        }
    }
    // Before its own issuance, what names no challenge may be that.
    for (id, other, expected) in [
        ("e", challenge("f"), IssuanceState::Redeemed),
        ("e", challenge("e"), IssuanceState::Started),
        ("g", request("r"), IssuanceState::Started),
        ("g", challenge("g"), IssuanceState::InProgress),
    ] {
        let (told, asked) = hash(id.len() + usize::from(id == "g") + 10);
        shop.payments.record_payment(&payment(id, &told)).await.unwrap();
        assert_eq!(begun(other, &asked).await, expected, "{id}");
    }
    let all = listed(&shop, None).await;
    assert_eq!(all, [challenge("g"), challenge("e"), challenge("c1"), challenge("c0")]);
}

async fn a_payment_that_is_refused_changes_nothing_of_a_revocation(shop: Shop) {
    shop.payments.record_payment(&payment("a", "0x1")).await.unwrap();
    revoke(&shop, "c").await;
    let refused = shop.payments.record_payment(&payment("c", "0x1")).await.unwrap();
    assert_eq!(refused, PaymentOutcome::Conflict);
    assert_eq!(denied_until(&shop, "c").await, Some(1_000));
}

/// A payment, its use under another id, and its revocation, all at the same time.
async fn of_racing_payments_and_revocations_nothing_is_left_alive(shop: Shop) {
    let shop = Arc::new(shop);
    for round in 0..40 {
        let (id, (told, asked)) = (format!("c-{round}"), hash(round));
        let (paid, thief) = (payment(&id, &told), claim(request(&format!("r-{round}")), &asked));
        let buying = {
            let (shop, thief) = (shop.clone(), thief.clone());
            tokio::spawn(async move {
                let record = payment_key();
                let kept = issuance(&record);
                shop.payments.issue(&thief, &kept, Some(&record), at(0)).await.unwrap();
                record
            })
        };
        let paying = {
            let shop = shop.clone();
            tokio::spawn(async move { shop.payments.record_payment(&paid).await.unwrap() })
        };
        let revoking = {
            let (shop, id) = (shop.clone(), id.clone());
            tokio::spawn(async move {
                for _ in 0..round {
                    tokio::task::yield_now().await;
                }
                revoke(&shop, &id).await
            })
        };
        assert_eq!(paying.await.unwrap(), PaymentOutcome::Recorded);
        revoking.await.unwrap();
        let record = buying.await.unwrap();
        if let Some(dead) = shop.keys.find(&record.digest).await.unwrap() {
            assert!(dead.revoked_at.is_some(), "{id} lives");
        }
        let again = IssuanceClaim { lease: lease(100), ..thief };
        let state = shop.payments.begin_issuance(&again, at(20)).await.unwrap();
        assert!(matches!(state, IssuanceState::Redeemed | IssuanceState::Revoked), "{state:?}");
    }
}

pub(super) const CASES: &[Case<Shop>] = cases!["paid_revocations":
    what_a_revoked_payment_has_bought_under_another_id_is_dead,
    a_revoked_payment_buys_nothing_under_another_id,
    a_payment_that_comes_after_the_revocation_ends_what_it_has_bought,
    a_paid_hash_buys_nothing_for_another_challenge,
    a_payment_that_is_refused_changes_nothing_of_a_revocation,
    of_racing_payments_and_revocations_nothing_is_left_alive,
];
