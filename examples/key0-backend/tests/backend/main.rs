//! The sample backend from outside: processes, and real sockets.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod a_while;
mod audit;
#[allow(dead_code)]
#[path = "../../src/call.rs"]
mod call;
mod case_table;
#[path = "../../../../tests/support/cases/mod.rs"]
mod cases;
mod client;
mod configuration;
mod conformance;
mod console;
mod copy;
mod demo;
mod deploy;
mod documented;
mod examples;
mod gateway;
#[path = "../../../../tests/support/http1.rs"]
mod http1;
mod javascript;
mod metrics;
mod on_postgres;
mod on_redis;
mod partner;
mod partner_instances;
#[path = "../../../../tests/support/pool.rs"]
mod pool;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/support/servers/postgres.rs"]
mod postgres_server;
#[path = "../support/process.rs"]
mod process;
mod purchases;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../../tests/support/servers/redis.rs"]
mod redis_server;
mod serve;
#[path = "../../../../tests/support/servers/mod.rs"]
mod servers;
mod sidecar;
mod store;
mod tools;
