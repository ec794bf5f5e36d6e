#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/support/servers/postgres.rs"]
mod postgres_server;
#[path = "../../../tests/support/servers/mod.rs"]
mod servers;

use std::{sync::Arc, time::Duration};

use sqlx::{Connection, PgConnection, PgPool};

use super::{
    PostgresOptions, PostgresStore,
    feed::{LONGEST_BLINK, Log, Reader},
    listing,
    open::begin_session,
    prune,
    registry::{END, PAGE},
    same_server::SameServer,
};
use crate::{
    KeyStore,
    apikey::{Grant, KeyDigest, KeyFormat, KeyRecord},
    domain::{Actor, ChallengeId, KeyId, Role, Timestamp, TxHash},
    store::{
        AuditCursor, AuditLog, AuditQuery, Change, IssuanceClaim, IssuanceKey, IssuanceState,
        KeyRegistry, Lease, PaymentStore, PurchaseFilter, PurchaseQuery, PurchaseStore,
        RequestFingerprint, Rotation,
        feed::{Listening, Source},
        spi::Order,
    },
};

async fn store() -> Option<(PostgresStore, postgres_server::Schema)> {
    let schema = postgres_server::Schema::fresh()?;
    let options = PostgresOptions::new().schema(&schema.name);
    Some((options.open(&schema.url).await.expect("it opens"), schema))
}

async fn reader(schema: &postgres_server::Schema) -> Reader {
    reader_beside(schema, None).await
}

async fn reader_beside(schema: &postgres_server::Schema, same: Option<Arc<SameServer>>) -> Reader {
    let pool = PgPool::connect_lazy(&schema.url).expect("a URL");
    let log = Log::new(pool, schema.name.clone(), Duration::from_secs(5), same);
    log.open().await.expect("it opens")
}

/// Connections of the store, and one that leads elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_proves_nothing_of_another_server() {
    let Some((store, schema)) = store().await else { return };
    assert!(!reader(&schema).await.proves(), "nobody tells of the connections that read");
    let same = Arc::<SameServer>::default();
    let reader = reader_beside(&schema, Some(Arc::clone(&same))).await;
    assert!(reader.proves());
    // A connection of the store's own leads to the server that the reader has met.
    let mut conn = PgConnection::connect(&schema.url).await.expect("it answers");
    let session = || Arc::from("SELECT pg_is_in_recovery()");
    begin_session(&mut conn, session(), Arc::clone(&same)).await.expect("it is no standby");
    assert!(reader.proves() && store.proves_changes());
    let fresh = Arc::<SameServer>::default();
    begin_session(&mut conn, session(), Arc::clone(&fresh)).await.expect("it is no standby");
    assert!(fresh.holds(), "the connection has told its server");
    // One that keeps it to itself may be any, and is of use all the same.
    let server = postgres_server::Postgres::start().expect("as above");
    let revoke =
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; CREATE ROLE shy LOGIN";
    let mut owner = PgConnection::connect(&server.url()).await.expect("it answers");
    sqlx::raw_sql(revoke).execute(&mut owner).await.expect("its owner may");
    let mut conn = PgConnection::connect(&server.url_as("shy")).await.expect("it answers");
    begin_session(&mut conn, session(), Arc::clone(&same)).await.expect("it is no standby");
    assert!(!reader.proves());
}

