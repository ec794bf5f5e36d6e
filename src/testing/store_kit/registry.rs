//! Keys as an operator manages them: listed, rotated, purged, with their history.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    Case,
    samples::{ChangeRecorder, at, new_digest, partner_key, payment_key},
};
use crate::{
    apikey::{KeyAction, KeyEvent, KeyKind, KeyRecord},
    domain::{Actor, KeyId},
    error::StoreErrorKind,
    store::{
        KeyRegistry,
        spi::{Change, KeyCursor, KeyPage, KeyQuery, Rotation},
    },
};

fn everything(kind: KeyKind) -> KeyQuery {
    KeyQuery { kind, in_force_at: None, filter: Default::default(), after: None, limit: 100 }
}

fn made_at(seconds: i64) -> KeyRecord {
    let mut record = partner_key();
    record.created_at = at(seconds);
    record
}

async fn add(store: &Arc<dyn KeyRegistry>, record: &KeyRecord) {
    store.insert(record, &Actor::host()).await.unwrap();
}

fn ids(page: &KeyPage) -> Vec<KeyId> {
    page.keys.iter().map(|record| record.id.clone()).collect()
}

/// Every page, to the end.
async fn pages(store: &Arc<dyn KeyRegistry>, query: KeyQuery) -> Vec<KeyPage> {
    let mut pages = Vec::new();
    let mut next = Some(query);
    while let Some(query) = next {
        let page = store.list(&query).await.unwrap();
        assert!(page.keys.len() <= query.limit as usize);
        next = page.next.clone().map(|after| KeyQuery { after: Some(after), ..query });
        pages.push(page);
    }
    pages
}

fn rotation(record: &KeyRecord) -> Rotation {
    let display = "ak_new1…".to_owned();
    Rotation { old: record.digest, new: new_digest(), display, old_until: None }
}

fn master() -> Actor {
    Actor::new("bootstrap-master-1").unwrap()
}

async fn a_listing_is_newest_first_and_of_one_kind(store: Arc<dyn KeyRegistry>) {
    let mut records: Vec<_> = [3, 1, 2, 2].into_iter().map(made_at).collect();
    let mut sold = payment_key();
    sold.created_at = at(4);
    add(&store, &sold).await;
    for record in &records {
        add(&store, record).await;
    }
    records.sort_by_key(KeyCursor::of);
    records.reverse();
    let page = store.list(&everything(KeyKind::Integrator)).await.unwrap();
    assert_eq!(page, KeyPage { keys: records, unreadable: vec![], next: None });
    let page = store.list(&everything(KeyKind::Payment)).await.unwrap();
    assert_eq!(page, KeyPage { keys: vec![sold], unreadable: vec![], next: None });
}

async fn many_are_added_at_once_and_the_known_are_passed_over(store: Arc<dyn KeyRegistry>) {
    let [known, one, mut two, mut same_digest, mut same_id] = [1, 2, 3, 4, 5].map(made_at);
    add(&store, &known).await;
    two.label = Some("Ada's".to_owned());
    two.expires_at = Some(at(99));
    same_digest.digest = known.digest;
    same_id.id = one.id.clone();
    let many = [one.clone(), known.clone(), two.clone(), same_digest, same_id, one.clone()];
    let added = store.insert_many(&many, &master()).await.unwrap();
    assert_eq!(added, [true, false, true, false, false, false]);
    let page = store.list(&everything(KeyKind::Integrator)).await.unwrap();
    assert_eq!(page.keys, [two.clone(), one.clone(), known]);
    for record in [one, two] {
        assert_eq!(store.find(&record.digest).await.unwrap(), Some(record.clone()));
        let history = store.history(&record.id, 9).await.unwrap();
        let created = KeyEvent::new(KeyAction::Created, &master(), record.created_at);
        assert_eq!(history, [created]);
    }
    assert_eq!(store.insert_many(&[], &master()).await.unwrap(), [false; 0]);
}

async fn pages_of_any_size_hold_every_key_once(store: Arc<dyn KeyRegistry>) {
    let empty = store.list(&everything(KeyKind::Integrator)).await.unwrap();
    assert_eq!(empty, KeyPage { keys: vec![], unreadable: vec![], next: None });
    // Four at a time were made in the same instant.
    let records: Vec<_> = (0..24).map(|i| made_at(i / 4)).collect();
    for record in &records {
        add(&store, record).await;
    }
    let whole = ids(&store.list(&everything(KeyKind::Integrator)).await.unwrap());
    for limit in [1, 3, 8, 23, 24, 25] {
        let query = KeyQuery { limit, ..everything(KeyKind::Integrator) };
        let pages = pages(&store, query).await;
        assert_eq!(pages.iter().flat_map(ids).collect::<Vec<_>>(), whole, "{limit}");
        assert_eq!(pages.len(), 24_usize.div_ceil(limit as usize), "{limit}");
    }
}

