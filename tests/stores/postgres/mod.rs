//! What only the PostgreSQL engine does: schemas, other instances, raw SQL, outages, the backend.

#![cfg(all(feature = "postgres", unix))]
/// What a call gives as soon as it is given time: where a deadline passes, it is made again.
macro_rules! patiently {
    ($call:expr) => {{
        let began = std::time::Instant::now();
        loop {
            match $call.await {
                Err(error)
                    if error.kind() == key0_auth::error::StoreErrorKind::TimedOut
                        && began.elapsed() < crate::postgres::PATIENCE => {}
                answer => break answer.unwrap(),
            }
        }
    }};
}

mod audit;
mod change_notifications;
mod opening;
mod outages;
mod races;
mod waiting;

use std::time::{Duration, Instant};

use key0_auth::{
    KeyStore, PostgresStore,
    apikey::{KeyDigest, KeyRecord},
    domain::Actor,
    store::{KeyRegistry, PostgresOptions},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

use crate::{
    postgres_server::{Postgres, Schema, unique},
    samples::{self, at, partner_key, payment_key},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// For tests that are not about a deadline: a busy machine reaches none of these.
fn unhurried() -> PostgresOptions {
    let options = PostgresOptions::new().open_timeout(PATIENCE);
    options.read_timeout(PATIENCE).write_timeout(PATIENCE)
}

/// A store in a schema of its own, and that schema.
struct Ours {
    schema: Schema,
    /// Stands in the list of the server's connections.
    name: String,
}

impl Ours {
    fn new() -> Option<Self> {
        Some(Self { schema: Schema::fresh()?, name: unique("key0") })
    }

    fn options(&self) -> PostgresOptions {
        unhurried().schema(&self.schema.name)
    }

    /// The URL with more parameters.
    fn url(&self, parameters: &str) -> String {
        let mark = if self.schema.url.contains('?') { '&' } else { '?' };
        format!("{}{mark}application_name={}{parameters}", self.schema.url, self.name)
    }

    async fn open(&self) -> PostgresStore {
        self.options().open(&self.url("")).await.unwrap()
    }

    /// A connection past the store, which sees its tables.
    async fn raw(&self) -> PgConnection {
        let mut raw = PgConnection::connect(&self.schema.url).await.unwrap();
        run(&mut raw, &format!("SET search_path = \"{}\"", self.schema.name)).await;
        raw
    }

    /// How many connections the server has from the store, whatever they do.
    async fn connections(&self, raw: &mut PgConnection) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1")
            .bind(&self.name)
            .fetch_one(raw)
            .await
            .unwrap()
    }

    /// How many of them wait for a lock.
    async fn waiting(&self, raw: &mut PgConnection) -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE application_name = $1 AND wait_event_type = 'Lock'",
        )
        .bind(&self.name)
        .fetch_one(raw)
        .await
        .unwrap()
    }

    /// Returns as soon as the store waits for one.
    async fn waits_for_a_lock(&self) {
        let mut raw = self.raw().await;
        comes_about("it waits for nobody", async || self.waiting(&mut raw).await > 0).await;
    }

    async fn terminate_connections(&self, raw: &mut PgConnection) {
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
        )
        .bind(&self.name)
        .execute(raw)
        .await
        .unwrap();
    }
}

async fn run(conn: &mut PgConnection, sql: &str) {
    raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.unwrap();
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    comes_about(what, async || holds()).await;
}

async fn comes_about(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What a read finds as soon as the server answers one.
async fn found(store: &PostgresStore, digest: &KeyDigest) -> Option<KeyRecord> {
    let mut found = None;
    comes_about("no read is answered", async || match store.find(digest).await {
        Ok(answer) => {
            found = answer;
            true
        }
        Err(_) => false,
    })
    .await;
    found
}

/// A key that is stored as soon as the server takes one.
async fn inserted(store: &PostgresStore) -> KeyRecord {
    let mut record = payment_key();
    comes_about("no key is stored", async || {
        record = payment_key();
        store.insert(&record, &Actor::host()).await.is_ok()
    })
    .await;
    record
}
