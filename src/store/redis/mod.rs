//! The Redis engine: one server, any number of processes on any number of hosts.
//!
//! Reads and writes have a connection each, and so have change notifications.

mod audit;
mod copying;
mod denials;
mod feed;
mod idempotency;
mod issuances;
mod keys;
mod link;
mod older;
mod open;
mod options;
mod payments;
mod purchases;
mod registry;
mod row;
mod scripts;
mod url;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use redis::{FromRedisValue, Script, ScriptInvocation, Value};
use tokio::time::Instant;

use link::Link;
pub use open::OpenError;
pub use options::RedisOptions;
pub use url::RedisUrl;

use super::{feed::Feed, listeners::Listeners};
use crate::{domain::Timestamp, error::StoreError, store::measured::measured};

/// How many records a purge removes by one script: Redis does nothing else meanwhile.
const PURGED_AT_ONCE: u32 = 1_000;

/// Keeps keys, issuances, payments and idempotency keys in one Redis database.
///
/// It takes a standalone server of version 7.0 or newer, or its primary; no cluster and no
/// replica. Any number of processes on any number of hosts can share a database. All that is kept
/// stands under one prefix, so that databases of several applications, and whatever else, can
/// stand next to each other.
///
/// ```no_run
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::RedisStore;
///
/// let store = RedisStore::open("rediss://app:password@redis.internal:6379/0").await?;
/// # Ok(())
/// # }
/// ```
///
/// # What can be lost
///
/// Redis acknowledges before it writes to a disk, unless it is told otherwise. Without an
/// append-only file (`appendonly yes`), a server that crashes forgets everything since its last
/// snapshot, or all: a revoked key is good again, a payment that was spent can be spent once more.
/// With one, and `appendfsync everysec`, which is the default, a power cut takes the last second
/// with it; `appendfsync always` loses nothing that was acknowledged. A replica that takes over
/// for a lost primary may lack its last changes as well. `maxmemory-policy` has to be `noeviction`
/// (or one of `volatile-…`): the others throw keys out when the memory is full, and a server that
/// tells of one is refused. [`durability`](Self::durability) tells what the server said of this.
///
/// The append-only file holds what was written since it was last rewritten, so also nonces that
/// were forgotten meanwhile.
///
/// A database that was emptied under an open store, or replaced by another one, is an outage: no
/// method answers from it any more, so that no good key is taken for an unknown one. Whoever opens
/// it anew accepts the loss: [`was_made`](Self::was_made) tells, and
/// [`RedisOptions::must_exist`](crate::store::RedisOptions::must_exist) refuses.
///
/// # Changes by others
///
/// Every change is one script, which counts it, logs it and publishes it, and the listeners of all
/// stores on the database hear of it in milliseconds. A poll behind it looks at the counter every
/// second, and after a lost connection anything may have changed. What is changed by hand, as with
/// `redis-cli`, is not notified: caches hold for their time to live. A change of this store may be told
/// twice.
///
/// # Rights
///
/// A user needs these, here for the usual prefix; with a database number other than 0 also
/// `+select`. `+info` lets the store tell how durable the server is, and `+scan` lets it list purchases
/// and events that a version before this one has kept. Without it such purchases are found by their
/// challenge and their transaction alone, and the audit log of such a database is a 503.
///
/// ```text
/// ACL SETUSER app on >password ~key0:* &key0:* +evalsha +script|load +get +set +del +exists
///   +incr +hget +hset +hmget +hgetall +hdel +hincrby +zadd +zrem +zrange +zscore +rpush +ltrim +lrange
///   +publish +subscribe
/// ```
///
/// # Outages
///
/// Lookups fail after 500 ms, writes and listings after 5 s; while the server can't be reached,
/// both fail at once between attempts, and it is found again within two seconds of its return. A
/// write that timed out may have happened; what it changed is told as soon as it is seen.
///
/// A server that has become a replica is an outage, for reads too, until its name leads to the
/// primary. Where the memory is full (`maxmemory`), keys can still be found, revoked, rotated and
/// purged.
///
/// Encrypted connections (`rediss://`) use the [`rustls`] crypto provider of the process. Where
/// none was chosen, the first opening chooses that of aws-lc.
///
/// Instants are kept to the microsecond. Those after the year 2255 are told apart to 32 µs when
/// the oldest of them is looked for.
///
/// Clones are the same store; the last one to go ends its task and its connections. It belongs to
/// the runtime in which it was opened.
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

