use std::{collections::BTreeSet, sync::Arc, time::Duration};

use key0_auth::{
    apikey::{KeyAction, KeyEvent, KeyKind, KeyRecord},
    domain::{Actor, KeyId},
    error::StoreErrorKind,
    store::spi::{Change, IssuanceState, KeyCursor, KeyPage, KeyQuery, Rotation},
};

use super::{
    Ear, Engine, at, challenge, claim, integrator_key, issuance, new_digest, other_secret,
    payment_key,
};

fn everything(kind: KeyKind) -> KeyQuery {
    KeyQuery { kind, in_force_at: None, filter: Default::default(), after: None, limit: 100 }
}

fn made_at(seconds: i64) -> KeyRecord {
    let mut record = integrator_key();
    record.created_at = at(seconds);
    record
}

async fn add(engine: &Engine, record: &KeyRecord) {
    engine.keys.insert(record, &Actor::host()).await.unwrap();
}

fn ids(page: &KeyPage) -> Vec<KeyId> {
    page.keys.iter().map(|record| record.id.clone()).collect()
}

/// Every page, to the end.
async fn pages(engine: &Engine, query: KeyQuery) -> Vec<KeyPage> {
    let mut pages = Vec::new();
    let mut next = Some(query);
    while let Some(query) = next {
        let page = engine.keys.list(&query).await.unwrap();
        assert!(page.keys.len() <= query.limit as usize);
        next = page.next.clone().map(|after| KeyQuery { after: Some(after), ..query });
        pages.push(page);
    }
    pages
}

fn rotation(record: &KeyRecord) -> Rotation {
    Rotation {
        old: record.digest,
        new: new_digest(),
        display: "ak_new1…".to_owned(),
        old_until: None,
    }
}

fn master() -> Actor {
    Actor::new("bootstrap-master-1").unwrap()
}

pub async fn a_listing_is_newest_first_and_of_one_kind(engine: Engine) {
    let mut records: Vec<_> = [3, 1, 2, 2].into_iter().map(made_at).collect();
    let mut sold = payment_key();
    sold.created_at = at(4);
    add(&engine, &sold).await;
    for record in &records {
        add(&engine, record).await;
    }
    records.sort_by_key(KeyCursor::of);
    records.reverse();
    let page = engine.keys.list(&everything(KeyKind::Integrator)).await.unwrap();
    assert_eq!(page, KeyPage { keys: records, unreadable: vec![], next: None });
    let page = engine.keys.list(&everything(KeyKind::Payment)).await.unwrap();
    assert_eq!(page, KeyPage { keys: vec![sold], unreadable: vec![], next: None });
}

pub async fn pages_of_any_size_hold_every_key_once(engine: Engine) {
    let empty = engine.keys.list(&everything(KeyKind::Integrator)).await.unwrap();
    assert_eq!(empty, KeyPage { keys: vec![], unreadable: vec![], next: None });
    // Four at a time were made in the same instant.
    let records: Vec<_> = (0..24).map(|i| made_at(i / 4)).collect();
    for record in &records {
        add(&engine, record).await;
    }
    let whole = ids(&engine.keys.list(&everything(KeyKind::Integrator)).await.unwrap());
    for limit in [1, 3, 8, 23, 24, 25] {
        let query = KeyQuery { limit, ..everything(KeyKind::Integrator) };
        let pages = pages(&engine, query).await;
        assert_eq!(pages.iter().flat_map(ids).collect::<Vec<_>>(), whole, "{limit}");
        assert_eq!(pages.len(), 24_usize.div_ceil(limit as usize), "{limit}");
    }
}

pub async fn what_is_over_is_listed_only_where_asked_for(engine: Engine) {
    let [valid, mut expired, mut expiring, revoked] = [1, 2, 3, 4].map(made_at);
    expired.expires_at = Some(at(10));
    expiring.expires_at = Some(at(11));
    for record in [&valid, &expired, &expiring, &revoked] {
        add(&engine, record).await;
    }
    engine.keys.revoke(&revoked.id, &master(), at(5)).await.unwrap().unwrap();
    let in_force =
        KeyQuery { in_force_at: Some(at(10)), limit: 1, ..everything(KeyKind::Integrator) };
    let listed: Vec<_> = pages(&engine, in_force.clone()).await.iter().flat_map(ids).collect();
    assert_eq!(listed, [expiring.id.clone(), valid.id.clone()]);
    let all: Vec<_> = pages(&engine, KeyQuery { in_force_at: None, ..in_force }).await;
    let all: Vec<_> = all.iter().flat_map(ids).collect();
    assert_eq!(all, [revoked.id, expiring.id, expired.id, valid.id]);
}

