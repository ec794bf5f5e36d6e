//! Keys that are changed, suspended, replaced and ended, and how they are found meanwhile.

use std::{sync::Arc, time::Duration};

use super::{
    Case,
    samples::{ChangeRecorder, after, at, new_digest, partner_key, payment_key},
};
use crate::{
    apikey::{Grant, KeyAction, KeyEvent, KeyKind, KeyRecord, KeyState, Metadata},
    domain::{Action, Actor, KeyId, Permissions, PlanId, ResourceId, Role},
    error::StoreErrorKind,
    store::{
        KeyRegistry,
        spi::{KeyEdit, KeyFilter, KeyQuery, Rotation},
    },
};

/// How many rotate at once.
const RACING: usize = 100;

fn rotation(record: &KeyRecord, until: i64) -> Rotation {
    let display = "ak_new1…".to_owned();
    Rotation { old: record.digest, new: new_digest(), display, old_until: Some(at(until)) }
}

async fn added(store: &Arc<dyn KeyRegistry>, record: KeyRecord) -> KeyRecord {
    store.insert(&record, &Actor::host()).await.unwrap();
    record
}

async fn get(store: &Arc<dyn KeyRegistry>, id: &KeyId) -> KeyRecord {
    store.get(id).await.unwrap().unwrap()
}

