#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Mutex, Weak};

use rusqlite::config::DbConfig;
use tempfile::TempDir;

use super::*;
use crate::{
    KeyStore,
    apikey::{Grant, KeyDigest, KeyFormat, KeyKind, KeyRecord, Nonce},
    domain::{Actor, ChallengeId, KeyId, PlanId, RequestId, ResourceId, Timestamp, TxHash},
    error::StoreErrorKind,
    store::{
        Change, ChangeListener, IdempotencyStore, Issuance, IssuanceClaim, IssuanceKey,
        IssuanceState, KeyPage, KeyQuery, KeyRegistry, Lease, Payment, PaymentStore,
        RequestFingerprint, Slot, StoredResponse, spi::Order,
    },
};

fn failure() -> Fault {
    crate::store::stored::bad("anything").into()
}

fn fresh() -> (TempDir, SqliteStore, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    // Own watching is out of the way: each test looks when it wants to.
    let store = SqliteOptions::new()
        .poll_interval(Duration::from_secs(3600))
        .write_timeout(Duration::from_millis(20))
        .open(&path)
        .unwrap();
    let raw = Connection::open(&path).unwrap();
    (folder, store, raw)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn key() -> KeyRecord {
    let grant = Grant::Payment {
        resource_id: ResourceId::new("photo-1").unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
        permissions: None,
    };
    KeyRecord::new(KeyId::generate(), &KeyFormat::default().generate().unwrap(), grant, at(0))
}

fn payment(id: &str) -> Payment {
    Payment {
        challenge_id: ChallengeId::new(id).unwrap(),
        request_id: RequestId::new("r").unwrap(),
        resource_id: ResourceId::new("photo-1").unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
        tx_hash: TxHash::new(id).unwrap(),
        details: serde_json::Map::new(),
        received_at: at(0),
    }
}

fn claim(id: &str) -> IssuanceClaim {
    IssuanceClaim {
        key: IssuanceKey::Challenge(ChallengeId::new(id).unwrap()),
        fingerprint: RequestFingerprint::of([&b"body"[..]]),
        tx_hash: TxHash::new(id).unwrap(),
        order: order(),
        lease: Lease::new(at(100)),
    }
}

fn issuance(record: &KeyRecord) -> Issuance {
    Issuance {
        key_id: Some(record.id.clone()),
        digest: record.digest,
        nonce: Some(Nonce::generate().unwrap()),
        secret: None,
        issued_at: at(0),
        expires_at: None,
    }
}

#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Change>>, Mutex<Vec<&'static str>>);

impl ChangeListener for Recorder {
    fn changed(&self, change: Change) {
        self.0.lock().unwrap().push(change);
        self.1.lock().unwrap().push("change");
    }

    fn catching_up(&self) {
        self.1.lock().unwrap().push("begins");
    }

    fn caught_up(&self) {
        self.1.lock().unwrap().push("ends");
    }
}

impl Recorder {
    fn on(listeners: &Listeners) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        let listener: Arc<dyn ChangeListener> = recorder.clone();
        let listener: Weak<dyn ChangeListener> = Arc::downgrade(&listener);
        listeners.add(listener);
        recorder
    }

    fn take(&self) -> Vec<Change> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn told(&self) -> String {
        std::mem::take(&mut *self.1.lock().unwrap()).join(" ")
    }
}

/// Keeps the writing thread busy until the sender is used or dropped.
async fn block(store: &SqliteStore) -> mpsc::Sender<()> {
    let (go_on, wait) = mpsc::channel();
    let (running, started) = tokio::sync::oneshot::channel();
    let store = store.clone();
    tokio::spawn(async move {
        let job = store.write(move |_| {
            let _ = running.send(());
            let _ = wait.recv();
            Ok(())
        });
        job.await.unwrap();
    });
    started.await.unwrap();
    go_on
}

/// Sends a job on its way, so that it stands in the queue when this returns.
async fn enqueue<T: Send + 'static>(
    job: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> tokio::task::JoinHandle<Result<T, StoreError>> {
    let mut job = Box::pin(job);
    let first = std::future::poll_fn(|cx| std::task::Poll::Ready(job.as_mut().poll(cx))).await;
    assert!(first.is_pending());
    tokio::spawn(job)
}