struct Shared {
    /// Where it is; without the password.
    shown: String,
    prefix: String,
    version_key: String,
    /// What must stand under the version key: else this is not the database that was opened.
    version: String,
    made: bool,
    durability: Durability,
    reads: Arc<Link>,
    writes: Arc<Link>,
    read_timeout: Duration,
    write_timeout: Duration,
    listeners: Arc<Listeners>,
    /// Ends when it is dropped.
    feed: Feed,
}

/// What a server says of how it keeps what it has acknowledged. `None` where it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Durability {
    /// Whether writes are kept in an append-only file (`appendonly yes`).
    pub append_only: Option<bool>,
    /// Whether keys are thrown out when the memory is full (`maxmemory-policy allkeys-…`): a server
    /// that says so is not opened.
    pub evicts: Option<bool>,
}

impl RedisStore {
    /// Opens the database at this URL with the default
    /// [`RedisOptions`](crate::store::RedisOptions).
    ///
    /// # Errors
    ///
    /// [`RedisOpenError`](crate::store::RedisOpenError).
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        RedisOptions::default().open(url).await
    }

    /// Whether the opening found nothing and made the database. But for the first time, that means
    /// that all is lost: keys, and which payments were spent.
    pub fn was_made(&self) -> bool {
        self.shared.made
    }

    /// What the server said at the opening of how it keeps what it has acknowledged.
    pub fn durability(&self) -> Durability {
        self.shared.durability
    }

    /// A call of this script, with what every script takes.
    fn call(&self, script: &'static Script) -> ScriptInvocation<'static> {
        let mut call = script.key(&self.shared.version_key);
        call.arg(&self.shared.version);
        call
    }

    async fn read<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        measured("redis", "read", self.shared.reads.invoke(call, self.read_deadline())).await
    }

    fn read_deadline(&self) -> Instant {
        Instant::now() + self.shared.read_timeout
    }

    async fn write<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        self.write_until(call, self.write_deadline()).await
    }

    async fn write_until<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        deadline: Instant,
    ) -> Result<T, StoreError> {
        measured("redis", "write", self.shared.writes.invoke(call, deadline)).await
    }

    fn write_deadline(&self) -> Instant {
        Instant::now() + self.shared.write_timeout
    }

    /// Runs a script that removes records up to an instant, and says how many they were, until it
    /// finds no more or has removed `limit`.
    async fn purge(
        &self,
        script: &'static Script,
        until: Timestamp,
        limit: u32,
    ) -> Result<u32, StoreError> {
        let mut removed = 0;
        while removed < limit {
            let most = PURGED_AT_ONCE.min(limit - removed);
            let mut call = self.call(script);
            call.arg(until.as_micros()).arg(most);
            let count: u32 = self.write(&call).await?;
            removed += count;
            if count < most {
                break;
            }
        }
        Ok(removed)
    }

    /// Succeeds where reads are answered, by a server that would take writes as well.
    async fn probe(&self) -> Result<(), StoreError> {
        let deadline = self.read_deadline();
        let () = self.shared.reads.invoke(&self.call(&scripts::PROBE), deadline).await?;
        let hello: HashMap<String, Value> =
            self.shared.reads.query(&open::hello_command(), deadline).await?;
        let Some(why) = open::unfit(&hello) else { return Ok(()) };
        self.shared.reads.give_up();
        Err(StoreError::unavailable(why))
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("address", &self.shared.shown)
            .field("prefix", &self.shared.prefix)
            .finish_non_exhaustive()
    }
}

/// Where it is, without the password.
impl fmt::Display for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shared.shown)
    }
}
