#![allow(clippy::unwrap_used, clippy::expect_used)]

use key0_auth::RedisStore;

use super::{passports::add_passport, *};
use crate::partner::{
    passports::NewPassport,
    store::{
        Imports, Loyalty,
        tests::{PATIENCE, noon, redis_server::Redis as Server, rows},
    },
};

async fn fresh() -> Option<(Redis, RedisUrl, Server)> {
    let server = Server::start(&["--appendonly", "no"])?;
    let url = RedisUrl::new(&server.url("")).unwrap();
    drop(RedisStore::open(&server.url("")).await.unwrap());
    Some((Redis::open(&url, "key0:").await.unwrap().patient(PATIENCE), url, server))
}

/// An instance that ends between an import and what is told of it: the next tells what that one did.
#[tokio::test]
async fn an_import_is_told_as_it_was_carried_out() {
    let Some((store, _, _server)) = fresh().await else { return };
    let row = r#"{"granularity":"item","application":"a","modelNumber":"m","name":"b"}"#;
    let queued = store.queue_import(None, None, rows(&format!("[{row}]")), noon()).await.unwrap();
    let arrival = store.next_import(noon()).await.unwrap().unwrap();
    let mut call = store.call(&scripts::CARRY_OUT_IMPORT);
    call.arg(arrival).arg(noon().as_micros());
    add_passport(&mut call, "an id", &NewPassport::read(row.as_bytes()).unwrap());
    assert_eq!(store.write::<String>(&call).await.unwrap(), "c");
    assert_eq!(store.next_import(noon()).await.unwrap(), Some(arrival));
    assert!(store.carry_out_import(arrival, noon()).await.unwrap());
    let id: serde_json::Value = serde_json::from_str(&queued.body).unwrap();
    let done = store.import(id["id"].as_str().unwrap().to_owned()).await.unwrap();
    assert!(done.contains(r#""created":1,"updated":0"#), "{done}");
}

/// Balances that begin at nothing again would be worse than none.
#[tokio::test]
async fn a_database_that_was_emptied_or_replaced_is_an_outage() {
    let Some((store, _, server)) = fresh().await else { return };
    let mint = async || store.mint(None, "wallet".to_owned(), 1, noon()).await;
    mint().await.unwrap();
    let () = server.cli(&["FLUSHALL"]);
    assert!(mint().await.unwrap_err().is_outage());
    assert!(store.due(noon()).await.unwrap_err().is_outage());
    // Somebody else makes it anew.
    let other = RedisStore::open(&server.url("")).await.unwrap();
    assert!(other.was_made());
    assert!(mint().await.unwrap_err().is_outage());
}

#[tokio::test]
async fn a_replica_answers_nothing() {
    let Some((store, _, server)) = fresh().await else { return };
    store.mint(None, "wallet".to_owned(), 1, noon()).await.unwrap();
    server.lead(false);
    assert!(store.due(noon()).await.unwrap_err().is_outage());
    assert!(store.mint(None, "wallet".to_owned(), 1, noon()).await.unwrap_err().is_outage());
    server.lead(true);
    assert_eq!(
        store.mint(None, "wallet".to_owned(), 1, noon()).await.unwrap().body,
        r#"{"newamount":2}"#
    );
}

#[tokio::test]
async fn what_a_newer_version_keeps_is_left_alone() {
    let Some((_, url, server)) = fresh().await else { return };
    let () = server.cli(&["SET", "key0:partner:version", "2"]);
    let opened = Redis::open(&url, "key0:").await;
    assert!(matches!(opened, Err(OpenError::Newer { found: 2, .. })), "{opened:?}");
}