pub async fn keys_that_come_and_go_between_pages_disturb_no_other(engine: Engine) {
    let lasting: Vec<_> = (0..20).map(|i| made_at(2 * i)).collect();
    let passing: Vec<_> = (0..20).map(|i| made_at(2 * i + 1)).collect();
    for record in lasting.iter().chain(&passing) {
        add(&engine, record).await;
    }
    let mut query = KeyQuery {
        in_force_at: Some(at(0)),
        after: None,
        limit: 3,
        ..everything(KeyKind::Integrator)
    };
    let mut seen = Vec::new();
    for (turn, passing) in (0..).zip(passing.iter().rev()) {
        let page = engine.keys.list(&query).await.unwrap();
        seen.extend(ids(&page));
        let Some(next) = page.next else { break };
        // The one the listing stands at goes, and others come before and behind it.
        engine.keys.revoke(&next.id, &master(), at(1)).await.unwrap();
        engine.keys.revoke(&passing.id, &master(), at(1)).await.unwrap();
        add(&engine, &made_at(100 + turn)).await;
        add(&engine, &made_at(0)).await;
        query.after = Some(next);
    }
    let once: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(once.len(), seen.len(), "a key stands on two pages");
    assert!(lasting.iter().all(|record| once.contains(&record.id)), "a key is missing");
}

pub async fn few_keys_among_many_that_are_over_are_all_listed(engine: Engine) {
    let (first, last) = (made_at(0), made_at(40));
    add(&engine, &first).await;
    for i in 1..40 {
        let mut record = made_at(i);
        record.expires_at = Some(at(i));
        add(&engine, &record).await;
    }
    add(&engine, &last).await;
    let query = KeyQuery { in_force_at: Some(at(50)), limit: 1, ..everything(KeyKind::Integrator) };
    let listed: Vec<_> = pages(&engine, query).await.iter().flat_map(ids).collect();
    assert_eq!(listed, [last.id, first.id]);
}

pub async fn a_history_tells_what_was_done_by_whom_and_when(engine: Engine) {
    let record = made_at(1);
    add(&engine, &record).await;
    add(&engine, &made_at(1)).await;
    let id = &record.id;
    assert!(engine.keys.rotate(id, &rotation(&record), &master(), at(2)).await.unwrap());
    engine.keys.revoke(id, &Actor::unchecked(), at(3)).await.unwrap().unwrap();
    assert_eq!(
        engine.keys.history(id, 100).await.unwrap(),
        [
            KeyEvent::new(KeyAction::Created, &Actor::host(), at(1)),
            KeyEvent::new(KeyAction::Rotated, &master(), at(2)),
            KeyEvent::new(KeyAction::Revoked, &Actor::unchecked(), at(3)),
        ]
    );
    assert_eq!(engine.keys.history(&KeyId::generate(), 100).await.unwrap(), []);
}

pub async fn a_history_is_cut_to_its_last_lines(engine: Engine) {
    let mut record = made_at(0);
    add(&engine, &record).await;
    for i in 1..10 {
        let rotation = rotation(&record);
        assert!(engine.keys.rotate(&record.id, &rotation, &master(), at(i)).await.unwrap());
        record.digest = rotation.new;
    }
    let history = engine.keys.history(&record.id, 3).await.unwrap();
    assert_eq!(history.iter().map(|event| event.at).collect::<Vec<_>>(), [at(7), at(8), at(9)]);
}

pub async fn what_key0_had_issued_stands_in_the_history(engine: Engine) {
    let (claim, record) = (claim(challenge("c"), "0x1"), payment_key());
    engine.payments.begin_issuance(&claim, at(0)).await.unwrap();
    let old = issuance(&record);
    assert!(engine.payments.complete_issuance(&claim, &old, Some(&record)).await.unwrap());
    let mut new = old.clone();
    (new.digest, new.secret) = (new_digest(), Some(other_secret()));
    assert!(engine.payments.replace_issuance(&claim.key, &old, &new, "x", at(7)).await.unwrap());
    assert_eq!(
        engine.keys.history(&record.id, 100).await.unwrap(),
        [
            KeyEvent::new(KeyAction::Created, &Actor::key0(), record.created_at),
            KeyEvent::new(KeyAction::Rotated, &Actor::key0(), at(7)),
        ]
    );
}

