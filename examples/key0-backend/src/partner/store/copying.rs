//! What goes over when the store is copied into another one: passports, imports, tiers, accounts, orders,
//! and what is known under idempotency keys, since a retry must mint nothing twice.

use async_trait::async_trait;
use key0_auth::{
    error::{StoreError, StoreErrorKind},
    store::{
        CopyStore,
        spi::{
            ColumnType::{Bytes, Integer, Text},
            Contents, CopyProgress, Record, RecordPage, Table, Value,
        },
    },
};

use super::{Fault, OpenError, Place, postgres, redis, sqlite};

pub(super) static PASSPORTS: Table = Table {
    name: "partner_passports",
    columns: &[
        ("id", Text),
        ("granularity", Text),
        ("application", Text),
        ("network", Text),
        ("model_number", Text),
        ("name", Text),
        ("description", Bytes),
        ("status", Text),
        ("certification", Text),
        ("due_at", Integer),
        ("created_at", Integer),
        ("updated_at", Integer),
    ],
};

pub(super) static IMPORTS: Table = Table {
    name: "partner_imports",
    columns: &[
        ("arrival", Integer),
        ("id", Text),
        ("owner", Text),
        ("bytes", Integer),
        ("wanted", Text),
        ("outcome", Text),
        ("due_at", Integer),
        ("created_at", Integer),
    ],
};

pub(super) static TIERS: Table = Table {
    name: "partner_reward_tiers",
    columns: &[
        ("arrival", Integer),
        ("id", Text),
        ("name", Text),
        ("threshold", Integer),
        ("created_at", Integer),
    ],
};

pub(super) static ACCOUNTS: Table =
    Table { name: "partner_accounts", columns: &[("id", Text), ("balance", Integer)] };

pub(super) static ORDERS: Table = Table {
    name: "partner_orders",
    columns: &[
        ("arrival", Integer),
        ("id", Text),
        ("account", Text),
        ("amount", Integer),
        ("status", Text),
        ("due_at", Integer),
        ("created_at", Integer),
    ],
};

pub(super) static KEYS: Table = Table {
    name: "partner_keys",
    columns: &[
        ("caller", Text),
        ("idempotency_key", Text),
        ("fingerprint", Bytes),
        ("answer", Text),
        ("created_at", Integer),
    ],
};

/// The tables that are alike in both SQL engines, with what their pages are in the order of.
pub(super) static ALIKE: [(&Table, &str); 5] = [
    (&PASSPORTS, "arrival"),
    (&IMPORTS, "arrival"),
    (&TIERS, "arrival"),
    (&ACCOUNTS, "id"),
    (&ORDERS, "arrival"),
];

/// The state in an SQL engine: as soon as anything is added or changes its balance, it is another one.
/// The version behind it is that of what is kept.
pub(super) const CONTENTS: &str = "
    SELECT p.n + i.n + t.n + a.n + o.n,
        p.n || ' ' || i.n || ' ' || t.n || ' ' || a.n || ' ' || o.n || ' ' || a.total || ' ' || p.last
    FROM (SELECT count(*) AS n, coalesce(max(updated_at), 0) AS last FROM partner_passports) AS p,
        (SELECT count(*) AS n FROM partner_imports) AS i,
        (SELECT count(*) AS n FROM partner_reward_tiers) AS t,
        (SELECT count(*) AS n, coalesce(sum(balance), 0) AS total FROM partner_accounts) AS a,
        (SELECT count(*) AS n FROM partner_orders) AS o";

/// The state of the partner API as it can be copied.
#[async_trait]
pub(crate) trait Copied: std::fmt::Debug + Send + Sync + 'static {
    async fn contents(&self) -> Result<Contents, Fault>;
    async fn export(&self, after: Option<&str>, limit: u32) -> Result<RecordPage, Fault>;
    async fn unfinished(&self) -> Result<Option<CopyProgress>, Fault>;
    /// `false` where something is there.
    async fn begin(&self, progress: &CopyProgress) -> Result<bool, Fault>;
    /// `false` where the copy is not so far any more.
    async fn import(
        &self,
        records: Vec<Record>,
        had: u64,
        progress: &CopyProgress,
    ) -> Result<bool, Fault>;
    async fn end(&self) -> Result<(), Fault>;
}

