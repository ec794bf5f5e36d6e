//! Several backends on one server, and one that is killed: what was decided holds for all, whatever
//! breaks. The tests that `long_` begins are run by themselves; CONTRIBUTING.md says how.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod cluster;
mod crash;
mod engine;
mod figures;
mod growth;
mod issuance;
mod outage;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/support/servers/postgres.rs"]
mod postgres_server;
#[path = "../support/process.rs"]
mod process;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/support/servers/redis.rs"]
mod redis_server;
mod refunds;
mod revocations;
mod scale;
#[path = "../../../../tests/support/servers/mod.rs"]
mod servers;
mod soak;
mod storm;

use std::time::Duration;

use self::{postgres_server::Postgres, redis_server::Redis, revocations::Size};

const FEW: Size = Size { keys: 20, cut: Duration::ZERO };
const MANY: Size = Size { keys: 1_000, cut: Duration::from_secs(60) };
/// In the folder in which the backends of a test run.
const ONE_FILE: &str = "sqlite://key0-backend.db";
/// How long the server is gone.
const GONE: Duration = Duration::from_secs(30);
/// How long it stands still: longer than any key is remembered.
const STILL: Duration = Duration::from_secs(10);

#[test]
fn a_revocation_reaches_every_instance_on_postgres() {
    let Some(server) = Postgres::start() else { return };
    revocations::reach_every_instance("PostgreSQL", &server, FEW);
}

#[test]
fn a_revocation_reaches_every_instance_on_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    revocations::reach_every_instance("Redis", &server, FEW);
}

#[test]
#[ignore = "long: revocations"]
fn long_revocations_on_postgres() {
    let Some(server) = Postgres::start() else { return };
    revocations::reach_every_instance("PostgreSQL", &server, MANY);
}

#[test]
#[ignore = "long: revocations"]
fn long_revocations_on_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    revocations::reach_every_instance("Redis", &server, MANY);
}

#[test]
fn a_revoked_purchase_is_dead_on_every_instance_on_sqlite() {
    revocations::end_whole_purchases("SQLite", ONE_FILE, None, FEW);
}

#[test]
fn a_revoked_purchase_is_dead_on_every_instance_on_postgres() {
    let Some(server) = Postgres::start() else { return };
    revocations::end_whole_purchases("PostgreSQL", &server.url(), Some(&server), FEW);
}

#[test]
fn a_revoked_purchase_is_dead_on_every_instance_on_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    revocations::end_whole_purchases("Redis", &server.url(""), Some(&server), FEW);
}

#[test]
#[ignore = "long: revocations"]
fn long_revocations_of_purchases_on_sqlite() {
    revocations::end_whole_purchases("SQLite", ONE_FILE, None, MANY);
}

#[test]
#[ignore = "long: revocations"]
fn long_revocations_of_purchases_on_postgres() {
    let Some(server) = Postgres::start() else { return };
    revocations::end_whole_purchases("PostgreSQL", &server.url(), Some(&server), MANY);
}

#[test]
#[ignore = "long: revocations"]
fn long_revocations_of_purchases_on_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    revocations::end_whole_purchases("Redis", &server.url(""), Some(&server), MANY);
}

// Their short forms are the outages of the tests of the backend on each engine.

#[test]
#[ignore = "long: outages"]
fn long_outages_postgres_stopped() {
    let Some(server) = Postgres::start() else { return };
    outage::stopped("PostgreSQL stopped", &server, GONE);
}

#[test]
#[ignore = "long: outages"]
fn long_outages_redis_stopped() {
    let Some(server) = Redis::start(&[]) else { return };
    outage::stopped("Redis stopped", &server, GONE);
}

#[test]
#[ignore = "long: outages"]
fn long_outages_postgres_hung() {
    let Some(server) = Postgres::start() else { return };
    outage::hung("PostgreSQL hung", &server, STILL);
}

#[test]
#[ignore = "long: outages"]
fn long_outages_redis_hung() {
    let Some(server) = Redis::start(&[]) else { return };
    outage::hung("Redis hung", &server, STILL);
}

#[test]
fn a_payment_buys_one_credential_on_postgres() {
    let Some(server) = Postgres::start() else { return };
    issuance::is_once(&server, 1);
}

#[test]
fn a_payment_buys_one_credential_on_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    issuance::is_once(&server, 1);
}

#[test]
#[ignore = "long: crashes"]
fn long_crashes_amid_issuances_on_postgres() {
    let Some(server) = Postgres::start() else { return };
    issuance::is_once(&server, 20);
}

#[test]
#[ignore = "long: crashes"]
fn long_crashes_amid_issuances_on_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    issuance::is_once(&server, 20);
}

#[test]
fn a_refund_leaves_nothing_alive_on_sqlite() {
    refunds::leave_nothing_alive("SQLite", ONE_FILE, 3);
}

#[test]
fn a_refund_leaves_nothing_alive_on_postgres() {
    let Some(server) = Postgres::start() else { return };
    refunds::leave_nothing_alive("PostgreSQL", &server.url(), 3);
}

#[test]
fn a_refund_leaves_nothing_alive_on_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    refunds::leave_nothing_alive("Redis", &server.url(""), 3);
}

#[test]
#[ignore = "long: crashes"]
fn long_crashes_amid_refunds_on_sqlite() {
    refunds::leave_nothing_alive("SQLite", ONE_FILE, 20);
}

#[test]
#[ignore = "long: crashes"]
fn long_crashes_amid_refunds_on_postgres() {
    let Some(server) = Postgres::start() else { return };
    refunds::leave_nothing_alive("PostgreSQL", &server.url(), 20);
}

#[test]
#[ignore = "long: crashes"]
fn long_crashes_amid_refunds_on_redis() {
    let Some(server) = Redis::start(&[]) else { return };
    refunds::leave_nothing_alive("Redis", &server.url(""), 20);
}

#[test]
fn many_keys_cost_no_more_than_a_few() {
    let Some(server) = Postgres::start() else { return };
    scale::is_flat(&server, 10_000, 100_000);
}

#[test]
#[ignore = "long: scale"]
fn long_scale_a_million_keys_cost_no_more_than_a_few() {
    let Some(server) = Postgres::start() else { return };
    scale::is_flat(&server, 10_000, 1_000_000);
}

#[test]
#[ignore = "long: soak"]
fn long_soak_on_postgres() {
    let Some(server) = Postgres::start() else { return };
    soak::a_day(&server);
}

#[test]
#[ignore = "long: scale"]
fn long_scale_what_a_sale_takes() {
    growth::of_every_engine();
}
