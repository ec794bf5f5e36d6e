use std::error::Error;

use key0_auth::{
    domain::ChallengeId,
    store::{
        DenialStore, PostgresOpenError,
        spi::{Denial, TokenDigest},
    },
};

use tokio::task::JoinHandle;

use super::*;
use crate::{postgres_server::PASSWORD, servers::free_port};

async fn refusal(ours: &Ours, parameters: &str) -> PostgresOpenError {
    let error = ours.options().open(&ours.url(parameters)).await.expect_err("it is refused");
    let source = error.source().map(ToString::to_string);
    assert!(!format!("{error} {error:?} {source:?}").contains(PASSWORD), "{error:?}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_openings_at_once_make_one_schema() {
    let Some(ours) = Ours::new() else { return };
    let mut raw = ours.raw().await;
    for _ in 0..3 {
        let openings: Vec<_> = (0..10)
            .map(|_| {
                let (options, url) = (ours.options().max_connections(3), ours.url(""));
                tokio::spawn(async move { options.open(&url).await.map(drop) })
            })
            .collect();
        for opening in openings {
            opening.await.unwrap().unwrap();
        }
        run(&mut raw, &format!("DROP SCHEMA {} CASCADE", ours.schema.name)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_waits_for_another_whatever_the_limit_on_statements() {
    let Some(ours) = Ours::new() else { return };
    let mut other = ours.raw().await;
    run(&mut other, "BEGIN").await;
    sqlx::query("SELECT pg_advisory_xact_lock(1264937264, hashtext($1))")
        .bind(&ours.schema.name)
        .execute(&mut other)
        .await
        .unwrap();
    let hasty = "&options=-c%20statement_timeout=100";
    let (options, url) = (ours.options(), ours.url(hasty));
    let soon = options.clone().open_timeout(Duration::from_secs(1));
    let error = soon.open(&url).await.expect_err("somebody else is at it");
    // On a busy machine it does not even get as far as the lock.
    let expected =
        matches!(error, PostgresOpenError::TimedOut { .. } | PostgresOpenError::Unusable { .. });
    assert!(expected, "{error:?}");
    let opening = tokio::spawn(async move { options.open(&url).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!opening.is_finished());
    run(&mut other, "ROLLBACK").await;
    opening.await.unwrap().unwrap();
}

const LOCK: &str = "BEGIN; SELECT pg_advisory_xact_lock(1264937264, hashtext(current_schema))";

/// An opening that waits for whoever updates the schema, for longer than the server is waited for.
async fn waits_in_vain(ours: &Ours, raw: &mut PgConnection) -> JoinHandle<bool> {
    const SOON: Duration = Duration::from_secs(2);
    loop {
        let (options, url) = (ours.options().open_timeout(SOON), ours.url(""));
        let began = Instant::now();
        let opening = tokio::spawn(async move { options.open(&url).await.is_ok() });
        while !opening.is_finished() && ours.waiting(raw).await == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // On a busy machine it does not get as far in time.
        if ours.waiting(raw).await > 0 {
            tokio::time::sleep(SOON.saturating_sub(began.elapsed()) + SOON / 4).await;
            return opening;
        }
        assert!(began.elapsed() >= SOON, "it waits for nobody");
    }
}

/// Large tables take longer than a server that does not answer may.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_schema_has_time_of_its_own() {
    let Some(ours) = Ours::new() else { return };
    drop(ours.open().await);
    let (mut raw, mut other) = (ours.raw().await, ours.raw().await);
    let older = "DROP INDEX IF EXISTS key_events_listed, key_events_ending;
        UPDATE key0_auth SET version = 8";
    let mut is_open = false;
    // Nor is it always open in time on a busy machine.
    for _ in 0..10 {
        run(&mut raw, older).await;
        run(&mut other, LOCK).await;
        let opening = waits_in_vain(&ours, &mut raw).await;
        assert!(!opening.is_finished(), "it has no time of its own");
        run(&mut other, "ROLLBACK").await;
        is_open = opening.await.unwrap();
        let version: i32 =
            sqlx::query_scalar("SELECT version FROM key0_auth").fetch_one(&mut raw).await.unwrap();
        assert!(version > 8, "{version}");
        if is_open {
            break;
        }
    }
    assert!(is_open, "nothing is left of its time");
    // That has an end as well.
    run(&mut raw, older).await;
    run(&mut other, LOCK).await;
    let soon = ours.options().migration_timeout(Duration::from_millis(100));
    let error = soon.open(&ours.url("")).await.expect_err("somebody else is at it");
    assert!(matches!(error, PostgresOpenError::TimedOut { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_refused_and_left_as_it_is() {
    for theirs in [
        "CREATE TABLE keys (id integer)",
        "CREATE TABLE key0_auth (version integer)",
        "CREATE TABLE key0_auth (marker text, version integer)",
        "CREATE TABLE key0_auth (marker text, version integer);
         INSERT INTO key0_auth VALUES ('another', 1)",
        "CREATE TABLE key0_auth (marker integer, version integer)",
        "CREATE FUNCTION keys() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE keys AS ENUM ('one')",
    ] {
        let Some(ours) = Ours::new() else { return };
        let mut raw = ours.raw().await;
        run(&mut raw, &format!("CREATE SCHEMA {}; {theirs}", ours.schema.name)).await;
        let error = refusal(&ours, "").await;
        assert!(matches!(error, PostgresOpenError::Foreign { .. }), "{theirs}: {error:?}");
        let tables: i64 =
            sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = $1")
                .bind(&ours.schema.name)
                .fetch_one(&mut raw)
                .await
                .unwrap();
        assert_eq!(tables, i64::from(theirs.contains("TABLE")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_schema_is_taken_and_a_newer_one_refused() {
    let Some(ours) = Ours::new() else { return };
    let mut raw = ours.raw().await;
    run(&mut raw, &format!("CREATE SCHEMA {}", ours.schema.name)).await;
    drop(ours.open().await);
    drop(ours.open().await);
    run(&mut raw, "UPDATE key0_auth SET version = 99").await;
    let error = refusal(&ours, "").await;
    assert!(
        matches!(error, PostgresOpenError::Newer { found: 99, known, .. } if known < 99),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_written_is_refused_and_no_ready_store() {
    let Some(ours) = Ours::new() else { return };
    let error = refusal(&ours, "&options=-c%20default_transaction_read_only=on").await;
    assert!(matches!(error, PostgresOpenError::ReadOnly { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_no_schema_of_ours_can_have_are_refused() {
    let Some(ours) = Ours::new() else { return };
    let long = "x".repeat(64);
    for name in ["", "1a", "pg_key0", "Key0", "a\"b", "a b", "a;b", &long] {
        let error = PostgresOptions::new().schema(name).open(&ours.url("")).await;
        assert!(matches!(error, Err(PostgresOpenError::SchemaName { .. })), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told_after_a_while() {
    let url = format!("postgres://key0:{PASSWORD}@127.0.0.1:{}/key0", free_port());
    let options = PostgresOptions::new().open_timeout(Duration::from_millis(700));
    let error = options.open(&url).await.expect_err("nobody listens");
    assert!(matches!(error, PostgresOpenError::Unusable { .. }), "{error:?}");
    assert!(!format!("{error} {error:?} {:?}", error.source()).contains(PASSWORD), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_as_safe_as_the_url_asks_for() {
    let Some(server) = Postgres::start() else { return };
    let open = async |mode: &str| {
        let url = format!("{}?sslmode={mode}", server.url());
        unhurried().open(&url).await
    };
    open("require").await.expect_err("the server speaks no TLS");
    let Some(certificate) = server.certify() else { return };
    server.stop();
    server.start_again();
    let store = open("require").await.unwrap();
    let record = payment_key();
    store.insert(&record, &Actor::host()).await.unwrap();
    let mut raw = PgConnection::connect(&server.url()).await.unwrap();
    let bare: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE NOT ssl AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )
    .fetch_one(&mut raw)
    .await
    .unwrap();
    assert_eq!(bare, 0);
    // It stays so however long it is waited for, so it isn't.
    let day = PostgresOptions::new().open_timeout(Duration::from_secs(24 * 60 * 60));
    let url = format!("{}?sslmode=verify-full", server.url());
    let unknown = tokio::time::timeout(PATIENCE * 4, day.open(&url)).await;
    unknown.expect("it waits").expect_err("nobody knows the certificate");
    let known = format!("verify-full&sslrootcert={}", certificate.display());
    let store = open(&known).await.unwrap();
    assert_eq!(store.find(&record.digest).await.unwrap(), Some(record));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_shows_where_it_is_and_no_password() {
    let Some(ours) = Ours::new() else { return };
    let shown = format!("{:?}", ours.open().await);
    assert!(shown.contains(&ours.schema.name) && !shown.contains(PASSWORD), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_the_application_is_shared_and_left_as_it_is() {
    let Some(ours) = Ours::new() else { return };
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(4)
        .connect(&ours.url(""))
        .await
        .unwrap();
    let store = ours.options().with_pool(pool.clone()).await.unwrap();
    let usual = ours.options().read_timeout(Duration::from_millis(500));
    let usual = usual.with_pool(pool.clone()).await.unwrap();
    assert!(!usual.proves_changes(), "its connections may lead anywhere");
    let recorder = samples::ChangeRecorder::on(&store);
    let other = ours.open().await;
    let records: Vec<_> = (0..40).map(|_| payment_key()).collect();
    let inserting = records.iter().cloned().map(|record| {
        let store = store.clone();
        tokio::spawn(async move { store.insert(&record, &Actor::host()).await.unwrap() })
    });
    for inserted in inserting.collect::<Vec<_>>() {
        inserted.await.unwrap();
    }
    for record in &records {
        assert_eq!(store.find(&record.digest).await.unwrap().as_ref(), Some(record));
    }
    let query = key0_auth::store::spi::KeyQuery {
        kind: key0_auth::apikey::KeyKind::Payment,
        in_force_at: None,
        filter: Default::default(),
        after: None,
        limit: 100,
    };
    assert_eq!(store.list(&query).await.unwrap().keys.len(), 40);
    store.ping().await.unwrap();
    let (path, limit): (String, String) = sqlx::query_as(
        "SELECT current_setting('search_path'), current_setting('statement_timeout')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!((path.contains(&ours.schema.name), &*limit), (false, "0"));
    other.revoke(&records[0].id, &Actor::host(), at(1)).await.unwrap().unwrap();
    eventually("a revocation by another", || recorder.heard_of(records[0].digest)).await;

    // Its other users hold all of it: an outage.
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.acquire().await.unwrap());
    }
    usual.find(&records[0].digest).await.expect_err("there is no connection");
    drop(held);
    store.find(&records[0].digest).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_no_clock_can_count_are_bent() {
    let Some(ours) = Ours::new() else { return };
    for time in [Duration::ZERO, Duration::MAX] {
        // An opening within no time at all can't succeed.
        let options = ours.options().open_timeout(time.max(PATIENCE));
        let options = options.poll_interval(time).write_timeout(Duration::MAX);
        let store = options.read_timeout(Duration::MAX).open(&ours.url("")).await.unwrap();
        let record = payment_key();
        store.insert(&record, &Actor::host()).await.unwrap();
        let recorder = samples::ChangeRecorder::on(&store);
        let mut raw = ours.raw().await;
        run(&mut raw, "UPDATE keys SET revoked_at = 7").await;
        eventually("the revocation", || recorder.heard_of(record.digest)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_rights_on_the_log_is_refused() {
    let Some(server) = Postgres::start() else { return };
    drop(PostgresStore::open(&server.url()).await.unwrap());
    let mut raw = PgConnection::connect(&server.url()).await.unwrap();
    run(
        &mut raw,
        "CREATE ROLE poor LOGIN;
         GRANT USAGE ON SCHEMA key0 TO poor;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA key0 TO poor;
         REVOKE ALL ON key0.key_changes FROM poor",
    )
    .await;
    let soon = PostgresOptions::new().open_timeout(Duration::from_secs(1));
    let error = soon.open(&server.url_as("poor")).await.expect_err("it would never hear");
    assert!(matches!(error, PostgresOpenError::Unusable { .. }), "{error:?}");
    run(&mut raw, "GRANT SELECT, DELETE ON key0.key_changes TO poor").await;
    let store = unhurried().open(&server.url_as("poor")).await.unwrap();
    store.insert(&payment_key(), &Actor::host()).await.unwrap();
    // Whoever put it on a table of their own would act with the rights of the schema's owner.
    let theirs = "CREATE TRIGGER theirs AFTER INSERT ON mine
        FOR EACH ROW EXECUTE FUNCTION key0.log_key_change()";
    run(&mut raw, "CREATE SCHEMA poor AUTHORIZATION poor; SET ROLE poor; SET search_path = poor")
        .await;
    run(&mut raw, "CREATE TABLE mine (digest bytea)").await;
    let put = raw_sql(theirs).execute(&mut raw).await;
    put.expect_err("it is for the schema's own tables");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_read_which_tokens_are_denied_is_refused() {
    let Some(server) = Postgres::start() else { return };
    let owner = PostgresStore::open(&server.url()).await.unwrap();
    let mut raw = PgConnection::connect(&server.url()).await.unwrap();
    run(
        &mut raw,
        "CREATE ROLE blind LOGIN;
         GRANT USAGE ON SCHEMA key0 TO blind;
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA key0 TO blind;
         REVOKE ALL ON key0.denied_tokens FROM blind",
    )
    .await;
    let refused = unhurried().open(&server.url_as("blind")).await.expect_err("it would know none");
    assert!(matches!(refused, PostgresOpenError::Unusable { .. }), "{refused:?}");
    let cause = refused.source().unwrap().to_string();
    assert!(cause.contains("denied_tokens"), "{cause}");
    run(
        &mut raw,
        "GRANT SELECT, INSERT, UPDATE, DELETE ON key0.denied_tokens TO blind;
         REVOKE ALL ON key0.unknown_revocations FROM blind",
    )
    .await;
    let refused = unhurried().open(&server.url_as("blind")).await.expect_err("it can revoke none");
    let cause = refused.source().unwrap().to_string();
    assert!(cause.contains("unknown_revocations"), "{cause}");
    run(&mut raw, "GRANT SELECT, INSERT, UPDATE ON key0.unknown_revocations TO blind").await;
    let store = unhurried().open(&server.url_as("blind")).await.unwrap();
    let until = at(7);
    let token = TokenDigest::of(&ChallengeId::new("c").unwrap());
    store.deny(&Denial { token, until }).await.unwrap();
    store.ping().await.unwrap();
    run(&mut raw, "REVOKE SELECT ON key0.denied_tokens FROM blind").await;
    store.ping().await.expect_err("it would know none from now on");
    assert_eq!(owner.denials(None, 9).await.unwrap(), [Denial { token, until }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_can_not_be_understood_denies_what_it_can() {
    let Some(ours) = Ours::new() else { return };
    let store = ours.open().await;
    let tokens = ["a", "b"].map(|jti| TokenDigest::of(&ChallengeId::new(jti).unwrap()));
    for token in tokens {
        store.deny(&Denial { token, until: at(7) }).await.unwrap();
    }
    let mut raw = ours.raw().await;
    run(
        &mut raw,
        "ALTER TABLE denied_tokens DROP CONSTRAINT denied_tokens_digest_check;
         UPDATE denied_tokens SET until = 9223372036854775807;
         INSERT INTO denied_tokens VALUES ('\\x00', 1), ('\\xff', 1)",
    )
    .await;
    let mut found = Vec::new();
    for _ in 0..2 {
        let page = store.denials(found.last(), 1).await.unwrap();
        found.extend(page.iter().map(|denial| denial.token));
    }
    found.sort();
    let mut sorted = tokens;
    sorted.sort();
    assert_eq!(found, sorted);
    assert_eq!(store.denials(found.last(), 1).await.unwrap(), []);
}
