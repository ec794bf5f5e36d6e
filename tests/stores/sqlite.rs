//! What only the SQLite engine does: one file for several processes, refused files, crashes.
//!
//! Child processes are this test binary again, running one test that does nothing in the parent.

#![cfg(feature = "sqlite")]

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::samples::{ChangeRecorder, at, challenge, claim, hash, partner_key, payment_key};
use key0_auth::{
    ApiKeys, KeyStore, SqliteStore,
    api::{Operator, PurchasesApi},
    domain::{Actor, ChallengeId, KeyId, PlanId, RequestId, ResourceId},
    store::{
        DenialStore, DeniedTokens, Payment, PaymentStore, PurchaseStore, SqliteOpenError,
        SqliteOptions,
        spi::{
            Change, Denial, IssuanceKey, IssuanceState, PaymentOutcome, PurchaseRevocation,
            TokenDigest,
        },
    },
};
use rusqlite::Connection;
use tempfile::TempDir;

/// Tells a child which database it works on.
const CHILD: &str = "KEY0_TEST_DATABASE";
const PATIENCE: Duration = Duration::from_secs(30);

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

/// Opens a file, with deadlines that a busy machine does not reach.
fn open(path: impl AsRef<Path>) -> Result<SqliteStore, SqliteOpenError> {
    SqliteOptions::new().open_timeout(PATIENCE).write_timeout(PATIENCE).open(path)
}

/// For refusals that wait for a lock.
fn impatient() -> SqliteOptions {
    SqliteOptions::new().open_timeout(Duration::from_millis(50))
}

