//! The servers, and what is done to them.

use std::sync::Mutex;

use sqlx::{Connection, PgConnection, Row};
use tokio::runtime::Runtime;

use crate::{postgres_server::Postgres, redis_server::Redis};

/// Revokes the key of this id.
pub(crate) type Revoke<'a> = Box<dyn Fn(&str) + Send + Sync + 'a>;

/// A server that a test has started for itself.
pub(crate) trait Engine: Send + Sync {
    /// What the backends are given as `DATABASE_URL`.
    fn url(&self) -> String;
    /// An end in good order.
    fn stop(&self);
    /// Starts it again, and returns when it answers.
    fn start(&self);
    /// Its processes stand still; what is connected stays connected.
    fn hang(&self);
    fn resume(&self);
    /// Cuts the connections on which the backends listen for news, and says how many there were.
    fn cut_listeners(&self) -> usize;
    /// Revokes keys past the store, where the engine can notice that.
    fn revoke_by_hand(&self) -> Option<Revoke<'_>>;
    /// How many issuances and how many keys there are.
    fn counts(&self) -> (u64, u64);
}

impl Engine for Postgres {
    fn url(&self) -> String {
        Self::url(self)
    }

    fn stop(&self) {
        Self::stop(self);
    }

    fn start(&self) {
        self.start_again();
    }

    fn hang(&self) {
        Self::hang(self);
    }

    fn resume(&self) {
        Self::resume(self);
    }

    fn cut_listeners(&self) -> usize {
        // Of all connections only those that listen ask for what a snapshot does not show.
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE query LIKE '%pg_current_snapshot%' AND pid <> pg_backend_pid()";
        Sql::connect(&Self::url(self)).number(cut, &[]) as usize
    }

    fn revoke_by_hand(&self) -> Option<Revoke<'_>> {
        let sql = Sql::connect(&Self::url(self));
        Some(Box::new(move |id| {
            let revoke = "WITH revoked AS (
                              UPDATE key0.keys SET revoked_at = created_at WHERE id = $1
                              RETURNING id
                          ) SELECT count(*) FROM revoked";
            assert_eq!(sql.number(revoke, &[id]), 1);
        }))
    }

    fn counts(&self) -> (u64, u64) {
        let sql = Sql::connect(&Self::url(self));
        let count = |table| sql.number(&format!("SELECT count(*) FROM key0.{table}"), &[]);
        (count("issuances") as u64, count("keys") as u64)
    }
}

impl Engine for Redis {
    fn url(&self) -> String {
        Self::url(self, "")
    }

    fn stop(&self) {
        Self::stop(self);
    }

    fn start(&self) {
        self.start_again();
    }

    fn hang(&self) {
        Self::hang(self);
    }

    fn resume(&self) {
        Self::resume(self);
    }

    fn cut_listeners(&self) -> usize {
        self.cli(&["CLIENT", "KILL", "TYPE", "pubsub"])
    }

    fn revoke_by_hand(&self) -> Option<Revoke<'_>> {
        None
    }

    fn counts(&self) -> (u64, u64) {
        let count = |pattern: &str| self.cli::<Vec<String>>(&["KEYS", pattern]).len() as u64;
        (count("key0:issuance:*"), count("key0:key:*"))
    }
}

/// A connection to PostgreSQL for threads that may block.
pub(crate) struct Sql {
    runtime: Runtime,
    connection: Mutex<PgConnection>,
}

impl Sql {
    pub(crate) fn connect(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connection = runtime.block_on(PgConnection::connect(url)).unwrap();
        Self { runtime, connection: Mutex::new(connection) }
    }

    /// The one number that a query gives.
    pub(crate) fn number(&self, query: &str, values: &[&str]) -> i64 {
        let mut connection = self.connection.lock().unwrap();
        let query = sqlx::query(sqlx::AssertSqlSafe(query.to_owned()));
        let query = values.iter().fold(query, |query, value| query.bind(*value));
        let row = self.runtime.block_on(query.fetch_one(&mut *connection)).unwrap();
        row.get(0)
    }
}
