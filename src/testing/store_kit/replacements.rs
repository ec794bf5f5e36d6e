//! What was issued is replaced by something else.

use std::sync::Arc;

use super::{
    Both, Case,
    issuances::{again, begin},
    samples::{
        ChangeRecorder, after, at, challenge, claim, foreign_issuance, issuance, new_digest,
        other_secret, payment_key, request,
    },
};
use crate::{
    KeyStore,
    apikey::Nonce,
    domain::Actor,
    store::spi::{Issuance, IssuanceState},
};

async fn replacing_swaps_digest_display_and_nonce(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let old = issuance(&record);
    begin(&store, &claim, 0).await;
    store.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap();
    let mut new = old.clone();
    new.digest = new_digest();
    new.nonce = Some(Nonce::generate().unwrap());
    new.secret = Some(other_secret());
    new.issued_at = after(5, 1);
    new.expires_at = None;
    let payments = &store.payments;
    assert!(payments.replace_issuance(&claim.key, &old, &new, "ak_new…", at(5)).await.unwrap());
    assert_eq!(begin(&store, &again(&claim, 100), 1).await, IssuanceState::Issued(new.clone()));
    assert_eq!(store.keys.find(&old.digest).await.unwrap(), None);
    let mut replaced = record.clone();
    replaced.digest = new.digest;
    replaced.display = "ak_new…".to_owned();
    assert_eq!(store.keys.find(&new.digest).await.unwrap(), Some(replaced.clone()));
    assert_eq!(store.keys.get(&record.id).await.unwrap(), Some(replaced));
}

async fn what_is_put_in_place_without_a_nonce_has_none(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let old = issuance(&record);
    begin(&store, &claim, 0).await;
    store.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap();
    let new = Issuance { digest: new_digest(), nonce: None, ..old.clone() };
    let payments = &store.payments;
    assert!(payments.replace_issuance(&claim.key, &old, &new, "ak_new…", at(5)).await.unwrap());
    assert_eq!(payments.forget_nonces(at(1), 10).await.unwrap(), 0);
}

async fn replacing_something_else_changes_nothing(store: Both<dyn KeyStore>) {
    let held = claim(challenge("c"), "0x1");
    let pending = claim(challenge("p"), "0x2");
    let record = payment_key();
    let old = issuance(&record);
    begin(&store, &held, 0).await;
    begin(&store, &pending, 0).await;
    store.payments.complete_issuance(&held, &old, Some(&record)).await.unwrap();
    let mut new = old.clone();
    new.digest = new_digest();
    let mut stale = Vec::new();
    let changes: [fn(&mut Issuance); 7] = [
        |old| old.digest = new_digest(),
        |old| old.nonce = Some(Nonce::generate().unwrap()),
        |old| old.nonce = None,
        |old| old.secret = Some(other_secret()),
        |old| old.key_id = None,
        |old| old.issued_at = after(0, 1),
        |old| old.expires_at = None,
    ];
    for change in changes {
        let mut other = old.clone();
        change(&mut other);
        stale.push((held.key.clone(), other));
    }
    stale.push((pending.key.clone(), old.clone()));
    stale.push((request("c"), old.clone()));
    for (key, other) in &stale {
        let replaced = store.payments.replace_issuance(key, other, &new, "x", at(5)).await.unwrap();
        assert!(!replaced, "{key:?} {other:?}");
    }
    assert_eq!(begin(&store, &again(&held, 100), 1).await, IssuanceState::Issued(old));
    assert_eq!(store.keys.find(&record.digest).await.unwrap(), Some(record));
    assert_eq!(store.keys.find(&new.digest).await.unwrap(), None);
}

