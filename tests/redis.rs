//! What only the Redis engine does.

#![cfg(all(feature = "redis", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod servers;

use servers::redis::Redis;

#[test]
fn servers_can_be_ill_treated() {
    let Some(server) = Redis::start(&[]) else { return };
    let ask = || server.cli::<String>(&["PING"]);
    assert_eq!(ask(), "PONG");
    server.stop();
    server.start_again();
    ask();
    server.kill_9();
    server.start_again();
    ask();
}
