//! Copies of stores, between any two engines.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use key0_auth::{
    KeyStore, PostgresStore, RedisStore, SqliteStore,
    apikey::{KeyKind, KeyRecord, Metadata},
    domain::{Actor, ChallengeId, PlanId, RequestId, ResourceId, RouteName},
    error::StoreErrorKind,
    store::{
        CopyError, CopyStore, Copying, DenialStore, Payment, PaymentStore, PostgresOptions,
        RedisOptions, Store,
        spi::{
            AuditCursor, AuditEvent, AuditQuery, CopyProgress, Denial, IssuanceClaim,
            IssuanceState, KeyEdit, KeyFilter, KeyQuery, PaymentOutcome, Purchase, PurchaseFilter,
            PurchaseQuery, PurchaseRevocation, Rotation, TokenDigest, WaitingPayments,
        },
    },
};
use tempfile::TempDir;

use crate::{
    postgres_server::Postgres,
    redis_server::Fresh,
    samples::{
        after, at, challenge, claim, foreign_issuance, hash, issuance, lease, new_digest,
        partner_key, payment_key, request,
    },
    servers::PATIENCE,
};

/// A store that can be copied.
trait Both: Store + CopyStore {}
impl<S: Store + CopyStore> Both for S {}

/// One of each engine, and what must live as long.
struct Engines {
    sqlite: SqliteStore,
    postgres: PostgresStore,
    redis: RedisStore,
    other: SqliteStore,
    _kept: (TempDir, Postgres, Fresh),
}

async fn engines() -> Option<Engines> {
    // A server of its own: events are held back while anybody's transactions go on.
    let (folder, server, fresh) = (tempfile::tempdir().unwrap(), Postgres::start()?, Fresh::new()?);
    let postgres = PostgresOptions::new().max_connections(3);
    let postgres = postgres.open_timeout(PATIENCE).read_timeout(PATIENCE).write_timeout(PATIENCE);
    let redis = RedisOptions::new().open_timeout(PATIENCE);
    let redis = redis.read_timeout(PATIENCE).write_timeout(PATIENCE);
    Some(Engines {
        sqlite: SqliteStore::open(folder.path().join("one.db")).unwrap(),
        postgres: postgres.open(&server.url()).await.unwrap(),
        redis: redis.open(&fresh.url).await.unwrap(),
        other: SqliteStore::open(folder.path().join("other.db")).unwrap(),
        _kept: (folder, server, fresh),
    })
}

/// What was sold, and would be asked for again.
struct Sold {
    claims: Vec<IssuanceClaim>,
    payments: Vec<Payment>,
}

fn payment(id: &str, tx_hash: &str, received_at: i64) -> Payment {
    let mut payment = Payment::new(
        ChallengeId::new(id).unwrap(),
        RequestId::new(&format!("request-of-{id}")).unwrap(),
        ResourceId::new("photo-1").unwrap(),
        PlanId::new("basic").unwrap(),
        hash(tx_hash),
        at(received_at),
    );
    payment.details.insert("wallet".to_owned(), "0xAB".into());
    payment
}

