//! Purchases that are revoked: before, during and after their issuance.

use std::sync::Arc;

use super::{
    Case, Shop,
    payments::payment,
    purchases::{found, sell},
    samples::{
        ChangeRecorder, at, challenge, claim, fingerprint, foreign_issuance, issuance, lease,
        payment_key, request,
    },
};
use crate::{
    apikey::{KeyAction, KeyDigest, KeyRecord},
    domain::{Actor, ChallengeId},
    store::spi::{
        Change, Denial, IssuanceClaim, IssuanceKey, IssuanceState, PurchaseRevocation,
        RevocationOutcome, Revoked, TokenDigest,
    },
};

const REASON: &str = "refunded";

/// At 10, its tokens until 1000.
pub(super) fn revocation(id: &str) -> PurchaseRevocation {
    PurchaseRevocation {
        id: ChallengeId::new(id).unwrap(),
        reason: Some(REASON.to_owned()),
        by: Actor::host(),
        at: at(10),
        tokens_until: at(1_000),
        unknown_a_day: 10_000,
    }
}

/// What the id stood for.
pub(super) async fn revoke(shop: &Shop, id: &str) -> IssuanceKey {
    match shop.purchases.revoke_purchase(&revocation(id)).await.unwrap() {
        RevocationOutcome::Revoked { key, .. } => key,
        RevocationOutcome::TooMany => panic!("{id}: too many"),
    }
}

/// Checks that nothing can be issued for it any more, by whatever body or way.
pub(super) async fn is_never_issued(shop: &Shop, key: &IssuanceKey, tx_hash: &str) {
    for (body, tx_hash) in [("body", tx_hash), ("body", "0xFF"), ("another body", tx_hash)] {
        let mut claim = claim(key.clone(), tx_hash);
        claim.fingerprint = fingerprint(body);
        let begun = shop.payments.begin_issuance(&claim, at(20)).await.unwrap();
        assert_eq!(begun, IssuanceState::Revoked);
        let record = payment_key();
        let issued = issuance(&record);
        let state = shop.payments.issue(&claim, &issued, Some(&record), at(20)).await.unwrap();
        assert_eq!(state, IssuanceState::Revoked);
        assert_eq!(shop.keys.find(&record.digest).await.unwrap(), None);
        assert!(!shop.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap());
        assert_eq!(shop.keys.find(&record.digest).await.unwrap(), None);
    }
    let revoked = found(shop, key).await.revoked;
    assert_eq!(revoked, Some(Revoked { at: at(10), reason: Some(REASON.to_owned()) }));
}

pub(super) async fn denied_until(shop: &Shop, id: &str) -> Option<i64> {
    let token = TokenDigest::of(&ChallengeId::new(id).unwrap());
    let denials = shop.denials.denials(None, 1_000).await.unwrap();
    let denial = denials.iter().find(|denial| denial.token == token);
    denial.map(|denial| denial.until.as_seconds() - at(0).as_seconds())
}

async fn revoked_before_its_issuance_it_is_never_issued(shop: Shop) {
    assert_eq!(revoke(&shop, "c").await, challenge("c"));
    is_never_issued(&shop, &challenge("c"), "0x1").await;
    // Whether a challenge will be named, nobody knows yet.
    is_never_issued(&shop, &request("c"), "0x1").await;
    assert_eq!(denied_until(&shop, "c").await, Some(1_000));
    let purchase = found(&shop, &challenge("c")).await;
    assert_eq!((purchase.issued, purchase.tx_hash, purchase.confirmed), (None, None, None));
    // Ids that differ in case alone are two.
    assert_eq!(revoke(&shop, "C").await, challenge("C"));
    let free = claim(challenge("d"), "0x1");
    assert_eq!(shop.payments.begin_issuance(&free, at(20)).await.unwrap(), IssuanceState::Started);
}

async fn revoked_with_its_payment_alone_it_is_never_issued(shop: Shop) {
    shop.payments.record_payment(&payment("c", "0x1")).await.unwrap();
    assert_eq!(revoke(&shop, "c").await, challenge("c"));
    is_never_issued(&shop, &challenge("c"), "0x1").await;
    assert!(found(&shop, &challenge("c")).await.confirmed.is_some());
    // What names no challenge is another purchase.
    sell(&shop, &claim(request("c"), "0x2")).await;
}

