#![allow(clippy::unwrap_used, clippy::expect_used)]

use key0_auth::SqliteStore;
use tempfile::TempDir;

use super::*;
use crate::partner::{
    passports::{Filter, NewPassport, Wanted},
    query::Page,
};
use key0_auth::domain::Timestamp;

const HOUR: Duration = Duration::from_secs(60 * 60);
const ALL: Page = Page { limit: 100, before: i64::MAX };

fn store() -> Store {
    Store::open(&Place::Memory).unwrap()
}

fn noon() -> Timestamp {
    Timestamp::from_seconds(1_795_000_000)
}

fn later(seconds: u64) -> Timestamp {
    noon().plus(Duration::from_secs(seconds))
}

fn asked(key: &str, body: &str) -> Option<Asked> {
    let mut fingerprint = [0; 32];
    fingerprint[..body.len()].copy_from_slice(body.as_bytes());
    Some(Asked { caller: "key 1".to_owned(), key: key.to_owned(), fingerprint })
}

fn new(model: &str) -> NewPassport {
    let text = format!(
        r#"{{"granularity":"item","application":"shop","modelNumber":"{model}","name":"a lamp"}}"#
    );
    NewPassport::read(text.as_bytes()).unwrap()
}

fn refused<T: std::fmt::Debug>(result: Result<T, Fault>) -> RejectionKind {
    match result.unwrap_err() {
        Fault::Refused(rejection) => rejection.kind(),
        other => panic!("{other}"),
    }
}

async fn count(store: &Store, sql: &'static str) -> i64 {
    store.read(move |conn| Ok(conn.query_row(sql, (), |row| row.get(0))?)).await.unwrap()
}

/// Every effect, under the same key and as if no answer had been kept: a crash comes between.
#[tokio::test]
async fn every_effect_is_recognised_by_its_retry() {
    let rows = || serde_json::value::RawValue::from_string("[{}]".to_owned()).unwrap();
    for effect in ["mint", "tier", "passport", "import", "publish"] {
        let store = store();
        store.create_passport(None, new("before"), noon()).await.unwrap();
        let run = async |key: &str, body: &str, model: &str, now: Timestamp| {
            let asked = asked(key, body);
            match effect {
                "mint" => store.mint(asked, "wallet".to_owned(), 5, now).await,
                "tier" => {
                    let tier =
                        crate::partner::loyalty::NewTier { name: "gold".into(), threshold: 1 };
                    store.create_tier(asked, tier, now).await
                }
                "passport" => store.create_passport(asked, new(model), now).await,
                "import" => store.queue_import(asked, None, rows(), now).await,
                _ => {
                    store.create_passport(None, new(model), now).await.ok();
                    store.publish(asked, Wanted::Those(Filter::default()), now).await
                }
            }
        };
        let first = run("k", "a", "m1", noon()).await.unwrap();
        assert!(!first.replayed, "{effect}");
        let again = Answer { replayed: true, ..first.clone() };
        assert_eq!(run("k", "a", "m1", later(9)).await.unwrap(), again, "{effect}");
        let reused = refused(run("k", "b", "m1", later(9)).await);
        assert_eq!(reused, RejectionKind::IdempotencyKeyReused, "{effect}");
        // Another key, and another caller's, is another request.
        let second = run("other", "a", "m2", later(10)).await.unwrap();
        assert!(second != first || effect == "publish", "{effect}");
        // A day later the key is free, whether it was forgotten in the meantime or not.
        let day = 24 * 60 * 60;
        assert!(run("k", "b", "m3", later(day - 1)).await.is_err(), "{effect}");
        run("k", "b", "m3", later(day)).await.unwrap();
        assert_eq!(refused(run("other", "b", "m4", later(day)).await), reused, "{effect}");
        let forgotten = store.forget_keys(later(day + 10), 100).await.unwrap();
        assert_eq!(forgotten, 1, "{effect}");
        run("other", "b", "m4", later(day + 10)).await.unwrap();
    }
}

