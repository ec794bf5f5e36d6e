#![allow(clippy::unwrap_used, clippy::expect_used)]

use key0_auth::{Rejection, RejectionKind, SqliteStore, domain::Timestamp};
use tempfile::TempDir;

use super::*;
use crate::partner::{
    passports::Filter,
    store::{Imports, Loyalty},
};

fn store() -> Sqlite {
    Sqlite::in_memory().unwrap()
}

fn noon() -> Timestamp {
    Timestamp::from_seconds(1_795_000_000)
}

async fn count(store: &Sqlite, sql: &'static str) -> i64 {
    store.read(move |conn| Ok(conn.query_row(sql, (), |row| row.get(0))?)).await.unwrap()
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
    assert!(matches!(kept, Err(Fault::Sqlite(_))), "{kept:?}");
}

/// The steps that SQLite would take.
async fn plan(store: &Sqlite, sql: &str) -> Vec<String> {
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

/// Whoever holds the connection is waited for, but not without an end; what was not begun then
/// never is.
#[tokio::test]
async fn a_table_that_hangs_is_an_outage() {
    let connection = Connection::open_in_memory().unwrap();
    let lane = Lane::new(vec![connection], None, Duration::from_millis(50));
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
        let partner = Sqlite::open(&path, None).unwrap();
        partner.mint(None, "wallet".to_owned(), 1, noon()).await.unwrap();
        assert_eq!(count(&partner, "SELECT count(*) FROM partner_orders").await, round);
        drop((keys, partner));
    }
}

#[test]
fn tables_of_newer_versions_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("newer.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "CREATE TABLE partner_version (version INTEGER); INSERT INTO partner_version VALUES (3)",
    )
    .unwrap();
    let opened = Sqlite::open(&path, None);
    assert!(matches!(opened, Err(OpenError::Newer { found: 3, .. })), "{opened:?}");
    // No database at all, and none that is there.
    let text = folder.path().join("text");
    std::fs::write(&text, "no database, whatever its name says it is").unwrap();
    assert!(Sqlite::open(&text, None).is_err());
    assert!(Sqlite::open(&folder.path().join("nowhere"), None).is_err());
}

/// A file of the version before gets what it lacks, and keeps what it has.
#[test]
fn tables_of_the_version_before_are_brought_up() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("partner.db");
    let file = Connection::open(&path).unwrap();
    drop(Sqlite::open(&path, None).unwrap());
    file.execute_batch(
        "DROP INDEX partner_imports_owed;
         ALTER TABLE partner_imports DROP COLUMN owner;
         ALTER TABLE partner_imports DROP COLUMN bytes;
         INSERT INTO partner_imports (id, wanted, due_at, created_at) VALUES ('a', '[]', 1, 1);
         UPDATE partner_version SET version = 1;",
    )
    .unwrap();
    for _ in 0..2 {
        drop(Sqlite::open(&path, None).unwrap());
        let sql = "SELECT count(*) FROM partner_imports, partner_version
             WHERE owner IS NULL AND version = 2";
        assert_eq!(file.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap(), 1);
    }
}
