//! How many bytes a sale takes in each engine.

use std::fs;

use serde_json::json;

use crate::{
    cluster::{Line, call, issue},
    engine::Sql,
    postgres_server::{Postgres, run_sql},
    process::{INTERNAL_SECRET, Request, Setup},
    redis_server::Redis,
};

/// What is sold before, so that no table is empty.
const BEFORE: u64 = 500;
const SALES: u64 = 4_000;

/// Sells through a real backend: each sale is issued, paid and used once.
fn sell(setup: &Setup, numbers: std::ops::Range<u64>) {
    let mut backend = setup.start();
    let mut line = Line::open(backend.public);
    for number in numbers {
        let key = line.send(&issue(number)).member("token");
        let paid = json!({
            "requestId": format!("request-{number}"),
            "challengeId": format!("challenge-{number}"),
            "resourceId": format!("photo-{number}"),
            "planId": "basic",
            "txHash": format!("0x{number:064x}"),
            "unitAmount": "$0.10",
            "fromAddress": format!("0x{number:040x}"),
            "toAddress": format!("0x{:040x}", 7),
            "chainId": 8453,
        });
        let paid = Request::post("/internal/payment-received", &paid).internal(INTERNAL_SECRET);
        assert_eq!(line.send(&paid).status, 200);
        assert_eq!(line.send(&call(number, &key)).status, 200);
    }
    drop(line);
    backend.terminate();
    backend.wait();
}

fn measure(engine: &str, url: &str, size: &dyn Fn(&Setup) -> u64) {
    let setup = Setup::new().set("DATABASE_URL", url).set("ACCESS_LOG", "off");
    sell(&setup, 0..BEFORE);
    let before = size(&setup);
    sell(&setup, BEFORE..BEFORE + SALES);
    let grown = size(&setup) - before;
    println!("{engine}: {} bytes for each of {SALES} sales", grown / SALES);
    assert!(grown / SALES > 100, "nothing was kept");
}

pub(crate) fn of_every_engine() {
    let file = |setup: &Setup| fs::metadata(setup.path("key0.db")).unwrap().len();
    measure("SQLite", "sqlite://key0.db", &file);
    if let Some(server) = Postgres::start() {
        let tables = |_: &Setup| {
            run_sql(&server.url(), "VACUUM");
            let size = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class AS c
                 JOIN pg_namespace AS n ON n.oid = relnamespace
                 WHERE nspname = 'key0' AND relkind = 'r'";
            Sql::connect(&server.url()).number(size, &[]).cast_unsigned()
        };
        measure("PostgreSQL, its tables and indices", &server.url(), &tables);
    }
    if let Some(server) = Redis::start(&["--appendonly", "no"]) {
        let memory = |_: &Setup| {
            let told: String = server.cli(&["INFO", "memory"]);
            let line = told.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
            line.unwrap().trim().parse().unwrap()
        };
        measure("Redis, in memory", &server.url(""), &memory);
    }
}
