//! The cases that every engine passes, each in a place of its own. Engines whose server is not
//! installed are skipped; in CI that is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, unreachable_pub)]
#[path = "../../../../../tests/support/servers/postgres.rs"]
pub(super) mod postgres_server;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../../tests/support/servers/redis.rs"]
pub(super) mod redis_server;
#[path = "../../../../../tests/support/servers/mod.rs"]
mod servers;

use std::any::Any;

use key0_auth::{
    RejectionKind, SqliteStore,
    store::{PostgresOptions, RedisOptions},
};
use tempfile::TempDir;

use super::{terms::MAX_WAITING_BYTES, *};
use crate::partner::{
    json::MAX_INTEGER,
    passports::{Filter, MOST_AT_ONCE},
};

/// How long an operation may take on any machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const ALL: Page = Page { limit: 100, before: i64::MAX };

/// A place of its own in one engine, opened as by two instances.
struct Fixture {
    store: Arc<dyn Store>,
    other: Arc<dyn Store>,
    /// Goes with the place.
    _keep: Box<dyn Any>,
}

/// Runs a case on every engine.
async fn on_each(case: impl AsyncFn(&Fixture)) {
    for engine in ["memory", "sqlite", "postgres", "redis"] {
        if let Some(fixture) = Fixture::fresh(engine).await {
            println!("on {engine}");
            case(&fixture).await;
        }
    }
}

impl Fixture {
    async fn fresh(engine: &str) -> Option<Self> {
        match engine {
            "memory" => {
                let store = sqlite::Sqlite::in_memory().unwrap().patient(PATIENCE);
                Some(Self::of(store.clone(), store, ()))
            }
            "sqlite" => {
                let folder = TempDir::new().unwrap();
                let path = folder.path().join("key0.db");
                drop(SqliteStore::open(&path).unwrap());
                let store = || sqlite::Sqlite::open(&path, None).unwrap().patient(PATIENCE);
                Some(Self::of(store(), store(), folder))
            }
            "postgres" => {
                let schema = postgres_server::Schema::fresh()?;
                let url = PostgresUrl::new(&schema.url).unwrap();
                let options = PostgresOptions::new().schema(&schema.name);
                drop(options.open_url(&url).await.unwrap());
                // At once, as instances that start together.
                let open = || postgres::Postgres::open(&url, &schema.name);
                let (store, other) = tokio::join!(open(), open());
                let patient =
                    |store: Result<postgres::Postgres, _>| store.unwrap().patient(PATIENCE);
                Some(Self::of(patient(store), patient(other), schema))
            }
            "redis" => {
                let fresh = redis_server::Fresh::new()?;
                let url = RedisUrl::new(&fresh.url).unwrap();
                drop(RedisOptions::new().open_url(&url).await.unwrap());
                let open = || redis::Redis::open(&url, url.prefix().unwrap());
                let (store, other) = tokio::join!(open(), open());
                let patient = |store: Result<redis::Redis, _>| store.unwrap().patient(PATIENCE);
                Some(Self::of(patient(store), patient(other), fresh))
            }
            _ => unreachable!("no engine {engine}"),
        }
    }

    fn of<S: Store>(store: S, other: S, keep: impl Any) -> Self {
        Self { store: Arc::new(store), other: Arc::new(other), _keep: Box::new(keep) }
    }
}

pub(super) fn noon() -> Timestamp {
    Timestamp::from_seconds(1_795_000_000)
}

pub(super) fn later(seconds: u64) -> Timestamp {
    noon().plus(Duration::from_secs(seconds))
}

fn asked(key: &str, body: &str) -> Option<Asked> {
    let mut fingerprint = [0; 32];
    fingerprint[..body.len()].copy_from_slice(body.as_bytes());
    Some(Asked { caller: "key 1".to_owned(), key: key.to_owned(), fingerprint, never_over: false })
}

fn new(model: &str) -> NewPassport {
    let text = format!(
        r#"{{"granularity":"item","application":"shop","modelNumber":"{model}","name":"a lamp"}}"#
    );
    NewPassport::read(text.as_bytes()).unwrap()
}