/// Something of everything.
async fn fill(store: &dyn Both) -> Sold {
    let by = Actor::host();
    let mut keys: Vec<KeyRecord> = (0..7).map(|_| partner_key()).collect();
    for (number, key) in keys.iter_mut().enumerate() {
        key.created_at = at(i64::try_from(number).unwrap() / 2);
        key.label = Some(format!("Ada's shop {number}"));
        key.metadata = Metadata::parse(r#"{"a":"b","n":[1,2.5,"ü"]}"#).unwrap();
        store.insert(key, &by).await.unwrap();
    }
    store.revoke_because(&keys[0].id, Some("it leaked, twice"), &by, at(5)).await.unwrap();
    let rotation = |old: &KeyRecord, old_until| Rotation {
        old: old.digest,
        new: new_digest(),
        display: "ak_new…".to_owned(),
        old_until,
    };
    assert!(
        store.rotate(&keys[1].id, &rotation(&keys[1], Some(at(900))), &by, at(6)).await.unwrap()
    );
    assert!(store.rotate(&keys[2].id, &rotation(&keys[2], None), &by, at(6)).await.unwrap());
    let edit = KeyEdit { suspended: Some(true), ..KeyEdit::default() };
    store.edit(&keys[3].id, &edit, &by, at(7)).await.unwrap();
    store.touch(&[(keys[4].id.clone(), at(8)), (keys[4].id.clone(), at(9))]).await.unwrap();
    // Its events are all that is left of it.
    let mut gone = partner_key();
    (gone.expires_at, gone.label) = (Some(at(-100)), Some("gone".to_owned()));
    store.insert(&gone, &by).await.unwrap();
    assert_eq!(store.purge_keys(at(-50), 10).await.unwrap(), 1);

    let mut sold = Sold { claims: Vec::new(), payments: Vec::new() };
    for number in 0..4 {
        let record = payment_key();
        let claim = claim(challenge(&format!("challenge-{number}")), &format!("0xA{number}"));
        let issued = issuance(&record);
        let state = store.issue(&claim, &issued, Some(&record), at(1)).await.unwrap();
        assert_eq!(state, IssuanceState::Started);
        sold.claims.push(claim);
    }
    // One of the application's own, one by a request alone, and one that is only claimed.
    let long = format!("0x{}", "a1".repeat(32));
    let own = claim(request("request-9"), &long);
    store.issue(&own, &foreign_issuance(), None, at(1)).await.unwrap();
    sold.claims.push(own);
    store.begin_issuance(&claim(challenge("claimed"), "0xC1"), at(1)).await.unwrap();

    // Handled, tried in vain, given up, leased now; before its issuance, after it, without one.
    for (id, tx_hash, received_at) in [
        ("challenge-0", "0xa0", -5),
        ("challenge-1", "0xA1", 30),
        ("challenge-2", "0xA2", 31),
        ("paid-1", "0xB1", 32),
        ("paid-2", "0xB2", 33),
    ] {
        let payment = payment(id, tx_hash, received_at);
        assert_eq!(store.record_payment(&payment).await.unwrap(), PaymentOutcome::Recorded);
        sold.payments.push(payment);
    }
    let (first, second, third) = (lease(60), lease(60), lease(400));
    let leased = store.lease_payment(&first, at(40)).await.unwrap().unwrap();
    let id = leased.payment.challenge_id;
    assert!(store.finish_payment(&id, &first, at(41)).await.unwrap());
    let leased = store.lease_payment(&second, at(40)).await.unwrap().unwrap();
    let id = leased.payment.challenge_id;
    assert!(store.retry_payment(&id, &second, after(300, 7), Some("no route")).await.unwrap());
    let given_up = ChallengeId::new("challenge-2").unwrap();
    assert!(store.give_up_handler(&given_up, "by hand", &by, at(42)).await.unwrap());
    store.lease_payment(&third, at(40)).await.unwrap().unwrap();

    // Paid with another hash than it was issued for.
    let claim = claim(challenge("challenge-4"), "0xA4");
    store.issue(&claim, &foreign_issuance(), None, at(1)).await.unwrap();
    let mut paid = payment("challenge-4", "0xD4", 35);
    paid.resource_id = claim.order.resource_id.clone();
    assert_eq!(store.record_payment(&paid).await.unwrap(), PaymentOutcome::Recorded);
    sold.payments.push(paid);

    for id in ["challenge-3", "challenge-4", "paid-2", "nobody-knows"] {
        let revocation = PurchaseRevocation {
            id: ChallengeId::new(id).unwrap(),
            reason: Some("refunded".to_owned()),
            by: by.clone(),
            at: at(50),
            tokens_until: at(1_000),
            unknown_a_day: 100,
        };
        store.revoke_purchase(&revocation).await.unwrap();
    }
    let token = TokenDigest::of(&ChallengeId::new("a-token").unwrap());
    store.deny(&Denial { token, until: after(2_000, 3) }).await.unwrap();
    let route = RouteName::new("/keys/{id}").unwrap();
    let rejected = AuditEvent::of_rejection(&route, &Actor::anonymous(), at(60), "401 GET");
    store.note_rejection(&rejected).await.unwrap();
    sold
}

/// All that can be told of a store.
#[derive(Debug, PartialEq)]
struct Told {
    keys: Vec<KeyRecord>,
    histories: BTreeMap<String, Vec<String>>,
    purchases: Vec<Purchase>,
    events: Vec<AuditEvent>,
    denials: Vec<Denial>,
    waiting: Option<WaitingPayments>,
    payments: Vec<Option<Payment>>,
}

/// Waits until the store tells what is wanted.
async fn tells(store: &dyn Both, sold: &Sold, wanted: &Told) {
    let began = Instant::now();
    loop {
        let there = told(store, sold).await;
        if there == *wanted || began.elapsed() > PATIENCE {
            assert_eq!(there, *wanted);
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn told(store: &dyn Both, sold: &Sold) -> Told {
    let mut told = Told {
        keys: Vec::new(),
        histories: BTreeMap::new(),
        purchases: Vec::new(),
        events: Vec::new(),
        denials: store.denials(None, 100).await.unwrap(),
        waiting: store.waiting_payments().await.unwrap(),
        payments: Vec::new(),
    };
    for kind in [KeyKind::Integrator, KeyKind::Payment] {
        let filter = KeyFilter::default();
        let query = KeyQuery { kind, in_force_at: None, filter, after: None, limit: 100 };
        let page = store.list(&query).await.unwrap();
        assert!(page.unreadable.is_empty() && page.next.is_none());
        told.keys.extend(page.keys);
    }
    for key in &told.keys {
        let lines = store.history(&key.id, 100).await.unwrap();
        let lines = lines.iter().map(|line| format!("{line:?}")).collect();
        told.histories.insert(key.id.to_string(), lines);
        assert_eq!(store.find(&key.digest).await.unwrap().as_ref(), Some(key));
        if let Some(old) = &key.predecessor {
            assert_eq!(store.find(&old.digest).await.unwrap().as_ref(), Some(key));
        }
    }
    let filter = PurchaseFilter::default();
    let query = PurchaseQuery { filter, after: None, limit: 100, now: at(60) };
    let page = store.purchases(&query).await.unwrap();
    assert!(page.next.is_none());
    told.purchases = page.purchases;
    let query = AuditQuery { since: None, after: AuditCursor::default(), limit: 1_000 };
    told.events = store.events(&query).await.unwrap().events;
    for payment in &sold.payments {
        told.payments.push(store.payment(&payment.challenge_id).await.unwrap());
    }
    told
}

async fn copy(from: &dyn Both, to: &dyn Both, source: &str) -> Result<u64, CopyError> {
    let mut copy = Copying::begin(from, to, source).await?.at_a_time(3);
    while copy.step().await? {}
    copy.check().await?;
    let copied = copy.copied();
    copy.end().await?;
    Ok(copied)
}

/// What was bought is not sold twice, and is handed out again as it was.
async fn holds(store: &dyn Both, sold: &Sold, first: &[IssuanceState]) {
    for (claim, before) in sold.claims.iter().zip(first) {
        let again = IssuanceClaim { lease: lease(500), ..claim.clone() };
        assert_eq!(store.begin_issuance(&again, at(70)).await.unwrap(), *before);
        let mut other = again;
        other.key = challenge("somebody-else");
        let spent = store.begin_issuance(&other, at(70)).await.unwrap();
        assert_eq!(spent, IssuanceState::Redeemed, "{:?}", claim.key);
    }
    for payment in &sold.payments {
        assert_eq!(store.record_payment(payment).await.unwrap(), PaymentOutcome::Repeated);
        let mut other = payment.clone();
        other.challenge_id = ChallengeId::new("somebody").unwrap();
        assert_eq!(store.record_payment(&other).await.unwrap(), PaymentOutcome::Conflict);
    }
    let revoked = claim(challenge("nobody-knows"), "0xDD");
    assert_eq!(store.begin_issuance(&revoked, at(70)).await.unwrap(), IssuanceState::Revoked);
}

async fn states(store: &dyn Both, sold: &Sold) -> Vec<IssuanceState> {
    let mut states = Vec::new();
    for claim in &sold.claims {
        states.push(store.begin_issuance(claim, at(70)).await.unwrap());
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_holds_whatever_matters_from_engine_to_engine_and_back() {
    let Some(engines) = engines().await else { return };
    let Engines { sqlite, postgres, redis, other, .. } = &engines;
    let sold = fill(sqlite).await;
    let before = told(sqlite, &sold).await;
    let first = states(sqlite, &sold).await;
    let contents = sqlite.contents().await.unwrap();
    let chain: [(&dyn Both, &dyn Both); 3] =
        [(sqlite, postgres), (postgres, redis), (redis, other)];
    for (from, to) in chain {
        let copied = copy(from, to, "the source").await.unwrap();
        assert_eq!(Some(copied), contents.records);
        assert_eq!(to.unfinished_copy().await.unwrap(), None);
        tells(to, &sold, &before).await;
    }
    assert_eq!(sqlite.contents().await.unwrap(), contents, "the source is as it was");
    let all: [&dyn Both; 4] = [sqlite, postgres, redis, other];
    for store in all {
        holds(store, &sold, &first).await;
        // What comes next stands behind what was copied.
        let next = payment("next", "0xEE", 80);
        assert_eq!(store.record_payment(&next).await.unwrap(), PaymentOutcome::Recorded);
        let key = partner_key();
        store.insert(&key, &Actor::host()).await.unwrap();
        let query = AuditQuery { since: None, after: AuditCursor::default(), limit: 1_000 };
        let began = Instant::now();
        let events = loop {
            let events = store.events(&query).await.unwrap().events;
            if events.len() > before.events.len() || began.elapsed() > PATIENCE {
                break events;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(events.len(), before.events.len() + 1);
        assert_eq!(events.last().unwrap().subject.id(), key.id.as_str());
        // Those whose time has come are found: three wait, the fourth is new, all in their order.
        let mut due = Vec::new();
        while let Some(it) = store.lease_payment(&lease(3_030), at(3_000)).await.unwrap() {
            due.push(it.payment.challenge_id.to_string());
        }
        due.sort();
        let wanted = ["challenge-1", "challenge-4", "next", "paid-1", "paid-2"];
        assert_eq!(due, wanted);
        assert_eq!(store.purge_events(at(-40), 100).await.unwrap(), 1, "of the key that is gone");
    }
}

/// Also what one engine alone keeps beside its records.
#[tokio::test(flavor = "multi_thread")]
async fn each_engine_s_own_store_goes_over() {
    let Some(engines) = engines().await else { return };
    let Engines { sqlite, postgres, redis, other, .. } = &engines;
    for (from, to) in [(postgres as &dyn Both, sqlite as &dyn Both), (redis, other)] {
        let sold = fill(from).await;
        let records = from.contents().await.unwrap().records;
        let first = states(from, &sold).await;
        let before = told(from, &sold).await;
        let copied = copy(from, to, "the source").await.unwrap();
        assert_eq!(copied, records.unwrap_or(copied), "where the engine counts them");
        tells(to, &sold, &before).await;
        holds(to, &sold, &first).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_is_gone_on_with_and_doubles_nothing() {
    let Some(engines) = engines().await else { return };
    let Engines { sqlite, postgres, redis, other, .. } = &engines;
    let sold = fill(sqlite).await;
    let before = told(sqlite, &sold).await;
    let records = sqlite.contents().await.unwrap().records.unwrap();
    let chain: [(&dyn Both, &dyn Both); 3] =
        [(sqlite, postgres), (postgres, redis), (redis, other)];
    for (from, to) in chain {
        let mut times = 0;
        loop {
            times += 1;
            let mut copy = Copying::begin(from, to, "the source").await.unwrap().at_a_time(4);
            let begun = to.unfinished_copy().await.unwrap().unwrap();
            assert_eq!(begun.copied, copy.copied());
            // It ends here, twice out of three times.
            if copy.step().await.unwrap() && times % 3 != 0 && copy.step().await.unwrap() {
                continue;
            }
            if times % 3 == 0 && !copy.step().await.unwrap() {
                assert_eq!(copy.copied(), records);
                copy.end().await.unwrap();
                break;
            }
        }
        assert!(times > 3);
        tells(to, &sold, &before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_holds_anything_else_is_refused_and_left_alone() {
    let Some(engines) = engines().await else { return };
    let Engines { sqlite, postgres, redis, other, .. } = &engines;
    let sold = fill(sqlite).await;
    let targets: [&dyn Both; 3] = [postgres, redis, other];
    for to in targets {
        let key = partner_key();
        to.insert(&key, &Actor::host()).await.unwrap();
        let before = told(to, &sold).await;
        let refused = copy(sqlite, to, "the source").await;
        assert!(matches!(refused, Err(CopyError::Occupied)), "{refused:?}");
        let begun = CopyProgress {
            source: "the source".to_owned(),
            state: String::new(),
            after: None,
            copied: 0,
        };
        assert_eq!(to.begin_copy(&begun).await.unwrap_err().kind(), StoreErrorKind::Conflict);
        tells(to, &sold, &before).await;
        assert_eq!(to.unfinished_copy().await.unwrap(), None);
    }
    // A store that was copied is one that holds data.
    let refused = copy(other, sqlite, "the source").await;
    assert!(matches!(refused, Err(CopyError::Occupied)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_something_else_or_of_what_has_changed_is_not_gone_on_with() {
    let Some(engines) = engines().await else { return };
    let Engines { sqlite, postgres, redis, other, .. } = &engines;
    fill(sqlite).await;
    let targets: [&dyn Both; 3] = [postgres, redis, other];
    let mut copies = Vec::new();
    for to in targets {
        let mut copy = Copying::begin(sqlite, to, "the source").await.unwrap().at_a_time(3);
        assert!(copy.step().await.unwrap());
        let refused = Copying::begin(sqlite, to, "another").await.unwrap_err();
        assert!(
            matches!(&refused, CopyError::OfAnother { source_name } if source_name == "the source")
        );
        copies.push(copy);
    }
    for change in 0..4 {
        match change {
            0 => sqlite.insert(&partner_key(), &Actor::host()).await.unwrap(),
            1 => drop(sqlite.record_payment(&payment("late", "0xFF", 90)).await.unwrap()),
            2 => {
                let state = sqlite
                    .issue(&claim(challenge("late"), "0xF1"), &foreign_issuance(), None, at(2))
                    .await;
                assert_eq!(state.unwrap(), IssuanceState::Started);
            }
            _ => {
                let token = TokenDigest::of(&ChallengeId::new("late").unwrap());
                sqlite.deny(&Denial { token, until: at(20) }).await.unwrap();
            }
        }
        for to in targets {
            let refused = Copying::begin(sqlite, to, "the source").await;
            assert!(matches!(refused, Err(CopyError::Changed)), "{change}: {refused:?}");
        }
    }
    for copy in &mut copies {
        while copy.step().await.unwrap() {}
        let refused = copy.check().await;
        assert!(matches!(refused, Err(CopyError::Changed)), "{refused:?}");
    }
}

/// Two that copy at the same time: the slower one adds nothing.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_added_once_or_not_at_all() {
    let Some(engines) = engines().await else { return };
    let Engines { sqlite, postgres, redis, other, .. } = &engines;
    let sold = fill(sqlite).await;
    let targets: [&dyn Both; 3] = [postgres, redis, other];
    for to in targets {
        let mut one = Copying::begin(sqlite, to, "the source").await.unwrap().at_a_time(3);
        let mut two = Copying::begin(sqlite, to, "the source").await.unwrap().at_a_time(3);
        assert!(one.step().await.unwrap());
        let before = told(to, &sold).await;
        let late = two.step().await.unwrap_err();
        let CopyError::Target(error) = late else { panic!("{late:?}") };
        assert_eq!(error.kind(), StoreErrorKind::Conflict);
        tells(to, &sold, &before).await;
        one.end().await.unwrap();
        let all = told(sqlite, &sold).await;
        tells(to, &sold, &all).await;
    }
}

/// A record's `Debug` shows nothing of it.
#[tokio::test]
async fn records_show_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("a.db")).unwrap();
    let mut key = partner_key();
    key.label = Some("a label".to_owned());
    store.insert(&key, &Actor::host()).await.unwrap();
    let page = store.export(None, 10).await.unwrap();
    let shown = format!("{page:?}");
    assert!(!shown.contains("a label") && shown.contains("keys"), "{shown}");
}
