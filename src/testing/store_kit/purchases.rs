//! Purchases: issuances, payments and keys, joined.

use super::{
    Case, Shop,
    payments::payment,
    samples::{at, challenge, claim, foreign_issuance, issuance, lease, payment_key, request},
};
use crate::{
    apikey::KeyRecord,
    domain::TxHash,
    store::spi::{Confirmed, IssuanceClaim, IssuanceKey, IssuanceState, Issued, Purchase},
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
    let confirmed = |waits, attempts| Some(Confirmed { at: paid.received_at, waits, attempts });
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
    assert!(shop.payments.finish_payment(&paid.challenge_id, &lease).await.unwrap());
    assert_eq!(found(&shop, &challenge("c")).await.confirmed, confirmed(false, 1));
}

pub(super) const CASES: &[Case<Shop>] = cases!["purchases":
    nothing_is_known_of_what_was_neither_issued_nor_paid,
    an_issuance_and_its_key_are_joined,
    without_a_challenge_it_is_found_by_its_request,
    a_payment_is_joined_whether_it_comes_before_or_after,
];
