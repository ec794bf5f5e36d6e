//! Several backends on one server: what one of them decides holds for all, whatever breaks.
//!
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod cluster;
mod crash;
mod engine;
mod figures;
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
mod revocations;
mod scale;
#[path = "../../../../tests/support/servers/mod.rs"]
mod servers;
mod storm;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use self::{postgres_server::Postgres, redis_server::Redis};

/// Times are measured here: one test at a time.
static QUIET: Mutex<()> = Mutex::new(());

fn quiet() -> MutexGuard<'static, ()> {
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the server is gone.
const GONE: Duration = Duration::from_secs(30);
/// How long it stands still: longer than any key is remembered.
const STILL: Duration = Duration::from_secs(10);

#[test]
fn a_revocation_reaches_every_instance_on_postgres() {
    let _quiet = quiet();
    let Some(server) = Postgres::start() else { return };
    revocations::reach_every_instance("PostgreSQL", &server);
}

#[test]
fn a_revocation_reaches_every_instance_on_redis() {
    let _quiet = quiet();
    let Some(server) = Redis::start(&[]) else { return };
    revocations::reach_every_instance("Redis", &server);
}

#[test]
fn an_outage_of_postgres_is_no_refusal() {
    let _quiet = quiet();
    let Some(server) = Postgres::start() else { return };
    outage::stopped("PostgreSQL stopped", &server, GONE);
}

#[test]
fn an_outage_of_redis_is_no_refusal() {
    let _quiet = quiet();
    let Some(server) = Redis::start(&[]) else { return };
    outage::stopped("Redis stopped", &server, GONE);
}

#[test]
fn a_hanging_postgres_is_no_refusal() {
    let _quiet = quiet();
    let Some(server) = Postgres::start() else { return };
    outage::hung("PostgreSQL hung", &server, STILL);
}

#[test]
fn a_hanging_redis_is_no_refusal() {
    let _quiet = quiet();
    let Some(server) = Redis::start(&[]) else { return };
    outage::hung("Redis hung", &server, STILL);
}

#[test]
fn a_payment_buys_one_credential_on_postgres() {
    let _quiet = quiet();
    let Some(server) = Postgres::start() else { return };
    issuance::is_once(&server);
}

#[test]
fn a_payment_buys_one_credential_on_redis() {
    let _quiet = quiet();
    let Some(server) = Redis::start(&[]) else { return };
    issuance::is_once(&server);
}

#[test]
fn a_million_keys_cost_no_more_than_a_few() {
    let _quiet = quiet();
    let Some(server) = Postgres::start() else { return };
    scale::is_flat(&server);
}