pub(super) fn rows(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn those(filter: Filter) -> Wanted {
    Wanted::Those(filter)
}

/// A member of an answer that is a text.
fn member(body: &str, name: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body[name].as_str().unwrap().to_owned()
}

fn refused<T: std::fmt::Debug>(result: Result<T, Fault>) -> RejectionKind {
    match result.unwrap_err() {
        Fault::Refused(rejection) => rejection.kind(),
        other => panic!("{other}"),
    }
}

/// Every effect, under the same key and as if no answer had been kept: a crash comes between.
#[tokio::test]
async fn every_effect_is_recognised_by_its_retry() {
    for effect in ["mint", "tier", "passport", "import", "publish"] {
        on_each(async |fixture| recognises(&fixture.store, effect).await).await;
    }
}

async fn recognises(store: &Arc<dyn Store>, effect: &str) {
    store.create_passport(None, new("before"), noon()).await.unwrap();
    let run_as = async |asked: Option<Asked>, model: &str, now: Timestamp| match effect {
        "mint" => store.mint(asked, "wallet".to_owned(), 5, now).await,
        "tier" => {
            let tier = NewTier { name: "gold".into(), threshold: 1 };
            store.create_tier(asked, tier, now).await
        }
        "passport" => store.create_passport(asked, new(model), now).await,
        "import" => store.queue_import(asked, None, rows("[{}]"), now).await,
        _ => {
            store.create_passport(None, new(model), now).await.ok();
            store.publish(asked, those(Filter::default()), MOST_AT_ONCE, now).await
        }
    };
    let run = async |key: &str, body: &str, model: &str, now: Timestamp| {
        run_as(asked(key, body), model, now).await
    };
    let first = run("k", "a", "m1", noon()).await.unwrap();
    assert!(!first.replayed, "{effect}");
    let again = Answer { replayed: true, ..first.clone() };
    assert_eq!(run("k", "a", "m1", later(9)).await.unwrap(), again, "{effect}");
    let reused = refused(run("k", "b", "m1", later(9)).await);
    assert_eq!(reused, RejectionKind::IdempotencyKeyReused, "{effect}");
    let check = async |body: &str, now| store.check_key(asked("k", body).unwrap(), now).await;
    assert!(check("a", later(9)).await.is_ok(), "{effect}");
    assert_eq!(refused(check("b", later(9)).await), reused, "{effect}");
    // Another key, and another caller's, is another request.
    let second = run("other", "a", "m2", later(10)).await.unwrap();
    assert!(second != first || effect == "publish", "{effect}");
    // Where the clock may be ahead, no key is past its time.
    let ahead = |body: &str| asked("k", body).map(|asked| Asked { never_over: true, ..asked });
    let years = later(100_000_000);
    let checked = store.check_key(ahead("b").unwrap(), years).await;
    assert_eq!(refused(checked), reused, "{effect}");
    let again = Answer { replayed: true, ..first.clone() };
    assert_eq!(run_as(ahead("a"), "m4", years).await.unwrap(), again, "{effect}");
    // A day later the key is free, whether it was forgotten in the meantime or not.
    let day = 24 * 60 * 60;
    assert!(run("k", "b", "m3", later(day - 1)).await.is_err(), "{effect}");
    assert!(check("b", later(day)).await.is_ok(), "{effect}");
    run("k", "b", "m3", later(day)).await.unwrap();
    assert_eq!(refused(run("other", "b", "m4", later(day)).await), reused, "{effect}");
    let forgotten = store.forget_keys(later(day + 10), 100).await.unwrap();
    assert_eq!(forgotten, 1, "{effect}");
    run("other", "b", "m4", later(day + 10)).await.unwrap();
}

#[tokio::test]
async fn one_key_is_for_one_route() {
    on_each(async |fixture| {
        let store = &fixture.store;
        store.mint(asked("k", "mint"), "wallet".to_owned(), 5, noon()).await.unwrap();
        let made = store.create_passport(asked("k", "make"), new("m"), noon()).await;
        assert_eq!(refused(made), RejectionKind::IdempotencyKeyReused);
        // It was not made.
        store.create_passport(None, new("m"), noon()).await.unwrap();
    })
    .await;
}

/// What is refused leaves nothing behind, its key neither.
#[tokio::test]
async fn a_refused_effect_takes_no_key() {
    on_each(async |fixture| {
        let store = &fixture.store;
        store.create_passport(None, new("m"), noon()).await.unwrap();
        let made = store.create_passport(asked("k", "a"), new("m"), noon()).await;
        assert_eq!(refused(made), RejectionKind::RequestConflict);
        let made = store.create_passport(asked("k", "b"), new("n"), noon()).await.unwrap();
        assert!(!made.replayed);
    })
    .await;
}

/// Also by way of two instances, and with nothing that keeps them apart but the engine.
#[tokio::test(flavor = "multi_thread")]
async fn racing_twins_have_one_effect() {
    on_each(async |fixture| {
        for round in 0..5 {
            let key = format!("k{round}");
            let twins = [&fixture.store, &fixture.other, &fixture.store, &fixture.other];
            let twins = twins.map(|store| {
                let (store, asked) = (store.clone(), asked(&key, "a"));
                tokio::spawn(async move {
                    loop {
                        match store.mint(asked.clone(), "wallet".into(), 5, noon()).await {
                            // Waited too long for its twin: it may have happened.
                            Err(fault) if fault.is_outage() => {}
                            answer => return answer,
                        }
                    }
                })
            });
            let mut first = 0;
            for twin in twins {
                let answer = twin.await.unwrap().unwrap();
                assert_eq!(answer.body, format!(r#"{{"newamount":{}}}"#, 5 * (round + 1)));
                first += u32::from(!answer.replayed);
            }
            assert!(first <= 1);
        }
    })
    .await;
}

/// Each at most once, however many workers there are, and none is left.
#[tokio::test(flavor = "multi_thread")]
async fn workers_of_two_instances_do_each_thing_once() {
    on_each(async |fixture| {
        let stores = [&fixture.store, &fixture.other];
        for n in 0..30 {
            let store = stores[n % 2];
            store.create_passport(None, new(&format!("m{n}")), noon()).await.unwrap();
            store.mint(None, "wallet".into(), 1, noon()).await.unwrap();
            let row = format!(
                r#"[{{"granularity":"item","application":"a","modelNumber":"{n}","name":"b"}}]"#
            );
            store.queue_import(None, None, rows(&row), noon()).await.unwrap();
        }
        let filter = Filter { application: Some("shop".into()), ..Filter::default() };
        let all = fixture.store.publish(None, those(filter), MOST_AT_ONCE, noon()).await.unwrap();
        assert_eq!(all.body, r#"{"accepted":30}"#);
        let workers = stores.map(|store| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = (0, 0, 0);
                let at = later(2);
                loop {
                    let due = store.due(at).await.unwrap();
                    if due == (Due { imports: false, passports: false, orders: false }) {
                        return done;
                    }
                    done.0 += store.certify(at, 7).await.unwrap();
                    done.1 += store.settle(at, 7).await.unwrap();
                    if let Some(import) = store.next_import(at).await.unwrap() {
                        let carried = store.carry_out_import(import, at).await.unwrap();
                        done.2 += usize::from(carried);
                    }
                }
            })
        });
        let mut done = (0, 0, 0);
        for worker in workers {
            let (certified, settled, imported) = worker.await.unwrap();
            done = (done.0 + certified, done.1 + settled, done.2 + imported);
        }
        assert_eq!(done, (30, 30, 30));
    })
    .await;
}

/// As there are in descriptions alone.
#[tokio::test]
async fn a_description_may_hold_any_character() {
    on_each(async |fixture| {
        let store = &fixture.store;
        let odd = NewPassport { description: Some("\0\u{7f} \n'\"\u{10ffff}".into()), ..new("m") };
        let made = store.create_passport(None, odd.clone(), noon()).await.unwrap();
        let found = store.passport(member(&made.body, "id")).await.unwrap();
        assert_eq!(found.description, odd.description);
        assert_eq!(found.to_json(), made.body);
        let row = made.body.replace(r#""m""#, r#""n""#);
        let queued = store.queue_import(None, None, rows(&format!("[{row}]")), noon()).await;
        let import = store.next_import(noon()).await.unwrap().unwrap();
        assert!(store.carry_out_import(import, noon()).await.unwrap());
        let done = store.import(member(&queued.unwrap().body, "id")).await.unwrap();
        assert!(done.contains(r#""created":1"#), "{done}");
    })
    .await;
}

#[tokio::test]
async fn a_filter_takes_its_drafts_a_part_at_a_time() {
    on_each(async |fixture| {
        let store = &fixture.store;
        for n in 0..5 {
            store.create_passport(None, new(&n.to_string()), noon()).await.unwrap();
        }
        let take = async |filter: Filter, limit| {
            store.publish(None, those(filter), limit, noon()).await.unwrap().body
        };
        let some = |text: &str| Some(text.to_owned());
        let published = Filter { status: some("published"), ..Filter::default() };
        assert_eq!(take(published, 9).await, r#"{"accepted":0}"#);
        for strange in ["4", "shop"] {
            let filter =
                Filter { application: some(strange), model_number: some("shop"), status: None };
            assert_eq!(take(filter, 9).await, r#"{"accepted":0}"#);
        }
        let one =
            || Filter { application: some("shop"), model_number: some("3"), status: some("draft") };
        assert_eq!(take(one(), 9).await, r#"{"accepted":1}"#);
        assert_eq!(take(one(), 9).await, r#"{"accepted":0}"#);
        let by_model = Filter { model_number: some("4"), ..Filter::default() };
        assert_eq!(take(by_model, 9).await, r#"{"accepted":1}"#);
        let shop = || Filter { application: some("shop"), ..Filter::default() };
        assert_eq!(take(shop(), 2).await, r#"{"accepted":2,"more":true}"#);
        assert_eq!(take(shop(), 2).await, r#"{"accepted":1}"#);
        assert_eq!(store.certify(later(1), 9).await.unwrap(), 5);
    })
    .await;
}

#[tokio::test]
async fn a_balance_ends_where_integers_do() {
    on_each(async |fixture| {
        let store = &fixture.store;
        let most = MAX_INTEGER;
        let mint = async |amount| store.mint(None, "wallet".to_owned(), amount, noon()).await;
        assert_eq!(mint(most - 1).await.unwrap().body, r#"{"newamount":9007199254740990}"#);
        assert_eq!(refused(mint(2).await), RejectionKind::RequestConflict);
        assert_eq!(mint(1).await.unwrap().body, r#"{"newamount":9007199254740991}"#);
        assert_eq!(refused(mint(1).await), RejectionKind::RequestConflict);
        assert_eq!(store.orders("wallet".to_owned(), ALL).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn the_chain_takes_its_time_and_no_longer() {
    on_each(async |fixture| {
        let store = &fixture.store;
        let made = store.create_passport(None, new("m"), noon()).await.unwrap();
        let id = member(&made.body, "id");
        let drafts = || those(Filter::default());
        let publish = async |wanted| store.publish(None, wanted, MOST_AT_ONCE, noon()).await;
        assert_eq!(publish(drafts()).await.unwrap().body, r#"{"accepted":1}"#);
        // On its way, and once there: not again.
        assert_eq!(publish(Wanted::Ids(vec![id.clone()])).await.unwrap().body, r#"{"accepted":0}"#);
        store.mint(None, "wallet".to_owned(), 5, noon()).await.unwrap();
        assert!(!store.due(noon()).await.unwrap().passports);
        assert_eq!(store.certify(noon(), 9).await.unwrap(), 0);
        assert_eq!(store.settle(noon(), 9).await.unwrap(), 0);
        assert!(store.due(later(1)).await.unwrap().orders);
        assert_eq!(store.certify(later(1), 9).await.unwrap(), 1);
        assert_eq!(store.settle(later(1), 9).await.unwrap(), 1);
        let nothing = Due { imports: false, passports: false, orders: false };
        assert_eq!(store.due(later(99)).await.unwrap(), nothing);
        let passport = store.passport(id).await.unwrap();
        assert_eq!(
            (&*passport.status, &*passport.certification_status),
            ("published", "certified")
        );
        assert_eq!(publish(drafts()).await.unwrap().body, r#"{"accepted":0}"#);
    })
    .await;
}

#[tokio::test]
async fn an_unknown_id_publishes_nothing() {
    on_each(async |fixture| {
        let store = &fixture.store;
        let made = store.create_passport(None, new("m"), noon()).await.unwrap();
        let ids = vec![member(&made.body, "id"), "nobodys".to_owned()];
        let kind = refused(store.publish(None, Wanted::Ids(ids), MOST_AT_ONCE, noon()).await);
        assert_eq!(kind, RejectionKind::NotFound);
        assert!(!store.due(later(99)).await.unwrap().passports);
    })
    .await;
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest() {
    on_each(async |fixture| {
        let store = &fixture.store;
        for amount in 1..=5 {
            store.mint(None, "wallet".to_owned(), amount, noon()).await.unwrap();
            store.mint(None, "another".to_owned(), 99, noon()).await.unwrap();
        }
        let (mut page, mut amounts) = (Page { limit: 2, ..ALL }, Vec::new());
        loop {
            let orders = store.orders("wallet".to_owned(), page).await.unwrap();
            amounts.extend(orders.iter().map(|order| order.amount));
            let Some(next) = page.lines(&orders, |order| order.arrival).1 else { break };
            page.before = next.parse().unwrap();
        }
        assert_eq!(amounts, [5, 4, 3, 2, 1]);
        for name in ["bronze", "silver", "gold"] {
            let tier = NewTier { name: name.into(), threshold: 1 };
            store.create_tier(None, tier, noon()).await.unwrap();
        }
        let names = async |page| {
            let tiers = store.tiers(page).await.unwrap();
            tiers.into_iter().map(|tier| (tier.arrival, tier.name)).collect::<Vec<_>>()
        };
        let newest = names(Page { limit: 2, ..ALL }).await;
        assert_eq!((&*newest[0].1, &*newest[1].1), ("gold", "silver"));
        let oldest = names(Page { before: newest[1].0, ..ALL }).await;
        assert_eq!((oldest.len(), &*oldest[0].1), (1, "bronze"));
    })
    .await;
}

#[tokio::test]
async fn an_import_is_carried_out_once_and_row_by_row() {
    on_each(async |fixture| {
        let store = &fixture.store;
        let made = async |model| {
            member(&store.create_passport(None, new(model), noon()).await.unwrap().body, "id")
        };
        let published = made("published").await;
        store.publish(None, Wanted::Those(Filter::default()), MOST_AT_ONCE, noon()).await.unwrap();
        let draft = made("draft").await;
        let row = |model: &str| {
            format!(
                r#"{{"granularity":"item","application":"shop","modelNumber":"{model}","name":"new"}}"#
            )
        };
        let long = "x".repeat(257);
        let rows = [
            row("fresh"),
            row("draft"),
            row("published"),
            row("fresh"),
            r#"{"granularity":"planet","application":"a","modelNumber":"b","name":"c"}"#.to_owned(),
            r#"{"name":"a","name":"a"}"#.to_owned(),
            row("odd").replace("}", r#","extra":{"a":1,"a":2}}"#),
            row("odd").replace(r#""new""#, "7"),
            row(&long),
            row("odd").replace("}", r#","huge":1e999}"#),
            r#""\ud800""#.to_owned(),
            "null".to_owned(),
            row("odd").replace("}", r#","extra":[1]}"#),
            row("last").replace(
                "}",
                r#","id":"x","status":"draft","certificationStatus":7,"createdAt":"","updatedAt":null}"#,
            ),
        ];
        let taken_in = super::tests::rows(&format!("[{}]", rows.join(",")));
        let queued = store.queue_import(None, None, taken_in, noon()).await.unwrap();
        let queued: serde_json::Value = serde_json::from_str(&queued.body).unwrap();
        assert_eq!(queued["status"], "queued");
        let id = queued["id"].as_str().unwrap().to_owned();
        assert_eq!(store.import(id.clone()).await.unwrap(), queued.to_string());
        let arrival = store.next_import(noon()).await.unwrap().unwrap();
        assert!(store.carry_out_import(arrival, noon()).await.unwrap());
        // As where another process was faster.
        assert!(!store.carry_out_import(arrival, noon()).await.unwrap());
        assert_eq!(store.next_import(noon().plus(HOUR)).await.unwrap(), None);

        let done: serde_json::Value = serde_json::from_str(&store.import(id).await.unwrap()).unwrap();
        assert_eq!(
            (&done["status"], &done["created"], &done["updated"]),
            (&"done".into(), &2.into(), &2.into())
        );
        let failed: Vec<_> = done["failed"].as_array().unwrap().iter().collect();
        let told =
            |at: usize| (failed[at]["row"].as_u64().unwrap(), failed[at]["message"].as_str().unwrap());
        assert_eq!(told(0), (2, "This passport is published and can't be changed"));
        assert_eq!(told(1), (4, "granularity must be one of model, batch, item"));
        assert_eq!(told(2), (5, "Invalid JSON body"));
        assert_eq!(told(3), (6, "Invalid JSON body"));
        assert_eq!(told(4), (7, "name must be a text of 1 to 256 characters"));
        assert_eq!(told(5), (8, "modelNumber must be a text of 1 to 256 characters"));
        assert_eq!(told(6).0, 9);
        assert_eq!(told(7), (10, "Expected JSON object"));
        assert_eq!(told(8), (11, "Expected JSON object"));
        assert_eq!(told(9), (12, "extra is unknown"));
        assert_eq!(failed.len(), 10);
        // Four passports, of which one is published as it was.
        let kept = store.passport(published).await.unwrap();
        assert_eq!((&*kept.name, &*kept.certification_status), ("a lamp", "pending"));
        let brought_up = store.passport(draft).await.unwrap();
        assert_eq!((&*brought_up.name, &*brought_up.status), ("new", "draft"));
        let left = store.publish(None, those(Filter::default()), MOST_AT_ONCE, noon()).await.unwrap();
        assert_eq!(left.body, r#"{"accepted":3}"#);
        assert_eq!(refused(store.import("nobodys".to_owned()).await), RejectionKind::NotFound);
    })
    .await;
}

#[tokio::test]
async fn an_import_that_is_put_off_lets_others_pass() {
    on_each(async |fixture| {
        let store = &fixture.store;
        for _ in 0..2 {
            store.queue_import(None, None, rows("[{}]"), noon()).await.unwrap();
        }
        let first = store.next_import(noon()).await.unwrap().unwrap();
        store.put_off_import(first, later(60)).await.unwrap();
        let second = store.next_import(noon()).await.unwrap().unwrap();
        assert_ne!(second, first);
        assert!(!store.carry_out_import(first, noon()).await.unwrap());
        assert!(store.carry_out_import(second, noon()).await.unwrap());
        assert_eq!(store.next_import(noon()).await.unwrap(), None);
        assert!(store.carry_out_import(first, later(60)).await.unwrap());
        // One that is done stays done.
        store.put_off_import(first, noon()).await.unwrap();
        assert_eq!(store.next_import(later(99)).await.unwrap(), None);
    })
    .await;
}

/// What one partner has waiting is bounded, and is no other's loss.
#[tokio::test]
async fn one_owner_can_have_so_much_waiting_and_no_more() {
    on_each(async |fixture| {
        let store = &fixture.store;
        let megabyte = format!("[\"{}\"]", "x".repeat(MAX_WAITING_BYTES as usize / 16 - 4));
        let queue = async |owner: &str, rows: &str| {
            store.queue_import(None, Some(owner.to_owned()), super::tests::rows(rows), noon()).await
        };
        for _ in 0..16 {
            queue("a", &megabyte).await.unwrap();
        }
        let Err(Fault::Refused(refused)) = queue("a", "[1]").await else { panic!("it was taken") };
        assert_eq!(refused.kind(), RejectionKind::TooManyRequests);
        queue("b", &megabyte).await.unwrap();
        let first = store.next_import(noon()).await.unwrap().unwrap();
        assert!(store.carry_out_import(first, noon()).await.unwrap());
        queue("a", &megabyte).await.unwrap();
    })
    .await;
}