pub async fn nothing_stands_in_a_history_that_did_not_happen(engine: Engine) {
    let (record, other) = (made_at(1), made_at(2));
    add(&engine, &record).await;
    add(&engine, &other).await;
    let mut taken = made_at(3);
    taken.id = record.id.clone();
    engine.keys.insert(&taken, &master()).await.unwrap_err();
    let to_taken = Rotation { new: other.digest, ..rotation(&record) };
    engine.keys.rotate(&record.id, &to_taken, &master(), at(4)).await.unwrap_err();
    assert!(!engine.keys.rotate(&record.id, &rotation(&other), &master(), at(4)).await.unwrap());
    engine.keys.revoke(&record.id, &master(), at(5)).await.unwrap().unwrap();
    assert_eq!(engine.keys.revoke(&record.id, &master(), at(6)).await.unwrap(), None);
    assert!(!engine.keys.rotate(&record.id, &rotation(&record), &master(), at(7)).await.unwrap());
    let history = engine.keys.history(&record.id, 100).await.unwrap();
    let actions: Vec<_> = history.iter().map(|event| event.action).collect();
    assert_eq!(actions, [KeyAction::Created, KeyAction::Revoked]);
}

pub async fn rotating_swaps_digest_and_display_and_nothing_else(engine: Engine) {
    let record = made_at(1);
    add(&engine, &record).await;
    let rotation = rotation(&record);
    assert!(engine.keys.rotate(&record.id, &rotation, &master(), at(2)).await.unwrap());
    assert_eq!(engine.keys.find(&record.digest).await.unwrap(), None);
    let mut rotated = record.clone();
    (rotated.digest, rotated.display) = (rotation.new, rotation.display.clone());
    assert_eq!(engine.keys.find(&rotation.new).await.unwrap(), Some(rotated.clone()));
    assert_eq!(engine.keys.get(&record.id).await.unwrap(), Some(rotated));
}

pub async fn rotating_the_unknown_the_revoked_or_another_secret_changes_nothing(engine: Engine) {
    let (record, revoked) = (made_at(1), made_at(2));
    add(&engine, &record).await;
    add(&engine, &revoked).await;
    engine.keys.revoke(&revoked.id, &master(), at(3)).await.unwrap().unwrap();
    for (id, rotation) in [
        (&KeyId::generate(), rotation(&record)),
        (&revoked.id, rotation(&revoked)),
        (&record.id, rotation(&revoked)),
    ] {
        assert!(!engine.keys.rotate(id, &rotation, &master(), at(4)).await.unwrap());
        assert_eq!(engine.keys.find(&rotation.new).await.unwrap(), None);
    }
    assert_eq!(engine.keys.find(&record.digest).await.unwrap(), Some(record));
    assert!(engine.keys.find(&revoked.digest).await.unwrap().unwrap().revoked_at.is_some());
}