async fn of_racing_replacements_one_wins(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let old = issuance(&record);
    begin(&store, &claim, 0).await;
    store.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap();
    let racing: Vec<_> = (0..50)
        .map(|_| {
            let (payments, key, old) =
                (Arc::clone(&store.payments), claim.key.clone(), old.clone());
            let mut new = old.clone();
            new.digest = new_digest();
            tokio::spawn(async move {
                let won = payments.replace_issuance(&key, &old, &new, "x", at(5)).await.unwrap();
                won.then_some(new)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for replacement in racing {
        winners.extend(replacement.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    let winner = winners.remove(0);
    assert!(store.keys.find(&winner.digest).await.unwrap().is_some());
    assert_eq!(begin(&store, &again(&claim, 100), 1).await, IssuanceState::Issued(winner));
}

async fn replacing_one_without_a_record(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let (old, new) = (foreign_issuance(), foreign_issuance());
    begin(&store, &claim, 0).await;
    store.payments.complete_issuance(&claim, &old, None).await.unwrap();
    assert!(store.payments.replace_issuance(&claim.key, &old, &new, "x", at(5)).await.unwrap());
    assert_eq!(begin(&store, &again(&claim, 100), 1).await, IssuanceState::Issued(new));
}

async fn replacing_without_the_record_changes_nothing(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let old = issuance(&payment_key());
    begin(&store, &claim, 0).await;
    store.payments.complete_issuance(&claim, &old, None).await.unwrap();
    let mut new = old.clone();
    new.digest = new_digest();
    assert!(!store.payments.replace_issuance(&claim.key, &old, &new, "x", at(5)).await.unwrap());
    assert_eq!(begin(&store, &again(&claim, 100), 1).await, IssuanceState::Issued(old));
}

async fn replacing_with_a_taken_digest_fails_and_changes_nothing(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let (record, other) = (payment_key(), payment_key());
    let old = issuance(&record);
    store.keys.insert(&other, &Actor::host()).await.unwrap();
    begin(&store, &claim, 0).await;
    store.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap();
    let mut new = old.clone();
    new.digest = other.digest;
    store.payments.replace_issuance(&claim.key, &old, &new, "x", at(5)).await.unwrap_err();
    assert_eq!(begin(&store, &again(&claim, 100), 1).await, IssuanceState::Issued(old));
    assert_eq!(store.keys.find(&record.digest).await.unwrap(), Some(record));
    assert_eq!(store.keys.find(&other.digest).await.unwrap(), Some(other));
}

async fn replacing_keeps_a_revocation(store: Both<dyn KeyStore>) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let old = issuance(&record);
    begin(&store, &claim, 0).await;
    store.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap();
    store.keys.revoke(&record.id, &Actor::host(), at(1)).await.unwrap();
    let mut new = old.clone();
    new.digest = new_digest();
    store.payments.replace_issuance(&claim.key, &old, &new, "x", at(5)).await.unwrap();
    let stored = store.keys.get(&record.id).await.unwrap().unwrap();
    assert_eq!(stored.revoked_at, Some(at(1)));
}

async fn listeners_hear_of_issuance_and_replacement_before_the_return(store: Both<dyn KeyStore>) {
    let recorder = ChangeRecorder::on(&*store.keys);
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let old = issuance(&record);
    begin(&store, &claim, 0).await;
    store.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap();
    assert!(recorder.heard_of(record.digest));
    for _ in 0..20 {
        let IssuanceState::Issued(old) = begin(&store, &again(&claim, 100), 1).await else {
            panic!("it is issued")
        };
        let mut new = old.clone();
        new.digest = new_digest();
        recorder.forget();
        store.payments.replace_issuance(&claim.key, &old, &new, "x", at(5)).await.unwrap();
        assert!(recorder.heard_of(old.digest) && recorder.heard_of(new.digest));
    }
}

pub(super) const CASES: &[Case<Both<dyn KeyStore>>] = cases!["issuances":
    replacing_swaps_digest_display_and_nonce,
    what_is_put_in_place_without_a_nonce_has_none,
    replacing_something_else_changes_nothing,
    of_racing_replacements_one_wins,
    replacing_one_without_a_record,
    replacing_without_the_record_changes_nothing,
    replacing_with_a_taken_digest_fails_and_changes_nothing,
    replacing_keeps_a_revocation,
];

pub(super) const NOTIFICATIONS: &[Case<Both<dyn KeyStore>>] = cases!["issuances":
    listeners_hear_of_issuance_and_replacement_before_the_return,
];