async fn what_is_over_is_listed_only_where_asked_for(store: Arc<dyn KeyRegistry>) {
    let [valid, mut expired, mut expiring, revoked] = [1, 2, 3, 4].map(made_at);
    expired.expires_at = Some(at(10));
    expiring.expires_at = Some(at(11));
    for record in [&valid, &expired, &expiring, &revoked] {
        add(&store, record).await;
    }
    store.revoke(&revoked.id, &master(), at(5)).await.unwrap().unwrap();
    let in_force =
        KeyQuery { in_force_at: Some(at(10)), limit: 1, ..everything(KeyKind::Integrator) };
    let listed: Vec<_> = pages(&store, in_force.clone()).await.iter().flat_map(ids).collect();
    assert_eq!(listed, [expiring.id.clone(), valid.id.clone()]);
    let all: Vec<_> = pages(&store, KeyQuery { in_force_at: None, ..in_force }).await;
    let all: Vec<_> = all.iter().flat_map(ids).collect();
    assert_eq!(all, [revoked.id, expiring.id, expired.id, valid.id]);
}

async fn keys_that_come_and_go_between_pages_disturb_no_other(store: Arc<dyn KeyRegistry>) {
    let lasting: Vec<_> = (0..20).map(|i| made_at(2 * i)).collect();
    let passing: Vec<_> = (0..20).map(|i| made_at(2 * i + 1)).collect();
    for record in lasting.iter().chain(&passing) {
        add(&store, record).await;
    }
    let mut query = KeyQuery {
        in_force_at: Some(at(0)),
        after: None,
        limit: 3,
        ..everything(KeyKind::Integrator)
    };
    let mut seen = Vec::new();
    for (turn, passing) in (0..).zip(passing.iter().rev()) {
        let page = store.list(&query).await.unwrap();
        seen.extend(ids(&page));
        let Some(next) = page.next else { break };
        // The one the listing stands at goes, and others come before and behind it.
        store.revoke(&next.id, &master(), at(1)).await.unwrap();
        store.revoke(&passing.id, &master(), at(1)).await.unwrap();
        add(&store, &made_at(100 + turn)).await;
        add(&store, &made_at(0)).await;
        query.after = Some(next);
    }
    let once: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(once.len(), seen.len(), "a key stands on two pages");
    assert!(lasting.iter().all(|record| once.contains(&record.id)), "a key is missing");
}

async fn few_keys_among_many_that_are_over_are_all_listed(store: Arc<dyn KeyRegistry>) {
    let (first, last) = (made_at(0), made_at(40));
    add(&store, &first).await;
    for i in 1..40 {
        let mut record = made_at(i);
        record.expires_at = Some(at(i));
        add(&store, &record).await;
    }
    add(&store, &last).await;
    let query = KeyQuery { in_force_at: Some(at(50)), limit: 1, ..everything(KeyKind::Integrator) };
    let listed: Vec<_> = pages(&store, query).await.iter().flat_map(ids).collect();
    assert_eq!(listed, [last.id, first.id]);
}

async fn a_history_tells_what_was_done_by_whom_and_when(store: Arc<dyn KeyRegistry>) {
    let record = made_at(1);
    add(&store, &record).await;
    add(&store, &made_at(1)).await;
    let id = &record.id;
    assert!(store.rotate(id, &rotation(&record), &master(), at(2)).await.unwrap());
    store.revoke(id, &Actor::unchecked(), at(3)).await.unwrap().unwrap();
    assert_eq!(
        store.history(id, 100).await.unwrap(),
        [
            KeyEvent::new(KeyAction::Created, &Actor::host(), at(1)),
            KeyEvent::new(KeyAction::Rotated, &master(), at(2)),
            KeyEvent::new(KeyAction::Revoked, &Actor::unchecked(), at(3)),
        ]
    );
    assert_eq!(store.history(&KeyId::generate(), 100).await.unwrap(), []);
}

async fn a_history_is_cut_to_its_last_lines(store: Arc<dyn KeyRegistry>) {
    let mut record = made_at(0);
    add(&store, &record).await;
    for i in 1..10 {
        let rotation = rotation(&record);
        assert!(store.rotate(&record.id, &rotation, &master(), at(i)).await.unwrap());
        record.digest = rotation.new;
    }
    let history = store.history(&record.id, 3).await.unwrap();
    assert_eq!(history.iter().map(|event| event.at).collect::<Vec<_>>(), [at(7), at(8), at(9)]);
}