#[tokio::test]
async fn one_key_is_for_one_route() {
    let store = store();
    store.mint(asked("k", "mint"), "wallet".to_owned(), 5, noon()).await.unwrap();
    let made = store.create_passport(asked("k", "make"), new("m"), noon()).await;
    assert_eq!(refused(made), RejectionKind::IdempotencyKeyReused);
    assert_eq!(count(&store, "SELECT count(*) FROM partner_passports").await, 0);
}

/// The lookup aside, the index keeps two rows of one key out.
#[tokio::test]
async fn the_index_holds_also_without_the_lookup() {
    let store = store();
    for n in 0..2 {
        store.mint(None, "wallet".to_owned(), 5 + n, noon()).await.unwrap();
    }
    let both = "UPDATE partner_orders
        SET caller = 'c', idempotency_key = 'k', fingerprint = x'00', answer = ''";
    let kept = store.write(move |tx| Ok(tx.execute(both, ())?)).await;
    assert!(matches!(kept, Err(Fault::Sql(_))), "{kept:?}");
}

/// The steps that SQLite would take.
async fn plan(store: &Store, sql: &str) -> Vec<String> {
    let sql = format!("EXPLAIN QUERY PLAN {sql}");
    let steps = store.read(move |conn| {
        let mut statement = conn.prepare(&sql)?;
        let mut rows = statement.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next()? {
            steps.push(row.get::<_, String>(3)?);
        }
        Ok(steps)
    });
    steps.await.unwrap()
}

/// However many rows there are, only those that a statement is about are looked at.
#[tokio::test]
async fn no_table_is_read_whole() {
    let store = store();
    let mut statements = vec![
        due::DUE.to_owned(),
        imports::NEXT.to_owned(),
        imports::WAITING.to_owned(),
        loyalty::ORDERS.to_owned(),
        loyalty::SETTLE.to_owned(),
        passports::CERTIFY.to_owned(),
        passports::FIND.to_owned(),
        passports::PUBLISH_ONE.to_owned(),
    ];
    statements.extend(schema::EFFECTS.map(once::lookup));
    for sql in statements {
        let plan = plan(&store, &sql).await;
        let searches = plan.iter().filter(|step| step.starts_with("SEARCH")).count();
        assert!(searches > 0, "{sql}: {plan:?}");
        for step in plan {
            assert!(!step.starts_with("SCAN partner"), "{sql}: {step}");
            assert!(!step.contains("TEMP B-TREE"), "{sql}: {step}");
        }
    }
    for table in schema::EFFECTS {
        // Not by way of all keys that there are.
        let plan = plan(&store, &once::forget_old(table)).await;
        assert!(plan.iter().any(|step| step.contains("created_at<")), "{table}: {plan:?}");
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{table}: {plan:?}");
    }
    let some = |text: &str| Some(text.to_owned());
    for (application, model_number, wanted) in [
        (None, None, "INDEX partner_passports_drafts"),
        (some("a"), None, "drafts (certification=? AND application=?)"),
        (None, some("m"), "drafts_of_model (certification=? AND model_number=?)"),
        (some("a"), some("m"), "(application=? AND model_number=?)"),
    ] {
        let filter = Filter { application, model_number, status: None };
        let (sql, _) = passports::publish_by(&filter);
        let plan = plan(&store, &sql).await;
        assert!(plan.iter().any(|step| step.contains(wanted)), "{filter:?}: {plan:?}");
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{filter:?}: {plan:?}");
    }
}

