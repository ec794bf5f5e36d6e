//! What a lookup and a page cost among few and among many keys.

use std::{
    thread,
    time::{Duration, Instant},
};

use key0_auth::{
    KeyStore, PostgresStore,
    apikey::{KeyDigest, KeyKind},
    domain::Timestamp,
    store::{
        KeyRegistry, PostgresOptions,
        spi::{KeyCursor, KeyQuery},
    },
};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use crate::{
    engine::Sql,
    figures::Times,
    postgres_server::{Postgres, run_sql},
};

const LOOKUPS: u64 = 1_000;
const PAGES: u64 = 100;
const PAGE: u32 = 100;

/// What one operation costs.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// How many blocks of tables and indices it looks at: what a machine under load can't blur.
    blocks: f64,
    micros: f64,
}

pub(crate) fn is_flat(server: &Postgres, few: u64, many: u64) {
    let (cost_of_few, cost_of_many) = (measure(server, few), measure(server, many));
    for (what, of_few, of_many) in
        [("lookup", cost_of_few.0, cost_of_many.0), ("page", cost_of_few.1, cost_of_many.1)]
    {
        println!(
            "{what}: {:.2} blocks and {:.0} µs among {few} keys, {:.2} blocks and {:.0} µs among \
             {many}",
            of_few.blocks, of_few.micros, of_many.blocks, of_many.micros
        );
        assert!(of_few.blocks >= 2.0, "nothing was counted");
        assert!(of_many.blocks <= 2.0 * of_few.blocks);
    }
}

/// For calls that are counted, not timed: a busy machine reaches no deadline.
fn patient() -> PostgresOptions {
    let patience = Duration::from_secs(60);
    PostgresOptions::new().open_timeout(patience).read_timeout(patience).write_timeout(patience)
}

/// The costs of a lookup and of a page among so many keys.
fn measure(server: &Postgres, keys: u64) -> (Cost, Cost) {
    let url = server.new_database();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    drop(runtime.block_on(patient().open(&url)).unwrap());
    fill(&url, keys);
    // Spread over all keys, each looked up once.
    let step = keys / LOOKUPS;
    let lookup = cost(&runtime, &url, LOOKUPS, async |store, n| {
        let found = store.find(&digest(n * step)).await.unwrap();
        assert_eq!(found.unwrap().id.as_str(), id(n * step));
    });
    let step = keys / PAGES;
    let page = cost(&runtime, &url, PAGES, async |store, n| {
        let last = n * step + step - 1;
        let created_at = Timestamp::from_seconds(last as i64);
        let after = KeyCursor { created_at, id: id(last).parse().unwrap() };
        let kind = KeyKind::Payment;
        let query = KeyQuery {
            kind,
            in_force_at: None,
            filter: Default::default(),
            after: Some(after),
            limit: PAGE,
        };
        let page = store.list(&query).await.unwrap();
        assert_eq!(page.keys.len() as u64, last.min(PAGE.into()));
    });
    (lookup, page)
}

/// What each of so many calls costs.
fn cost(runtime: &Runtime, url: &str, calls: u64, call: impl AsyncFn(&PostgresStore, u64)) -> Cost {
    let sql = Sql::connect(url);
    let before = blocks(&sql);
    let store = runtime.block_on(patient().open(url)).unwrap();
    let times = (0..calls).map(|n| {
        let began = Instant::now();
        runtime.block_on(call(&store, n));
        began.elapsed()
    });
    let times = Times::new(times.collect());
    // A connection reports what it has done when it ends.
    drop(store);
    let mut last = blocks(&sql);
    let mut same = 0;
    while same < 20 || last == before {
        thread::sleep(Duration::from_millis(100));
        let now = blocks(&sql);
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    let micros = times.percentile(50).as_secs_f64() * 1e6;
    Cost { blocks: (last - before) as f64 / calls as f64, micros }
}

/// How many blocks of the table of keys and its indices were looked at so far.
fn blocks(sql: &Sql) -> i64 {
    sql.number(
        "SELECT (heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::bigint
         FROM pg_statio_user_tables WHERE relname = 'keys'",
        &[],
    )
}

fn id(n: u64) -> String {
    format!("key-{n:09}")
}

fn digest(n: u64) -> KeyDigest {
    KeyDigest::from_bytes(Sha256::digest(format!("secret-{n}")).into())
}

/// Writes the keys past the store, which would take an hour: in the order of their making, a second
/// apart.
fn fill(url: &str, keys: u64) {
    run_sql(
        url,
        &format!(
            "SET search_path = key0;
             ALTER TABLE keys DISABLE TRIGGER USER;
             INSERT INTO keys
                 (id, digest, display, kind, resource_id, plan_id, metadata, created_at)
             SELECT 'key-' || lpad(n::text, 9, '0'), sha256(('secret-' || n)::bytea),
                 'ak_1a2B…', 'payment', 'photo-' || n, 'basic', '{{}}', n::bigint * 1000000
             FROM generate_series(0, {keys} - 1) AS n;
             ALTER TABLE keys ENABLE TRIGGER USER;"
        ),
    );
    run_sql(url, "VACUUM ANALYZE key0.keys");
}
