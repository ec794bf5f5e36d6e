//! What the registry tells of keys that were issued for a payment.

use super::{
    Both, Case,
    samples::{self, at, challenge, claim, issuance, new_digest, other_secret, payment_key},
};
use crate::{
    apikey::{KeyAction, KeyEvent},
    domain::Actor,
    store::{KeyRegistry, spi::IssuanceState},
};

async fn what_key0_had_issued_stands_in_the_history(store: Both<dyn KeyRegistry>) {
    let (claim, record) = (claim(challenge("c"), "0x1"), payment_key());
    store.payments.begin_issuance(&claim, at(0)).await.unwrap();
    let old = issuance(&record);
    assert!(store.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap());
    let mut new = old.clone();
    (new.digest, new.secret) = (new_digest(), Some(other_secret()));
    assert!(store.payments.replace_issuance(&claim.key, &old, &new, "x", at(7)).await.unwrap());
    assert_eq!(
        store.keys.history(&record.id, 100).await.unwrap(),
        [
            KeyEvent::new(KeyAction::Created, &Actor::key0(), record.created_at),
            KeyEvent::new(KeyAction::Rotated, &Actor::key0(), at(7)),
        ]
    );
}

async fn a_purged_key_stays_issued(store: Both<dyn KeyRegistry>) {
    let (claim, mut record) = (claim(challenge("c"), "0x1"), payment_key());
    record.expires_at = Some(at(1));
    store.payments.begin_issuance(&claim, at(0)).await.unwrap();
    let issued = issuance(&record);
    assert!(store.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap());
    assert_eq!(store.keys.purge_keys(at(2), 100).await.unwrap(), 1);
    assert_eq!(
        store.payments.begin_issuance(&claim, at(3)).await.unwrap(),
        IssuanceState::Issued(issued)
    );
    let other = samples::claim(challenge("d"), "0x1");
    assert_eq!(
        store.payments.begin_issuance(&other, at(3)).await.unwrap(),
        IssuanceState::Redeemed
    );
}

pub(super) const CASES: &[Case<Both<dyn KeyRegistry>>] = cases!["issued_keys":
    what_key0_had_issued_stands_in_the_history,
    a_purged_key_stays_issued,
];