pub async fn rotating_to_a_taken_digest_fails_and_changes_nothing(engine: Engine) {
    let (record, other) = (made_at(1), made_at(2));
    add(&engine, &record).await;
    add(&engine, &other).await;
    let taken = Rotation { new: other.digest, ..rotation(&record) };
    let error = engine.keys.rotate(&record.id, &taken, &master(), at(3)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    for record in [record, other] {
        assert_eq!(engine.keys.find(&record.digest).await.unwrap(), Some(record));
    }
}

pub async fn of_racing_rotations_one_wins(engine: Engine) {
    let record = made_at(1);
    add(&engine, &record).await;
    let racing: Vec<_> = (0..20)
        .map(|_| {
            let (keys, id, rotation) =
                (Arc::clone(&engine.keys), record.id.clone(), rotation(&record));
            tokio::spawn(async move {
                let won = keys.rotate(&id, &rotation, &master(), at(2)).await.unwrap();
                won.then_some(rotation.new)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for rotated in racing {
        winners.extend(rotated.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(engine.keys.get(&record.id).await.unwrap().unwrap().digest, winners[0]);
}

pub async fn listeners_hear_of_both_digests_of_a_rotation_before_the_return(engine: Engine) {
    let ear = Ear::on(&*engine.keys);
    let mut record = made_at(1);
    add(&engine, &record).await;
    for _ in 0..20 {
        ear.forget();
        let rotation = rotation(&record);
        assert!(engine.keys.rotate(&record.id, &rotation, &master(), at(2)).await.unwrap());
        assert!(ear.heard_of(rotation.old) && ear.heard_of(rotation.new));
        record.digest = rotation.new;
    }
}

pub async fn the_latest_use_is_kept_and_is_no_news(engine: Engine) {
    let (one, two) = (made_at(1), payment_key());
    add(&engine, &one).await;
    add(&engine, &two).await;
    // An engine may tell of what it has written a second time: let that pass.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ear = Ear::on(&*engine.keys);
    let unknown = KeyId::generate();
    for (first, second) in [(5, 9), (7, 3)] {
        let uses =
            [(one.id.clone(), at(first)), (unknown.clone(), at(1)), (two.id.clone(), at(second))];
        engine.keys.touch(&uses).await.unwrap();
    }
    engine.keys.touch(&[]).await.unwrap();
    let mut used = one.clone();
    used.last_used_at = Some(at(7));
    assert_eq!(engine.keys.find(&one.digest).await.unwrap(), Some(used));
    assert_eq!(engine.keys.get(&two.id).await.unwrap().unwrap().last_used_at, Some(at(9)));
    assert_eq!(engine.keys.get(&unknown).await.unwrap(), None);
    assert!(!ear.heard_of(one.digest) && !ear.heard_of(two.digest) && !ear.heard(Change::All));
}

pub async fn a_purge_takes_what_has_ended_before_in_bounds(engine: Engine) {
    let [valid, mut early, mut late, revoked, mut both, mut told] = [1, 2, 3, 4, 5, 6].map(made_at);
    early.expires_at = Some(at(10));
    late.expires_at = Some(at(20));
    both.expires_at = Some(at(30));
    // Its holder is told of the revocation, which is the later one here.
    told.expires_at = Some(at(11));
    for record in [&valid, &early, &late, &revoked, &both, &told] {
        add(&engine, record).await;
    }
    engine.keys.revoke(&revoked.id, &master(), at(12)).await.unwrap().unwrap();
    engine.keys.revoke(&both.id, &master(), at(14)).await.unwrap().unwrap();
    engine.keys.revoke(&told.id, &master(), at(20)).await.unwrap().unwrap();

    assert_eq!(engine.keys.purge_keys(at(10), 100).await.unwrap(), 0);
    assert_eq!(engine.keys.purge_keys(at(20), 2).await.unwrap(), 2);
    assert_eq!(engine.keys.purge_keys(at(20), 2).await.unwrap(), 1);
    assert_eq!(engine.keys.purge_keys(at(20), 2).await.unwrap(), 0);
    for record in [&early, &revoked, &both] {
        assert_eq!(engine.keys.find(&record.digest).await.unwrap(), None);
        assert_eq!(engine.keys.get(&record.id).await.unwrap(), None);
        assert_eq!(engine.keys.history(&record.id, 100).await.unwrap(), []);
    }
    let rest: Vec<_> = pages(&engine, everything(KeyKind::Integrator)).await;
    assert_eq!(rest.iter().flat_map(ids).collect::<Vec<_>>(), [told.id, late.id.clone(), valid.id]);
    assert_eq!(engine.keys.history(&late.id, 100).await.unwrap().len(), 1);
}

pub async fn what_a_purge_takes_is_news(engine: Engine) {
    let mut record = made_at(1);
    record.expires_at = Some(at(2));
    add(&engine, &record).await;
    let ear = Ear::on(&*engine.keys);
    assert_eq!(engine.keys.purge_keys(at(3), 100).await.unwrap(), 1);
    assert!(ear.heard_of(record.digest));
}

pub async fn a_purged_key_stays_issued(engine: Engine) {
    let (claim, mut record) = (claim(challenge("c"), "0x1"), payment_key());
    record.expires_at = Some(at(1));
    engine.payments.begin_issuance(&claim, at(0)).await.unwrap();
    let issued = issuance(&record);
    assert!(engine.payments.complete_issuance(&claim, &issued, Some(&record)).await.unwrap());
    assert_eq!(engine.keys.purge_keys(at(2), 100).await.unwrap(), 1);
    assert_eq!(
        engine.payments.begin_issuance(&claim, at(3)).await.unwrap(),
        IssuanceState::Issued(issued)
    );
    let other = super::claim(challenge("d"), "0x1");
    assert_eq!(
        engine.payments.begin_issuance(&other, at(3)).await.unwrap(),
        IssuanceState::Redeemed
    );
}