async fn revoked_between_the_steps_of_its_issuance_it_is_not_completed(shop: Shop) {
    let (first, record) = (claim(challenge("c"), "0x1"), payment_key());
    assert_eq!(shop.payments.begin_issuance(&first, at(0)).await.unwrap(), IssuanceState::Started);
    assert_eq!(revoke(&shop, "c").await, challenge("c"));
    let issued = issuance(&record);
    assert!(!shop.payments.complete_issuance(&first, &issued, Some(&record)).await.unwrap());
    assert_eq!(shop.keys.find(&record.digest).await.unwrap(), None);
    shop.payments.abandon_issuance(&first).await.unwrap();
    is_never_issued(&shop, &challenge("c"), "0x1").await;
    // Nor does another purchase get what was paid, also when the claim would be over.
    let mut thief = claim(challenge("d"), "0X1");
    thief.lease = lease(500);
    let state = shop.payments.begin_issuance(&thief, at(300)).await.unwrap();
    assert_eq!(state, IssuanceState::Redeemed);
}

/// What becomes of the purchase of a challenge.
fn ended(id: &str, digests: Vec<KeyDigest>, until: i64) -> RevocationOutcome {
    let token = TokenDigest::of(&ChallengeId::new(id).unwrap());
    let denials = vec![Denial { token, until: at(until) }];
    RevocationOutcome::Revoked { key: challenge(id), digests, denials }
}

async fn revoked_after_its_issuance_the_key_is_dead(shop: Shop) {
    let record = sell(&shop, &claim(challenge("c"), "0x1")).await;
    let other = sell(&shop, &claim(challenge("d"), "0x2")).await;
    let outcome = shop.purchases.revoke_purchase(&revocation("c")).await.unwrap();
    assert_eq!(outcome, ended("c", vec![record.digest], 1_000));
    let dead = shop.keys.find(&record.digest).await.unwrap().unwrap();
    assert_eq!(dead.revoked_at, Some(at(10)));
    assert_eq!(dead.revoked_reason.as_deref(), Some(REASON));
    let history = shop.keys.history(&record.id, 10).await.unwrap();
    let last = history.last().unwrap();
    assert_eq!((last.action, last.reason.as_deref()), (KeyAction::Revoked, Some(REASON)));
    is_never_issued(&shop, &challenge("c"), "0x1").await;
    assert_eq!(denied_until(&shop, "c").await, Some(1_000));
    assert_eq!(found(&shop, &challenge("c")).await.issued.unwrap().at, at(0));
    // The payment is spent for ever, and no other purchase is touched.
    let thief = claim(challenge("e"), "0x1");
    let state = shop.payments.begin_issuance(&thief, at(20)).await.unwrap();
    assert_eq!(state, IssuanceState::Redeemed);
    assert_eq!(shop.keys.find(&other.digest).await.unwrap(), Some(other));
    assert_eq!(denied_until(&shop, "d").await, None);
}

/// Housekeeping has nothing to do for it any more.
async fn what_was_revoked_has_no_nonce(shop: Shop) {
    for id in ["c", "d"] {
        sell(&shop, &claim(challenge(id), &format!("0x{id}"))).await;
    }
    revoke(&shop, "c").await;
    assert_eq!(shop.payments.forget_nonces(at(1), 10).await.unwrap(), 1);
    assert_eq!(shop.payments.forget_nonces(at(1), 10).await.unwrap(), 0);
}

async fn what_was_revoked_is_not_replaced(shop: Shop) {
    let record = sell(&shop, &claim(challenge("c"), "0x1")).await;
    let own = foreign_issuance();
    let claim = claim(challenge("d"), "0x2");
    shop.payments.issue(&claim, &own, None, at(0)).await.unwrap();
    for id in ["c", "d"] {
        revoke(&shop, id).await;
    }
    let new = payment_key();
    let mut without_nonce = issuance(&record);
    without_nonce.nonce = None;
    for (key, old) in [("c", issuance(&record)), ("c", without_nonce), ("d", own)] {
        let mut renewed = old.clone();
        renewed.digest = new.digest;
        let key = challenge(key);
        let replaced = shop.payments.replace_issuance(&key, &old, &renewed, "x", at(20)).await;
        assert!(!replaced.unwrap());
    }
    assert_eq!(shop.keys.find(&new.digest).await.unwrap(), None);
}

