//! What only the PostgreSQL engine does.

#![cfg(all(feature = "postgres", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod servers;

use std::time::{Duration, Instant};

use servers::{postgres::Postgres, proxy::Proxy};

#[test]
fn servers_can_be_ill_treated() {
    let Some(server) = Postgres::start() else { return };
    let ask = |url: &str| servers::postgres::run_sql(url, "SELECT 1");
    ask(&server.url());
    ask(&server.new_database());
    server.stop();
    server.start_again();
    ask(&server.url());
    server.kill_9();
    server.start_again();
    server.hang();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(&server.url()));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!asked.is_finished());
        server.resume();
        asked.join().unwrap();
    });
    let proxy = Proxy::to(server.address());
    ask(&server.url_through(proxy.port()));
    proxy.stall();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(&server.url_through(proxy.port())));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!asked.is_finished());
        proxy.restore();
        asked.join().unwrap();
    });
    let began = Instant::now();
    drop(server);
    println!("dropped in {:?}", began.elapsed());
}
