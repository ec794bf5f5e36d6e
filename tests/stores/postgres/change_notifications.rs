use key0_auth::{
    apikey::KeyDigest,
    store::{
        PaymentStore,
        spi::{Change, ChangeListener, Rotation},
    },
};

use super::*;
use crate::samples::{ChangeRecorder, challenge, claim, issuance, new_digest};

/// Longer than a test takes: what is heard was pushed.
const NEVER: Duration = Duration::from_secs(3_600);

/// Waits until a look has gone by: another row of the log is told of.
async fn a_look(recorder: &ChangeRecorder, raw: &mut PgConnection) {
    let mark = new_digest();
    let hex: String = mark.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    run(raw, &format!("INSERT INTO key_changes (digest) VALUES ('\\x{hex}')")).await;
    eventually("the next look", || recorder.heard_of(mark)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_instances_hear_of_every_change_without_a_look() {
    let Some(ours) = Ours::new() else { return };
    let one = ours.open().await;
    let two = ours.options().poll_interval(NEVER).open(&ours.url("")).await.unwrap();
    let recorder = ChangeRecorder::on(&two);
    for _ in 0..10 {
        let mut record = payment_key();
        one.insert(&record, &Actor::host()).await.unwrap();
        eventually("the new key", || recorder.heard_of(record.digest)).await;
        recorder.forget();
        let rotation = Rotation {
            old: record.digest,
            new: new_digest(),
            display: "ak_new…".to_owned(),
            old_until: None,
        };
        assert!(one.rotate(&record.id, &rotation, &Actor::host(), at(1)).await.unwrap());
        eventually("the rotation", || {
            recorder.heard_of(rotation.old) && recorder.heard_of(rotation.new)
        })
        .await;
        record.digest = rotation.new;
        recorder.forget();
        one.revoke(&record.id, &Actor::host(), at(1)).await.unwrap().unwrap();
        eventually("the revocation", || recorder.heard_of(record.digest)).await;
    }
    assert!(!recorder.heard(Change::All));
}

/// A notification has all commits stand in a queue, and nobody can have asked for a key that was
/// made up a moment ago.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_being_issued_is_told_to_nobody_else_and_its_end_to_all() {
    let Some(ours) = Ours::new() else { return };
    let (store, other) = (ours.open().await, ours.open().await);
    let (recorder, own) = (ChangeRecorder::on(&other), ChangeRecorder::on(&store));
    let mut raw = ours.raw().await;
    let (at_once, in_two) = (payment_key(), payment_key());
    let first = claim(challenge("c"), "0x1");
    store.issue(&first, &issuance(&at_once), Some(&at_once), at(0)).await.unwrap();
    let second = claim(challenge("d"), "0x2");
    store.begin_issuance(&second, at(0)).await.unwrap();
    store.complete_issuance(&second, &issuance(&in_two), Some(&in_two)).await.unwrap();
    a_look(&recorder, &mut raw).await;
    for record in [&at_once, &in_two] {
        assert!(own.heard_of(record.digest), "the instance itself hears of it");
        assert!(!recorder.heard_of(record.digest) && !recorder.heard(Change::All));
        store.revoke(&record.id, &Actor::host(), at(1)).await.unwrap().unwrap();
        eventually("the revocation", || recorder.heard_of(record.digest)).await;
    }
    // Whatever else comes in is told, also over a connection that has issued.
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    eventually("the new key", || recorder.heard_of(record.digest)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_by_hand_reaches_the_listeners() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let mut raw = ours.raw().await;
    // The hand that writes it need not know of the schema.
    run(&mut raw, "SET search_path = pg_catalog").await;
    let table = format!("{}.keys", ours.schema.name);
    let (used, revoked, deleted) = (payment_key(), partner_key(), partner_key());
    let (recorder, other) = (ChangeRecorder::on(&store), ours.open().await);
    for record in [&used, &revoked, &deleted] {
        other.insert(record, &Actor::host()).await.unwrap();
        eventually("the new key", || recorder.heard_of(record.digest)).await;
    }
    recorder.forget();
    run(&mut raw, &format!("UPDATE {table} SET last_used_at = 7 WHERE id = '{}'", used.id)).await;
    run(&mut raw, &format!("UPDATE {table} SET label = label WHERE id = '{}'", used.id)).await;
    run(&mut raw, &format!("UPDATE {table} SET revoked_at = 7 WHERE id = '{}'", revoked.id)).await;
    eventually("the revocation", || recorder.heard_of(revoked.digest)).await;
    run(&mut raw, &format!("DELETE FROM {table} WHERE id = '{}'", deleted.id)).await;
    eventually("the removal", || recorder.heard_of(deleted.digest)).await;
    assert!(!recorder.heard_of(used.digest), "its use is no news");
    assert!(!recorder.heard(Change::All));
    assert_eq!(store.find(&deleted.digest).await.unwrap(), None);
    run(&mut raw, &format!("TRUNCATE {table}")).await;
    eventually("the emptying", || recorder.heard(Change::All)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_and_not_told_is_seen_by_the_next_look() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let recorder = ChangeRecorder::on(&store);
    let mut raw = ours.raw().await;
    // A row of the log without a notification: as if that was lost.
    run(&mut raw, "INSERT INTO key_changes (digest) VALUES (decode(repeat('01', 32), 'hex'))")
        .await;
    let digest = KeyDigest::from_bytes([1; 32]);
    eventually("the change", || recorder.heard_of(digest)).await;
    recorder.forget();
    a_look(&recorder, &mut raw).await;
    assert!(!recorder.heard_of(digest) && !recorder.heard(Change::All), "it is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_committed_after_later_ones_is_seen() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let (early, late) = (payment_key(), payment_key());
    let (recorder, writing) = (ChangeRecorder::on(&store), ours.open().await);
    for record in [&early, &late] {
        writing.insert(record, &Actor::host()).await.unwrap();
        eventually("the new key", || recorder.heard_of(record.digest)).await;
    }
    recorder.forget();
    let mut raw = ours.raw().await;
    let revoke =
        |id: &key0_auth::domain::KeyId| format!("UPDATE keys SET revoked_at = 7 WHERE id = '{id}'");
    // Its row of the log is the first, and the last to be seen; nobody says so.
    run(&mut raw, "BEGIN; ALTER TABLE keys DISABLE TRIGGER keys_updated").await;
    run(&mut raw, "COMMIT; BEGIN").await;
    let logged = format!(
        "INSERT INTO key_changes (digest) SELECT digest FROM keys WHERE id = '{}'",
        early.id
    );
    run(&mut raw, &logged).await;
    let mut other = ours.raw().await;
    run(&mut other, &revoke(&late.id)).await;
    let logged = format!(
        "INSERT INTO key_changes (digest) SELECT digest FROM keys WHERE id = '{}'",
        late.id
    );
    run(&mut other, &logged).await;
    eventually("the later one", || recorder.heard_of(late.digest)).await;
    a_look(&recorder, &mut other).await;
    assert!(!recorder.heard_of(early.digest));
    run(&mut raw, "COMMIT").await;
    eventually("the early one", || recorder.heard_of(early.digest)).await;
    assert!(!recorder.heard(Change::All));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_whose_connection_is_cut_takes_anything_for_changed() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    let mut raw = ours.raw().await;
    let recorder = ChangeRecorder::on(&store);
    for _ in 0..5 {
        recorder.forget();
        ours.terminate_connections(&mut raw).await;
        eventually("all", || recorder.heard(Change::All)).await;
        assert_eq!(store.find(&record.digest).await.unwrap(), Some(record.clone()));
    }
    recorder.forget();
    run(&mut raw, "UPDATE keys SET revoked_at = 7").await;
    eventually("the revocation", || recorder.heard_of(record.digest)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_can_not_be_understood_stands_for_anything_and_ends_nothing() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let recorder = ChangeRecorder::on(&store);
    let mut raw = ours.raw().await;
    for digest in ["'\\x0102'", "NULL"] {
        recorder.forget();
        run(&mut raw, &format!("INSERT INTO key_changes (digest) VALUES ({digest})")).await;
        eventually("all", || recorder.heard(Change::All)).await;
    }
    recorder.forget();
    run(
        &mut raw,
        "INSERT INTO key_changes (digest)
         SELECT decode(repeat('02', 32), 'hex') FROM generate_series(1, 1001)",
    )
    .await;
    eventually("all", || recorder.heard(Change::All)).await;
    a_look(&recorder, &mut raw).await;
    recorder.forget();
    a_look(&recorder, &mut raw).await;
    assert!(!recorder.heard(Change::All));
}

/// As `pg_dump` brings it: the numbers of transactions are those of another server.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_from_another_server_hides_nothing_and_is_no_news() {
    let Some(ours) = Ours::new() else { return };
    drop(ours.open().await);
    let mut raw = ours.raw().await;
    run(
        &mut raw,
        "INSERT INTO key_changes (xid, digest)
         SELECT (xid::text)::xid8, decode(repeat('03', 32), 'hex')
         FROM generate_series(900000000000, 900000002000) AS xid;
         INSERT INTO key_changes (xid, digest) VALUES ('3', decode(repeat('03', 32), 'hex'))",
    )
    .await;
    let store = ours.open().await;
    let recorder = ChangeRecorder::on(&store);
    a_look(&recorder, &mut raw).await;
    assert!(!recorder.heard(Change::All) && !recorder.heard_of(KeyDigest::from_bytes([3; 32])));
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    recorder.forget();
    run(&mut raw, "UPDATE keys SET revoked_at = 7").await;
    eventually("the revocation", || recorder.heard_of(record.digest)).await;
    assert!(!recorder.heard(Change::All));
}

#[derive(Debug)]
struct Panics;

impl ChangeListener for Panics {
    fn changed(&self, _: Change) {
        panic!("this listener is no good");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_panics_keeps_nobody_else_from_hearing() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let bad = std::sync::Arc::new(Panics);
    let listener: std::sync::Weak<Panics> = std::sync::Arc::downgrade(&bad);
    store.subscribe(listener);
    let recorder = ChangeRecorder::on(&store);
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.expect_err("not everybody heard of it");
    assert!(recorder.heard_of(record.digest));
    drop(bad);
    let mut raw = ours.raw().await;
    // What the feed could not tell it, it makes up for by telling of anything.
    let mark = "INSERT INTO key_changes (digest) VALUES (decode(repeat('04', 32), 'hex'))";
    run(&mut raw, mark).await;
    let mark = KeyDigest::from_bytes([4; 32]);
    eventually("the next look", || recorder.heard_of(mark) || recorder.heard(Change::All)).await;
    recorder.forget();
    run(&mut raw, "UPDATE keys SET revoked_at = 7").await;
    eventually("the revocation", || recorder.heard_of(record.digest)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_clone_to_go_ends_what_runs_for_it() {
    let Some(ours) = Ours::new() else { return };
    let mut raw = ours.raw().await;
    let store = ours.open().await;
    let clone = store.clone();
    store.ping().await.unwrap();
    drop(store);
    clone.ping().await.unwrap();
    assert!(ours.connections(&mut raw).await >= 2);
    drop(clone);
    comes_about("connections are left", async || ours.connections(&mut raw).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_can_be_renamed() {
    let Some(mut ours) = Ours::new() else { return };
    drop(ours.open().await);
    let mut raw = ours.raw().await;
    let name = unique("key0_test");
    run(&mut raw, &format!("ALTER SCHEMA {} RENAME TO {name}", ours.schema.name)).await;
    ours.schema.name = name;
    let store = ours.open().await;
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    let recorder = ChangeRecorder::on(&store);
    let mut raw = ours.raw().await;
    run(&mut raw, "UPDATE keys SET revoked_at = 7").await;
    eventually("the revocation", || recorder.heard_of(record.digest)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_logs_in_as_the_pool_does_by_then() {
    let Some(server) = Postgres::start() else { return };
    drop(PostgresStore::open(&server.url()).await.unwrap());
    let mut raw = PgConnection::connect(&server.url()).await.unwrap();
    run(&mut raw, "CREATE ROLE spring LOGIN SUPERUSER; CREATE ROLE autumn LOGIN SUPERUSER").await;
    let pool = sqlx::PgPool::connect_lazy(&server.url_as("spring")).unwrap();
    let store = unhurried().with_pool(pool.clone()).await.unwrap();
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    let recorder = ChangeRecorder::on(&store);
    pool.set_connect_options(server.url_as("autumn").parse().unwrap());
    run(
        &mut raw,
        "ALTER ROLE spring NOLOGIN;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'spring'",
    )
    .await;
    eventually("anything may have changed", || recorder.heard(Change::All)).await;
    recorder.forget();
    run(&mut raw, "UPDATE key0.keys SET revoked_at = 7").await;
    eventually("the revocation", || recorder.heard_of(record.digest)).await;
}