async fn nothing_stands_in_a_history_that_did_not_happen(store: Arc<dyn KeyRegistry>) {
    let (record, other) = (made_at(1), made_at(2));
    add(&store, &record).await;
    add(&store, &other).await;
    let mut taken = made_at(3);
    taken.id = record.id.clone();
    store.insert(&taken, &master()).await.unwrap_err();
    let to_taken = Rotation { new: other.digest, ..rotation(&record) };
    store.rotate(&record.id, &to_taken, &master(), at(4)).await.unwrap_err();
    assert!(!store.rotate(&record.id, &rotation(&other), &master(), at(4)).await.unwrap());
    store.revoke(&record.id, &master(), at(5)).await.unwrap().unwrap();
    assert_eq!(store.revoke(&record.id, &master(), at(6)).await.unwrap(), None);
    assert!(!store.rotate(&record.id, &rotation(&record), &master(), at(7)).await.unwrap());
    let history = store.history(&record.id, 100).await.unwrap();
    let actions: Vec<_> = history.iter().map(|event| event.action).collect();
    assert_eq!(actions, [KeyAction::Created, KeyAction::Revoked]);
}

async fn rotating_swaps_digest_and_display_and_nothing_else(store: Arc<dyn KeyRegistry>) {
    let record = made_at(1);
    add(&store, &record).await;
    let rotation = rotation(&record);
    assert!(store.rotate(&record.id, &rotation, &master(), at(2)).await.unwrap());
    assert_eq!(store.find(&record.digest).await.unwrap(), None);
    let mut rotated = record.clone();
    (rotated.digest, rotated.display) = (rotation.new, rotation.display.clone());
    assert_eq!(store.find(&rotation.new).await.unwrap(), Some(rotated.clone()));
    assert_eq!(store.get(&record.id).await.unwrap(), Some(rotated));
}

async fn rotating_the_unknown_the_revoked_or_another_secret_changes_nothing(
    store: Arc<dyn KeyRegistry>,
) {
    let (record, revoked) = (made_at(1), made_at(2));
    add(&store, &record).await;
    add(&store, &revoked).await;
    store.revoke(&revoked.id, &master(), at(3)).await.unwrap().unwrap();
    for (id, rotation) in [
        (&KeyId::generate(), rotation(&record)),
        (&revoked.id, rotation(&revoked)),
        (&record.id, rotation(&revoked)),
    ] {
        assert!(!store.rotate(id, &rotation, &master(), at(4)).await.unwrap());
        assert_eq!(store.find(&rotation.new).await.unwrap(), None);
    }
    assert_eq!(store.find(&record.digest).await.unwrap(), Some(record));
    assert!(store.find(&revoked.digest).await.unwrap().unwrap().revoked_at.is_some());
}