async fn without_a_challenge_it_is_revoked_by_its_request(shop: Shop) {
    let record = sell(&shop, &claim(request("r"), "0x1")).await;
    assert_eq!(revoke(&shop, "r").await, request("r"));
    assert!(shop.keys.find(&record.digest).await.unwrap().unwrap().revoked_at.is_some());
    is_never_issued(&shop, &request("r"), "0x1").await;
    assert_eq!(revoke(&shop, "r").await, challenge("r"), "where both are marked");
}

/// Whoever buys chooses the id of a request.
async fn a_request_of_the_same_id_shields_no_challenge(shop: Shop) {
    sell(&shop, &claim(request("a"), "0x1")).await;
    let stale = claim(request("b"), "0x2");
    assert_eq!(shop.payments.begin_issuance(&stale, at(0)).await.unwrap(), IssuanceState::Started);
    for id in ["a", "b"] {
        assert_eq!(revoke(&shop, id).await, request(id));
        is_never_issued(&shop, &challenge(id), "0x3").await;
        assert_eq!(denied_until(&shop, id).await, Some(1_000));
    }
    let by_request = sell(&shop, &claim(request("c"), "0x4")).await;
    let by_challenge = sell(&shop, &claim(challenge("c"), "0x5")).await;
    assert_eq!(revoke(&shop, "c").await, challenge("c"));
    for record in [by_request, by_challenge] {
        assert!(shop.keys.find(&record.digest).await.unwrap().unwrap().revoked_at.is_some());
    }
}

async fn the_first_revocation_counts_and_the_later_end(shop: Shop) {
    let record = sell(&shop, &claim(challenge("c"), "0x1")).await;
    shop.keys.revoke_because(&record.id, Some("leaked"), &Actor::host(), at(5)).await.unwrap();
    for (second, until) in [(0, 1_000), (1, 900), (2, 2_000)] {
        let mut again = revocation("c");
        again.at = at(10 + second);
        again.reason = Some(if second == 0 { REASON.to_owned() } else { "again".to_owned() });
        again.tokens_until = at(until);
        let outcome = shop.purchases.revoke_purchase(&again).await.unwrap();
        // Also a secret that was dead before: whoever asks again may not know of it.
        assert_eq!(outcome, ended("c", vec![record.digest], until));
    }
    assert_eq!(denied_until(&shop, "c").await, Some(2_000));
    let key = shop.keys.find(&record.digest).await.unwrap().unwrap();
    assert_eq!((key.revoked_at, key.revoked_reason.as_deref()), (Some(at(5)), Some("leaked")));
    is_never_issued(&shop, &challenge("c"), "0x1").await;
}

async fn neither_a_holder_nor_a_purchase_shortens_a_denial(shop: Shop) {
    for (id, by_holder) in [("a", 50), ("b", 5_000)] {
        let token = TokenDigest::of(&ChallengeId::new(id).unwrap());
        let denial = Denial { token, until: at(by_holder) };
        let longest = by_holder.max(1_000);
        shop.denials.deny(&denial).await.unwrap();
        revoke(&shop, id).await;
        assert_eq!(denied_until(&shop, id).await, Some(longest), "the purchase after the holder");
        shop.denials.deny(&denial).await.unwrap();
        assert_eq!(denied_until(&shop, id).await, Some(longest), "the holder after the purchase");
    }
}

async fn what_nothing_is_known_of_is_revoked_so_often_a_day_and_no_more(shop: Shop) {
    let sold = sell(&shop, &claim(challenge("sold"), "0x1")).await;
    let on = async |id: &str, day: i64| {
        let mut revocation = revocation(id);
        revocation.unknown_a_day = 3;
        revocation.at = at(10 + day * 24 * 60 * 60);
        shop.purchases.revoke_purchase(&revocation).await.unwrap()
    };
    for id in ["a", "b", "c", "a"] {
        assert!(matches!(on(id, 0).await, RevocationOutcome::Revoked { .. }), "{id}");
    }
    assert_eq!(on("d", 0).await, RevocationOutcome::TooMany);
    assert_eq!(shop.purchases.purchase(&challenge("d")).await.unwrap(), None);
    assert_eq!(denied_until(&shop, "d").await, None);
    let free = claim(challenge("d"), "0x9");
    assert_eq!(shop.payments.begin_issuance(&free, at(20)).await.unwrap(), IssuanceState::Started);
    // What is known can be revoked all the same, and the next day what is not.
    assert!(matches!(on("sold", 0).await, RevocationOutcome::Revoked { .. }));
    assert!(shop.keys.find(&sold.digest).await.unwrap().unwrap().revoked_at.is_some());
    assert!(matches!(on("e", 1).await, RevocationOutcome::Revoked { .. }));
}

