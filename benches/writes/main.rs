//! What a durable write of this crate costs beside the same engine's bare insert by hand: an
//! issued key, a received payment, a request with an idempotency key.
//!
//! ```sh
//! cargo bench --features postgres,sqlite --bench writes
//! cargo bench --features postgres,sqlite --bench writes -- sqlite   # or postgres: that one alone
//! ```
//!
//! Starts a PostgreSQL of its own; without one installed, SQLite alone is measured. Every call is
//! seen to succeed.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod postgres;
mod requests;
mod rounds;
mod sqlite;

#[allow(dead_code, unreachable_pub)]
#[path = "../../tests/support/servers/postgres.rs"]
mod postgres_server;
#[path = "../../tests/support/servers/mod.rs"]
mod servers;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let only = |engine: &str| std::env::args().any(|argument| argument == engine);
    runtime.block_on(async {
        if !only("sqlite")
            && let Some(server) = postgres_server::Postgres::start()
        {
            for group in postgres::groups(&server).await {
                rounds::measure(&group).await;
            }
        }
        if !only("postgres") {
            let folder = tempfile::tempdir().expect("a folder");
            rounds::measure(&sqlite::group(folder.path()).await).await;
        }
    });
}