#[tokio::test]
async fn a_panic_fails_its_job_and_neither_thread_nor_data() {
    let (_folder, store, _raw) = fresh();
    let record = key();
    let half = record.clone();
    let write = store.write(move |tx| -> Result<(), Fault> {
        keys::insert(tx, &half, &Actor::host())?;
        panic!("on purpose");
    });
    assert_eq!(write.await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    for _ in 0..5 {
        let read = store.read(|_| -> Result<(), Fault> { panic!("on purpose") });
        assert_eq!(read.await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    }
    assert_eq!(store.find(&record.digest).await.unwrap(), None);
    store.insert(&record, &Actor::host()).await.unwrap();
    assert_eq!(store.find(&record.digest).await.unwrap(), Some(record));
}

#[tokio::test]
async fn a_full_queue_is_an_error_and_not_a_wait() {
    let (_folder, store, _raw) = fresh();
    let go_on = block(&store).await;
    let mut waiting = Vec::new();
    for _ in 0..worker::QUEUE {
        let store = store.clone();
        waiting.push(enqueue(async move { store.write(|_| Ok(())).await }).await);
    }
    let error = store.write(|_| Ok(())).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    drop(go_on);
    for job in waiting {
        job.await.unwrap().unwrap();
    }
    store.write(|_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_is_skipped() {
    let (_folder, store, _raw) = fresh();
    let mut blocked = Vec::new();
    for _ in 0..2 {
        let (go_on, wait) = mpsc::channel::<()>();
        let (running, started) = tokio::sync::oneshot::channel();
        let reader = store.clone();
        let job = async move {
            let job = reader.read(move |_| {
                let _ = running.send(());
                let _ = wait.recv();
                Ok(())
            });
            job.await
        };
        blocked.push((go_on, tokio::spawn(job)));
        started.await.unwrap();
    }
    let (ran, runs) = mpsc::channel();
    for wanted in [false, true] {
        let (reader, ran) = (store.clone(), ran.clone());
        let job =
            async move { reader.read(move |_| ran.send(wanted).map_err(|_| failure())).await };
        let job = enqueue(job).await;
        if wanted {
            blocked.clear();
            job.await.unwrap().unwrap();
        } else {
            job.abort();
            assert!(job.await.unwrap_err().is_cancelled());
        }
    }
    drop(ran);
    assert_eq!(runs.iter().collect::<Vec<_>>(), [true]);
}

#[tokio::test]
async fn a_failed_job_is_undone_alone() {
    let (_folder, store, raw) = fresh();
    let recorder = Recorder::on(&store.shared.listeners);
    let (one, two, three) = (key(), key(), key());
    let mut taken = key();
    taken.digest = one.digest;
    let go_on = block(&store).await;
    let mut jobs = Vec::new();
    for record in [&one, &taken, &two] {
        let (store, record) = (store.clone(), record.clone());
        jobs.push(enqueue(async move { store.insert(&record, &Actor::host()).await }).await);
    }
    // Fails after a change of its own.
    let (half, doomed) = (three.clone(), store.clone());
    let failing = async move {
        let job = doomed.write(move |tx| -> Result<(), Fault> {
            keys::insert(tx, &half, &Actor::host())?;
            Err(failure())
        });
        job.await
    };
    jobs.push(enqueue(failing).await);
    drop(go_on);
    let mut kept = Vec::new();
    for job in jobs {
        kept.push(job.await.unwrap().is_ok());
    }
    assert_eq!(kept, [true, false, true, false]);
    assert_eq!(recorder.take(), [Change::Key(one.digest), Change::Key(two.digest)]);
    let count: i64 = raw.query_row("SELECT count(*) FROM keys", (), |row| row.get(0)).unwrap();
    assert_eq!(count, 2);
}

#[tokio::test]
async fn what_is_not_committed_is_not_acknowledged() {
    let (_folder, store, raw) = fresh();
    raw.execute_batch(
        "CREATE TABLE parents (id INTEGER PRIMARY KEY);
         CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
    )
    .unwrap();
    let recorder = Recorder::on(&store.shared.listeners);
    let record = key();
    // In one batch with a write that lets the commit itself fail, and with one whose failure ends
    // the transaction.
    for poison in ["INSERT INTO children VALUES (1)", "ROLLBACK"] {
        for fails in [false, true] {
            let go_on = block(&store).await;
            let (good, inserted) = (store.clone(), record.clone());
            let good = enqueue(async move { good.insert(&inserted, &Actor::host()).await }).await;
            let bad = store.clone();
            let bad = async move {
                bad.write(move |tx| -> Result<(), Fault> {
                    tx.conn.execute_batch(poison)?;
                    if fails && poison == "ROLLBACK" { Err(failure()) } else { Ok(()) }
                })
                .await
            };
            let bad = enqueue(bad).await;
            let last = store.clone();
            let last = enqueue(async move { last.insert(&key(), &Actor::host()).await }).await;
            drop(go_on);
            for job in [good, bad, last] {
                let error = job.await.unwrap().unwrap_err();
                assert!(matches!(
                    error.kind(),
                    StoreErrorKind::Unavailable | StoreErrorKind::Corrupt
                ));
            }
            assert_eq!(recorder.take(), []);
            let count: i64 =
                raw.query_row("SELECT count(*) FROM keys", (), |row| row.get(0)).unwrap();
            assert_eq!(count, 0, "{poison}");
        }
    }
    store.insert(&record, &Actor::host()).await.unwrap();
    assert_eq!(recorder.take(), [Change::Key(record.digest)]);
}

#[tokio::test]
async fn a_write_gives_up_on_a_locked_database_and_reads_go_on() {
    let (_folder, store, raw) = fresh();
    let record = key();
    store.insert(&record, &Actor::host()).await.unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_eq!(store.find(&record.digest).await.unwrap(), Some(record.clone()));
    raw.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap(), Some(record.digest));
}

#[tokio::test]
async fn a_key_that_can_not_be_understood_is_an_error() {
    let (_folder, store, raw) = fresh();
    for damage in [
        "kind = 'visitor'",
        "kind = 'integrator'",
        "role = 'read'",
        "permissions = '1'",
        "resource_id = NULL",
        "plan_id = 'two words'",
        "metadata = '[]'",
        "metadata = '{'",
        "expires_at = 9223372036854775807",
        "kind = 'integrator', resource_id = NULL, plan_id = NULL",
        "kind = 'integrator', resource_id = NULL, plan_id = NULL, role = 'root'",
        "kind = 'integrator', resource_id = NULL, plan_id = NULL, role = 'read', permissions = '1'",
        "kind = 'integrator', resource_id = NULL, plan_id = NULL, role = 'read',
             permissions = '{\"dpp\":[\"all\"]}'",
        "label = CAST(x'ff' AS TEXT)",
    ] {
        let record = key();
        store.insert(&record, &Actor::host()).await.unwrap();
        assert!(store.find(&record.digest).await.unwrap().is_some());
        let sql = format!("UPDATE keys SET {damage} WHERE id = ?1");
        assert_eq!(raw.execute(&sql, [record.id.as_str()]).unwrap(), 1);
        for error in [
            store.find(&record.digest).await.unwrap_err(),
            store.get(&record.id).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{damage}");
        }
        // It can be revoked all the same.
        assert_eq!(
            store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap(),
            Some(record.digest)
        );
    }
}

#[tokio::test]
async fn an_issuance_that_can_not_be_understood_is_an_error() {
    let (_folder, store, raw) = fresh();
    for (i, damage) in ["fingerprint = x'00'", "digest = NULL", "nonce = x'01'", "key_id = ''"]
        .into_iter()
        .enumerate()
    {
        let (claim, record) = (claim(&format!("c{i}")), key());
        store.begin_issuance(&claim, at(0)).await.unwrap();
        let issuance = issuance(&record);
        store.complete_issuance(&claim, &issuance, Some(&record)).await.unwrap();
        raw.execute(&format!("UPDATE issuances SET {damage} WHERE id = ?1"), [claim.key.id()])
            .unwrap();
        for error in [
            store.begin_issuance(&claim, at(0)).await.unwrap_err(),
            store.replace_issuance(&claim.key, &issuance, &issuance, "x", at(5)).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{damage}");
        }
    }
}

#[tokio::test]
async fn a_payment_that_can_not_be_understood_is_an_error_and_holds_up_no_other() {
    let (_folder, store, raw) = fresh();
    for (i, damage) in ["details = '1'", "plan_id = ''", "received_at = -9223372036854775807"]
        .into_iter()
        .enumerate()
    {
        let (bad, good) = (payment(&format!("bad{i}")), payment(&format!("good{i}")));
        store.record_payment(&bad).await.unwrap();
        store.record_payment(&good).await.unwrap();
        let id = bad.challenge_id.as_str();
        raw.execute(&format!("UPDATE payments SET {damage} WHERE challenge_id = ?1"), [id])
            .unwrap();
        let lease = Lease::new(at(100));
        for error in [
            store.payment(&bad.challenge_id).await.unwrap_err(),
            store.lease_payment(&lease, at(1)).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{damage}");
        }
        let leased = store.lease_payment(&lease, at(1)).await.unwrap().unwrap();
        assert_eq!(leased.payment, good);
        assert_eq!(store.lease_payment(&lease, at(1)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_answer_that_can_not_be_understood_is_an_error() {
    let (_folder, store, raw) = fresh();
    let response = StoredResponse { status: 200, headers: vec![], body: vec![1] };
    let fingerprint = RequestFingerprint::of([&b"body"[..]]);
    for damage in ["fingerprint = x''", "status = 70000", "headers = NULL", "body = NULL"] {
        let slot = Slot { scope: "a".to_owned(), key: damage.to_owned() };
        let lease = Lease::new(at(100));
        store.begin_request(&slot, &fingerprint, &lease, at(0)).await.unwrap();
        store.complete_request(&slot, &lease, &response, at(1_000)).await.unwrap();
        raw.execute(&format!("UPDATE idempotency SET {damage} WHERE key = ?1"), [&slot.key])
            .unwrap();
        let error = store.begin_request(&slot, &fingerprint, &lease, at(1)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{damage}");
    }
}

#[tokio::test]
async fn what_is_forgotten_is_in_no_file() {
    let (folder, store, raw) = fresh();
    let mut nonces = Vec::new();
    for i in 0..50 {
        let (claim, record) = (claim(&format!("c{i}")), key());
        let issuance = issuance(&record);
        nonces.extend(issuance.nonce);
        store.begin_issuance(&claim, at(0)).await.unwrap();
        store.complete_issuance(&claim, &issuance, Some(&record)).await.unwrap();
    }
    let slot = Slot { scope: "a".to_owned(), key: "k".to_owned() };
    let lease = Lease::new(at(100));
    let body = b"what the answer said".repeat(1_000);
    let response = StoredResponse { status: 200, headers: vec![], body };
    let fingerprint = RequestFingerprint::of([&b"body"[..]]);
    store.begin_request(&slot, &fingerprint, &lease, at(0)).await.unwrap();
    store.complete_request(&slot, &lease, &response, at(1)).await.unwrap();

    let count = |wanted: &[u8]| {
        let _: i64 = raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |r| r.get(0)).unwrap();
        let files = std::fs::read_dir(folder.path()).unwrap();
        let contents = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let windows = |bytes: Vec<u8>| bytes.windows(wanted.len()).filter(|w| *w == wanted).count();
        contents.map(windows).sum::<usize>()
    };
    assert!(nonces.iter().all(|nonce| count(nonce.as_bytes()) > 0));
    assert!(count(b"what the answer said") > 900);
    assert_eq!(store.forget_nonces(at(1), 100).await.unwrap(), 50);
    assert_eq!(store.purge_requests(at(1), 100).await.unwrap(), 1);
    assert_eq!(nonces.iter().filter(|nonce| count(nonce.as_bytes()) > 0).count(), 0);
    assert_eq!(count(b"what the answer said"), 0);
}

fn watcher(folder: &TempDir) -> (Watcher, Arc<Recorder>) {
    let listeners = Arc::new(Listeners::default());
    let recorder = Recorder::on(&listeners);
    let path = folder.path().join("store.db");
    let conn = open::reader(&path, READ_TIMEOUT).unwrap();
    let files = Arc::new(Files::new(&path).unwrap());
    (Watcher::new(conn, files, listeners).unwrap(), recorder)
}

#[tokio::test]
async fn whatever_happens_to_a_key_is_seen() {
    let (folder, store, raw) = fresh();
    let (mut watcher, recorder) = watcher(&folder);
    let (one, two) = (key(), key());
    let changed = |record: &KeyRecord| Change::Key(record.digest);
    let new = KeyDigest::of("another");
    let run = |sql: &str| {
        let sql = sql
            .replace("$one", &format!("'{}'", one.id))
            .replace("$two", &format!("'{}'", two.id))
            .replace("$new", &hex(new.as_bytes()));
        raw.execute_batch(&sql).unwrap();
    };
    watcher.look().unwrap();
    assert_eq!(recorder.take(), []);

    store.insert(&one, &Actor::host()).await.unwrap();
    store.insert(&two, &Actor::host()).await.unwrap();
    watcher.look().unwrap();
    assert_eq!(recorder.take(), [changed(&one), changed(&two)]);

    run("UPDATE keys SET last_used_at = 5");
    watcher.look().unwrap();
    assert_eq!(recorder.take(), []);

    for column in ["revoked_at = 1", "expires_at = 1", "plan_id = 'gold'", "metadata = '{\"a\":1}'"]
    {
        run(&format!("UPDATE keys SET {column}, last_used_at = 6 WHERE id = $one"));
        watcher.look().unwrap();
        assert_eq!(recorder.take(), [changed(&one)], "{column}");
    }

    run("BEGIN; UPDATE keys SET revoked_at = 2; ROLLBACK");
    watcher.look().unwrap();
    assert_eq!(recorder.take(), []);

    run("UPDATE keys SET digest = $new WHERE id = $one");
    watcher.look().unwrap();
    assert_eq!(recorder.take(), [changed(&one), Change::Key(new)]);

    // Both take a row away without a trigger for its removal.
    run("UPDATE OR REPLACE keys SET id = $two WHERE id = $one");
    watcher.look().unwrap();
    assert!(recorder.take().contains(&changed(&two)));
    let third = KeyDigest::of("third");
    raw.execute(
        "INSERT OR REPLACE INTO keys (id, digest, display, kind, metadata, created_at)
         VALUES (?1, ?2, '', '', '{}', 0)",
        (two.id.as_str(), third.as_bytes()),
    )
    .unwrap();
    watcher.look().unwrap();
    let heard = recorder.take();
    assert!(heard.contains(&Change::Key(new)) && heard.contains(&Change::Key(third)));

    run("DELETE FROM keys");
    watcher.look().unwrap();
    assert_eq!(recorder.take(), [Change::Key(third)]);
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

#[tokio::test]
async fn where_changes_may_be_missed_anything_may_have_changed() {
    let (folder, store, raw) = fresh();
    let (mut watcher, recorder) = watcher(&folder);
    let mut all = async |cause: &str| {
        watcher.look().unwrap();
        assert_eq!(recorder.take(), [Change::All], "{cause}");
        let record = key();
        store.insert(&record, &Actor::host()).await.unwrap();
        watcher.look().unwrap();
        assert_eq!(recorder.take(), [Change::Key(record.digest)], "after {cause}");
    };
    store.insert(&key(), &Actor::host()).await.unwrap();
    raw.execute_batch("DELETE FROM key_changes").unwrap();
    all("a pruned log").await;

    store.insert(&key(), &Actor::host()).await.unwrap();
    store.insert(&key(), &Actor::host()).await.unwrap();
    raw.execute_batch(
        "DELETE FROM key_changes WHERE revision = (SELECT max(revision) - 1 FROM key_changes)",
    )
    .unwrap();
    all("a hole in the log").await;

    raw.execute_batch("INSERT INTO key_changes (digest) VALUES (x'00')").unwrap();
    all("a row that can't be understood").await;

    raw.execute_batch("DELETE FROM key_changes; DELETE FROM sqlite_sequence").unwrap();
    all("a log that begins anew").await;

    raw.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
         INSERT INTO key_changes (digest) SELECT zeroblob(32) FROM n",
    )
    .unwrap();
    let kept: i64 =
        raw.query_row("SELECT count(*) FROM key_changes", (), |row| row.get(0)).unwrap();
    assert_eq!(kept, 4096);
    all("more than can be told").await;
}

#[tokio::test]
async fn after_an_error_anything_may_have_changed() {
    let (folder, _store, raw) = fresh();
    let (mut watcher, recorder) = watcher(&folder);
    raw.execute_batch("ALTER TABLE key_changes RENAME TO gone").unwrap();
    watcher.look().unwrap_err();
    watcher.lose();
    assert_eq!(recorder.take(), []);
    raw.execute_batch("ALTER TABLE gone RENAME TO key_changes").unwrap();
    watcher.look().unwrap();
    assert_eq!(recorder.take(), [Change::All]);
    watcher.look().unwrap();
    assert_eq!(recorder.take(), []);
}

#[tokio::test]
async fn only_a_look_that_succeeds_says_that_all_is_told() {
    let (folder, store, raw) = fresh();
    let (mut watcher, recorder) = watcher(&folder);
    let mut told = || {
        watcher.watch();
        recorder.told()
    };
    assert_eq!(told(), "begins ends");
    store.insert(&key(), &Actor::host()).await.unwrap();
    assert_eq!(told(), "begins change ends");
    raw.execute_batch("ALTER TABLE key_changes RENAME TO gone").unwrap();
    assert_eq!([told(), told()], ["begins", "begins"]);
    raw.execute_batch("ALTER TABLE gone RENAME TO key_changes").unwrap();
    assert_eq!([told(), told()], ["begins change ends", "begins ends"]);
    // What is written from now on is in a file that it does not read.
    let path = folder.path().join("store.db");
    std::fs::rename(&path, folder.path().join("other.db")).unwrap();
    assert_eq!([told(), told()], ["begins", "begins"]);
}

/// So many keys that expired long ago, newer than all others, written past the store.
fn add_expired(raw: &Connection, count: i64) {
    add_expired_from(raw, 0, count);
}

fn add_expired_from(raw: &Connection, after: i64, count: i64) {
    raw.execute(
        "WITH RECURSIVE n (i) AS (SELECT ?2 + 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 + ?2)
         INSERT INTO keys (id, digest, display, kind, resource_id, plan_id, metadata, created_at,
             expires_at)
         SELECT 'old-' || i, randomblob(32), 'ak_…', 'payment', 'photo-1', 'basic', '{}',
             1000000 + i, 2000000 FROM n",
        [count, after],
    )
    .unwrap();
}

#[tokio::test]
async fn a_page_looks_through_no_more_than_its_bound() {
    let (_folder, store, raw) = fresh();
    let record = key();
    store.insert(&record, &Actor::host()).await.unwrap();
    let bound = registry::MOST_LOOKED_THROUGH;
    add_expired(&raw, i64::from(2 * bound + 1));
    let mut query = KeyQuery {
        kind: KeyKind::Payment,
        in_force_at: Some(at(100)),
        filter: Default::default(),
        after: None,
        limit: 10,
    };
    for _ in 0..2 {
        let page = store.list(&query).await.unwrap();
        assert_eq!(page.keys, []);
        assert!(page.next.is_some());
        query.after = page.next;
    }
    let page = store.list(&query).await.unwrap();
    assert_eq!(page, KeyPage { keys: vec![record], unreadable: vec![], next: None });
}

#[tokio::test]
async fn listing_and_purging_go_by_an_index() {
    let (_folder, store, raw) = fresh();
    store.ping().await.unwrap();
    for (query, index) in [
        (registry::NEWEST, "keys_listed"),
        (registry::OLDER, "keys_listed"),
        (registry::OVER, "keys_ending"),
        (listing::ISSUANCES, "issuances_seen"),
        (listing::PAYMENTS, "payments_seen"),
        ("SELECT id FROM issuances WHERE key_id = ?1", "issuances_of_key"),
        ("SELECT id FROM issuances WHERE request_id = ?1", "issuances_of_request"),
        ("SELECT tx_hash FROM payments WHERE request_id = ?1", "payments_of_request"),
    ] {
        let mut plan = raw.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let parameters = vec![None::<i64>; plan.parameter_count()];
        let rows = plan.query_map(rusqlite::params_from_iter(parameters), |row| row.get(3));
        let plan: Vec<String> = rows.unwrap().map(Result::unwrap).collect();
        assert!(plan.len() == 1 && plan[0].starts_with("SEARCH"), "{plan:?}");
        assert!(plan[0].contains(index), "{plan:?}");
    }
}

#[tokio::test]
async fn a_file_of_the_first_version_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(schema::MIGRATIONS[0]).unwrap();
    raw.pragma_update(None, "application_id", schema::APPLICATION_ID).unwrap();
    raw.pragma_update(None, "user_version", 1).unwrap();
    add_expired(&raw, 3);
    // An older process has it open, and goes on.
    let store = SqliteStore::open(&path).unwrap();
    let query = KeyQuery {
        kind: KeyKind::Payment,
        in_force_at: None,
        filter: Default::default(),
        after: None,
        limit: 10,
    };
    let listed = store.list(&query).await.unwrap().keys;
    assert_eq!(listed.len(), 3);
    let id = &listed[0].id;
    store.revoke(id, &Actor::host(), at(1)).await.unwrap().unwrap();
    assert_eq!(store.history(id, 10).await.unwrap().len(), 1);

    add_expired_from(&raw, 3, 1);
    // What others do to a key is told of both of its secrets.
    let old = listed[1].digest;
    let new = KeyDigest::of("new");
    let display = "x".to_owned();
    let rotation = crate::store::Rotation { old, new, display, old_until: Some(at(9)) };
    assert!(store.rotate(&listed[1].id, &rotation, &Actor::host(), at(1)).await.unwrap());
    let of_id = listed[1].id.as_str();
    for change in
        ["UPDATE keys SET suspended_at = 5 WHERE id = ?1", "DELETE FROM keys WHERE id = ?1"]
    {
        raw.execute("DELETE FROM key_changes", ()).unwrap();
        assert_eq!(raw.execute(change, [of_id]).unwrap(), 1);
        for digest in [old, new] {
            let told: bool = raw
                .query_row(
                    "SELECT EXISTS (SELECT 1 FROM key_changes WHERE digest = ?1)",
                    [digest.as_bytes()],
                    |row| row.get(0),
                )
                .unwrap();
            assert!(told, "{change}");
        }
    }
}

/// A caller that gave up was told of an outage: what it asked for is not done after all.
#[tokio::test]
async fn a_write_that_nobody_waits_for_is_not_done() {
    let (_folder, store, _raw) = fresh();
    let record = key();
    let go_on = block(&store).await;
    let (given_up, inserted) = (store.clone(), record.clone());
    let job = enqueue(async move { given_up.insert(&inserted, &Actor::host()).await }).await;
    job.abort();
    assert!(job.await.unwrap_err().is_cancelled());
    drop(go_on);
    store.insert(&key(), &Actor::host()).await.unwrap();
    assert_eq!(store.get(&record.id).await.unwrap(), None);
}

async fn is_lost(store: &SqliteStore) {
    let record = key();
    let unavailable = |error: StoreError| error.kind() == StoreErrorKind::Unavailable;
    assert!(store.insert(&record, &Actor::host()).await.is_err_and(unavailable));
    assert!(store.ping().await.is_err_and(unavailable));
    assert!(store.find(&record.digest).await.is_err_and(unavailable));
    assert!(store.check_files().is_err_and(unavailable));
    assert!(store.lease_payment(&Lease::new(at(1)), at(0)).await.is_err_and(unavailable));
}

#[tokio::test]
async fn files_that_are_gone_or_are_others_are_an_outage() {
    for (ending, replaced) in ["", "-wal", "-shm"].into_iter().flat_map(|e| [(e, false), (e, true)])
    {
        let (folder, store, raw) = fresh();
        let record = key();
        store.insert(&record, &Actor::host()).await.unwrap();
        let path = folder.path().join(format!("store.db{ending}"));
        if replaced {
            let copy = folder.path().join("copy");
            std::fs::copy(&path, &copy).unwrap();
            std::fs::rename(&copy, &path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        is_lost(&store).await;
        // For good: what was acknowledged in between is not there.
        if replaced {
            let copy = std::fs::read(&path).unwrap();
            drop(raw);
            drop(store);
            assert_eq!(std::fs::read(&path).unwrap(), copy, "{ending:?} was written over");
        }
    }
}

/// Writes over a file without giving it another name, as `cp` and `truncate` do, at a time that differs.
async fn overwrite(path: &std::path::Path, contents: &[u8]) {
    let written = || std::fs::metadata(path).unwrap().modified().unwrap();
    let before = written();
    eventually(async || {
        std::fs::write(path, contents).unwrap();
        written() != before
    })
    .await;
}

#[tokio::test]
async fn files_that_others_have_written_to_are_an_outage() {
    for case in ["an older copy", "the same again", "emptied", "the log emptied", "another log"] {
        let (folder, store, raw) = fresh();
        let (file, log) = (folder.path().join("store.db"), folder.path().join("store.db-wal"));
        let record = key();
        store.insert(&record, &Actor::host()).await.unwrap();
        raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).unwrap();
        store.check_files().unwrap();
        let copy = std::fs::read(&file).unwrap();
        store.insert(&key(), &Actor::host()).await.unwrap();
        let logged = std::fs::read(&log).unwrap();
        if case == "an older copy" {
            raw.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(())).unwrap();
            store.insert(&key(), &Actor::host()).await.unwrap();
        }
        match case {
            "emptied" => overwrite(&file, b"").await,
            "the log emptied" => overwrite(&log, b"").await,
            "another log" => {
                let mut other = logged.clone();
                other[16..24].copy_from_slice(b"anothers");
                overwrite(&log, &other).await;
            }
            _ => overwrite(&file, &copy).await,
        }
        is_lost(&store).await;
        // What stands there is not mixed with what is in the log.
        let left = std::fs::read(&file).unwrap();
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        drop(raw);
        drop(store);
        assert_eq!(std::fs::read(&file).unwrap(), left, "{case}");
    }
}

/// Checkpoints of this store and of others, a log that begins anew, and `VACUUM`.
#[tokio::test]
async fn what_sqlite_itself_writes_is_no_outage() {
    let (folder, store, raw) = fresh();
    let checkpoint = |kind: &str| {
        let sql = format!("PRAGMA wal_checkpoint({kind})");
        raw.query_row(&sql, (), |_| Ok(())).unwrap();
    };
    let other = SqliteStore::open(folder.path().join("store.db")).unwrap();
    for round in 0..40 {
        let kind = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][round % 4];
        store.insert(&key(), &Actor::host()).await.unwrap();
        other.insert(&key(), &Actor::host()).await.unwrap();
        checkpoint(kind);
        store.check_files().unwrap();
        other.check_files().unwrap();
        if round == 10 {
            raw.execute_batch("VACUUM").unwrap();
        }
    }
    store.ping().await.unwrap();
    other.ping().await.unwrap();
}

/// As where a file system forgets the end of a time later.
#[test]
fn a_time_that_is_rounded_is_the_same() {
    use super::files::is_same_time;

    let last = 1_795_305_965_123_456_789;
    for rounded in [last, last - 89, last - 789, last - 123_456_789] {
        assert!(is_same_time(last, rounded), "{rounded}");
    }
    for other in [last + 1, last - 1, last - 123_456_788, last + 1_000_000_000, last + 876_543_211]
    {
        assert!(!is_same_time(last, other), "{other}");
    }
}

#[tokio::test]
async fn a_file_that_sqlite_finds_to_be_no_database_is_lost() {
    use rusqlite::ffi::{Error, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_NOTADB};

    fn fails(code: i32) -> Result<(), Fault> {
        Err(rusqlite::Error::SqliteFailure(Error::new(code), None).into())
    }
    let (_folder, store, _raw) = fresh();
    // A row that can't be understood, or a full disk, is none.
    let unread = store.read(|_| Err::<(), _>(StoreError::corrupt("a row").into())).await;
    assert_eq!(unread.unwrap_err().kind(), StoreErrorKind::Corrupt);
    assert!(store.write(move |_| fails(SQLITE_FULL)).await.is_err());
    store.insert(&key(), &Actor::host()).await.unwrap();
    // One page of many may be malformed.
    let found = store.read(|_| fails(SQLITE_CORRUPT)).await.unwrap_err();
    assert_eq!(found.kind(), StoreErrorKind::Corrupt);
    store.insert(&key(), &Actor::host()).await.unwrap();
    let found = store.read(|_| fails(SQLITE_NOTADB)).await.unwrap_err();
    assert_eq!(found.kind(), StoreErrorKind::Corrupt);
    is_lost(&store).await;
    // In a write as well, and where the commit fails.
    let (_folder, store, _raw) = fresh();
    assert!(store.write(move |_| fails(SQLITE_NOTADB)).await.is_err());
    is_lost(&store).await;
    let (_folder, store, _raw) = fresh();
    let failed = rusqlite::Error::SqliteFailure(Error::new(SQLITE_NOTADB), None);
    store.shared.files.note(&StoreError::corrupt(Arc::new(failed)));
    is_lost(&store).await;
}

#[tokio::test]
async fn the_watcher_sees_that_the_log_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteOptions::new().poll_interval(Duration::from_millis(5)).open(&path).unwrap();
    let unknown = key().digest;
    assert_eq!(store.find(&unknown).await.unwrap(), None);
    std::fs::remove_file(folder.path().join("store.db-wal")).unwrap();
    // Reads alone don't look.
    eventually(async || store.find(&unknown).await.is_err()).await;
}

#[tokio::test]
async fn a_file_behind_a_link_is_watched_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file.db"), folder.path().join("link.db"));
    drop(Connection::open(&file).unwrap());
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let store = SqliteStore::open(&link).unwrap();
    store.insert(&key(), &Actor::host()).await.unwrap();
    std::fs::remove_file(folder.path().join("file.db-wal")).unwrap();
    is_lost(&store).await;
}

async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(std::time::Instant::now() < end, "it never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How many keys a copy of the file alone holds.
fn keys_in_copy(folder: &TempDir) -> i64 {
    let copy = folder.path().join("copy.db");
    std::fs::copy(folder.path().join("store.db"), &copy).unwrap();
    let conn = Connection::open(&copy).unwrap();
    conn.query_row("SELECT count(*) FROM keys", (), |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_store_that_was_closed_is_whole_in_its_file() {
    let (folder, store, _raw) = fresh();
    store.insert(&key(), &Actor::host()).await.unwrap();
    assert_eq!(keys_in_copy(&folder), 0, "the test shows nothing");
    store.close().await.unwrap();
    assert_eq!(keys_in_copy(&folder), 1);
    let log = std::fs::metadata(folder.path().join("store.db-wal")).unwrap();
    assert_eq!(log.len(), 0);
    assert!(store.insert(&key(), &Actor::host()).await.is_err(), "it would be in the log alone");
    assert!(store.ping().await.is_err());
}

#[tokio::test]
async fn a_quiet_store_is_whole_in_its_file() {
    let (folder, store, _raw) = fresh();
    store.insert(&key(), &Actor::host()).await.unwrap();
    eventually(async || keys_in_copy(&folder) == 1).await;
}

/// Whoever wrote it: the partner API of the sample backend has connections of its own.
#[tokio::test]
async fn what_others_wrote_is_in_the_file_of_a_quiet_store_too() {
    let (folder, store, raw) = fresh();
    raw.execute_batch("CREATE TABLE beside (row); INSERT INTO beside VALUES (1)").unwrap();
    let copied = || {
        let copy = folder.path().join("copy.db");
        std::fs::copy(folder.path().join("store.db"), &copy).unwrap();
        let rows = "SELECT count(*) FROM beside";
        Connection::open(&copy).unwrap().query_row(rows, (), |row| row.get::<_, i64>(0))
    };
    assert!(copied().is_err(), "the test shows nothing");
    eventually(async || copied() == Ok(1)).await;
    drop(store);
}

/// However long lookups take, and however many wait.
#[tokio::test]
async fn a_ping_waits_for_no_lookup() {
    let (_folder, store, _raw) = fresh();
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let begun = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let lookups: Vec<_> = (0..8)
        .map(|_| {
            let (store, wait, begun) = (store.clone(), wait.clone(), begun.clone());
            let lookup = move |_: &Connection| {
                begun.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                Ok(wait.lock().unwrap().recv().is_err())
            };
            tokio::spawn(async move { store.read(lookup).await })
        })
        .collect();
    eventually(async || begun.load(std::sync::atomic::Ordering::SeqCst) == 2).await;
    tokio::time::timeout(Duration::from_secs(60), store.ping()).await.unwrap().unwrap();
    assert!(lookups.iter().all(|lookup| !lookup.is_finished()));
    drop(go_on);
    for lookup in lookups {
        assert!(lookup.await.unwrap().unwrap());
    }
}

#[tokio::test]
async fn a_hash_that_an_older_version_kept_without_0x_is_spent() {
    let (_folder, store, raw) = fresh();
    let digits = "ab".repeat(32);
    let (mut first, record) = (claim("first"), key());
    first.tx_hash = TxHash::new(&digits).unwrap();
    store.begin_issuance(&first, at(0)).await.unwrap();
    store.complete_issuance(&first, &issuance(&record), Some(&record)).await.unwrap();
    raw.execute("UPDATE issuances SET tx_hash = ?1", [&digits]).unwrap();
    for hash in [digits.clone(), format!("0x{digits}")] {
        let tx_hash = TxHash::new(&hash).unwrap();
        let second = IssuanceClaim { tx_hash, ..claim("second") };
        let state = store.begin_issuance(&second, at(0)).await.unwrap();
        assert_eq!(state, IssuanceState::Redeemed, "{hash}");
    }
}

#[tokio::test]
async fn a_key_that_can_not_be_read_hides_no_other_and_can_be_revoked() {
    let (_folder, store, raw) = fresh();
    let mut records = Vec::new();
    for seconds in 1..=5 {
        let record = KeyRecord { created_at: at(seconds), ..key() };
        store.insert(&record, &Actor::host()).await.unwrap();
        records.push(record);
    }
    records.reverse();
    raw.execute("UPDATE keys SET metadata = '{' WHERE id = ?1", [records[1].id.as_str()]).unwrap();
    raw.execute(
        "UPDATE keys SET created_at = ?1 WHERE id = ?2",
        (i64::MAX, records[0].id.as_str()),
    )
    .unwrap();
    let keys = crate::ApiKeys::new(Arc::new(store.clone()));
    let api = crate::api::KeysApi::new(Arc::new(store.clone()), keys);
    let operator = crate::api::Operator::host();
    for limit in 1..=6 {
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let query = format!("kind=payment&limit={limit}{cursor}");
            let page = api.list(&operator, Some(&query)).await.unwrap();
            let page: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
            for key in page["keys"].as_array().unwrap() {
                let id = key["id"].as_str().unwrap().to_owned();
                listed.push((id, key["unreadable"] == true));
            }
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let expected: Vec<_> =
            records.iter().enumerate().map(|(i, r)| (r.id.to_string(), i < 2)).collect();
        assert_eq!(listed, expected, "{limit}");
    }
    for record in &records[..2] {
        api.revoke(&operator, record.id.as_str(), None).await.unwrap();
    }
    let page = api.list(&operator, Some("kind=payment")).await.unwrap();
    assert!(!String::from_utf8(page.body).unwrap().contains("unreadable"));
}

/// All pages of a listing, and how often each line of them is unreadable.
async fn listed_as(store: &SqliteStore, limit: u32) -> (Vec<(String, bool)>, Vec<(String, bool)>) {
    let audit = crate::api::AuditApi::new(Arc::new(store.clone()));
    let operator = crate::api::Operator::host();
    let (mut events, mut query) = (Vec::new(), format!("limit={limit}"));
    loop {
        let page = audit.list(&operator, Some(&query)).await.unwrap();
        for line in String::from_utf8(page.body).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            events.push((line["id"].as_str().unwrap().to_owned(), line["unreadable"] == true));
        }
        let (_, link) = page.headers.iter().find(|(name, _)| *name == "link").unwrap();
        let next = link.strip_prefix("<?").unwrap().strip_suffix(">; rel=\"next\"");
        let Some(next) = next else { break };
        query = next.to_owned();
    }
    let keys = crate::ApiKeys::new(Arc::new(store.clone()));
    let denied = crate::store::DeniedTokens::new(Arc::new(store.clone()));
    let api = crate::api::PurchasesApi::new(Arc::new(store.clone()), keys, denied.clone());
    let (mut purchases, mut cursor) = (Vec::new(), String::new());
    loop {
        let query = format!("limit={limit}{cursor}");
        let page = api.list(&operator, Some(&query)).await.unwrap();
        let page: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        for purchase in page["purchases"].as_array().unwrap() {
            let id = purchase["challengeId"].as_str().unwrap().to_owned();
            purchases.push((id, purchase["unreadable"] == true));
        }
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    denied.close();
    (events, purchases)
}

#[tokio::test]
async fn events_and_purchases_that_can_not_be_read_are_listed_as_such() {
    let (_folder, store, raw) = fresh();
    let mut ids = Vec::new();
    for n in 0..6 {
        let record = key();
        store.insert(&record, &Actor::host()).await.unwrap();
        ids.push(record.id.to_string());
        let paid = Payment { received_at: at(n), ..payment(&format!("c{n}")) };
        store.record_payment(&paid).await.unwrap();
    }
    for (event, bad) in [
        (1, "kind = 'thing'"),
        (3, "actor = 'a b'"),
        (4, "at = 9223372036854775807"),
        (6, "key_id = 'a b'"),
    ] {
        raw.execute(&format!("UPDATE key_events SET {bad} WHERE event = ?1"), [event]).unwrap();
    }
    for (id, bad) in [
        ("c0", "received_at = -9223372036854775808"),
        ("c1", "request_id = 'a b'"),
        ("c3", "details = '{', plan_id = ''"),
        ("c4", "challenge_id = 'c 4'"),
        ("c5", "received_at = 9223372036854775807"),
    ] {
        raw.execute(&format!("UPDATE payments SET {bad} WHERE challenge_id = ?1"), [id]).unwrap();
    }
    for limit in 1..=7 {
        let (events, mut purchases) = listed_as(&store, limit).await;
        let readable = [1, 4].map(|n: usize| (ids[n].clone(), false));
        let unreadable = [1, 3, 4, 6].map(|n| (format!("0-{n}"), true));
        let [one, four] = readable;
        let [first, third, fourth, sixth] = unreadable;
        assert_eq!(events, [first, one, third, fourth, four, sixth], "{limit}");
        purchases.sort();
        let expected =
            [("c 4", true), ("c0", true), ("c1", true), ("c2", false), ("c3", true), ("c5", true)];
        assert_eq!(purchases, expected.map(|(id, bad)| (id.to_owned(), bad)), "{limit}");
    }
}

fn order() -> Order {
    Order {
        request_id: "r".parse().expect("legal"),
        resource_id: "photo-1".parse().expect("legal"),
        plan_id: "basic".parse().expect("legal"),
    }
}