/// The same for the library's copy.
#[derive(Debug)]
pub(crate) struct PartnerCopy(Box<dyn Copied>);

impl PartnerCopy {
    /// What is kept in a store that is read: nothing where the partner API was never opened there.
    /// Nothing is made.
    pub(crate) async fn of_source(place: &Place) -> Result<Option<Self>, OpenError> {
        let found: Option<Box<dyn Copied>> = match place {
            Place::Sqlite { path, store } => {
                sqlite::Sqlite::open_existing(path, Some(store))?.map(|it| Box::new(it) as _)
            }
            Place::Postgres { url, schema } => {
                postgres::Postgres::open_existing(url, schema).await?.map(|it| Box::new(it) as _)
            }
            Place::Redis { url, prefix } => {
                redis::Redis::open_existing(url, prefix).await?.map(|it| Box::new(it) as _)
            }
            Place::Memory => None,
        };
        Ok(found.map(Self))
    }

    /// What is kept in a store that is copied into; what it needs is made.
    pub(crate) async fn of_target(place: &Place) -> Result<Option<Self>, OpenError> {
        Ok(Some(Self(match place {
            Place::Sqlite { path, store } => Box::new(sqlite::Sqlite::open(path, Some(store))?),
            Place::Postgres { url, schema } => {
                Box::new(postgres::Postgres::open(url, schema).await?)
            }
            Place::Redis { url, prefix } => Box::new(redis::Redis::open(url, prefix).await?),
            Place::Memory => return Ok(None),
        })))
    }
}

fn failed(fault: Fault) -> StoreError {
    match fault {
        Fault::Unreadable(_) => StoreError::corrupt(fault),
        fault => StoreError::unavailable(fault),
    }
}

fn or_conflict(done: bool) -> Result<(), StoreError> {
    if done { Ok(()) } else { Err(StoreError::new(StoreErrorKind::Conflict)) }
}

#[async_trait]
impl CopyStore for PartnerCopy {
    async fn contents(&self) -> Result<Contents, StoreError> {
        self.0.contents().await.map_err(failed)
    }

    async fn export(&self, after: Option<&str>, limit: u32) -> Result<RecordPage, StoreError> {
        self.0.export(after, limit).await.map_err(failed)
    }

    async fn unfinished_copy(&self) -> Result<Option<CopyProgress>, StoreError> {
        self.0.unfinished().await.map_err(failed)
    }

    async fn begin_copy(&self, progress: &CopyProgress) -> Result<(), StoreError> {
        or_conflict(self.0.begin(progress).await.map_err(failed)?)
    }

    async fn import(
        &self,
        records: Vec<Record>,
        had: u64,
        progress: &CopyProgress,
    ) -> Result<(), StoreError> {
        or_conflict(self.0.import(records, had, progress).await.map_err(failed)?)
    }

    async fn end_copy(&self) -> Result<(), StoreError> {
        self.0.end().await.map_err(failed)
    }
}

/// A record of these values.
pub(super) fn record(table: &'static Table, values: Vec<Value>) -> Result<Record, Fault> {
    Record::new(table, values).map_err(|_| Fault::Unreadable(table.name))
}

/// The names of the columns, with commas in between.
pub(super) fn columns(table: &Table) -> String {
    let names: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// By what a record is known to be there: some engines show one twice.
pub(super) fn key(table: &Table) -> &'static str {
    if *table == KEYS { "caller, idempotency_key" } else { "id" }
}

/// Where a page begins: which table it is, and behind which of its records.
pub(super) fn cursor(after: Option<&str>) -> Result<(usize, Option<&str>), Fault> {
    let Some(after) = after else { return Ok((0, None)) };
    let (place, key) = after.split_once(' ').unwrap_or((after, ""));
    let place = place.parse().map_err(|_| Fault::Unreadable("cursor"))?;
    Ok((place, (!key.is_empty()).then_some(key)))
}

/// Where the next page begins.
pub(super) fn next(place: usize, last: Option<String>, tables: usize) -> Option<String> {
    match last {
        Some(last) => Some(format!("{place} {last}")),
        None => (place + 1 < tables).then(|| (place + 1).to_string()),
    }
}
