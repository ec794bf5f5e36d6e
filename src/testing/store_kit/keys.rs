//! Keys: kept, found, revoked.

use std::sync::Arc;

use serde_json::json;

use super::{
    Case,
    samples::{ChangeRecorder, after, at, new_digest, partner_key, payment_key},
};
use crate::{
    KeyStore,
    apikey::{Grant, KeyRecord},
    domain::{Action, Actor, KeyId, Permissions, PlanId, ResourceId, Role},
    error::StoreErrorKind,
    store::spi::Change,
};

async fn what_is_inserted_is_found_by_digest_and_by_id(store: Arc<dyn KeyStore>) {
    let (one, two) = (payment_key(), partner_key());
    store.insert(&one, &Actor::host()).await.unwrap();
    store.insert(&two, &Actor::host()).await.unwrap();
    for record in [&one, &two] {
        assert_eq!(store.find(&record.digest).await.unwrap().as_ref(), Some(record));
        assert_eq!(store.get(&record.id).await.unwrap().as_ref(), Some(record));
    }
}

async fn every_field_survives(store: Arc<dyn KeyStore>) {
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
        store.insert(&full, &Actor::host()).await.unwrap();
        assert_eq!(store.find(&full.digest).await.unwrap(), Some(full));
    }
}

fn payment_key_with(grant: Grant) -> KeyRecord {
    let mut record = payment_key();
    record.grant = grant;
    record
}

async fn an_unknown_key_is_none_and_no_error(store: Arc<dyn KeyStore>) {
    store.insert(&payment_key(), &Actor::host()).await.unwrap();
    assert_eq!(store.find(&new_digest()).await.unwrap(), None);
    assert_eq!(store.get(&KeyId::generate()).await.unwrap(), None);
}

async fn a_taken_id_or_digest_is_refused_and_changes_nothing(store: Arc<dyn KeyStore>) {
    let first = payment_key();
    store.insert(&first, &Actor::host()).await.unwrap();
    let mut same_id = partner_key();
    same_id.id = first.id.clone();
    let mut same_digest = partner_key();
    same_digest.digest = first.digest;
    for taken in [&same_id, &same_digest, &first] {
        let error = store.insert(taken, &Actor::host()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Conflict);
    }
    assert_eq!(store.find(&first.digest).await.unwrap(), Some(first.clone()));
    assert_eq!(store.get(&first.id).await.unwrap(), Some(first));
    assert_eq!(store.find(&same_id.digest).await.unwrap(), None);
    assert_eq!(store.get(&same_digest.id).await.unwrap(), None);
}

async fn a_revoked_key_is_still_found_with_the_time(store: Arc<dyn KeyStore>) {
    let (record, other) = (payment_key(), payment_key());
    store.insert(&record, &Actor::host()).await.unwrap();
    store.insert(&other, &Actor::host()).await.unwrap();
    assert_eq!(
        store.revoke(&record.id, &Actor::host(), after(5, 1)).await.unwrap(),
        Some(record.digest)
    );
    let mut revoked = record.clone();
    revoked.revoked_at = Some(after(5, 1));
    assert_eq!(store.find(&record.digest).await.unwrap(), Some(revoked.clone()));
    assert_eq!(store.get(&record.id).await.unwrap(), Some(revoked));
    assert_eq!(store.find(&other.digest).await.unwrap(), Some(other));
}

async fn revoking_twice_or_the_unknown_is_none(store: Arc<dyn KeyStore>) {
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    assert_eq!(store.revoke(&KeyId::generate(), &Actor::host(), at(1)).await.unwrap(), None);
    assert_eq!(store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap(), Some(record.digest));
    assert_eq!(store.revoke(&record.id, &Actor::host(), at(2)).await.unwrap(), None);
    let revoked = store.get(&record.id).await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(at(1)));
}

async fn of_racing_revocations_one_gets_the_digest(store: Arc<dyn KeyStore>) {
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    let racing: Vec<_> = (0..50)
        .map(|i| {
            let (keys, id) = (Arc::clone(&store), record.id.clone());
            tokio::spawn(async move { keys.revoke(&id, &Actor::host(), at(i)).await.unwrap() })
        })
        .collect();
    let mut digests = Vec::new();
    for revocation in racing {
        digests.extend(revocation.await.unwrap());
    }
    assert_eq!(digests, [record.digest]);
}

async fn listeners_hear_of_insert_and_revoke_before_the_return(store: Arc<dyn KeyStore>) {
    let recorders = [ChangeRecorder::on(&*store), ChangeRecorder::on(&*store)];
    for _ in 0..20 {
        let record = partner_key();
        store.insert(&record, &Actor::host()).await.unwrap();
        assert!(recorders.iter().all(|recorder| recorder.heard_of(record.digest)));
        recorders.iter().for_each(|recorder| recorder.forget());
        store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap();
        assert!(recorders.iter().all(|recorder| recorder.heard_of(record.digest)));
    }
}

async fn nothing_is_told_where_nothing_changed(store: Arc<dyn KeyStore>) {
    let recorder = ChangeRecorder::on(&*store);
    let record = payment_key();
    store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap();
    store.find(&record.digest).await.unwrap();
    store.ping().await.unwrap();
    assert!(!recorder.heard_of(record.digest) && !recorder.heard(Change::All));
    store.insert(&record, &Actor::host()).await.unwrap();
    let mut taken = payment_key();
    taken.id = record.id.clone();
    store.insert(&taken, &Actor::host()).await.unwrap_err();
    assert!(!recorder.heard_of(taken.digest));
}

async fn a_dropped_listener_is_no_trouble(store: Arc<dyn KeyStore>) {
    drop(ChangeRecorder::on(&*store));
    let recorder = ChangeRecorder::on(&*store);
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    assert!(recorder.heard_of(record.digest));
}

async fn a_store_that_answers_pings(store: Arc<dyn KeyStore>) {
    store.ping().await.unwrap();
}

pub(super) const CASES: &[Case<Arc<dyn KeyStore>>] = cases!["keys":
    what_is_inserted_is_found_by_digest_and_by_id,
    every_field_survives,
    an_unknown_key_is_none_and_no_error,
    a_taken_id_or_digest_is_refused_and_changes_nothing,
    a_revoked_key_is_still_found_with_the_time,
    revoking_twice_or_the_unknown_is_none,
    of_racing_revocations_one_gets_the_digest,
    nothing_is_told_where_nothing_changed,
    a_store_that_answers_pings,
];

pub(super) const NOTIFICATIONS: &[Case<Arc<dyn KeyStore>>] = cases!["keys":
    listeners_hear_of_insert_and_revoke_before_the_return,
    a_dropped_listener_is_no_trouble,
];
