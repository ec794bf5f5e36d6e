//! The Redis engine: one server, any number of processes on any number of hosts.
//!
//! Reads and writes have a connection each, and so have the news of changes.

mod feed;
mod idempotency;
mod issuances;
mod keys;
mod link;
mod open;
mod payments;
mod registry;
mod row;
mod scripts;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use redis::{FromRedisValue, Script, ScriptInvocation, Value};
use tokio::time::Instant;

use feed::Channel;
use link::Link;
use open::Address;
pub use open::OpenError;

use super::{
    feed::{Feed, Pace},
    listeners::Listeners,
};
use crate::{domain::Timestamp, error::StoreError};

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
/// (or one of `volatile-…`): the others throw keys out when the memory is full.
/// [`durability`](Self::durability) tells what the server said of this.
///
/// The append-only file holds what was written since it was last rewritten, so also nonces that
/// were forgotten meanwhile.
///
/// A database that was emptied under an open store, or replaced by another one, is an outage: no
/// method answers from it any more, so that no good key is taken for an unknown one. Whoever opens
/// it anew accepts the loss.
///
/// # Changes by others
///
/// Every change is one script, which counts it, logs it and publishes it, and the listeners of all
/// stores on the database hear of it in milliseconds. A poll behind it looks at the counter every
/// second, and after a lost connection anything may have changed. What is changed by hand, as with
/// `redis-cli`, is no news: caches hold for their time to live. A change of this store may be told
/// twice.
///
/// # Rights
///
/// A user needs these, here for the usual prefix; with a database number other than 0 also
/// `+select`. `+info` lets the store tell how durable the server is.
///
/// ```text
/// ACL SETUSER app on >password ~key0:* &key0:* +evalsha +script|load +get +set +del +exists
///   +incr +hget +hset +hmget +hgetall +hdel +hincrby +zadd +zrem +zrange +rpush +ltrim +lrange
///   +publish +subscribe
/// ```
///
/// # Outages
///
/// Reads fail after 500 ms and writes after 5 s; while the server can't be reached, both fail at
/// once between attempts, and it is found again within a second of its return. A write that timed
/// out may have happened; what it changed is told as soon as it is seen.
///
/// Encrypted connections (`rediss://`) use the [`rustls`] crypto provider of the process. Where
/// there is none, the first opening installs the one of aws-lc.
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
    durability: Durability,
    reads: Link,
    writes: Link,
    read_timeout: Duration,
    write_timeout: Duration,
    listeners: Arc<Listeners>,
    /// Ends when it is dropped.
    _feed: Feed,
}

/// What a server says of how it keeps what it has acknowledged. `None` where it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Durability {
    /// Whether writes are kept in an append-only file (`appendonly yes`).
    pub append_only: Option<bool>,
    /// Whether keys are thrown out when the memory is full (`maxmemory-policy allkeys-…`).
    pub evicts: Option<bool>,
}

/// How a [`RedisStore`](crate::RedisStore) is opened.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    prefix: String,
    root_certificate: Option<Vec<u8>>,
    open_timeout: Duration,
    read_timeout: Duration,
    write_timeout: Duration,
    poll_interval: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: "key0:".to_owned(),
            root_certificate: None,
            open_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_millis(500),
            write_timeout: Duration::from_secs(5),
            poll_interval: Duration::from_secs(1),
        }
    }
}

impl RedisOptions {
    /// The defaults of every setting.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the names of the store's keys begin with: `key0:`. A `prefix` in the URL wins.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The authority that a `rediss://` server must be certified by, as PEM; else those that the
    /// operating system trusts.
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificate = Some(pem.into());
        self
    }

    /// How long the opening may take, also while the server still reads its files: 5 s.
    #[must_use]
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.open_timeout = timeout;
        self
    }

    /// How long a read may take before it fails: 500 ms.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// How long a write may take before it fails: 5 s. It may have happened all the same.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How often to look for changes of others that were not heard of: every second.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Opens the database, or makes it.
    ///
    /// # Errors
    ///
    /// [`RedisOpenError`](crate::store::RedisOpenError); then nothing on the server was changed.
    pub async fn open(&self, url: &str) -> Result<RedisStore, OpenError> {
        let address = Address::read(url, &self.prefix, self.root_certificate.as_deref())?;
        let (version, durability) = address.open(Instant::now() + self.open_timeout).await?;
        let version_key = address.version_key();
        let channel = Channel::new(address.client.clone(), &address.prefix, &version_key, &version);
        let listeners = Arc::new(Listeners::default());
        let pace = Pace { look_every: self.poll_interval, patience: self.read_timeout };
        let feed = Feed::start(channel, Arc::clone(&listeners), pace)
            .await
            .map_err(|error| address.unusable(error))?;
        let shared = Shared {
            version_key,
            version,
            durability,
            reads: Link::new(address.client.clone()),
            writes: Link::new(address.client),
            read_timeout: self.read_timeout,
            write_timeout: self.write_timeout,
            listeners,
            _feed: feed,
            shown: address.shown,
            prefix: address.prefix,
        };
        Ok(RedisStore { shared: Arc::new(shared) })
    }
}

impl RedisStore {
    /// Opens the database at this URL with the default
    /// [`RedisOptions`](crate::store::RedisOptions).
    ///
    /// # Errors
    ///
    /// [`RedisOpenError`](crate::store::RedisOpenError); then nothing on the server was changed.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        RedisOptions::default().open(url).await
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
        self.read_until(call, self.read_deadline()).await
    }

    async fn read_until<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        deadline: Instant,
    ) -> Result<T, StoreError> {
        self.shared.reads.invoke(call, deadline).await
    }

    fn read_deadline(&self) -> Instant {
        Instant::now() + self.shared.read_timeout
    }

    async fn write<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        self.shared.writes.invoke(call, Instant::now() + self.shared.write_timeout).await
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
        let () = self.read_until(&self.call(&scripts::PROBE), deadline).await?;
        let hello: HashMap<String, Value> =
            self.shared.reads.query(&open::hello_command(), deadline).await?;
        open::unfit(&hello).map_or(Ok(()), |why| Err(StoreError::unavailable(why)))
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
        write!(f, "{}, keys {}*", self.shared.shown, self.shared.prefix)
    }
}
