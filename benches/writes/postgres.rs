use std::{sync::Arc, time::Duration};

use key0_auth::{
    PostgresStore,
    domain::{Clock, SystemClock},
    store::{
        IdempotencyStore, PostgresOptions,
        spi::{IdempotencyState, Lease, RequestFingerprint, Slot, StoredResponse},
    },
};
use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::{
    postgres_server::{Postgres, run_sql},
    requests,
    rounds::{Group, Way},
};

/// As many as the store has by default.
const CONNECTIONS: u32 = 16;

pub(crate) async fn groups(server: &Postgres) -> [Group; 2] {
    let table = "CREATE TABLE sales (id text PRIMARY KEY, tx_hash text NOT NULL UNIQUE,
                                     resource text NOT NULL, at bigint NOT NULL)";
    run_sql(&server.url(), table);
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&server.url()).await;
    let pool = pool.expect("it takes connections");
    let store = PostgresOptions::new().write_timeout(Duration::from_secs(60));
    let store = store.max_connections(CONNECTIONS).open(&server.url()).await;
    let store = Arc::new(store.expect("it opens"));
    [
        Group {
            name: "PostgreSQL",
            callers: &[1, 8, 64],
            ways: vec![
                by_hand(pool.clone()),
                requests::issue_token(&store),
                requests::payment_received(&store),
            ],
        },
        Group {
            name: "PostgreSQL, idempotency",
            callers: &[1, 32],
            ways: vec![by_hand(pool), claimed_and_completed(&store), replayed(&store).await],
        },
    ]
}

/// One statement and one commit, and nothing that makes a retry safe.
fn by_hand(pool: PgPool) -> Way {
    Way::new("a bare insert by hand", move |number| {
        let pool = pool.clone();
        async move {
            let inserted = sqlx::query(
                "INSERT INTO sales (id, tx_hash, resource, at) VALUES ($1, $2, $3, $4)",
            )
            .bind(uuid::Uuid::now_v7().to_string())
            .bind(format!("{}{}", requests::tx_hash(number), uuid::Uuid::now_v7()))
            .bind("photo-1")
            .bind(number.cast_signed())
            .execute(&pool)
            .await;
            assert_eq!(inserted.expect("it is new").rows_affected(), 1);
        }
    })
}

fn claimed_and_completed(store: &Arc<PostgresStore>) -> Way {
    let store = Arc::clone(store);
    Way::new("a request claimed, and completed", move |_| {
        let store = Arc::clone(&store);
        async move { run_once(&store, &new_slot()).await }
    })
}

async fn replayed(store: &Arc<PostgresStore>) -> Way {
    let (store, slot) = (Arc::clone(store), new_slot());
    run_once(&store, &slot).await;
    Way::new("its replay", move |_| {
        let (store, slot) = (Arc::clone(&store), slot.clone());
        async move {
            let now = SystemClock.now();
            let state = store.begin_request(&slot, &print(), &lease(), now).await;
            assert!(matches!(state.expect("it answers"), IdempotencyState::Done(_)));
        }
    })
}

async fn run_once(store: &PostgresStore, slot: &Slot) {
    let (lease, now) = (lease(), SystemClock.now());
    let state = store.begin_request(slot, &print(), &lease, now).await;
    assert_eq!(state.expect("it answers"), IdempotencyState::Started);
    let response = StoredResponse { status: 201, headers: Vec::new(), body: b"{}".to_vec() };
    let until = now.plus(Duration::from_secs(86_400));
    assert!(store.complete_request(slot, &lease, &response, until).await.expect("it answers"));
}

fn new_slot() -> Slot {
    Slot { scope: "a caller".to_owned(), key: uuid::Uuid::now_v7().to_string() }
}

fn print() -> RequestFingerprint {
    RequestFingerprint::of([&b"body"[..]])
}

fn lease() -> Lease {
    Lease::new(SystemClock.now().plus(Duration::from_secs(30)))
}
