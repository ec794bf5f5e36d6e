//! What the partner API keeps, in the engine of the backend's own store and beside what that keeps
//! there, so that any number of instances agree.
//!
//! [`Store`] names the operations; each engine has a folder. What is the same in all of them stands
//! in [`once`] and [`terms`]. An effect and the answer under its idempotency key are committed
//! together, so a retry finds the answer also when the server died before it could be sent.
//!
//! No operation is waited for without an end: one that takes too long is an outage. A write that
//! was given up may have happened; the retry under its key finds out.

mod copying;
mod fault;
mod once;
mod postgres;
mod redis;
mod sqlite;
pub(super) mod terms;

#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use key0_auth::{
    SqliteStore,
    domain::Timestamp,
    store::{PostgresUrl, RedisUrl},
};
use serde_json::value::RawValue;

#[cfg(test)]
pub(super) use self::sqlite::Sqlite;
pub(super) use self::terms::is_unknown;
pub(crate) use self::{
    copying::PartnerCopy,
    fault::{Fault, OpenError},
    once::{Answer, Asked},
};
use super::{
    loyalty::{NewTier, Order, Tier},
    passports::{NewPassport, Passport, Wanted},
    query::Page,
};

/// How long a write is waited for as a whole, and a read.
const WRITE_DEADLINE: Duration = Duration::from_secs(4);
const READ_DEADLINE: Duration = Duration::from_millis(500);

/// Where the state is kept.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In this file, which this store has opened before.
    Sqlite { path: PathBuf, store: SqliteStore },
    /// In this schema, which a `PostgresStore` has opened before.
    Postgres { url: PostgresUrl, schema: String },
    /// Under this prefix, where a `RedisStore` has been opened before.
    Redis { url: RedisUrl, prefix: String },
    /// Nowhere: it is gone at exit.
    Memory,
}

/// The operations of an engine.
#[async_trait]
pub(crate) trait Store: Keys + Passports + Imports + Loyalty {
    /// Looks without a lock, so that nobody is kept waiting where there is nothing to do.
    async fn due(&self, now: Timestamp) -> Result<Due, Fault>;

    /// Waits for writes that have begun and go on by themselves, once nothing new is asked for.
    async fn end(&self) {}
}

/// What is known under idempotency keys.
#[async_trait]
pub(crate) trait Keys: fmt::Debug + Send + Sync + 'static {
    /// Refuses a key that had an effect for another request.
    async fn check_key(&self, asked: Asked, now: Timestamp) -> Result<(), Fault>;

    /// Forgets keys that are past their time, up to `limit` in each table, and says how many.
    async fn forget_keys(&self, now: Timestamp, limit: u32) -> Result<u32, Fault>;
}

#[async_trait]
pub(crate) trait Passports {
    async fn create_passport(
        &self,
        asked: Option<Asked>,
        new: NewPassport,
        now: Timestamp,
    ) -> Result<Answer, Fault>;

    async fn passport(&self, id: String) -> Result<Passport, Fault>;

    /// Hands drafts over to be certified: the wanted ones, or up to `limit` of those that agree with a
    /// filter; `more` in the answer says that some may be left. Those that are on their way, or there,
    /// are passed over.
    async fn publish(
        &self,
        asked: Option<Asked>,
        wanted: Wanted,
        limit: u32,
        now: Timestamp,
    ) -> Result<Answer, Fault>;

    /// Certifies up to `limit` passports whose time has come, and says how many.
    async fn certify(&self, now: Timestamp, limit: u32) -> Result<usize, Fault>;
}

#[async_trait]
pub(crate) trait Imports {
    /// Keeps the rows to be imported, a JSON list, and answers with the import's id. One `owner` may
    /// have so much waiting, and no more.
    async fn queue_import(
        &self,
        asked: Option<Asked>,
        owner: Option<String>,
        rows: Box<RawValue>,
        now: Timestamp,
    ) -> Result<Answer, Fault>;

    /// What became of an import, as the body of an answer.
    async fn import(&self, id: String) -> Result<String, Fault>;

    /// The import that has waited longest, by its arrival; where the engine can tell, none that
    /// another instance is about.
    async fn next_import(&self, now: Timestamp) -> Result<Option<i64>, Fault>;

    /// Carries out an import, in one transaction with its outcome: whatever ends the process, it is
    /// done once. `false` where it no longer waits, or another instance is about it.
    async fn carry_out_import(&self, arrival: i64, now: Timestamp) -> Result<bool, Fault>;

    /// Has an import wait until then, so that those behind it have their turn.
    async fn put_off_import(&self, arrival: i64, until: Timestamp) -> Result<(), Fault>;
}

#[async_trait]
pub(crate) trait Loyalty {
    /// Adds to an account, and keeps the order: one transaction, or nothing.
    async fn mint(
        &self,
        asked: Option<Asked>,
        account: String,
        amount: i64,
        now: Timestamp,
    ) -> Result<Answer, Fault>;

    /// A page of an account's orders, newest first. An account without any is empty.
    async fn orders(&self, account: String, page: Page) -> Result<Vec<Order>, Fault>;

    /// Settles up to `limit` orders whose time has come, and says how many.
    async fn settle(&self, now: Timestamp, limit: u32) -> Result<usize, Fault>;

    async fn create_tier(
        &self,
        asked: Option<Asked>,
        new: NewTier,
        now: Timestamp,
    ) -> Result<Answer, Fault>;

    /// A page of the tiers, newest first.
    async fn tiers(&self, page: Page) -> Result<Vec<Tier>, Fault>;
}

/// What there is to do at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) imports: bool,
    pub(crate) passports: bool,
    pub(crate) orders: bool,
}

/// Opens the state, or makes what it needs. It blocks where the engine is a file: it is meant for
/// the start-up.
pub(crate) async fn open(place: &Place) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match place {
        Place::Sqlite { path, store } => Arc::new(sqlite::Sqlite::open(path, Some(store))?),
        Place::Memory => Arc::new(sqlite::Sqlite::in_memory()?),
        Place::Postgres { url, schema } => Arc::new(postgres::Postgres::open(url, schema).await?),
        Place::Redis { url, prefix } => Arc::new(redis::Redis::open(url, prefix).await?),
    })
}

/// An id for something new. It tells when it was made and is no secret.
pub(super) fn new_id() -> String {
    uuid::Uuid::now_v7().hyphenated().to_string()
}
