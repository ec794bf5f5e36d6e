//! What was done to keys and purchases, as it is told: in one order, each event once.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    Audited, Case,
    payments::payment,
    purchase_revocations::revocation,
    purchases::sell,
    samples::{at, claim, new_digest, partner_key, request},
};
use crate::{
    apikey::KeyRecord,
    domain::{Actor, ChallengeId, KeyId, RouteName},
    store::spi::{
        AuditCursor, AuditEvent, AuditPage, AuditQuery, KeyEdit, PurchaseRevocation, Rotation,
    },
};

/// How many are made at once.
const RACING: usize = 40;
/// How long a store may hold events back.
const PATIENCE: Duration = Duration::from_secs(60);

async fn page(audited: &Audited, query: &AuditQuery) -> AuditPage {
    audited.log.events(query).await.unwrap()
}

fn all() -> AuditQuery {
    AuditQuery { since: None, after: AuditCursor::default(), limit: 1_000 }
}

/// Exactly so many events, as soon as they are told.
async fn events(audited: &Audited, query: &AuditQuery, count: usize) -> Vec<AuditEvent> {
    let end = Instant::now() + PATIENCE;
    loop {
        let events = page(audited, query).await.events;
        if events.len() >= count || Instant::now() > end {
            assert_eq!(events.len(), count, "{events:?}");
            return events;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn added(audited: &Audited, label: &str, by: &Actor) -> KeyRecord {
    let mut record = partner_key();
    record.label = Some(label.to_owned());
    audited.shop.keys.insert(&record, by).await.unwrap();
    record
}

fn told(events: &[AuditEvent]) -> Vec<(&str, &str, &str)> {
    events
        .iter()
        .map(|AuditEvent { subject, action, .. }| (subject.kind(), subject.id(), &**action))
        .collect()
}

async fn what_was_done_is_told_with_who_and_why(audited: Audited) {
    let keys = &audited.shop.keys;
    let master = added(&audited, "Ada", &Actor::host()).await;
    let by = Actor::from(&master.id);
    let key = added(&audited, "acme", &by).await;
    let edit = KeyEdit { suspended: Some(true), label: Some(None), ..KeyEdit::default() };
    keys.edit(&key.id, &edit, &by, at(1)).await.unwrap();
    let display = "ak_new1…".to_owned();
    let to = Rotation { old: key.digest, new: new_digest(), display, old_until: None };
    assert!(keys.rotate(&key.id, &to, &by, at(2)).await.unwrap());
    keys.revoke_because(&key.id, Some("leaked, “so”"), &by, at(3)).await.unwrap();

    let events = events(&audited, &all(), 6).await;
    let id = key.id.as_str();
    let expected = [
        ("key", master.id.as_str(), "created"),
        ("key", id, "created"),
        ("key", id, "edited"),
        ("key", id, "suspended"),
        ("key", id, "rotated"),
        ("key", id, "revoked"),
    ];
    assert_eq!(told(&events), expected);
    let first = &events[0];
    assert_eq!((first.by.as_str(), &first.by_label), ("host", &None));
    assert_eq!(first.display.as_deref(), Some(&*master.display));
    assert_eq!(first.label.as_deref(), Some("Ada"));
    let last = &events[5];
    assert_eq!((last.at, &last.by, last.by_label.as_deref()), (at(3), &by, Some("Ada")));
    assert_eq!(last.reason.as_deref(), Some("leaked, “so”"));
    assert_eq!((last.display.as_deref(), &last.label), (Some("ak_new1…"), &None));
    let later = AuditQuery { since: Some(at(2)), ..all() };
    assert_eq!(told(&page(&audited, &later).await.events), expected[4..]);
}

async fn what_becomes_of_purchases_is_told_once(audited: Audited) {
    let (shop, by) = (&audited.shop, Actor::host());
    shop.payments.record_payment(&payment("c", "0x1")).await.unwrap();
    let id = ChallengeId::new("c").unwrap();
    assert!(shop.purchases.retry_handler(&id, &by, at(1)).await.unwrap());
    assert!(shop.purchases.give_up_handler(&id, "paid back", &by, at(2)).await.unwrap());
    assert!(!shop.purchases.retry_handler(&id, &by, at(3)).await.unwrap());
    assert!(!shop.purchases.give_up_handler(&id, "again", &by, at(3)).await.unwrap());
    // Also at the same moment.
    for (name, seconds) in [("c", 10), ("c", 10), ("c", 11), ("unknown", 12), ("unknown", 12)] {
        let again = PurchaseRevocation { at: at(seconds), ..revocation(name) };
        shop.purchases.revoke_purchase(&again).await.unwrap();
    }
    let events = events(&audited, &all(), 4).await;
    let expected = [
        ("purchase", "c", "retried"),
        ("purchase", "c", "settled"),
        ("purchase", "c", "revoked"),
        ("purchase", "unknown", "revoked"),
    ];
    assert_eq!(told(&events), expected);
    let reasons: Vec<_> = events.iter().map(|event| event.reason.as_deref()).collect();
    assert_eq!(reasons, [None, Some("paid back"), Some("refunded"), Some("refunded")]);
    assert!(events.iter().all(|event| event.by == by && event.display.is_none()));
    // A key's history has none of them, whatever its id is.
    let key = KeyId::new("c").unwrap();
    assert_eq!(shop.keys.history(&key, 100).await.unwrap(), []);
}

/// What its payment has bought under another id is revoked later than the purchase itself.
async fn a_purchase_is_told_to_be_revoked_once(audited: Audited) {
    let shop = &audited.shop;
    shop.purchases.revoke_purchase(&revocation("c")).await.unwrap();
    let record = sell(shop, &claim(request("r"), "0x1")).await;
    shop.payments.record_payment(&payment("c", "0x1")).await.unwrap();
    let id = record.id.as_str();
    let expected = [("purchase", "c", "revoked"), ("key", id, "created"), ("key", id, "revoked")];
    assert_eq!(told(&events(&audited, &all(), 3).await), expected);
}

/// Read on while they are written, at the cursors that are handed out.
async fn of_racing_events_each_is_told_once(audited: Audited) {
    let audited = Arc::new(audited);
    let racing: Vec<_> = (0..RACING)
        .map(|_| {
            let audited = audited.clone();
            tokio::spawn(async move { added(&audited, "acme", &Actor::host()).await.id })
        })
        .collect();
    let (mut seen, mut query) = (Vec::new(), AuditQuery { limit: 7, ..all() });
    let end = Instant::now() + PATIENCE;
    while seen.len() < RACING && Instant::now() < end {
        let page = page(&audited, &query).await;
        assert!(page.events.len() <= 7 && page.next >= query.after);
        seen.extend(page.events.iter().map(|event| event.subject.id().to_owned()));
        query.after = page.next;
        if !page.more {
            sleep(Duration::from_millis(1)).await;
        }
    }
    let mut made = Vec::new();
    for racing in racing {
        made.push(racing.await.unwrap().as_str().to_owned());
    }
    let last = page(&audited, &query).await;
    assert_eq!((last.events, last.more), (vec![], false));
    assert_eq!(last.next, query.after);
    made.sort();
    seen.sort();
    assert_eq!(seen, made);
}

async fn events_outlive_their_keys_until_they_are_purged(audited: Audited) {
    let keys = &audited.shop.keys;
    let key = added(&audited, "acme", &Actor::host()).await;
    let other = added(&audited, "other", &Actor::host()).await;
    keys.revoke(&key.id, &Actor::host(), at(1)).await.unwrap();
    audited.shop.purchases.revoke_purchase(&revocation("c")).await.unwrap();
    assert_eq!(keys.purge_keys(at(100), 10).await.unwrap(), 1);
    assert_eq!(keys.get(&key.id).await.unwrap(), None);
    let events = events(&audited, &all(), 4).await;
    for event in events.iter().filter(|event| event.subject.id() == key.id.as_str()) {
        assert_eq!(event.display.as_deref(), Some(&*key.display));
        assert_eq!(event.label.as_deref(), Some("acme"));
    }
    // The purchase was revoked at 10.
    assert_eq!(audited.log.purge_events(at(10), 10).await.unwrap(), 0);
    assert_eq!(audited.log.events(&all()).await.unwrap().events.len(), 4);
    added(&audited, "last", &Actor::host()).await;
    while audited.log.purge_events(at(100), 1).await.unwrap() > 0 {}
    self::events(&audited, &all(), 4).await;
    while audited.log.purge_events(at(101), 1).await.unwrap() > 0 {}
    let left = self::events(&audited, &all(), 2).await;
    assert_eq!(left[0].subject.id(), other.id.as_str());
}

async fn what_was_rejected_is_told_until_it_is_purged(audited: Audited) {
    let master = added(&audited, "Ada", &Actor::host()).await;
    let route = RouteName::new("/keys/{id}/rotate").unwrap();
    let reason = "403 insufficient_permissions, POST";
    for (by, seconds) in [(Actor::from(&master.id), 1), (Actor::anonymous(), 2)] {
        let rejection = AuditEvent::of_rejection(&route, &by, at(seconds), reason);
        audited.log.note_rejection(&rejection).await.unwrap();
    }
    let events = events(&audited, &all(), 3).await;
    let rejected = ("administration", "/keys/{id}/rotate", "rejected");
    assert_eq!(told(&events)[1..], [rejected, rejected]);
    assert_eq!(events[1].by_label.as_deref(), Some("Ada"));
    assert_eq!((events[1].at, events[1].reason.as_deref()), (at(1), Some(reason)));
    assert_eq!((events[2].by.as_str(), &events[2].display), ("anonymous", &None));
    added(&audited, "last", &Actor::host()).await;
    while audited.log.purge_events(at(2), 1).await.unwrap() > 0 {}
    assert_eq!(told(&self::events(&audited, &all(), 3).await)[1], rejected);
    while audited.log.purge_events(at(3), 1).await.unwrap() > 0 {}
    self::events(&audited, &all(), 2).await;
}

/// Also where the last event of all was purged, whoever has read it.
async fn what_is_noted_after_a_purge_comes_after_what_was_read(audited: Audited) {
    audited.shop.purchases.revoke_purchase(&revocation("c")).await.unwrap();
    events(&audited, &all(), 1).await;
    let read = page(&audited, &all()).await;
    audited.log.purge_events(at(100), 10).await.unwrap();
    let key = added(&audited, "acme", &Actor::host()).await;
    let later = AuditQuery { after: read.next, ..all() };
    assert_eq!(events(&audited, &later, 1).await[0].subject.id(), key.id.as_str());
}

pub(super) const CASES: &[Case<Audited>] = cases!["audit":
    what_was_done_is_told_with_who_and_why,
    what_becomes_of_purchases_is_told_once,
    a_purchase_is_told_to_be_revoked_once,
    of_racing_events_each_is_told_once,
    events_outlive_their_keys_until_they_are_purged,
    what_was_rejected_is_told_until_it_is_purged,
    what_is_noted_after_a_purge_comes_after_what_was_read,
];
