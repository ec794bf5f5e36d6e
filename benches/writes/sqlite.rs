use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use key0_auth::SqliteStore;
use rusqlite::Connection;

use crate::{
    requests,
    rounds::{Group, Way},
};

pub(crate) async fn group(folder: &Path) -> Group {
    let store = Arc::new(SqliteStore::open(folder.join("store.db")).expect("it opens"));
    Group {
        name: "SQLite",
        callers: &[1, 8, 64],
        ways: vec![
            by_hand(&folder.join("hand.db")),
            requests::issue_token(&store),
            requests::payment_received(&store),
        ],
    }
}

/// As an application does it that keeps its runtime's threads free.
fn by_hand(path: &Path) -> Way {
    let connection = Connection::open(path).expect("a file");
    connection
        .execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA synchronous = full;
             CREATE TABLE sales (id TEXT PRIMARY KEY, tx_hash TEXT NOT NULL UNIQUE,
                                 resource TEXT NOT NULL, at INTEGER NOT NULL) STRICT",
        )
        .expect("a table");
    let connection = Arc::new(Mutex::new(connection));
    Way::new("a bare insert by hand", move |number| {
        let connection = Arc::clone(&connection);
        async move {
            let inserting = tokio::task::spawn_blocking(move || {
                let connection = connection.lock().expect("nobody panicked");
                let mut insert = connection.prepare_cached(
                    "INSERT INTO sales (id, tx_hash, resource, at) VALUES (?1, ?2, ?3, ?4)",
                )?;
                let hash = format!("{}{}", requests::tx_hash(number), uuid::Uuid::now_v7());
                let id = uuid::Uuid::now_v7().to_string();
                insert.execute((id, hash, "photo-1", number.cast_signed()))
            });
            assert_eq!(inserting.await.expect("no panic").expect("it is new"), 1);
        }
    })
}