#[tokio::test]
async fn a_filter_takes_its_drafts_a_part_at_a_time() {
    let store = store();
    for n in 0..5 {
        store.create_passport(None, new(&n.to_string()), noon()).await.unwrap();
    }
    let take = async |filter: Filter, limit| {
        let taken = store.write(move |tx| passports::publish_those(tx, &filter, limit, noon()));
        let passports::Published { accepted, more } = taken.await.unwrap();
        (accepted, more)
    };
    let some = |text: &str| Some(text.to_owned());
    let published = Filter { status: some("published"), ..Filter::default() };
    assert_eq!(take(published, 9).await, (0, false));
    for strange in ["4", "shop"] {
        let filter =
            Filter { application: some(strange), model_number: some("shop"), status: None };
        assert_eq!(take(filter, 9).await, (0, false));
    }
    let one = Filter { application: some("shop"), model_number: some("3"), status: some("draft") };
    assert_eq!(take(one, 9).await, (1, false));
    let by_model = Filter { model_number: some("4"), ..Filter::default() };
    assert_eq!(take(by_model, 9).await, (1, false));
    let shop = || Filter { application: some("shop"), ..Filter::default() };
    assert_eq!(take(shop(), 2).await, (2, true));
    assert_eq!(take(shop(), 2).await, (1, false));
    assert_eq!(count(&store, "SELECT count(*) FROM partner_passports WHERE due_at > 0").await, 5);
}