async fn insert(store: &PostgresStore) -> KeyDigest {
    let key = KeyFormat::default().generate().expect("random bytes");
    let grant = Grant::Integrator { role: Role::Read, permissions: None };
    let record = KeyRecord::new(KeyId::generate(), &key, grant, Timestamp::from_seconds(0));
    store.insert(&record, &Actor::host()).await.expect("it is new");
    record.digest
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pruned_was_told_long_before() {
    let Some((store, schema)) = store().await else { return };
    let writes = &store.shared.writes;
    let mut reader = reader(&schema).await;
    let first = insert(&store).await;
    let old = prune::snapshot(writes).await.expect("it answers");
    let second = insert(&store).await;
    assert_eq!(reader.look().await.expect("it looks"), [Change::Key(first), Change::Key(second)]);
    let third = insert(&store).await;
    assert_eq!(prune::prune(writes, &old).await.expect("it prunes"), 1);
    assert_eq!(prune::prune(writes, &old).await.expect("it prunes"), 0);
    assert_eq!(reader.look().await.expect("it looks"), [Change::Key(third)]);
    assert_eq!(reader.look().await.expect("it looks"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_did_not_look_for_long_takes_anything_for_changed() {
    let Some((_store, schema)) = store().await else { return };
    let mut reader = reader(&schema).await;
    let blink = LONGEST_BLINK.as_secs().cast_signed();
    assert_eq!(reader.look().await.expect("it looks"), []);
    for by_server in [-blink, 2] {
        reader.seen.server_at += by_server;
        assert_eq!(reader.look().await.expect("it looks"), [Change::All], "{by_server}");
        assert_eq!(reader.look().await.expect("it looks"), []);
    }
    reader.seen.at -= LONGEST_BLINK;
    assert_eq!(reader.look().await.expect("it looks"), [Change::All]);
    assert_eq!(reader.look().await.expect("it looks"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_goes_by_its_index_and_stops_when_the_page_is_full() {
    let Some((_store, schema)) = store().await else { return };
    let mut raw = PgConnection::connect(&schema.url).await.expect("it connects");
    let setup = format!(
        "SET search_path = {};
         INSERT INTO keys (id, digest, display, kind, role, metadata, created_at)
         SELECT 'k' || n, sha256(n::text::bytea), 'x', 'integrator', 'read', '{{}}', n
         FROM generate_series(1, 20000) AS n;
         ANALYZE keys",
        schema.name
    );
    let run = sqlx::raw_sql(sqlx::AssertSqlSafe(setup));
    run.execute(&mut raw).await.expect("it is set up");
    for query in [PAGE, END] {
        let explain = format!("EXPLAIN (ANALYZE, TIMING OFF) {query}");
        let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(explain))
            .bind("integrator")
            .bind(15_000_i64)
            .bind("k15000")
            .bind(100_i64)
            .bind(None::<i64>)
            .bind(11_i64)
            .bind(None::<&str>)
            .bind(None::<&str>)
            .bind(None::<&str>)
            .bind(None::<&str>)
            .bind(None::<i64>)
            .fetch_all(&mut raw)
            .await
            .expect("it is explained");
        let plan = plan.join("\n");
        assert!(plan.contains("keys_listed") && !plan.contains("Sort"), "{plan}");
        let most = if query == PAGE { "rows=11 loops=1" } else { "rows=100 loops=1" };
        let scan = plan.lines().find(|line| line.contains("keys_listed")).expect("the scan");
        assert!(scan.contains(most), "{plan}");
    }
}

/// Whatever there is: pages of purchases, and what identifies them.
#[tokio::test(flavor = "multi_thread")]
async fn purchases_are_listed_and_found_by_an_index() {
    let Some((_store, schema)) = store().await else { return };
    let mut raw = PgConnection::connect(&schema.url).await.expect("it connects");
    let setup = format!(
        "SET search_path = {};
         INSERT INTO issuances (namespace, id, fingerprint, tx_hash, request_id, key_id, digest,
             issued_at)
         SELECT 'challenge', 'c' || n, sha256(''), '0x' || n, 'r' || n, 'k' || n, sha256(''), n
         FROM generate_series(1, 20000) AS n;
         INSERT INTO payments (challenge_id, request_id, resource_id, plan_id, tx_hash, details,
             received_at)
         SELECT 'c' || n, 'r' || n, 'photo-1', 'basic', '0x' || n, '{{}}', n
         FROM generate_series(1, 20000) AS n;
         ANALYZE issuances; ANALYZE payments",
        schema.name
    );
    let run = sqlx::raw_sql(sqlx::AssertSqlSafe(setup));
    run.execute(&mut raw).await.expect("it is set up");
    for (query, index) in [
        (
            listing::ISSUANCES
                .replace("$1", "15000")
                .replace("$2", "'challenge'")
                .replace("$3", "'c15000'")
                .replace("$4", "11"),
            "issuances_seen",
        ),
        (
            listing::PAYMENTS.replace("$1", "15000").replace("$2", "'c15000'").replace("$3", "11"),
            "payments_seen",
        ),
        ("SELECT id FROM issuances WHERE key_id = 'k7'".to_owned(), "issuances_of_key"),
        ("SELECT id FROM issuances WHERE request_id = 'r7'".to_owned(), "issuances_of_request"),
        ("SELECT tx_hash FROM payments WHERE request_id = 'r7'".to_owned(), "payments_of_request"),
    ] {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN (ANALYZE, TIMING OFF) {query}"));
        let plan: Vec<String> =
            sqlx::query_scalar(explain).fetch_all(&mut raw).await.expect("it is explained");
        let plan = plan.join("\n");
        assert!(plan.contains(index) && !plan.contains("Sort"), "{plan}");
        let scan = plan.lines().find(|line| line.contains(index)).expect("the scan");
        let is_page = query.contains("LIMIT");
        assert!(!is_page || scan.contains("rows=11 loops=1"), "{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_an_older_version_kept_without_0x_is_spent() {
    let Some((store, schema)) = store().await else { return };
    let digits = "ab".repeat(32);
    let insert = format!(
        "INSERT INTO {}.issuances (namespace, id, fingerprint, tx_hash, digest, issued_at)
         VALUES ('challenge', 'first', sha256(''), '{digits}', sha256(''), 0)",
        schema.name
    );
    let mut raw = PgConnection::connect(&schema.url).await.expect("it connects");
    sqlx::query(sqlx::AssertSqlSafe(insert)).execute(&mut raw).await.expect("it is new");
    for hash in [digits.clone(), format!("0x{digits}")] {
        let claim = IssuanceClaim {
            key: IssuanceKey::Challenge(ChallengeId::new("second").expect("legal")),
            fingerprint: RequestFingerprint::of([&b"body"[..]]),
            tx_hash: TxHash::new(&hash).expect("legal"),
            order: order(),
            lease: Lease::new(Timestamp::from_seconds(100)),
        };
        let state = store.begin_issuance(&claim, Timestamp::from_seconds(1)).await;
        assert_eq!(state.expect("it answers"), IssuanceState::Redeemed, "{hash}");
    }
}

/// What others do to a key by whatever means is told of both of its secrets.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_the_first_version_is_taken_over_with_its_data() {
    let Some(schema) = postgres_server::Schema::fresh() else { return };
    let mut raw = PgConnection::connect(&schema.url).await.expect("it connects");
    let name = &schema.name;
    let digits = "ab".repeat(32);
    let setup = format!(
        "CREATE SCHEMA IF NOT EXISTS {name}; SET search_path = {name};
         {}
         INSERT INTO key0_auth (marker, version) VALUES ('{}', 1);
         INSERT INTO keys (id, digest, display, kind, role, metadata, created_at, revoked_at) VALUES
             ('live', sha256('live'), 'ak_live…', 'integrator', 'read', '{{\"a\":1}}', 1, NULL),
             ('dead', sha256('dead'), 'ak_dead…', 'integrator', 'minter', '{{}}', 2, 3);
         INSERT INTO key_events (key_id, action, actor, at) VALUES ('dead', 'revoked', 'host', 3);
         INSERT INTO issuances (namespace, id, fingerprint, tx_hash, digest, issued_at)
             VALUES ('challenge', 'c', sha256(''), '0x{digits}', sha256(''), 0);
         INSERT INTO payments (challenge_id, request_id, resource_id, plan_id, tx_hash, details,
             received_at) VALUES ('c', 'r', 'photo-1', 'basic', '0x{digits}', '{{}}', 4)",
        super::migrations::MIGRATIONS[0],
        super::schema::MARKER,
    );
    let run = sqlx::raw_sql(sqlx::AssertSqlSafe(setup));
    run.execute(&mut raw).await.expect("it is set up");

    let store = PostgresOptions::new().schema(name).open(&schema.url).await.expect("it opens");
    let live = store.find(&KeyDigest::of("live")).await.expect("it answers").expect("it is kept");
    assert_eq!((live.metadata.as_json(), live.suspended_at), ("{\"a\":1}", None));
    let dead = store.get(&KeyId::new("dead").expect("legal")).await.expect("it answers");
    let dead = dead.expect("it is kept");
    assert_eq!(dead.revoked_at, Some(Timestamp::from_micros(3)));
    assert_eq!(store.history(&dead.id, 9).await.expect("it answers").len(), 1);
    // It is of no transaction that can run: nothing holds it back.
    let query = AuditQuery { since: None, after: AuditCursor::default(), limit: 10 };
    let events = store.events(&query).await.expect("it answers").events;
    assert_eq!(events.iter().map(|event| event.subject.id()).collect::<Vec<_>>(), ["dead"]);
    let challenge = ChallengeId::new("c").expect("legal");
    assert!(store.payment(&challenge).await.expect("it answers").is_some());
    let claim = IssuanceClaim {
        key: IssuanceKey::Challenge(ChallengeId::new("d").expect("legal")),
        fingerprint: RequestFingerprint::of([&b"body"[..]]),
        tx_hash: TxHash::new(&digits).expect("legal"),
        order: order(),
        lease: Lease::new(Timestamp::from_seconds(100)),
    };
    let state = store.begin_issuance(&claim, Timestamp::from_seconds(1)).await;
    assert_eq!(state.expect("it answers"), IssuanceState::Redeemed);

    let query = PurchaseQuery {
        filter: PurchaseFilter::default(),
        after: None,
        limit: 10,
        now: Timestamp::from_seconds(1),
    };
    let listed = store.purchases(&query).await.expect("it answers").purchases;
    let [purchase] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!(purchase.issued.map(|issued| issued.at), Some(Timestamp::from_seconds(0)));
    assert_eq!(purchase.plan_id.as_ref().map(|plan| plan.as_str()), Some("basic"));
    assert!(purchase.confirmed.is_some());

    let new = KeyDigest::of("new");
    let rotation = Rotation {
        old: live.digest,
        new,
        display: "x".to_owned(),
        old_until: Some(Timestamp::from_seconds(50)),
    };
    let now = Timestamp::from_seconds(1);
    assert!(store.rotate(&live.id, &rotation, &Actor::host(), now).await.expect("it answers"));
    let mut reader = reader(&schema).await;
    for change in ["UPDATE keys SET suspended_at = 5 WHERE id = 'live'", "DELETE FROM keys"] {
        sqlx::raw_sql(change).execute(&mut raw).await.expect("it is done");
        let heard = reader.look().await.expect("it looks");
        for digest in [live.digest, new] {
            assert!(heard.contains(&Change::Key(digest)), "{change}: {heard:?}");
        }
    }
}

fn order() -> Order {
    Order {
        request_id: "r".parse().expect("legal"),
        resource_id: "photo-1".parse().expect("legal"),
        plan_id: "basic".parse().expect("legal"),
    }
}