async fn every_new_field_survives(store: Arc<dyn KeyRegistry>) {
    let mut record = partner_key();
    record.revoked_at = Some(after(5, 1));
    record.revoked_reason = Some("leaked, see “#12” – é\u{1f511}".to_owned());
    record.suspended_at = Some(after(4, 2));
    let rotated = Rotation { old_until: Some(after(9, 3)), ..rotation(&record, 9) };
    let mut other = added(&store, partner_key()).await;
    let to = Rotation { old: other.digest, ..rotated };
    assert!(store.rotate(&other.id, &to, &Actor::host(), at(1)).await.unwrap());
    let predecessor = get(&store, &other.id).await.predecessor.unwrap();
    assert_eq!((predecessor.digest, predecessor.until), (other.digest, after(9, 3)));
    assert_eq!(predecessor.display, other.display);
    // As it is when keys are copied from one store to another.
    record.predecessor = Some(predecessor);
    other.predecessor = None;
    let error = store.insert(&record, &Actor::host()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    record.predecessor.as_mut().unwrap().digest = new_digest();
    let record = added(&store, record).await;
    for digest in record.digests() {
        assert_eq!(store.find(&digest).await.unwrap(), Some(record.clone()));
    }
}

async fn the_old_secret_is_found_until_the_next_rotation(store: Arc<dyn KeyRegistry>) {
    let first = added(&store, partner_key()).await;
    let to_second = rotation(&first, 10);
    assert!(store.rotate(&first.id, &to_second, &Actor::host(), at(1)).await.unwrap());
    let second = get(&store, &first.id).await;
    for digest in [first.digest, to_second.new] {
        assert_eq!(store.find(&digest).await.unwrap(), Some(second.clone()));
    }
    let state = |digest, seconds| second.state_of(digest, at(seconds));
    assert_eq!(state(&first.digest, 9), Some(KeyState::InForce));
    assert_eq!(state(&first.digest, 10), Some(KeyState::Rotated));
    assert_eq!(state(&second.digest, 10), Some(KeyState::InForce));
    assert_eq!(second.state_of(&new_digest(), at(1)), None);

    let to_third = rotation(&second, 20);
    assert!(store.rotate(&first.id, &to_third, &Actor::host(), at(2)).await.unwrap());
    assert_eq!(store.find(&first.digest).await.unwrap(), None);
    assert!(store.find(&second.digest).await.unwrap().is_some());
    // Without a grace, and where a revoked secret is replaced, nothing is left of the old one.
    let third = get(&store, &first.id).await;
    let last = Rotation { old_until: None, ..rotation(&third, 0) };
    assert!(store.rotate(&first.id, &last, &Actor::host(), at(3)).await.unwrap());
    for digest in [second.digest, third.digest] {
        assert_eq!(store.find(&digest).await.unwrap(), None);
    }
    assert_eq!(get(&store, &first.id).await.predecessor, None);
}

async fn the_digest_of_a_predecessor_is_taken(store: Arc<dyn KeyRegistry>) {
    let record = added(&store, partner_key()).await;
    let to = rotation(&record, 10);
    assert!(store.rotate(&record.id, &to, &Actor::host(), at(1)).await.unwrap());
    let mut same = partner_key();
    same.digest = record.digest;
    let error = store.insert(&same, &Actor::host()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    let many = [same, partner_key()];
    assert_eq!(store.insert_many(&many, &Actor::host()).await.unwrap(), [false, true]);
    let other = added(&store, partner_key()).await;
    let taken = Rotation { new: record.digest, ..rotation(&other, 10) };
    let error = store.rotate(&other.id, &taken, &Actor::host(), at(2)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    assert_eq!(get(&store, &other.id).await, other);
}

/// Whoever is answered has a secret that is the key's or was, in one order of all.
async fn of_racing_rotations_no_answered_secret_is_lost(store: Arc<dyn KeyRegistry>) {
    let record = added(&store, partner_key()).await;
    let racing: Vec<_> = (0..RACING)
        .map(|_| {
            let (store, id) = (Arc::clone(&store), record.id.clone());
            tokio::spawn(async move {
                loop {
                    let to = rotation(&store.get(&id).await.unwrap().unwrap(), 100);
                    if store.rotate(&id, &to, &Actor::host(), at(1)).await.unwrap() {
                        return (to.old, to.new);
                    }
                }
            })
        })
        .collect();
    let mut successors = std::collections::HashMap::new();
    for rotated in racing {
        let (old, new) = rotated.await.unwrap();
        assert_eq!(successors.insert(old, new), None, "a secret was replaced twice");
    }
    let mut chain = vec![record.digest];
    while let Some(next) = successors.get(chain.last().unwrap()) {
        chain.push(*next);
    }
    assert_eq!(chain.len(), RACING + 1);
    let last = get(&store, &record.id).await;
    let known: Vec<_> = last.digests().collect();
    assert_eq!(known, [chain[RACING], chain[RACING - 1]]);
    for digest in &chain[..RACING - 1] {
        assert_eq!(store.find(digest).await.unwrap(), None);
    }
    assert_eq!(store.history(&record.id, 1_000).await.unwrap().len(), RACING + 1);
}

async fn an_edit_changes_what_it_names_and_is_told(store: Arc<dyn KeyRegistry>) {
    let record = added(&store, partner_key()).await;
    let permissions = Permissions::none().grant("dpp", Action::Read);
    let edit = KeyEdit {
        role: Some(Role::Read),
        permissions: Some(Some(permissions.clone())),
        label: Some(Some("new “label”".to_owned())),
        expires_at: Some(Some(at(50))),
        metadata: Some(Metadata::parse(r#"{"a":1}"#).unwrap()),
        suspended: Some(true),
    };
    let master = Actor::new("master").unwrap();
    let edited = store.edit(&record.id, &edit, &master, at(3)).await.unwrap().unwrap();
    let mut expected = record.clone();
    expected.grant = Grant::Integrator { role: Role::Read, permissions: Some(permissions) };
    expected.label = Some("new “label”".to_owned());
    expected.expires_at = Some(at(50));
    expected.metadata = edit.metadata.clone().unwrap();
    expected.suspended_at = Some(at(3));
    assert_eq!(edited, expected);
    assert_eq!(get(&store, &record.id).await, expected);
    assert_eq!(expected.state_at(at(4)), KeyState::Suspended);

    let nothing = KeyEdit::default();
    let same = store.edit(&record.id, &nothing, &master, at(4)).await.unwrap();
    assert_eq!(same, Some(expected));
    // Suspended once more, it is suspended since then.
    let again = KeyEdit { suspended: Some(true), ..KeyEdit::default() };
    let same = store.edit(&record.id, &again, &master, at(5)).await.unwrap().unwrap();
    assert_eq!(same.suspended_at, Some(at(3)));
    let clear = KeyEdit {
        permissions: Some(None),
        label: Some(None),
        expires_at: Some(None),
        metadata: Some(Metadata::default()),
        suspended: Some(false),
        role: None,
    };
    let cleared = store.edit(&record.id, &clear, &master, at(6)).await.unwrap().unwrap();
    let mut expected = record.clone();
    expected.grant = Grant::Integrator { role: Role::Read, permissions: None };
    assert_eq!(cleared, expected);
    assert_eq!(get(&store, &record.id).await, cleared);

    let event = |action, seconds| KeyEvent::new(action, &master, at(seconds));
    let all = "role or permissions, label, expiresAt, metadata";
    assert_eq!(
        store.history(&record.id, 100).await.unwrap()[1..],
        [
            event(KeyAction::Edited, 3).because(Some(all)),
            event(KeyAction::Suspended, 3),
            event(KeyAction::Edited, 6).because(Some(all)),
            event(KeyAction::Resumed, 6),
        ]
    );
}

async fn the_unknown_and_the_revoked_are_not_edited(store: Arc<dyn KeyRegistry>) {
    let record = added(&store, payment_key()).await;
    let edit = KeyEdit { suspended: Some(true), ..KeyEdit::default() };
    let host = Actor::host();
    assert_eq!(store.edit(&KeyId::generate(), &edit, &host, at(1)).await.unwrap(), None);
    let reason = Some("refunded: customer’s wish");
    let revoked = store.revoke_because(&record.id, reason, &host, at(2)).await.unwrap();
    assert_eq!(revoked, Some(record.digest));
    assert_eq!(store.edit(&record.id, &edit, &host, at(3)).await.unwrap(), None);
    let again = store.revoke_because(&record.id, Some("other"), &host, at(4)).await.unwrap();
    assert_eq!(again, None);
    let kept = get(&store, &record.id).await;
    assert_eq!(kept.revoked_reason.as_deref(), reason);
    assert_eq!((kept.revoked_at, kept.suspended_at), (Some(at(2)), None));
    assert_eq!(
        store.history(&record.id, 100).await.unwrap()[1..],
        [KeyEvent::new(KeyAction::Revoked, &host, at(2)).because(reason)]
    );
}

/// An edit that has read the key before it was revoked must not bring it back.
async fn of_racing_edits_all_count_and_a_revocation_stays(store: Arc<dyn KeyRegistry>) {
    let record = added(&store, partner_key()).await;
    let edits = [
        KeyEdit { label: Some(Some("l".to_owned())), ..KeyEdit::default() },
        KeyEdit { role: Some(Role::Read), ..KeyEdit::default() },
        KeyEdit { expires_at: Some(Some(at(90))), ..KeyEdit::default() },
        KeyEdit { suspended: Some(true), ..KeyEdit::default() },
    ];
    let racing: Vec<_> = edits
        .into_iter()
        .map(|edit| {
            let (store, id) = (Arc::clone(&store), record.id.clone());
            tokio::spawn(async move { store.edit(&id, &edit, &Actor::host(), at(1)).await })
        })
        .collect();
    for edited in racing {
        assert!(edited.await.unwrap().unwrap().is_some());
    }
    let all = get(&store, &record.id).await;
    assert_eq!((all.label.as_deref(), all.expires_at), (Some("l"), Some(at(90))));
    assert_eq!(all.suspended_at, Some(at(1)));
    assert_eq!(all.grant, Grant::Integrator { role: Role::Read, permissions: None });

    let editing: Vec<_> = (0..20)
        .map(|n| {
            let (store, id) = (Arc::clone(&store), record.id.clone());
            let label = Some(Some(n.to_string()));
            let edit = KeyEdit { label, suspended: Some(false), ..KeyEdit::default() };
            tokio::spawn(async move { store.edit(&id, &edit, &Actor::host(), at(2)).await })
        })
        .collect();
    store.revoke(&record.id, &Actor::host(), at(3)).await.unwrap().unwrap();
    for edited in editing {
        edited.await.unwrap().unwrap();
    }
    assert_eq!(get(&store, &record.id).await.state_at(at(4)), KeyState::Revoked);
}

async fn listeners_hear_of_both_secrets_before_the_return(store: Arc<dyn KeyRegistry>) {
    let recorder = ChangeRecorder::on(&*store);
    for end in ["edited", "revoked", "replaced", "purged"] {
        let record = added(&store, partner_key()).await;
        let to = rotation(&record, 10);
        assert!(store.rotate(&record.id, &to, &Actor::host(), at(1)).await.unwrap());
        // An engine may tell of what it has written a second time: let that pass.
        tokio::time::sleep(Duration::from_millis(300)).await;
        recorder.forget();
        let host = Actor::host();
        match end {
            "edited" => {
                let edit = KeyEdit { suspended: Some(true), ..KeyEdit::default() };
                store.edit(&record.id, &edit, &host, at(2)).await.unwrap().unwrap();
            }
            "revoked" => drop(store.revoke(&record.id, &host, at(2)).await.unwrap().unwrap()),
            "replaced" => {
                let next = rotation(&get(&store, &record.id).await, 10);
                assert!(store.rotate(&record.id, &next, &host, at(2)).await.unwrap());
            }
            _ => {
                let over = KeyEdit { expires_at: Some(Some(at(3))), ..KeyEdit::default() };
                store.edit(&record.id, &over, &host, at(2)).await.unwrap().unwrap();
                recorder.forget();
                assert!(store.purge_keys(at(4), 100).await.unwrap() >= 1);
                assert_eq!(store.find(&record.digest).await.unwrap(), None);
            }
        }
        assert!(recorder.heard_of(record.digest) && recorder.heard_of(to.new), "{end}");
    }
}

async fn an_expiry_that_was_moved_is_purged_by_the_new_one(store: Arc<dyn KeyRegistry>) {
    let mut ending = partner_key();
    ending.expires_at = Some(at(10));
    let [ending, lasting] = [added(&store, ending).await, added(&store, partner_key()).await];
    for (record, expires_at) in [(&ending, None), (&lasting, Some(at(10)))] {
        let edit = KeyEdit { expires_at: Some(expires_at), ..KeyEdit::default() };
        store.edit(&record.id, &edit, &Actor::host(), at(1)).await.unwrap().unwrap();
    }
    assert_eq!(store.purge_keys(at(20), 100).await.unwrap(), 1);
    assert!(store.get(&ending.id).await.unwrap().is_some());
    assert!(store.get(&lasting.id).await.unwrap().is_none());
}

async fn listings_are_filtered_page_by_page(store: Arc<dyn KeyRegistry>) {
    let mut bought = Vec::new();
    for (n, (plan, resource)) in (0..).zip([("gold", "a"), ("gold", "b"), ("iron", "a")]) {
        for _ in 0..3 {
            let mut record = payment_key();
            record.grant = Grant::Payment {
                plan_id: PlanId::new(plan).unwrap(),
                resource_id: ResourceId::new(resource).unwrap(),
                permissions: None,
            };
            record.created_at = at(n);
            record.label = (n == 1).then(|| "it’s a label".to_owned());
            record.display = format!("ak_{n}%_x…");
            bought.push(added(&store, record).await);
        }
    }
    store.touch(&[(bought[0].id.clone(), at(60))]).await.unwrap();
    let edit = KeyEdit { suspended: Some(true), ..KeyEdit::default() };
    store.edit(&bought[8].id, &edit, &Actor::host(), at(1)).await.unwrap().unwrap();
    let plan = |plan| Some(PlanId::new(plan).unwrap());
    let resource = |resource| Some(ResourceId::new(resource).unwrap());
    let filters = [
        KeyFilter::default(),
        KeyFilter { plan_id: plan("gold"), ..KeyFilter::default() },
        KeyFilter { plan_id: plan("gold"), resource_id: resource("b"), ..KeyFilter::default() },
        KeyFilter { label: Some("it’s a label".to_owned()), ..KeyFilter::default() },
        KeyFilter { label: Some("it’s a".to_owned()), ..KeyFilter::default() },
        KeyFilter { prefix: Some("ak_1%".to_owned()), ..KeyFilter::default() },
        KeyFilter { prefix: Some("ak_%".to_owned()), ..KeyFilter::default() },
        KeyFilter { idle_since: Some(at(2)), ..KeyFilter::default() },
        KeyFilter { idle_since: Some(at(61)), plan_id: plan("gold"), ..KeyFilter::default() },
    ];
    for in_force_at in [None, Some(at(70))] {
        let counts = if in_force_at.is_none() {
            [9, 6, 3, 3, 0, 3, 0, 5, 6]
        } else {
            [8, 6, 3, 3, 0, 3, 0, 5, 6]
        };
        for (filter, count) in filters.iter().zip(counts) {
            let mut query = KeyQuery {
                kind: KeyKind::Payment,
                in_force_at,
                filter: filter.clone(),
                after: None,
                limit: 2,
            };
            let mut found = Vec::new();
            loop {
                let page = store.list(&query).await.unwrap();
                found.extend(page.keys);
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
            assert!(found.iter().all(|record| filter.admits(record)), "{filter:?}");
            assert_eq!(found.len(), count, "{filter:?} {in_force_at:?}");
        }
    }
}

pub(super) const CASES: &[Case<Arc<dyn KeyRegistry>>] = cases!["lifecycle":
    every_new_field_survives,
    the_old_secret_is_found_until_the_next_rotation,
    the_digest_of_a_predecessor_is_taken,
    of_racing_rotations_no_answered_secret_is_lost,
    an_edit_changes_what_it_names_and_is_told,
    the_unknown_and_the_revoked_are_not_edited,
    of_racing_edits_all_count_and_a_revocation_stays,
    an_expiry_that_was_moved_is_purged_by_the_new_one,
    listings_are_filtered_page_by_page,
];

pub(super) const NOTIFICATIONS: &[Case<Arc<dyn KeyRegistry>>] = cases!["lifecycle":
    listeners_hear_of_both_secrets_before_the_return,
];