#[tokio::test]
async fn a_balance_ends_where_integers_do() {
    let store = store();
    let most = crate::partner::json::MAX_INTEGER;
    let mint = async |amount| store.mint(None, "wallet".to_owned(), amount, noon()).await;
    assert_eq!(mint(most - 1).await.unwrap().body, r#"{"newamount":9007199254740990}"#);
    assert_eq!(refused(mint(2).await), RejectionKind::RequestConflict);
    assert_eq!(mint(1).await.unwrap().body, r#"{"newamount":9007199254740991}"#);
    assert_eq!(refused(mint(1).await), RejectionKind::RequestConflict);
    assert_eq!(store.orders("wallet".to_owned(), ALL).await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_chain_takes_its_time_and_no_longer() {
    let store = store();
    let made = store.create_passport(None, new("m"), noon()).await.unwrap();
    let id: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    let id = id["id"].as_str().unwrap().to_owned();
    let those = || Wanted::Those(Filter::default());
    let publish = async |wanted| store.publish(None, wanted, noon()).await;
    assert_eq!(publish(those()).await.unwrap().body, r#"{"accepted":1}"#);
    // On its way, and once there: not again.
    assert_eq!(publish(Wanted::Ids(vec![id.clone()])).await.unwrap().body, r#"{"accepted":0}"#);
    store.mint(None, "wallet".to_owned(), 5, noon()).await.unwrap();
    assert!(!store.due(noon()).await.unwrap().passports);
    assert_eq!(store.certify(noon(), 9).await.unwrap(), 0);
    assert_eq!(store.settle(noon(), 9).await.unwrap(), 0);
    assert!(store.due(later(1)).await.unwrap().orders);
    assert_eq!(store.certify(later(1), 9).await.unwrap(), 1);
    assert_eq!(store.settle(later(1), 9).await.unwrap(), 1);
    let nothing = due::Due { imports: false, passports: false, orders: false };
    assert_eq!(store.due(later(99)).await.unwrap(), nothing);
    let passport = store.passport(id).await.unwrap();
    assert_eq!((&*passport.status, &*passport.certification_status), ("published", "certified"));
    assert_eq!(publish(those()).await.unwrap().body, r#"{"accepted":0}"#);
}

#[tokio::test]
async fn an_unknown_id_publishes_nothing() {
    let store = store();
    let made = store.create_passport(None, new("m"), noon()).await.unwrap();
    let id: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    let ids = vec![id["id"].as_str().unwrap().to_owned(), "nobodys".to_owned()];
    let kind = refused(store.publish(None, Wanted::Ids(ids), noon()).await);
    assert_eq!(kind, RejectionKind::NotFound);
    assert!(!store.due(later(99)).await.unwrap().passports);
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest() {
    let store = store();
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
}

/// Whoever holds the connection is waited for, but not without an end; what was not begun then
/// never is.
#[tokio::test]
async fn a_table_that_hangs_is_an_outage() {
    let lane = Lane::new(vec![Connection::open_in_memory().unwrap()], Duration::from_millis(50));
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let holder = tokio::spawn({
        let lane = lane.clone();
        async move {
            lane.run(move |_| {
                let _ = held.recv();
                Ok(())
            })
            .await
        }
    });
    assert!(matches!(holder.await.unwrap(), Err(Fault::TooSlow(_))));
    let begun = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = begun.clone();
    let late = lane.run(move |_| {
        flag.store(true, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    });
    let late = late.await;
    assert!(matches!(late, Err(Fault::TooSlow(_))));
    assert_eq!(Rejection::from(late.unwrap_err()).kind(), RejectionKind::StoreUnavailable);
    drop(go_on);
    // A panic gives the connection back, too.
    let panicked = async || lane.run::<()>(|_| panic!("of the test")).await;
    while !matches!(panicked().await, Err(Fault::BrokenOff)) {}
    assert_eq!(Rejection::from(Fault::BrokenOff).kind(), RejectionKind::Internal);
    assert!(lane.run(|_| Ok(())).await.is_ok());
    assert!(!begun.load(std::sync::atomic::Ordering::SeqCst));
}

/// What another try may mend is an outage; what it can't is a bug, and says so.
#[test]
fn only_what_may_be_over_by_itself_is_an_outage() {
    let kind = |code| {
        let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        Rejection::from(Fault::from(error)).kind()
    };
    // BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL; BUSY_SNAPSHOT, IOERR_FSYNC.
    for code in [5, 6, 7, 8, 10, 13, 14, 15, 517, 1_034] {
        assert_eq!(kind(code), RejectionKind::StoreUnavailable, "{code}");
    }
    // ERROR, CORRUPT, SCHEMA, TOOBIG, CONSTRAINT, MISMATCH, RANGE, NOTADB; CONSTRAINT_CHECK.
    for code in [1, 11, 17, 18, 19, 20, 25, 26, 275] {
        assert_eq!(kind(code), RejectionKind::Internal, "{code}");
    }
    let no_row = Fault::from(rusqlite::Error::QueryReturnedNoRows);
    assert_eq!(Rejection::from(no_row).kind(), RejectionKind::Internal);
}

/// Where all is on one connection, a read that waits for a write gives up in its own time.
#[tokio::test]
async fn in_memory_reads_have_their_own_deadline() {
    let store = store();
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let hold = store.write(move |_| Ok(held.recv().is_ok()));
    let mut hold = std::pin::pin!(hold);
    let read = tokio::select! {
        biased;
        _ = &mut hold => panic!("nobody let go"),
        read = store.import("nobodys".to_owned()) => read,
    };
    assert!(matches!(read, Err(Fault::TooSlow(READ_DEADLINE))), "{read:?}");
    go_on.send(()).unwrap();
    assert!(hold.await.unwrap());
}

#[tokio::test]
async fn the_tables_live_beside_those_of_the_keys() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("both.db");
    for round in 1..=3_i64 {
        let keys = SqliteStore::open(&path).unwrap();
        let partner = Store::open(&Place::Beside(path.clone())).unwrap();
        partner.mint(None, "wallet".to_owned(), 1, noon()).await.unwrap();
        assert_eq!(count(&partner, "SELECT count(*) FROM partner_orders").await, round);
        drop((keys, partner));
    }
}

#[tokio::test]
async fn a_file_of_their_own_is_private_and_shared_by_processes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("partner.db");
    let place = Place::File(path.clone());
    let [one, other] = [Store::open(&place).unwrap(), Store::open(&place).unwrap()];
    one.mint(None, "wallet".to_owned(), 1, noon()).await.unwrap();
    let answer = other.mint(None, "wallet".to_owned(), 2, noon()).await.unwrap();
    assert_eq!(answer.body, r#"{"newamount":3}"#);
    #[cfg(unix)]
    {
        let metadata = std::fs::metadata(&path).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn files_of_others_and_of_newer_versions_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("other.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE notes (note TEXT)").unwrap();
    let opened = Store::open(&Place::File(path.clone()));
    assert!(matches!(opened, Err(OpenError::Foreign { .. })), "{opened:?}");
    let tables: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
    conn.execute_batch(
        "CREATE TABLE partner_version (version INTEGER); INSERT INTO partner_version VALUES (3)",
    )
    .unwrap();
    let opened = Store::open(&Place::Beside(path));
    assert!(matches!(opened, Err(OpenError::Newer { found: 3, .. })), "{opened:?}");
    // No database at all, and none that can be made.
    let text = folder.path().join("text");
    std::fs::write(&text, "no database, whatever its name says it is").unwrap();
    assert!(Store::open(&Place::File(text)).is_err());
    assert!(Store::open(&Place::File(folder.path().join("no/such/folder"))).is_err());
}

#[tokio::test]
async fn an_import_is_carried_out_once_and_row_by_row() {
    let store = store();
    store.create_passport(None, new("published"), noon()).await.unwrap();
    store.publish(None, Wanted::Those(Filter::default()), noon()).await.unwrap();
    store.create_passport(None, new("draft"), noon()).await.unwrap();
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
        row("last").replace("}", r#","extra":[1]}"#),
    ];
    let rows = format!("[{}]", rows.join(","));
    let rows = serde_json::value::RawValue::from_string(rows).unwrap();
    let queued = store.queue_import(None, None, rows, noon()).await.unwrap();
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
    assert_eq!(told(1), (4, "granularity must be model, batch or item"));
    assert_eq!(told(2), (5, "Invalid JSON body"));
    assert_eq!(told(3), (6, "Invalid JSON body"));
    assert_eq!(told(4), (7, "name must be a text of 1 to 256 characters"));
    assert_eq!(told(5), (8, "modelNumber must be a text of 1 to 256 characters"));
    assert_eq!(told(6).0, 9);
    assert_eq!(told(7), (10, "Expected JSON object"));
    assert_eq!(told(8), (11, "Expected JSON object"));
    assert_eq!(failed.len(), 9);
    assert_eq!(count(&store, "SELECT count(*) FROM partner_passports").await, 4);
    let kept = "SELECT count(*) FROM partner_passports WHERE name = 'a lamp'";
    assert_eq!(count(&store, kept).await, 1);
    assert_eq!(refused(store.import("nobodys".to_owned()).await), RejectionKind::NotFound);
}

/// What one partner has waiting is bounded, and is no other's loss.
#[tokio::test]
async fn one_owner_can_have_so_much_waiting_and_no_more() {
    let store = store();
    let megabyte = format!("[\"{}\"]", "x".repeat(1024 * 1024 - 4));
    let queue = async |owner: &str, rows: &str| {
        let rows = serde_json::value::RawValue::from_string(rows.to_owned()).unwrap();
        store.queue_import(None, Some(owner.to_owned()), rows, noon()).await
    };
    for _ in 0..16 {
        queue("a", &megabyte).await.unwrap();
    }
    let Err(Fault::Refused(refused)) = queue("a", "[1]").await else { panic!("it was taken") };
    assert_eq!(refused.kind(), key0_auth::RejectionKind::TooManyRequests);
    queue("b", &megabyte).await.unwrap();
    let first = store.next_import(noon()).await.unwrap().unwrap();
    assert!(store.carry_out_import(first, noon()).await.unwrap());
    queue("a", &megabyte).await.unwrap();
}

/// A file of the version before gets what it lacks, and keeps what it has.
#[test]
fn tables_of_the_version_before_are_brought_up() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("partner.db");
    drop(Store::open(&Place::File(path.clone())).unwrap());
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(
        "DROP INDEX partner_imports_owed;
         ALTER TABLE partner_imports DROP COLUMN owner;
         ALTER TABLE partner_imports DROP COLUMN bytes;
         INSERT INTO partner_imports (id, wanted, due_at, created_at) VALUES ('a', '[]', 1, 1);
         UPDATE partner_version SET version = 1;",
    )
    .unwrap();
    for _ in 0..2 {
        drop(Store::open(&Place::File(path.clone())).unwrap());
        let sql = "SELECT count(*) FROM partner_imports, partner_version
             WHERE owner IS NULL AND version = 2";
        assert_eq!(file.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap(), 1);
    }
}