fn command(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = format!("sqlite::{test}");
    command.args(["--exact", &test, "--nocapture", "--test-threads=1"]).env(CHILD, path);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn child(test: &str, path: &Path) -> Child {
    command(test, path).spawn().unwrap()
}

/// Makes a database and waits until nobody has it open. Of connections that are closed at the same
/// time none may be the last, and then the log stays: one more that is opened and closed removes it.
fn make(path: &Path) {
    drop(open(path).unwrap());
    let deadline = Instant::now() + PATIENCE;
    while path.with_extension("db-wal").exists() || path.with_extension("db-shm").exists() {
        assert!(Instant::now() < deadline, "the store is not closed");
        let last = Connection::open(path).unwrap();
        let _ =
            last.query_row("SELECT count(*) FROM sqlite_master", (), |row| row.get::<_, i64>(0));
        drop(last);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn database_of_this_child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn payment(id: &str) -> Payment {
    Payment::new(
        ChallengeId::new(id).unwrap(),
        RequestId::new("r").unwrap(),
        ResourceId::new("photo-1").unwrap(),
        PlanId::new("basic").unwrap(),
        hash(id),
        at(0),
    )
}

// Sharing a file

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_on_one_file_are_one_store() {
    let (_folder, path) = file();
    let (one, two) = (open(&path).unwrap(), open(&path).unwrap());
    let recorder = ChangeRecorder::on(&two);
    let record = payment_key();
    one.insert(&record, &Actor::host()).await.unwrap();
    assert_eq!(two.find(&record.digest).await.unwrap(), Some(record.clone()));
    eventually("the other store hears of the new key", || recorder.heard_of(record.digest)).await;
    recorder.forget();
    one.revoke(&record.id, &Actor::host(), at(1)).await.unwrap();
    eventually("the other store hears of the revocation", || recorder.heard_of(record.digest))
        .await;
    assert!(!recorder.heard(Change::All));
    assert_eq!(two.revoke(&record.id, &Actor::host(), at(2)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_race_across_stores() {
    let (_folder, path) = file();
    let stores = [open(&path).unwrap(), open(&path).unwrap()];
    for round in 0..5 {
        let racing: Vec<_> = (0..40)
            .map(|i| {
                let store = stores[i % 2].clone();
                let claim = claim(challenge(&format!("c{round}")), &format!("0x{round}"));
                tokio::spawn(async move { store.begin_issuance(&claim, at(0)).await.unwrap() })
            })
            .collect();
        let mut started = 0;
        for claim in racing {
            match claim.await.unwrap() {
                IssuanceState::Started => started += 1,
                IssuanceState::InProgress => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(started, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_by_hand_reaches_the_listeners() {
    let (_folder, path) = file();
    let store = open(&path).unwrap();
    let recorder = ChangeRecorder::on(&store);
    let (used, revoked, deleted) = (payment_key(), partner_key(), partner_key());
    for record in [&used, &revoked, &deleted] {
        store.insert(record, &Actor::host()).await.unwrap();
    }
    let raw = Connection::open(&path).unwrap();
    // What this store has written itself is told a second time: let it pass.
    let marker = |digest: &[u8; 32]| {
        raw.execute("INSERT INTO key_changes (digest) VALUES (?1)", [digest]).unwrap();
        key0_auth::apikey::KeyDigest::from_bytes(*digest)
    };
    let first = marker(&[1; 32]);
    eventually("the first marker", || recorder.heard_of(first)).await;
    recorder.forget();

    let run = |sql: &str, id: &KeyId| assert_eq!(raw.execute(sql, [id.as_str()]).unwrap(), 1);
    run("UPDATE keys SET last_used_at = 7 WHERE id = ?1", &used.id);
    run("UPDATE keys SET revoked_at = 7 WHERE id = ?1", &revoked.id);
    run("DELETE FROM keys WHERE id = ?1", &deleted.id);
    let second = marker(&[2; 32]);
    eventually("the second marker", || recorder.heard_of(second)).await;
    assert!(recorder.heard_of(revoked.digest));
    assert!(recorder.heard_of(deleted.digest));
    assert!(!recorder.heard_of(used.digest), "its use is no news");
    assert!(store.find(&revoked.digest).await.unwrap().unwrap().revoked_at.is_some());
    assert_eq!(store.find(&deleted.digest).await.unwrap(), None);
}

#[test]
fn racing_openings_make_one_schema() {
    for _ in 0..10 {
        let (_folder, path) = file();
        // All of them find an empty database, and then wait for the right to write.
        let owner = Connection::open(&path).unwrap();
        owner.execute_batch("BEGIN IMMEDIATE").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| open(&path).unwrap());
            }
            std::thread::sleep(Duration::from_millis(50));
            owner.execute_batch("ROLLBACK").unwrap();
        });
    }
}

#[test]
fn the_switch_to_wal_waits_for_a_writer() {
    let (_folder, path) = file();
    make(&path);
    let owner = Connection::open(&path).unwrap();
    owner.pragma_update(None, "journal_mode", "delete").unwrap();
    owner.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| open(&path).map(drop));
        std::thread::sleep(Duration::from_millis(50));
        owner.execute_batch("ROLLBACK").unwrap();
        opened.join().unwrap().unwrap();
    });
}

#[tokio::test]
async fn child_contends() {
    let Some(path) = database_of_this_child() else { return };
    let mut go = String::new();
    std::io::stdin().read_line(&mut go).unwrap();
    // All children make the file at once, and then race for the same ids.
    let store = open(path).unwrap();
    for i in 0..50 {
        let claim = claim(challenge(&format!("c{i}")), &format!("0x{i}"));
        if store.begin_issuance(&claim, at(0)).await.unwrap() == IssuanceState::Started {
            println!("\nstarted {i}");
        }
        if store.record_payment(&payment(&format!("c{i}"))).await.unwrap()
            == PaymentOutcome::Recorded
        {
            println!("\nrecorded {i}");
        }
    }
    println!("\ndone");
}

#[test]
fn processes_share_a_file_from_its_making_on() {
    for _ in 0..3 {
        let (_folder, path) = file();
        let mut children: Vec<_> = (0..4).map(|_| child("child_contends", &path)).collect();
        for child in &mut children {
            child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        }
        let mut lines = Vec::new();
        for mut child in children {
            let stdout = BufReader::new(child.stdout.take().unwrap());
            lines.extend(stdout.lines().map(Result::unwrap));
            assert!(child.wait().unwrap().success());
        }
        let numbers = |word: &str| -> Vec<u32> {
            let prefix = format!("{word} ");
            let numbers = lines.iter().filter_map(|line| line.strip_prefix(&prefix));
            numbers.map(|number| number.parse().unwrap()).collect()
        };
        for word in ["started", "recorded"] {
            let numbers = numbers(word);
            assert_eq!(numbers.len(), 50, "each {word} once");
            assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 50);
        }
        assert_eq!(lines.iter().filter(|line| *line == "done").count(), 4);
    }
}

// Crashes

#[tokio::test(flavor = "multi_thread")]
async fn child_writes_until_it_is_killed() {
    let Some(path) = database_of_this_child() else { return };
    let store = open(path).unwrap();
    let keys = async || {
        for _ in 0..100_000 {
            let record = partner_key();
            store.insert(&record, &Actor::host()).await.unwrap();
            println!("\nkey {} .", record.id);
        }
    };
    let payments = async || {
        for _ in 0..100_000 {
            let payment = payment(KeyId::generate().as_str());
            store.record_payment(&payment).await.unwrap();
            println!("\npayment {} .", payment.challenge_id);
        }
    };
    let revocations = async || {
        for _ in 0..100_000 {
            let record = payment_key();
            store.insert(&record, &Actor::host()).await.unwrap();
            store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap();
            println!("\nrevoked {} .", record.id);
        }
    };
    tokio::join!(keys(), keys(), payments(), payments(), revocations(), revocations());
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let (_folder, path) = file();
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..20 {
        let mut child = child("child_writes_until_it_is_killed", &path);
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = acknowledged.len() + 1 + round * 7;
        let mut killed = false;
        // The pipe still holds what was acknowledged until the kill.
        while let Some(Ok(line)) = stdout.next() {
            let words: Vec<_> = line.split(' ').collect();
            if let [kind @ ("key" | "payment" | "revoked"), id, "."] = words[..] {
                acknowledged.push((kind.to_owned(), id.to_owned()));
            }
            if !killed && acknowledged.len() >= enough {
                child.kill().unwrap();
                killed = true;
            }
        }
        assert!(killed && !child.wait().unwrap().success());

        let store = open(&path).unwrap();
        for (kind, id) in &acknowledged {
            let kept = if kind == "payment" {
                store.payment(&ChallengeId::new(id).unwrap()).await.unwrap().is_some()
            } else {
                let record = store.get(&KeyId::new(id).unwrap()).await.unwrap();
                record.is_some_and(|record| record.revoked_at.is_some() == (kind == "revoked"))
            };
            assert!(kept, "round {round}: {kind} {id}");
        }
    }
    for kind in ["key", "payment", "revoked"] {
        assert!(acknowledged.iter().any(|(acknowledged, _)| acknowledged == kind), "{kind}");
    }
}

// The end of a store

#[tokio::test]
async fn child_ends_its_threads() {
    let Some(path) = database_of_this_child() else { return };
    let threads = || {
        let names = fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("key0-sql")).count()
    };
    let stores: Vec<_> = (0..3).map(|_| open(&path).unwrap()).collect();
    let copy = stores[0].clone();
    copy.insert(&payment_key(), &Actor::host()).await.unwrap();
    assert_eq!(threads(), 3 * 4);
    drop(stores);
    eventually("two stores are gone", || threads() == 4).await;
    copy.insert(&payment_key(), &Actor::host()).await.unwrap();
    drop(copy);
    eventually("all are gone", || threads() == 0).await;
    // The last one has cleaned up.
    let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(files, 1);
    println!("\nended");
}

#[test]
#[cfg(target_os = "linux")]
fn the_last_clone_ends_the_threads_and_closes_the_file() {
    let (_folder, path) = file();
    let output = child("child_ends_its_threads", &path).wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().contains("\nended\n"));
}

#[tokio::test]
async fn a_file_can_be_reopened_and_replaced() {
    let (_folder, path) = file();
    let record = payment_key();
    open(&path).unwrap().insert(&record, &Actor::host()).await.unwrap();
    let store = open(&path).unwrap();
    assert_eq!(store.find(&record.digest).await.unwrap(), Some(record.clone()));
    let (wal, shm) = (path.with_extension("db-wal"), path.with_extension("db-shm"));
    drop(store);
    eventually("the log is gone", || !wal.exists() && !shm.exists()).await;
    fs::remove_file(&path).unwrap();
    let store = open(&path).unwrap();
    assert_eq!(store.find(&record.digest).await.unwrap(), None);
    store.insert(&record, &Actor::host()).await.unwrap();
}

// What is made, and what is refused

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_what_is_made() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = file();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let store = open(&path).unwrap();
    store.insert(&payment_key(), &Actor::host()).await.unwrap();
    let files: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for path in files {
        assert_eq!(mode(&path), 0o600, "{path:?}");
    }
    drop(store);

    let shared = folder.path().join("shared.db");
    fs::write(&shared, "").unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o640)).unwrap();
    let _store = open(&shared).unwrap();
    assert_eq!(mode(&shared), 0o640);
}

