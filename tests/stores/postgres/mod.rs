//! What only the PostgreSQL engine does: schemas, other instances, raw SQL, outages, the backend.

#![cfg(all(feature = "postgres", unix))]
mod change_notifications;
mod opening;
mod outages;
mod races;

use std::time::{Duration, Instant};

use key0_auth::{KeyStore, PostgresStore, domain::Actor, store::PostgresOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

use crate::{
    postgres_server::{Postgres, Schema, unique},
    samples::{self, at, partner_key, payment_key},
};

const PATIENCE: Duration = Duration::from_secs(30);

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
        PostgresOptions::new().schema(&self.schema.name)
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

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}
