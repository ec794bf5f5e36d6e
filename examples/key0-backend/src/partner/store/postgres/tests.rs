#![allow(clippy::unwrap_used, clippy::expect_used)]

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::*;
use crate::partner::{
    query::Page,
    store::{
        Imports, Loyalty,
        tests::{PATIENCE, later, noon, postgres_server::Schema, rows},
    },
};

const ALL: Page = Page { limit: 100, before: i64::MAX };

/// The tables in a schema of their own, and a connection of somebody else.
async fn fresh() -> Option<(Postgres, PgConnection, Schema)> {
    let schema = Schema::fresh()?;
    let mut somebody = PgConnection::connect(&schema.url).await.unwrap();
    let make =
        format!("CREATE SCHEMA \"{name}\"; SET search_path = \"{name}\"", name = schema.name);
    somebody.execute(sqlx::raw_sql(AssertSqlSafe(make))).await.unwrap();
    let url = PostgresUrl::new(&schema.url).unwrap();
    let store = Postgres::open(&url, &schema.name).await.unwrap().patient(PATIENCE);
    Some((store, somebody, schema))
}

/// A worker passes over what another is about; a request waits, but not without an end.
#[tokio::test]
async fn what_somebody_holds_keeps_nobody_else_waiting() {
    let Some((store, mut somebody, _schema)) = fresh().await else { return };
    for wallet in ["held", "free"] {
        store.mint(None, wallet.to_owned(), 1, noon()).await.unwrap();
        store.queue_import(None, None, rows("[{}]"), noon()).await.unwrap();
    }
    let first = store.next_import(noon()).await.unwrap().unwrap();
    let hold = format!(
        "BEGIN; SELECT FROM partner_accounts WHERE id = 'held' FOR UPDATE;
         SELECT FROM partner_orders WHERE account = 'held' FOR UPDATE;
         SELECT FROM partner_imports WHERE arrival = {first} FOR UPDATE"
    );
    somebody.execute(sqlx::raw_sql(AssertSqlSafe(hold))).await.unwrap();
    assert_eq!(store.settle(later(9), 9).await.unwrap(), 1);
    assert_eq!(store.orders("free".to_owned(), ALL).await.unwrap()[0].status, "settled");
    assert!(!store.carry_out_import(first, noon()).await.unwrap());
    let second = store.next_import(noon()).await.unwrap().unwrap();
    assert_ne!(second, first);
    assert!(store.carry_out_import(second, noon()).await.unwrap());
    let refused = store.mint(None, "held".to_owned(), 1, noon()).await.unwrap_err();
    assert!(refused.is_outage(), "{refused}");
    store.mint(None, "free".to_owned(), 1, noon()).await.unwrap();
    somebody.execute("ROLLBACK").await.unwrap();
    assert_eq!(store.settle(later(9), 9).await.unwrap(), 2);
    assert!(store.carry_out_import(first, noon()).await.unwrap());
}

/// What the server says of a statement or a value is no outage: the import that it is said of is
/// put off, and others have their turn.
#[tokio::test]
async fn only_what_may_be_over_by_itself_is_an_outage() {
    let Some((store, mut somebody, schema)) = fresh().await else { return };
    let poison = "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'of the test'; END $$;
         CREATE TRIGGER poison BEFORE INSERT ON partner_accounts
             FOR EACH ROW EXECUTE FUNCTION poison()";
    somebody.execute(sqlx::raw_sql(poison)).await.unwrap();
    let mint = async || store.mint(None, "wallet".to_owned(), 1, noon()).await;
    assert!(!mint().await.unwrap_err().is_outage());
    let gone = format!("DROP SCHEMA \"{}\" CASCADE", schema.name);
    somebody.execute(sqlx::raw_sql(AssertSqlSafe(gone))).await.unwrap();
    assert!(mint().await.unwrap_err().is_outage());
}

/// Also what would be a bug where it were said of a statement.
#[tokio::test]
async fn whatever_keeps_from_connecting_is_an_outage() {
    use std::io::{Read, Write};

    for code in ["55000", "XX000", "0A000", "22023", "P0001", "42P05"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut sent = [0; 1_000];
            // TLS is asked for first.
            if socket.read(&mut sent).unwrap() == 8 {
                socket.write_all(b"N").unwrap();
                assert_ne!(socket.read(&mut sent).unwrap(), 0);
            }
            let fields = format!("SFATAL\0VFATAL\0C{code}\0Mnot accepting connections\0\0");
            let length = u32::try_from(fields.len()).unwrap() + 4;
            let answer = [&b"E"[..], &length.to_be_bytes(), fields.as_bytes()].concat();
            socket.write_all(&answer).unwrap();
        });
        let url = PostgresUrl::new(&format!("postgres://someone@127.0.0.1:{port}/key0")).unwrap();
        let Err(refused) = Lane::new(url, "key0", 1, PATIENCE).begin().await else {
            panic!("{code}: nobody is there");
        };
        assert!(refused.is_outage(), "{refused:?}");
        assert!(refused.to_string().contains("not accepting"), "{refused}");
        server.join().unwrap();
    }
}

#[tokio::test]
async fn tables_of_newer_versions_are_left_alone() {
    let Some((_, mut somebody, schema)) = fresh().await else { return };
    somebody.execute("UPDATE partner_version SET version = 2").await.unwrap();
    let url = PostgresUrl::new(&schema.url).unwrap();
    let opened = Postgres::open(&url, &schema.name).await;
    assert!(matches!(opened, Err(OpenError::Newer { found: 2, .. })), "{opened:?}");
}

#[tokio::test]
async fn nobody_shows_the_password() {
    let url = PostgresUrl::new("postgres://someone:hush@127.0.0.1:1/key0").unwrap();
    let opened = Postgres::open(&url, "key0").await;
    assert!(!format!("{opened:?}").contains("hush"), "{opened:?}");
    assert!(!format!("{:?}", Lane::new(url, "key0", 1, WRITE_DEADLINE)).contains("hush"));
}