#[tokio::test]
async fn child_opens_a_relative_name() {
    let Some(path) = database_of_this_child() else { return };
    let record = payment_key();
    open(&path).unwrap().insert(&record, &Actor::host()).await.unwrap();
    let store = open(&path).unwrap();
    assert!(store.find(&record.digest).await.unwrap().is_some());
    println!("\nfound");
}

#[test]
fn a_name_is_only_a_name() {
    for name in [":memory:", "file:x?mode=memory", "a b'%.db"] {
        let (folder, _) = file();
        let child = command("child_opens_a_relative_name", Path::new(name))
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(String::from_utf8(child.stdout).unwrap().contains("\nfound\n"), "{name}");
        assert!(folder.path().join(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn tables_of_others_in_our_file_are_welcome() {
    let (_folder, path) = file();
    drop(open(&path).unwrap());
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("CREATE TABLE passports (id TEXT)").unwrap();
    let store = open(&path).unwrap();
    store.insert(&payment_key(), &Actor::host()).await.unwrap();
}

#[tokio::test]
async fn a_purchase_that_can_not_be_read_is_revoked_all_the_same() {
    let (_folder, path) = file();
    let store = Arc::new(open(&path).unwrap());
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(
        "INSERT INTO issuances
             (namespace, id, fingerprint, tx_hash, key_id, digest, issued_at, plan_id)
         VALUES ('challenge', 'c', zeroblob(32), '0x1', ' ', zeroblob(32), 0, ' ')",
    )
    .unwrap();
    let key = challenge("c");
    store.purchase(&key).await.expect_err("it can't be read");
    let denied = DeniedTokens::new(store.clone());
    let purchases = PurchasesApi::new(store.clone(), ApiKeys::new(store.clone()), denied);
    let reply = purchases.revoke(&Operator::host(), "c", b"").await.unwrap();
    let body = String::from_utf8(reply.body).unwrap();
    assert!(reply.status == 200 && body.contains(r#""state":"revoked""#), "{body}");
    let again = claim(key, "0x1");
    assert_eq!(store.begin_issuance(&again, at(0)).await.unwrap(), IssuanceState::Revoked);
}

/// Opens a file that must be refused, and sees that it and its neighbours stay what they are.
#[track_caller]
fn refused(path: &Path) -> SqliteOpenError {
    let contents = || {
        let files = fs::read_dir(path.parent().unwrap()).unwrap().map(Result::unwrap);
        let files = files.filter(|file| !file.path().to_string_lossy().ends_with("-shm"));
        let files = files.filter(|file| file.path().is_file());
        let mut files: Vec<_> =
            files.map(|file| (file.file_name(), fs::read(file.path()).unwrap())).collect();
        files.sort();
        files
    };
    let before = contents();
    let error = impatient().open(path).unwrap_err();
    assert!(before == contents(), "the files have changed");
    let text = error.to_string();
    assert!(text.contains("store.db"), "{text}");
    assert!(!text.contains('\n') && !text.ends_with('.'), "{text}");
    error
}

#[track_caller]
fn refused_as_foreign(path: &Path) {
    let error = refused(path);
    assert!(matches!(error, SqliteOpenError::Foreign { .. }), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    for content in [&b"hello"[..], &[b'x'; 10_000], b"SQLite format 3\0 and then nothing"] {
        let (_folder, path) = file();
        fs::write(&path, content).unwrap();
        refused_as_foreign(&path);
    }
}

#[test]
fn a_database_of_another_application_is_refused() {
    for setup in [
        "CREATE TABLE theirs (id TEXT)",
        "CREATE TABLE keys (id TEXT); PRAGMA user_version = 1",
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 4",
        "PRAGMA application_id = 0x4b657930",
        "PRAGMA journal_mode = wal; CREATE TABLE theirs (id TEXT)",
    ] {
        let (_folder, path) = file();
        Connection::open(&path).unwrap().execute_batch(setup).unwrap();
        refused_as_foreign(&path);
    }
}

#[test]
fn what_another_application_left_in_its_log_stays_there() {
    let (_folder, path) = file();
    let (_crashed, crashed) = file();
    let owner = Connection::open(&crashed).unwrap();
    owner.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE theirs (id TEXT)").unwrap();
    fs::copy(&crashed, &path).unwrap();
    fs::copy(crashed.with_extension("db-wal"), path.with_extension("db-wal")).unwrap();
    drop(owner);
    refused_as_foreign(&path);
    let owner = Connection::open(&path).unwrap();
    owner.execute("INSERT INTO theirs VALUES ('x')", ()).unwrap();
}

#[test]
fn a_newer_schema_is_refused() {
    let (_folder, path) = file();
    make(&path);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refused(&path);
    assert!(
        matches!(error, SqliteOpenError::Newer { found: 99, known, .. } if known < 99),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_that_does_not_tell_which_tokens_are_denied_is_refused() {
    let (_folder, path) = file();
    let store = open(&path).unwrap();
    store.ping().await.unwrap();
    Connection::open(&path).unwrap().execute_batch("DROP TABLE denied_tokens").unwrap();
    store.ping().await.expect_err("it would know none");
    drop(store);
    let error = open(&path).unwrap_err();
    assert!(matches!(error, SqliteOpenError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn a_row_that_can_not_be_understood_denies_what_it_can() {
    let (_folder, path) = file();
    let store = open(&path).unwrap();
    let token = TokenDigest::of(&ChallengeId::new("a").unwrap());
    store.deny(&Denial { token, until: at(7) }).await.unwrap();
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(
        "PRAGMA ignore_check_constraints = ON;
         UPDATE denied_tokens SET until = 9223372036854775807;
         INSERT INTO denied_tokens VALUES (x'00', 1), (x'ff', 1)",
    )
    .unwrap();
    let page = store.denials(None, 1).await.unwrap();
    assert_eq!(page.iter().map(|denial| denial.token).collect::<Vec<_>>(), [token]);
    assert_eq!(store.denials(Some(&token), 1).await.unwrap(), []);
}

#[test]
fn a_locked_database_is_refused() {
    // Both a file of ours and one that is still to be made.
    for made in [true, false] {
        let (_folder, path) = file();
        if made {
            make(&path);
        }
        let owner = Connection::open(&path).unwrap();
        owner.busy_timeout(PATIENCE).unwrap();
        owner.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE").unwrap();
        let error = refused(&path);
        assert!(matches!(error, SqliteOpenError::Locked { .. }), "{error}");
        drop(owner);
        open(&path).unwrap();
    }
}

#[test]
fn an_unusable_file_or_folder_is_refused_with_the_cause() {
    let (folder, path) = file();
    let unusable = |path: &Path| {
        let error = impatient().open(path).unwrap_err();
        assert!(matches!(error, SqliteOpenError::Unusable { .. }), "{error}");
        assert!(error.source().is_some());
    };
    unusable(&folder.path().join("missing/store.db"));
    unusable(folder.path());
    unusable(Path::new(""));
    fs::write(&path, "").unwrap();
    unusable(&path.join("store.db"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::os::unix::fs::symlink("nowhere", folder.path().join("dangling.db")).unwrap();
        unusable(&folder.path().join("dangling.db"));
        for mode in [0o000, 0o400] {
            let (_folder, path) = file();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            // Nothing is unreadable for the superuser.
            if fs::OpenOptions::new().write(true).open(&path).is_err() {
                unusable(&path);
            }
        }
    }
}

#[test]
fn debug_shows_the_path_alone() {
    let (_folder, path) = file();
    let store = open(&path).unwrap();
    assert_eq!(format!("{store:?}"), format!("SqliteStore {{ path: {path:?}, .. }}"));
}

/// Whoever holds an older file may be bringing it to this version, which can take a while.
#[test]
fn an_older_file_is_waited_for() {
    let (_folder, path) = file();
    let other = Connection::open(&path).unwrap();
    other.execute_batch(include_str!("../fixtures/sqlite-v2.sql")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let bounded = impatient().migration_timeout(Duration::from_millis(50)).open(&path);
    assert!(matches!(bounded, Err(SqliteOpenError::Locked { .. })), "{bounded:?}");
    let opening = thread::spawn(move || impatient().open(&path).map(drop));
    thread::sleep(Duration::from_millis(300));
    assert!(!opening.is_finished(), "it has not waited");
    other.execute_batch("ROLLBACK").unwrap();
    opening.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_revocation_finds_what_an_older_version_sold_without_0x() {
    let (_folder, path) = file();
    let store = SqliteStore::open(&path).unwrap();
    let digits = "ab".repeat(32);
    let insert = format!(
        "INSERT INTO issuances (namespace, id, fingerprint, tx_hash, digest, issued_at)
         VALUES ('request', 'r', zeroblob(32), '{digits}', zeroblob(32), 0)"
    );
    Connection::open(&path).unwrap().execute_batch(&insert).unwrap();
    let mut paid = payment("c");
    paid.tx_hash = hash(&format!("0x{digits}"));
    store.record_payment(&paid).await.unwrap();
    let revocation = PurchaseRevocation {
        id: paid.challenge_id,
        reason: None,
        by: Actor::host(),
        at: at(10),
        tokens_until: at(100),
        unknown_a_day: 1,
    };
    store.revoke_purchase(&revocation).await.unwrap();
    let key = IssuanceKey::Request(RequestId::new("r").unwrap());
    assert!(store.purchase(&key).await.unwrap().unwrap().revoked.is_some());
}
