use std::sync::Arc;

use key0_auth::{
    apikey::Nonce,
    domain::Actor,
    store::spi::{Issuance, IssuanceClaim, IssuanceState, LONGEST_WAIT},
};

use super::{
    Ear, Engine, after, at, challenge, claim, fingerprint, foreign_issuance, hash, issuance, lease,
    new_digest, other_secret, payment_key, request,
};

async fn begin(engine: &Engine, claim: &IssuanceClaim, now: i64) -> IssuanceState {
    engine.payments.begin_issuance(claim, at(now)).await.unwrap()
}

/// The same wish again, as a retry makes it: with a lease of its own, here until `until`.
fn again(claim: &IssuanceClaim, until: i64) -> IssuanceClaim {
    IssuanceClaim { lease: lease(until), ..claim.clone() }
}

pub async fn begin_then_complete_then_issued(engine: Engine) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let issued = issuance(&record);
    assert_eq!(begin(&engine, &claim, 0).await, IssuanceState::Started);
    assert!(engine.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap());
    for now in [1, 99, 100, 1_000_000] {
        let state = begin(&engine, &again(&claim, now + 10), now).await;
        assert_eq!(state, IssuanceState::Issued(issued.clone()));
    }
}

pub async fn the_record_is_kept_with_the_issuance(engine: Engine) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    begin(&engine, &claim, 0).await;
    assert_eq!(engine.keys.get(&record.id).await.unwrap(), None);
    engine.payments.complete_issuance(&claim, &issuance(&record), Some(&record)).await.unwrap();
    assert_eq!(engine.keys.find(&record.digest).await.unwrap(), Some(record));
}

pub async fn an_issuance_without_a_record(engine: Engine) {
    let claim = claim(request("r"), "0x1");
    let issued = foreign_issuance();
    begin(&engine, &claim, 0).await;
    assert!(engine.payments.complete_issuance(&claim, &issued, None).await.unwrap());
    assert_eq!(engine.keys.find(&issued.digest).await.unwrap(), None);
    let state = begin(&engine, &again(&claim, 100), 1).await;
    assert_eq!(state, IssuanceState::Issued(issued));
}

pub async fn neither_is_kept_where_the_record_can_not_be(engine: Engine) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    engine.keys.insert(&record, &Actor::host()).await.unwrap();
    begin(&engine, &claim, 0).await;
    let issued = issuance(&record);
    engine.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap_err();
    assert_eq!(begin(&engine, &again(&claim, 100), 1).await, IssuanceState::InProgress);
    // The claim still holds, and can be completed with a record that is new.
    let record = payment_key();
    let issued = issuance(&record);
    assert!(engine.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap());
}

