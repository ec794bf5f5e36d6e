//! Keys that are changed, suspended, replaced and ended, and how they are found meanwhile.

use std::{sync::Arc, time::Duration};

use key0_auth::{
    apikey::{Grant, KeyAction, KeyEvent, KeyKind, KeyRecord, KeyState},
    domain::{Action, Actor, KeyId, Permissions, PlanId, ResourceId, Role},
    error::StoreErrorKind,
    store::spi::{KeyEdit, KeyFilter, KeyQuery, Rotation},
};

use super::{Ear, Engine, after, at, integrator_key, new_digest, payment_key};

/// How many rotate at once.
const RACING: usize = 100;

fn rotation(record: &KeyRecord, until: i64) -> Rotation {
    let display = "ak_new1…".to_owned();
    Rotation { old: record.digest, new: new_digest(), display, old_until: Some(at(until)) }
}

async fn added(engine: &Engine, record: KeyRecord) -> KeyRecord {
    engine.keys.insert(&record, &Actor::host()).await.unwrap();
    record
}

async fn get(engine: &Engine, id: &KeyId) -> KeyRecord {
    engine.keys.get(id).await.unwrap().unwrap()
}

pub async fn every_new_field_survives(engine: Engine) {
    let mut record = integrator_key();
    record.revoked_at = Some(after(5, 1));
    record.revoked_reason = Some("leaked, see “#12” – é\u{1f511}".to_owned());
    record.suspended_at = Some(after(4, 2));
    let rotated = Rotation { old_until: Some(after(9, 3)), ..rotation(&record, 9) };
    let mut other = added(&engine, integrator_key()).await;
    let to = Rotation { old: other.digest, ..rotated };
    assert!(engine.keys.rotate(&other.id, &to, &Actor::host(), at(1)).await.unwrap());
    let predecessor = get(&engine, &other.id).await.predecessor.unwrap();
    assert_eq!((predecessor.digest, predecessor.until), (other.digest, after(9, 3)));
    assert_eq!(predecessor.display, other.display);
    // As it is when keys are copied from one store to another.
    record.predecessor = Some(predecessor);
    other.predecessor = None;
    let error = engine.keys.insert(&record, &Actor::host()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    record.predecessor.as_mut().unwrap().digest = new_digest();
    let record = added(&engine, record).await;
    for digest in record.digests() {
        assert_eq!(engine.keys.find(&digest).await.unwrap(), Some(record.clone()));
    }
}

pub async fn the_old_secret_is_found_until_the_next_rotation(engine: Engine) {
    let first = added(&engine, integrator_key()).await;
    let to_second = rotation(&first, 10);
    assert!(engine.keys.rotate(&first.id, &to_second, &Actor::host(), at(1)).await.unwrap());
    let second = get(&engine, &first.id).await;
    for digest in [first.digest, to_second.new] {
        assert_eq!(engine.keys.find(&digest).await.unwrap(), Some(second.clone()));
    }
    let state = |digest, seconds| second.state_of(digest, at(seconds));
    assert_eq!(state(&first.digest, 9), Some(KeyState::InForce));
    assert_eq!(state(&first.digest, 10), Some(KeyState::Rotated));
    assert_eq!(state(&second.digest, 10), Some(KeyState::InForce));
    assert_eq!(second.state_of(&new_digest(), at(1)), None);

    let to_third = rotation(&second, 20);
    assert!(engine.keys.rotate(&first.id, &to_third, &Actor::host(), at(2)).await.unwrap());
    assert_eq!(engine.keys.find(&first.digest).await.unwrap(), None);
    assert!(engine.keys.find(&second.digest).await.unwrap().is_some());
    // Without a grace, and where a revoked secret is replaced, nothing is left of the old one.
    let third = get(&engine, &first.id).await;
    let last = Rotation { old_until: None, ..rotation(&third, 0) };
    assert!(engine.keys.rotate(&first.id, &last, &Actor::host(), at(3)).await.unwrap());
    for digest in [second.digest, third.digest] {
        assert_eq!(engine.keys.find(&digest).await.unwrap(), None);
    }
    assert_eq!(get(&engine, &first.id).await.predecessor, None);
}

pub async fn the_digest_of_a_predecessor_is_taken(engine: Engine) {
    let record = added(&engine, integrator_key()).await;
    let to = rotation(&record, 10);
    assert!(engine.keys.rotate(&record.id, &to, &Actor::host(), at(1)).await.unwrap());
    let mut same = integrator_key();
    same.digest = record.digest;
    let error = engine.keys.insert(&same, &Actor::host()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    let other = added(&engine, integrator_key()).await;
    let taken = Rotation { new: record.digest, ..rotation(&other, 10) };
    let error = engine.keys.rotate(&other.id, &taken, &Actor::host(), at(2)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    assert_eq!(get(&engine, &other.id).await, other);
}

/// Whoever is answered has a secret that is the key's or was, in one order of all.
pub async fn of_racing_rotations_no_answered_secret_is_lost(engine: Engine) {
    let record = added(&engine, integrator_key()).await;
    let racing: Vec<_> = (0..RACING)
        .map(|_| {
            let (keys, id) = (Arc::clone(&engine.keys), record.id.clone());
            tokio::spawn(async move {
                loop {
                    let to = rotation(&keys.get(&id).await.unwrap().unwrap(), 100);
                    if keys.rotate(&id, &to, &Actor::host(), at(1)).await.unwrap() {
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
    let last = get(&engine, &record.id).await;
    let known: Vec<_> = last.digests().collect();
    assert_eq!(known, [chain[RACING], chain[RACING - 1]]);
    for digest in &chain[..RACING - 1] {
        assert_eq!(engine.keys.find(digest).await.unwrap(), None);
    }
    assert_eq!(engine.keys.history(&record.id, 1_000).await.unwrap().len(), RACING + 1);
}

pub async fn an_edit_changes_what_it_names_and_is_told(engine: Engine) {
    let record = added(&engine, integrator_key()).await;
    let permissions = Permissions::none().grant("dpp", Action::Read);
    let edit = KeyEdit {
        role: Some(Role::Read),
        permissions: Some(Some(permissions.clone())),
        label: Some(Some("new “label”".to_owned())),
        expires_at: Some(Some(at(50))),
        metadata: Some(key0_auth::apikey::Metadata::parse(r#"{"a":1}"#).unwrap()),
        suspended: Some(true),
    };
    let master = Actor::new("master").unwrap();
    let edited = engine.keys.edit(&record.id, &edit, &master, at(3)).await.unwrap().unwrap();
    let mut expected = record.clone();
    expected.grant = Grant::Integrator { role: Role::Read, permissions: Some(permissions) };
    expected.label = Some("new “label”".to_owned());
    expected.expires_at = Some(at(50));
    expected.metadata = edit.metadata.clone().unwrap();
    expected.suspended_at = Some(at(3));
    assert_eq!(edited, expected);
    assert_eq!(get(&engine, &record.id).await, expected);
    assert_eq!(expected.state_at(at(4)), KeyState::Suspended);

    let nothing = KeyEdit::default();
    let same = engine.keys.edit(&record.id, &nothing, &master, at(4)).await.unwrap();
    assert_eq!(same, Some(expected));
    // Suspended once more, it is suspended since then.
    let again = KeyEdit { suspended: Some(true), ..KeyEdit::default() };
    let same = engine.keys.edit(&record.id, &again, &master, at(5)).await.unwrap().unwrap();
    assert_eq!(same.suspended_at, Some(at(3)));
    let clear = KeyEdit {
        permissions: Some(None),
        label: Some(None),
        expires_at: Some(None),
        metadata: Some(key0_auth::apikey::Metadata::default()),
        suspended: Some(false),
        role: None,
    };
    let cleared = engine.keys.edit(&record.id, &clear, &master, at(6)).await.unwrap().unwrap();
    let mut expected = record.clone();
    expected.grant = Grant::Integrator { role: Role::Read, permissions: None };
    assert_eq!(cleared, expected);
    assert_eq!(get(&engine, &record.id).await, cleared);

    let event = |action, seconds| KeyEvent::new(action, &master, at(seconds));
    let all = "role or permissions, label, expiresAt, metadata";
    assert_eq!(
        engine.keys.history(&record.id, 100).await.unwrap()[1..],
        [
            event(KeyAction::Edited, 3).because(Some(all)),
            event(KeyAction::Suspended, 3),
            event(KeyAction::Edited, 6).because(Some(all)),
            event(KeyAction::Resumed, 6),
        ]
    );
}

pub async fn the_unknown_and_the_revoked_are_not_edited(engine: Engine) {
    let record = added(&engine, payment_key()).await;
    let edit = KeyEdit { suspended: Some(true), ..KeyEdit::default() };
    let host = Actor::host();
    assert_eq!(engine.keys.edit(&KeyId::generate(), &edit, &host, at(1)).await.unwrap(), None);
    let reason = Some("refunded: customer’s wish");
    let revoked = engine.keys.revoke_because(&record.id, reason, &host, at(2)).await.unwrap();
    assert_eq!(revoked, Some(record.digest));
    assert_eq!(engine.keys.edit(&record.id, &edit, &host, at(3)).await.unwrap(), None);
    let again = engine.keys.revoke_because(&record.id, Some("other"), &host, at(4)).await.unwrap();
    assert_eq!(again, None);
    let kept = get(&engine, &record.id).await;
    assert_eq!(kept.revoked_reason.as_deref(), reason);
    assert_eq!((kept.revoked_at, kept.suspended_at), (Some(at(2)), None));
    assert_eq!(
        engine.keys.history(&record.id, 100).await.unwrap()[1..],
        [KeyEvent::new(KeyAction::Revoked, &host, at(2)).because(reason)]
    );
}

/// An edit that has read the key before it was revoked must not bring it back.
pub async fn of_racing_edits_all_count_and_a_revocation_stays(engine: Engine) {
    let record = added(&engine, integrator_key()).await;
    let edits = [
        KeyEdit { label: Some(Some("l".to_owned())), ..KeyEdit::default() },
        KeyEdit { role: Some(Role::Read), ..KeyEdit::default() },
        KeyEdit { expires_at: Some(Some(at(90))), ..KeyEdit::default() },
        KeyEdit { suspended: Some(true), ..KeyEdit::default() },
    ];
    let racing: Vec<_> = edits
        .into_iter()
        .map(|edit| {
            let (keys, id) = (Arc::clone(&engine.keys), record.id.clone());
            tokio::spawn(async move { keys.edit(&id, &edit, &Actor::host(), at(1)).await })
        })
        .collect();
    for edited in racing {
        assert!(edited.await.unwrap().unwrap().is_some());
    }
    let all = get(&engine, &record.id).await;
    assert_eq!((all.label.as_deref(), all.expires_at), (Some("l"), Some(at(90))));
    assert_eq!(all.suspended_at, Some(at(1)));
    assert_eq!(all.grant, Grant::Integrator { role: Role::Read, permissions: None });

    let editing: Vec<_> = (0..20)
        .map(|n| {
            let (keys, id) = (Arc::clone(&engine.keys), record.id.clone());
            let label = Some(Some(n.to_string()));
            let edit = KeyEdit { label, suspended: Some(false), ..KeyEdit::default() };
            tokio::spawn(async move { keys.edit(&id, &edit, &Actor::host(), at(2)).await })
        })
        .collect();
    engine.keys.revoke(&record.id, &Actor::host(), at(3)).await.unwrap().unwrap();
    for edited in editing {
        edited.await.unwrap().unwrap();
    }
    assert_eq!(get(&engine, &record.id).await.state_at(at(4)), KeyState::Revoked);
}

pub async fn listeners_hear_of_both_secrets_before_the_return(engine: Engine) {
    let ear = Ear::on(&*engine.keys);
    for end in ["edited", "revoked", "replaced", "purged"] {
        let record = added(&engine, integrator_key()).await;
        let to = rotation(&record, 10);
        assert!(engine.keys.rotate(&record.id, &to, &Actor::host(), at(1)).await.unwrap());
        // An engine may tell of what it has written a second time: let that pass.
        tokio::time::sleep(Duration::from_millis(300)).await;
        ear.forget();
        let host = Actor::host();
        match end {
            "edited" => {
                let edit = KeyEdit { suspended: Some(true), ..KeyEdit::default() };
                engine.keys.edit(&record.id, &edit, &host, at(2)).await.unwrap().unwrap();
            }
            "revoked" => drop(engine.keys.revoke(&record.id, &host, at(2)).await.unwrap().unwrap()),
            "replaced" => {
                let next = rotation(&get(&engine, &record.id).await, 10);
                assert!(engine.keys.rotate(&record.id, &next, &host, at(2)).await.unwrap());
            }
            _ => {
                let over = KeyEdit { expires_at: Some(Some(at(3))), ..KeyEdit::default() };
                engine.keys.edit(&record.id, &over, &host, at(2)).await.unwrap().unwrap();
                ear.forget();
                assert!(engine.keys.purge_keys(at(4), 100).await.unwrap() >= 1);
                assert_eq!(engine.keys.find(&record.digest).await.unwrap(), None);
            }
        }
        assert!(ear.heard_of(record.digest) && ear.heard_of(to.new), "{end}");
    }
}

pub async fn an_expiry_that_was_moved_is_purged_by_the_new_one(engine: Engine) {
    let mut ending = integrator_key();
    ending.expires_at = Some(at(10));
    let [ending, lasting] = [added(&engine, ending).await, added(&engine, integrator_key()).await];
    for (record, expires_at) in [(&ending, None), (&lasting, Some(at(10)))] {
        let edit = KeyEdit { expires_at: Some(expires_at), ..KeyEdit::default() };
        engine.keys.edit(&record.id, &edit, &Actor::host(), at(1)).await.unwrap().unwrap();
    }
    assert_eq!(engine.keys.purge_keys(at(20), 100).await.unwrap(), 1);
    assert!(engine.keys.get(&ending.id).await.unwrap().is_some());
    assert!(engine.keys.get(&lasting.id).await.unwrap().is_none());
}

pub async fn listings_are_filtered_page_by_page(engine: Engine) {
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
            bought.push(added(&engine, record).await);
        }
    }
    engine.keys.touch(&[(bought[0].id.clone(), at(60))]).await.unwrap();
    let edit = KeyEdit { suspended: Some(true), ..KeyEdit::default() };
    engine.keys.edit(&bought[8].id, &edit, &Actor::host(), at(1)).await.unwrap().unwrap();
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
                let page = engine.keys.list(&query).await.unwrap();
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
