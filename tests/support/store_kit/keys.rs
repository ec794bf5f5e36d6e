use std::sync::Arc;

use key0_auth::{
    apikey::{Grant, KeyRecord},
    domain::{Action, Actor, KeyId, Permissions, PlanId, ResourceId, Role},
    error::StoreErrorKind,
    store::spi::Change,
};
use serde_json::json;

use super::{Ear, Engine, after, at, integrator_key, new_digest, payment_key};

pub async fn what_is_inserted_is_found_by_digest_and_by_id(engine: Engine) {
    let (one, two) = (payment_key(), integrator_key());
    engine.keys.insert(&one, &Actor::host()).await.unwrap();
    engine.keys.insert(&two, &Actor::host()).await.unwrap();
    for record in [&one, &two] {
        assert_eq!(engine.keys.find(&record.digest).await.unwrap().as_ref(), Some(record));
        assert_eq!(engine.keys.get(&record.id).await.unwrap().as_ref(), Some(record));
    }
}

pub async fn every_field_survives(engine: Engine) {
    let permissions = |permissions| Grant::Integrator { role: Role::Read, permissions };
    let grants = [
        permissions(None),
        permissions(Some(Permissions::none())),
        permissions(Some(
            Permissions::none().grant("dpp", Action::Create).grant("loyalty", Action::Delete),
        )),
        Grant::Integrator { role: Role::Minter, permissions: None },
        Grant::Integrator { role: Role::Master, permissions: None },
        Grant::Payment {
            resource_id: ResourceId::new(&"r".repeat(256)).unwrap(),
            plan_id: PlanId::new("!~'\"%_").unwrap(),
            permissions: Some(Permissions::none().grant("dpp", Action::Read)),
        },
    ];
    for grant in grants {
        let mut full = payment_key_with(grant);
        full.label = Some("Zoë's \"back office\"; DROP TABLE keys\n".to_owned());
        full.metadata = json!({"a": {"b": [1, -2.5, null, true, "ü\u{0}"]}, "": u64::MAX})
            .as_object()
            .unwrap()
            .clone()
            .into();
        full.created_at = after(-1, 1);
        full.expires_at = Some(after(1, 999_999));
        full.revoked_at = Some(after(2, 3));
        full.last_used_at = Some(after(3, 7));
        engine.keys.insert(&full, &Actor::host()).await.unwrap();
        assert_eq!(engine.keys.find(&full.digest).await.unwrap(), Some(full));
    }
}

fn payment_key_with(grant: Grant) -> KeyRecord {
    let mut record = payment_key();
    record.grant = grant;
    record
}

pub async fn an_unknown_key_is_none_and_no_error(engine: Engine) {
    engine.keys.insert(&payment_key(), &Actor::host()).await.unwrap();
    assert_eq!(engine.keys.find(&new_digest()).await.unwrap(), None);
    assert_eq!(engine.keys.get(&KeyId::generate()).await.unwrap(), None);
}

pub async fn a_taken_id_or_digest_is_refused_and_changes_nothing(engine: Engine) {
    let first = payment_key();
    engine.keys.insert(&first, &Actor::host()).await.unwrap();
    let mut same_id = integrator_key();
    same_id.id = first.id.clone();
    let mut same_digest = integrator_key();
    same_digest.digest = first.digest;
    for taken in [&same_id, &same_digest, &first] {
        let error = engine.keys.insert(taken, &Actor::host()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Conflict);
    }
    assert_eq!(engine.keys.find(&first.digest).await.unwrap(), Some(first.clone()));
    assert_eq!(engine.keys.get(&first.id).await.unwrap(), Some(first));
    assert_eq!(engine.keys.find(&same_id.digest).await.unwrap(), None);
    assert_eq!(engine.keys.get(&same_digest.id).await.unwrap(), None);
}

pub async fn a_revoked_key_is_still_found_with_the_time(engine: Engine) {
    let (record, other) = (payment_key(), payment_key());
    engine.keys.insert(&record, &Actor::host()).await.unwrap();
    engine.keys.insert(&other, &Actor::host()).await.unwrap();
    assert_eq!(
        engine.keys.revoke(&record.id, &Actor::host(), after(5, 1)).await.unwrap(),
        Some(record.digest)
    );
    let mut revoked = record.clone();
    revoked.revoked_at = Some(after(5, 1));
    assert_eq!(engine.keys.find(&record.digest).await.unwrap(), Some(revoked.clone()));
    assert_eq!(engine.keys.get(&record.id).await.unwrap(), Some(revoked));
    assert_eq!(engine.keys.find(&other.digest).await.unwrap(), Some(other));
}

pub async fn revoking_twice_or_the_unknown_is_none(engine: Engine) {
    let record = payment_key();
    engine.keys.insert(&record, &Actor::host()).await.unwrap();
    assert_eq!(engine.keys.revoke(&KeyId::generate(), &Actor::host(), at(1)).await.unwrap(), None);
    assert_eq!(
        engine.keys.revoke(&record.id, &Actor::host(), at(1)).await.unwrap(),
        Some(record.digest)
    );
    assert_eq!(engine.keys.revoke(&record.id, &Actor::host(), at(2)).await.unwrap(), None);
    let revoked = engine.keys.get(&record.id).await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(at(1)));
}

pub async fn of_racing_revocations_one_gets_the_digest(engine: Engine) {
    let record = payment_key();
    engine.keys.insert(&record, &Actor::host()).await.unwrap();
    let racing: Vec<_> = (0..50)
        .map(|i| {
            let (keys, id) = (Arc::clone(&engine.keys), record.id.clone());
            tokio::spawn(async move { keys.revoke(&id, &Actor::host(), at(i)).await.unwrap() })
        })
        .collect();
    let mut digests = Vec::new();
    for revocation in racing {
        digests.extend(revocation.await.unwrap());
    }
    assert_eq!(digests, [record.digest]);
}

pub async fn listeners_hear_of_insert_and_revoke_before_the_return(engine: Engine) {
    let ears = [Ear::on(&*engine.keys), Ear::on(&*engine.keys)];
    for _ in 0..20 {
        let record = integrator_key();
        engine.keys.insert(&record, &Actor::host()).await.unwrap();
        assert!(ears.iter().all(|ear| ear.heard_of(record.digest)));
        ears.iter().for_each(|ear| ear.forget());
        engine.keys.revoke(&record.id, &Actor::host(), at(1)).await.unwrap();
        assert!(ears.iter().all(|ear| ear.heard_of(record.digest)));
    }
}

pub async fn no_news_where_nothing_changed(engine: Engine) {
    let ear = Ear::on(&*engine.keys);
    let record = payment_key();
    engine.keys.revoke(&record.id, &Actor::host(), at(1)).await.unwrap();
    engine.keys.find(&record.digest).await.unwrap();
    engine.keys.ping().await.unwrap();
    assert!(!ear.heard_of(record.digest) && !ear.heard(Change::All));
    engine.keys.insert(&record, &Actor::host()).await.unwrap();
    let mut taken = payment_key();
    taken.id = record.id.clone();
    engine.keys.insert(&taken, &Actor::host()).await.unwrap_err();
    assert!(!ear.heard_of(taken.digest));
}

pub async fn a_dropped_listener_is_no_trouble(engine: Engine) {
    drop(Ear::on(&*engine.keys));
    let ear = Ear::on(&*engine.keys);
    let record = payment_key();
    engine.keys.insert(&record, &Actor::host()).await.unwrap();
    assert!(ear.heard_of(record.digest));
}

pub async fn a_store_that_answers_pings(engine: Engine) {
    engine.keys.ping().await.unwrap();
}