pub async fn of_racing_claims_exactly_one_starts(engine: Engine) {
    let first = claim(challenge("c"), "0x1");
    let racing: Vec<_> = (0..100)
        .map(|_| {
            let (payments, claim) = (Arc::clone(&engine.payments), again(&first, 100));
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

pub async fn of_racing_claims_on_one_hash_exactly_one_starts(engine: Engine) {
    let racing: Vec<_> = (0..100)
        .map(|i| {
            let payments = Arc::clone(&engine.payments);
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

pub async fn a_running_claim_is_in_progress(engine: Engine) {
    let first = claim(challenge("c"), "0x1");
    begin(&engine, &first, 0).await;
    assert_eq!(begin(&engine, &again(&first, 200), 0).await, IssuanceState::InProgress);
    assert_eq!(begin(&engine, &again(&first, 200), 99).await, IssuanceState::InProgress);
    // Asking has not made the lease longer, nor taken it.
    let record = payment_key();
    let issued = issuance(&record);
    assert!(engine.payments.complete_issuance(&first, &issued, Some(&record)).await.unwrap());
}

pub async fn another_fingerprint_is_a_conflict(engine: Engine) {
    let first = claim(challenge("c"), "0x1");
    let mut other = again(&first, 100);
    other.fingerprint = fingerprint("another body");
    let mut other_hash = other.clone();
    other_hash.tx_hash = hash("0x2");
    begin(&engine, &first, 0).await;
    // As long as nothing is issued, it may still come to nothing.
    assert_eq!(begin(&engine, &other, 1).await, IssuanceState::InProgress);
    assert_eq!(begin(&engine, &other_hash, 1).await, IssuanceState::InProgress);
    let record = payment_key();
    engine.payments.complete_issuance(&first, &issuance(&record), Some(&record)).await.unwrap();
    assert_eq!(begin(&engine, &other, 1).await, IssuanceState::Conflict);
    assert_eq!(begin(&engine, &other_hash, 1_000).await, IssuanceState::Conflict);
    // The conflict has claimed nothing.
    let free = claim(challenge("d"), "0x2");
    assert_eq!(begin(&engine, &free, 1).await, IssuanceState::Started);
}

pub async fn a_hash_of_another_id_is_redeemed(engine: Engine) {
    let first = claim(challenge("c"), "0xAb");
    begin(&engine, &first, 0).await;
    for (key, text) in [(challenge("d"), "0xAb"), (challenge("e"), "0xaB"), (request("c"), "0XAB")]
    {
        // A claim has bought nothing yet.
        let state = begin(&engine, &claim(key, text), 1).await;
        assert_eq!(state, IssuanceState::InProgress, "{text}, claimed");
    }
    let record = payment_key();
    engine.payments.complete_issuance(&first, &issuance(&record), Some(&record)).await.unwrap();
    for (key, text) in [(challenge("d"), "0xAb"), (challenge("e"), "0xaB"), (request("c"), "0XAB")]
    {
        let state = begin(&engine, &claim(key, text), 1_000_000).await;
        assert_eq!(state, IssuanceState::Redeemed, "{text}, spent");
    }
    // The refused claims have taken nothing.
    assert_eq!(begin(&engine, &claim(challenge("d"), "0x2"), 1).await, IssuanceState::Started);
}

pub async fn hashes_differ_by_more_than_case(engine: Engine) {
    for (i, text) in ["0x1", "0x2", "0x_", "0x%", "[", "{", "@", "`"].into_iter().enumerate() {
        let state = begin(&engine, &claim(challenge(&format!("c{i}")), text), 0).await;
        assert_eq!(state, IssuanceState::Started, "{text}");
    }
    // Ids, unlike hashes, are opaque.
    assert_eq!(begin(&engine, &claim(challenge("C0"), "0x9"), 0).await, IssuanceState::Started);
}

pub async fn a_leading_0x_makes_no_other_hash(engine: Engine) {
    let [one, other] = ["aB".repeat(32), "cD".repeat(32)];
    for (i, [first, second]) in
        [[one.clone(), format!("0x{one}")], [format!("0X{other}"), other.to_lowercase()]]
            .iter()
            .enumerate()
    {
        let first = claim(challenge(&format!("first{i}")), first);
        let second = claim(challenge(&format!("second{i}")), second);
        assert_eq!(begin(&engine, &first, 0).await, IssuanceState::Started);
        assert_eq!(begin(&engine, &second, 0).await, IssuanceState::InProgress);
        let record = payment_key();
        let issued = issuance(&record);
        assert!(engine.payments.complete_issuance(&first, &issued, Some(&record)).await.unwrap());
        assert_eq!(begin(&engine, &second, 0).await, IssuanceState::Redeemed);
    }
}

pub async fn challenge_and_request_are_separate_namespaces(engine: Engine) {
    let mut other = claim(request("same"), "0x2");
    other.fingerprint = fingerprint("another body");
    assert_eq!(begin(&engine, &claim(challenge("same"), "0x1"), 0).await, IssuanceState::Started);
    assert_eq!(begin(&engine, &other, 0).await, IssuanceState::Started);
}

pub async fn a_lapsed_claim_counts_as_never_made(engine: Engine) {
    let first = claim(challenge("c"), "0x1");
    begin(&engine, &first, 0).await;
    assert_eq!(begin(&engine, &again(&first, 200), 99).await, IssuanceState::InProgress);
    assert_eq!(begin(&engine, &again(&first, 200), 100).await, IssuanceState::Started);
    // With another body and another hash too, and the old hash is free then.
    let mut other = again(&first, 300);
    other.fingerprint = fingerprint("another body");
    other.tx_hash = hash("0x2");
    assert_eq!(begin(&engine, &other, 200).await, IssuanceState::Started);
    assert_eq!(begin(&engine, &claim(challenge("d"), "0x1"), 200).await, IssuanceState::Started);
    let third = claim(challenge("e"), "0x2");
    assert_eq!(begin(&engine, &third, 200).await, IssuanceState::InProgress);
}

pub async fn a_lapsed_claim_frees_its_hash_for_another_id(engine: Engine) {
    let first = claim(challenge("c"), "0xA");
    let other = claim(challenge("d"), "0xa");
    begin(&engine, &first, 0).await;
    assert_eq!(begin(&engine, &other, 99).await, IssuanceState::InProgress);
    assert_eq!(begin(&engine, &again(&other, 200), 100).await, IssuanceState::Started);
    // The first id is free again, but its payment is not.
    assert_eq!(begin(&engine, &again(&first, 200), 101).await, IssuanceState::InProgress);
    let unpaid = IssuanceClaim { tx_hash: hash("0x3"), ..again(&first, 200) };
    assert_eq!(begin(&engine, &unpaid, 101).await, IssuanceState::Started);
}

pub async fn a_lost_lease_completes_nothing(engine: Engine) {
    let first = claim(challenge("c"), "0x1");
    let second = again(&first, 200);
    begin(&engine, &first, 0).await;
    begin(&engine, &second, 100).await;
    let late = payment_key();
    let issued = issuance(&late);
    assert!(!engine.payments.complete_issuance(&first, &issued, Some(&late)).await.unwrap());
    assert_eq!(engine.keys.get(&late.id).await.unwrap(), None);
    let record = payment_key();
    let issued = issuance(&record);
    assert!(engine.payments.complete_issuance(&second, &issued, Some(&record)).await.unwrap());
    let unknown = claim(challenge("never-claimed"), "0x9");
    assert!(!engine.payments.complete_issuance(&unknown, &issued, None).await.unwrap());
}

pub async fn a_lapsed_lease_that_nobody_took_completes(engine: Engine) {
    let first = claim(challenge("c"), "0x1");
    begin(&engine, &first, 0).await;
    begin(&engine, &claim(challenge("d"), "0x2"), 500).await;
    let record = payment_key();
    let issued = issuance(&record);
    assert!(engine.payments.complete_issuance(&first, &issued, Some(&record)).await.unwrap());
}

pub async fn completing_twice_keeps_the_first(engine: Engine) {
    let claim = claim(challenge("c"), "0x1");
    let (record, late) = (payment_key(), payment_key());
    let issued = issuance(&record);
    begin(&engine, &claim, 0).await;
    assert!(engine.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap());
    let second = engine.payments.complete_issuance(&claim, &issuance(&late), Some(&late)).await;
    assert!(!second.unwrap());
    assert_eq!(engine.keys.get(&late.id).await.unwrap(), None);
    assert_eq!(begin(&engine, &again(&claim, 200), 1).await, IssuanceState::Issued(issued));
}

pub async fn abandoning_frees_id_and_hash(engine: Engine) {
    let first = claim(challenge("c"), "0x1");
    begin(&engine, &first, 0).await;
    engine.payments.abandon_issuance(&first).await.unwrap();
    let mut other = claim(challenge("c"), "0x2");
    other.fingerprint = fingerprint("another body");
    assert_eq!(begin(&engine, &other, 1).await, IssuanceState::Started);
    assert_eq!(begin(&engine, &claim(challenge("d"), "0x1"), 1).await, IssuanceState::Started);
    let record = payment_key();
    let issued = issuance(&record);
    assert!(!engine.payments.complete_issuance(&first, &issued, Some(&record)).await.unwrap());
}

pub async fn abandoning_with_a_lost_lease_or_after_the_end_does_nothing(engine: Engine) {
    let first = claim(challenge("c"), "0x1");
    let second = again(&first, 200);
    begin(&engine, &first, 0).await;
    begin(&engine, &second, 100).await;
    engine.payments.abandon_issuance(&first).await.unwrap();
    assert_eq!(begin(&engine, &again(&first, 300), 101).await, IssuanceState::InProgress);
    let record = payment_key();
    let issued = issuance(&record);
    assert!(engine.payments.complete_issuance(&second, &issued, Some(&record)).await.unwrap());
    engine.payments.abandon_issuance(&second).await.unwrap();
    let state = begin(&engine, &again(&first, 300), 102).await;
    assert_eq!(state, IssuanceState::Issued(issued));
    engine.payments.abandon_issuance(&claim(challenge("d"), "0x2")).await.unwrap();
}

pub async fn an_issuance_never_lapses(engine: Engine) {
    let first = claim(challenge("c"), "0x1");
    let record = payment_key();
    let issued = issuance(&record);
    begin(&engine, &first, 0).await;
    engine.payments.complete_issuance(&first, &issued, Some(&record)).await.unwrap();
    let far = 40_000_000;
    engine.payments.forget_nonces(at(far), 1_000).await.unwrap();
    let other = claim(challenge("d"), "0x1");
    assert_eq!(begin(&engine, &again(&other, far + 9), far).await, IssuanceState::Redeemed);
    let state = begin(&engine, &again(&first, far + 9), far).await;
    let forgotten = Issuance { nonce: None, ..issued };
    assert_eq!(state, IssuanceState::Issued(forgotten));
}

pub async fn replacing_swaps_digest_display_and_nonce(engine: Engine) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let old = issuance(&record);
    begin(&engine, &claim, 0).await;
    engine.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap();
    let mut new = old.clone();
    new.digest = new_digest();
    new.nonce = Some(Nonce::generate().unwrap());
    new.secret = Some(other_secret());
    new.issued_at = after(5, 1);
    new.expires_at = None;
    let payments = &engine.payments;
    assert!(payments.replace_issuance(&claim.key, &old, &new, "ak_new…", at(5)).await.unwrap());
    assert_eq!(begin(&engine, &again(&claim, 100), 1).await, IssuanceState::Issued(new.clone()));
    assert_eq!(engine.keys.find(&old.digest).await.unwrap(), None);
    let mut replaced = record.clone();
    replaced.digest = new.digest;
    replaced.display = "ak_new…".to_owned();
    assert_eq!(engine.keys.find(&new.digest).await.unwrap(), Some(replaced.clone()));
    assert_eq!(engine.keys.get(&record.id).await.unwrap(), Some(replaced));
}

pub async fn replacing_something_else_changes_nothing(engine: Engine) {
    let held = claim(challenge("c"), "0x1");
    let pending = claim(challenge("p"), "0x2");
    let record = payment_key();
    let old = issuance(&record);
    begin(&engine, &held, 0).await;
    begin(&engine, &pending, 0).await;
    engine.payments.complete_issuance(&held, &old, Some(&record)).await.unwrap();
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
        let replaced =
            engine.payments.replace_issuance(key, other, &new, "x", at(5)).await.unwrap();
        assert!(!replaced, "{key:?} {other:?}");
    }
    assert_eq!(begin(&engine, &again(&held, 100), 1).await, IssuanceState::Issued(old));
    assert_eq!(engine.keys.find(&record.digest).await.unwrap(), Some(record));
    assert_eq!(engine.keys.find(&new.digest).await.unwrap(), None);
}

pub async fn of_racing_replacements_one_wins(engine: Engine) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let old = issuance(&record);
    begin(&engine, &claim, 0).await;
    engine.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap();
    let racing: Vec<_> = (0..50)
        .map(|_| {
            let (payments, key, old) =
                (Arc::clone(&engine.payments), claim.key.clone(), old.clone());
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
    assert!(engine.keys.find(&winner.digest).await.unwrap().is_some());
    assert_eq!(begin(&engine, &again(&claim, 100), 1).await, IssuanceState::Issued(winner));
}

pub async fn replacing_one_without_a_record(engine: Engine) {
    let claim = claim(challenge("c"), "0x1");
    let (old, new) = (foreign_issuance(), foreign_issuance());
    begin(&engine, &claim, 0).await;
    engine.payments.complete_issuance(&claim, &old, None).await.unwrap();
    assert!(engine.payments.replace_issuance(&claim.key, &old, &new, "x", at(5)).await.unwrap());
    assert_eq!(begin(&engine, &again(&claim, 100), 1).await, IssuanceState::Issued(new));
}

pub async fn replacing_without_the_record_changes_nothing(engine: Engine) {
    let claim = claim(challenge("c"), "0x1");
    let old = issuance(&payment_key());
    begin(&engine, &claim, 0).await;
    engine.payments.complete_issuance(&claim, &old, None).await.unwrap();
    let mut new = old.clone();
    new.digest = new_digest();
    assert!(!engine.payments.replace_issuance(&claim.key, &old, &new, "x", at(5)).await.unwrap());
    assert_eq!(begin(&engine, &again(&claim, 100), 1).await, IssuanceState::Issued(old));
}

pub async fn replacing_with_a_taken_digest_fails_and_changes_nothing(engine: Engine) {
    let claim = claim(challenge("c"), "0x1");
    let (record, other) = (payment_key(), payment_key());
    let old = issuance(&record);
    engine.keys.insert(&other, &Actor::host()).await.unwrap();
    begin(&engine, &claim, 0).await;
    engine.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap();
    let mut new = old.clone();
    new.digest = other.digest;
    engine.payments.replace_issuance(&claim.key, &old, &new, "x", at(5)).await.unwrap_err();
    assert_eq!(begin(&engine, &again(&claim, 100), 1).await, IssuanceState::Issued(old));
    assert_eq!(engine.keys.find(&record.digest).await.unwrap(), Some(record));
    assert_eq!(engine.keys.find(&other.digest).await.unwrap(), Some(other));
}

pub async fn replacing_keeps_a_revocation(engine: Engine) {
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let old = issuance(&record);
    begin(&engine, &claim, 0).await;
    engine.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap();
    engine.keys.revoke(&record.id, &Actor::host(), at(1)).await.unwrap();
    let mut new = old.clone();
    new.digest = new_digest();
    engine.payments.replace_issuance(&claim.key, &old, &new, "x", at(5)).await.unwrap();
    let stored = engine.keys.get(&record.id).await.unwrap().unwrap();
    assert_eq!(stored.revoked_at, Some(at(1)));
}

pub async fn listeners_hear_of_issuance_and_replacement_before_the_return(engine: Engine) {
    let ear = Ear::on(&*engine.keys);
    let claim = claim(challenge("c"), "0x1");
    let record = payment_key();
    let old = issuance(&record);
    begin(&engine, &claim, 0).await;
    engine.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap();
    assert!(ear.heard_of(record.digest));
    for _ in 0..20 {
        let IssuanceState::Issued(old) = begin(&engine, &again(&claim, 100), 1).await else {
            panic!("it is issued")
        };
        let mut new = old.clone();
        new.digest = new_digest();
        ear.forget();
        engine.payments.replace_issuance(&claim.key, &old, &new, "x", at(5)).await.unwrap();
        assert!(ear.heard_of(old.digest) && ear.heard_of(new.digest));
    }
}

pub async fn nonces_are_forgotten_by_age_and_in_bounds(engine: Engine) {
    let mut claims = Vec::new();
    for i in 0..5 {
        let claim = claim(challenge(&format!("c{i}")), &format!("0x{i}"));
        let record = payment_key();
        let mut issued = issuance(&record);
        issued.issued_at = at(i);
        begin(&engine, &claim, 0).await;
        engine.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap();
        claims.push(claim);
    }
    let pending = claim(challenge("pending"), "0xp");
    begin(&engine, &pending, 0).await;
    let own = claim(challenge("own"), "0xo");
    begin(&engine, &own, 0).await;
    engine.payments.complete_issuance(&own, &foreign_issuance(), None).await.unwrap();

    let forget =
        async |before, limit| engine.payments.forget_nonces(at(before), limit).await.unwrap();
    assert_eq!(forget(0, 10).await, 0, "none was made before 0");
    assert_eq!(forget(4, 0).await, 0);
    assert_eq!(forget(4, 3).await, 3);
    assert_eq!(forget(4, 3).await, 1, "one is left before 4, and none is counted twice");
    assert_eq!(forget(4, 3).await, 0, "the one that was made at 4 stays");
    for (i, claim) in claims.iter().enumerate() {
        let IssuanceState::Issued(issued) = begin(&engine, &again(claim, 200), 50).await else {
            panic!("it is issued")
        };
        assert_eq!(issued.nonce.is_some(), i == 4, "{i}");
        assert!(issued.secret.is_some() && issued.key_id.is_some());
        assert!(engine.keys.find(&issued.digest).await.unwrap().is_some());
    }
    assert_eq!(begin(&engine, &again(&pending, 200), 50).await, IssuanceState::InProgress);
}

pub async fn a_clock_that_was_set_back_holds_up_no_claim(engine: Engine) {
    let wait = LONGEST_WAIT.as_secs() as i64;
    let first = claim(challenge("c"), "0x1");
    begin(&engine, &again(&first, wait), 0).await;
    assert_eq!(begin(&engine, &again(&first, 10), 0).await, IssuanceState::InProgress);
    // An hour back, its lease would end in over an hour.
    let other = claim(challenge("d"), "0x1");
    assert_eq!(begin(&engine, &again(&other, -3_590), -3_600).await, IssuanceState::Started);
    assert_eq!(begin(&engine, &again(&first, -3_590), -3_600).await, IssuanceState::InProgress);
    assert_eq!(begin(&engine, &again(&first, -3_580), -3_590).await, IssuanceState::Started);
}
