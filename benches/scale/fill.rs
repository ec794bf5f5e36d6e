//! Makes a SQLite file with many keys: the schema is the store's own, the rows come in past it.

use std::{path::Path, time::Duration};

use key0_auth::{
    SqliteStore,
    apikey::KeyDigest,
    domain::{KeyId, Timestamp},
};
use rusqlite::{Connection, named_params};

/// When the first key was made.
const FIRST: Timestamp = Timestamp::from_seconds(1_790_000_000);
const YEAR: Duration = Duration::from_secs(31_536_000);

/// The digest of the key with this number, as evenly spread as any.
pub(crate) fn digest(number: u64) -> KeyDigest {
    KeyDigest::of(&format!("key {number}"))
}

/// When the key with this number was made: 10 ms after the one before it.
pub(crate) fn created_at(number: u64) -> Timestamp {
    FIRST.plus(Duration::from_millis(10 * number))
}

/// A new file with so many keys and an event for each, as the store itself would leave it.
pub(crate) fn fill(path: &Path, keys: u64) {
    drop(SqliteStore::open(path).expect("a new file"));
    let mut connection = Connection::open(path).expect("the store's file");
    // Nobody needs the file if this is interrupted.
    connection
        .execute_batch(
            "PRAGMA busy_timeout = 10000; PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -2000000;",
        )
        .expect("settings");
    let put_off = put_off(&connection);
    let transaction = connection.transaction().expect("a transaction");
    {
        let mut key = transaction
            .prepare(
                "INSERT INTO keys (id, digest, display, kind, resource_id, plan_id, metadata,
                     created_at, expires_at)
                 VALUES (:id, :digest, :display, 'payment', 'photo-1', 'basic', '{}',
                     :created_at, :expires_at)",
            )
            .expect("a statement");
        for number in 0..keys {
            let created_at = created_at(number);
            key.execute(named_params! {
                ":id": KeyId::generate().as_str(),
                ":digest": digest(number).as_bytes(),
                ":display": "ak_1a2B…",
                ":created_at": created_at.as_micros(),
                ":expires_at": created_at.plus(YEAR).as_micros(),
            })
            .expect("a new key");
        }
    }
    transaction
        .execute_batch(
            "INSERT INTO key_events (key_id, action, actor, at)
             SELECT id, 'created', 'host', created_at FROM keys",
        )
        .expect("the keys' events");
    transaction.execute_batch(&put_off).expect("what was put off");
    transaction.commit().expect("nobody is in the way");
}

/// Drops the indexes and the triggers that need not be kept up with row by row, and returns what
/// makes them again.
fn put_off(connection: &Connection) -> String {
    let mut statement = connection
        .prepare(
            "SELECT type, name, sql FROM sqlite_schema
             WHERE type IN ('index', 'trigger') AND sql IS NOT NULL",
        )
        .expect("a statement");
    let found: Vec<(String, String, String)> = statement
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .and_then(Iterator::collect)
        .expect("the schema");
    let mut again = String::new();
    for (kind, name, sql) in found {
        connection.execute_batch(&format!("DROP {kind} {name}")).expect("it is there");
        again.push_str(&sql);
        again.push_str(";\n");
    }
    again
}