async fn rotating_to_a_taken_digest_fails_and_changes_nothing(store: Arc<dyn KeyRegistry>) {
    let (record, other) = (made_at(1), made_at(2));
    add(&store, &record).await;
    add(&store, &other).await;
    let taken = Rotation { new: other.digest, ..rotation(&record) };
    let error = store.rotate(&record.id, &taken, &master(), at(3)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    for record in [record, other] {
        assert_eq!(store.find(&record.digest).await.unwrap(), Some(record));
    }
}

async fn of_racing_rotations_one_wins(store: Arc<dyn KeyRegistry>) {
    let record = made_at(1);
    add(&store, &record).await;
    let racing: Vec<_> = (0..20)
        .map(|_| {
            let (keys, id, rotation) = (Arc::clone(&store), record.id.clone(), rotation(&record));
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
    assert_eq!(store.get(&record.id).await.unwrap().unwrap().digest, winners[0]);
}

async fn listeners_hear_of_both_digests_of_a_rotation_before_the_return(
    store: Arc<dyn KeyRegistry>,
) {
    let recorder = ChangeRecorder::on(&*store);
    let mut record = made_at(1);
    add(&store, &record).await;
    for _ in 0..20 {
        recorder.forget();
        let rotation = rotation(&record);
        assert!(store.rotate(&record.id, &rotation, &master(), at(2)).await.unwrap());
        assert!(recorder.heard_of(rotation.old) && recorder.heard_of(rotation.new));
        record.digest = rotation.new;
    }
}

async fn the_latest_use_is_kept_and_tells_no_listener(store: Arc<dyn KeyRegistry>) {
    let (one, two) = (made_at(1), payment_key());
    add(&store, &one).await;
    add(&store, &two).await;
    let recorder = ChangeRecorder::on(&*store);
    let unknown = KeyId::generate();
    // An engine may tell of what it has written a second time, and late: then it is seen again.
    for tries in 1.. {
        recorder.forget();
        for (first, second) in [(5, 9), (7, 3)] {
            let [one, two, unknown] = [&one.id, &two.id, &unknown].map(Clone::clone);
            let uses = [(one, at(first)), (unknown, at(1)), (two, at(second))];
            store.touch(&uses).await.unwrap();
        }
        store.touch(&[]).await.unwrap();
        let told = [one.digest, two.digest].into_iter().any(|digest| recorder.heard_of(digest));
        if !told && !recorder.heard(Change::All) {
            break;
        }
        assert!(tries < 100, "a use is told of");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut used = one.clone();
    used.last_used_at = Some(at(7));
    assert_eq!(store.find(&one.digest).await.unwrap(), Some(used));
    assert_eq!(store.get(&two.id).await.unwrap().unwrap().last_used_at, Some(at(9)));
    assert_eq!(store.get(&unknown).await.unwrap(), None);
}

async fn a_purge_takes_what_has_ended_before_in_bounds(store: Arc<dyn KeyRegistry>) {
    let [valid, mut early, mut late, revoked, mut both, mut told] = [1, 2, 3, 4, 5, 6].map(made_at);
    early.expires_at = Some(at(10));
    late.expires_at = Some(at(20));
    both.expires_at = Some(at(30));
    // Its holder is told of the revocation, which is the later one here.
    told.expires_at = Some(at(11));
    for record in [&valid, &early, &late, &revoked, &both, &told] {
        add(&store, record).await;
    }
    store.revoke(&revoked.id, &master(), at(12)).await.unwrap().unwrap();
    store.revoke(&both.id, &master(), at(14)).await.unwrap().unwrap();
    store.revoke(&told.id, &master(), at(20)).await.unwrap().unwrap();

    assert_eq!(store.purge_keys(at(10), 100).await.unwrap(), 0);
    assert_eq!(store.purge_keys(at(20), 2).await.unwrap(), 2);
    assert_eq!(store.purge_keys(at(20), 2).await.unwrap(), 1);
    assert_eq!(store.purge_keys(at(20), 2).await.unwrap(), 0);
    for record in [&early, &revoked, &both] {
        assert_eq!(store.find(&record.digest).await.unwrap(), None);
        assert_eq!(store.get(&record.id).await.unwrap(), None);
    }
    let rest: Vec<_> = pages(&store, everything(KeyKind::Integrator)).await;
    assert_eq!(rest.iter().flat_map(ids).collect::<Vec<_>>(), [told.id, late.id.clone(), valid.id]);
    assert_eq!(store.history(&late.id, 100).await.unwrap().len(), 1);
}

async fn listeners_hear_of_what_a_purge_takes(store: Arc<dyn KeyRegistry>) {
    let mut record = made_at(1);
    record.expires_at = Some(at(2));
    add(&store, &record).await;
    let recorder = ChangeRecorder::on(&*store);
    assert_eq!(store.purge_keys(at(3), 100).await.unwrap(), 1);
    assert!(recorder.heard_of(record.digest));
}

pub(super) const CASES: &[Case<Arc<dyn KeyRegistry>>] = cases!["registry":
    a_listing_is_newest_first_and_of_one_kind,
    many_are_added_at_once_and_the_known_are_passed_over,
    pages_of_any_size_hold_every_key_once,
    what_is_over_is_listed_only_where_asked_for,
    keys_that_come_and_go_between_pages_disturb_no_other,
    few_keys_among_many_that_are_over_are_all_listed,
    a_history_tells_what_was_done_by_whom_and_when,
    a_history_is_cut_to_its_last_lines,
    nothing_stands_in_a_history_that_did_not_happen,
    rotating_swaps_digest_and_display_and_nothing_else,
    rotating_the_unknown_the_revoked_or_another_secret_changes_nothing,
    rotating_to_a_taken_digest_fails_and_changes_nothing,
    of_racing_rotations_one_wins,
    the_latest_use_is_kept_and_tells_no_listener,
    a_purge_takes_what_has_ended_before_in_bounds,
];

pub(super) const NOTIFICATIONS: &[Case<Arc<dyn KeyRegistry>>] = cases!["registry":
    listeners_hear_of_both_digests_of_a_rotation_before_the_return,
    listeners_hear_of_what_a_purge_takes,
];