/// Issues by one step or by two, as long as it is not told that it is over.
async fn issue_until_over(shop: Arc<Shop>, claim: IssuanceClaim, at_once: bool) -> Vec<KeyRecord> {
    let mut issued = Vec::new();
    loop {
        let record = payment_key();
        let claim = IssuanceClaim { lease: lease(100), ..claim.clone() };
        let kept = issuance(&record);
        let state = match at_once {
            true => shop.payments.issue(&claim, &kept, Some(&record), at(0)).await.unwrap(),
            false => shop.payments.begin_issuance(&claim, at(0)).await.unwrap(),
        };
        match state {
            IssuanceState::Started if at_once => issued.push(record),
            IssuanceState::Started => {
                let payments = &shop.payments;
                if payments.complete_issuance(&claim, &kept, Some(&record)).await.unwrap() {
                    issued.push(record);
                }
            }
            IssuanceState::Revoked => return issued,
            IssuanceState::Issued(_) | IssuanceState::InProgress => {
                tokio::task::yield_now().await;
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn of_racing_issuances_and_revocations_nothing_is_left_alive(shop: Shop) {
    let shop = Arc::new(shop);
    for round in 0..40 {
        let id = format!("c-{round}");
        let wanted = claim(challenge(&id), &format!("0x{round}"));
        let issuing: Vec<_> = (0..4)
            .map(|n| {
                let wanted = wanted.clone();
                tokio::spawn(issue_until_over(shop.clone(), wanted, (n + round) % 2 == 0))
            })
            .collect();
        let revoking = {
            let (shop, id) = (shop.clone(), id.clone());
            tokio::spawn(async move {
                // At another moment of the issuance in each round.
                for _ in 0..round * 3 {
                    tokio::task::yield_now().await;
                }
                revoke(&shop, &id).await
            })
        };
        assert_eq!(revoking.await.unwrap(), challenge(&id));
        for issued in issuing {
            for record in issued.await.unwrap() {
                let dead = shop.keys.find(&record.digest).await.unwrap().unwrap();
                assert_eq!(dead.revoked_at, Some(at(10)), "{id} lives");
            }
        }
        is_never_issued(&shop, &challenge(&id), &format!("0x{round}")).await;
    }
}

async fn listeners_hear_of_a_revocation_before_the_return(shop: Shop) {
    let record = sell(&shop, &claim(challenge("c"), "0x1")).await;
    let recorder = ChangeRecorder::on(&*shop.keys);
    revoke(&shop, "c").await;
    assert!(recorder.heard_of(record.digest));
    let token = TokenDigest::of(&ChallengeId::new("c").unwrap());
    assert!(recorder.heard(Change::Token(token)));
}

pub(super) const CASES: &[Case<Shop>] = cases!["purchase_revocations":
    revoked_before_its_issuance_it_is_never_issued,
    revoked_with_its_payment_alone_it_is_never_issued,
    revoked_between_the_steps_of_its_issuance_it_is_not_completed,
    revoked_after_its_issuance_the_key_is_dead,
    what_was_revoked_has_no_nonce,
    what_was_revoked_is_not_replaced,
    without_a_challenge_it_is_revoked_by_its_request,
    a_request_of_the_same_id_shields_no_challenge,
    the_first_revocation_counts_and_the_later_end,
    neither_a_holder_nor_a_purchase_shortens_a_denial,
    what_nothing_is_known_of_is_revoked_so_often_a_day_and_no_more,
    of_racing_issuances_and_revocations_nothing_is_left_alive,
];

pub(super) const NOTIFICATIONS: &[Case<Shop>] = cases!["purchase_revocations":
    listeners_hear_of_a_revocation_before_the_return,
];
