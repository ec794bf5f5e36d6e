use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::Cached;
use crate::{
    domain::Clock,
    error::{ConfigError, ConfigFault},
    store::keys::KeyStore,
};

/// Unless the time to live is longer.
const WHILE_HEARING: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The limits of a [`Cached`].
#[derive(Debug)]
pub struct CachedBuilder {
    pub(super) inner: Arc<dyn KeyStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) time_to_live: Duration,
    pub(super) time_to_live_while_hearing: Duration,
    pub(super) read_deadline: Duration,
    pub(super) max_keys: u64,
    pub(super) max_bytes: u64,
    pub(super) max_misses: u64,
    pub(super) max_concurrent_reads: usize,
}

impl CachedBuilder {
    pub(super) fn new(inner: Arc<dyn KeyStore>, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            clock,
            time_to_live: Duration::from_secs(5),
            time_to_live_while_hearing: WHILE_HEARING,
            read_deadline: Duration::from_millis(500),
            max_keys: 100_000,
            max_bytes: 96 << 20,
            max_misses: 65_536,
            max_concurrent_reads: 64,
        }
    }

    /// How long an answer is remembered: 5 s unless set, at most a day. Zero remembers nothing,
    /// and still makes one read of many at the same time.
    ///
    /// This bounds how long a change by another process stays unseen, in every case but one: see
    /// [`time_to_live_while_hearing`](Self::time_to_live_while_hearing).
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = time_to_live;
        self
    }

    /// How long a key that was found is remembered while the inner store tells of every change in time:
    /// 60 s unless set, at most a day, and never less than the time to live.
    ///
    /// It applies while the store has begun to look for changes less than half a time to live ago, or
    /// for some keys a whole one, and has told of all that it found. Only a store that
    /// [`proves_changes`](KeyStore::proves_changes) is believed: SQLite, and PostgreSQL on connections of
    /// its own. They look each second or more often. A revocation that they tell of late or never still
    /// counts within the time to live and the read deadline.
    ///
    /// This one bounds how long a change stays unseen that even a look does not find: one by SQL that
    /// runs no triggers. Set it to zero where such changes must count within the time to live.
    #[must_use]
    pub fn time_to_live_while_hearing(mut self, time_to_live: Duration) -> Self {
        self.time_to_live_while_hearing = time_to_live;
        self
    }

    /// How long one read of the inner store may take, the wait for its turn included, which may be
    /// half of it: 500 ms unless set.
    #[must_use]
    pub fn read_deadline(mut self, read_deadline: Duration) -> Self {
        self.read_deadline = read_deadline;
        self
    }

    /// How many keys are remembered at most: 100,000 unless set. One takes about 0.8 KiB, and
    /// whatever its metadata takes as JSON: see [`max_bytes`](Self::max_bytes). The memory is made of parts, which fill unevenly: leave some
    /// room. What is over keeps its place until another key needs it.
    #[must_use]
    pub fn max_keys(mut self, max_keys: u64) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// How many bytes the remembered keys take at most, by estimate: 96 MiB unless set. Of keys with
    /// much metadata fewer than [`max_keys`](Self::max_keys) are remembered.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// How many unknown digests are remembered: 65,536 unless set. One takes about 0.2 KiB.
    #[must_use]
    pub fn max_misses(mut self, max_misses: u64) -> Self {
        self.max_misses = max_misses;
        self
    }

    /// How many reads of the inner store run at once: 64 unless set, of keys that were found or
    /// changed lately, and a quarter of that of all others. Further ones wait.
    #[must_use]
    pub fn max_concurrent_reads(mut self, max_concurrent_reads: usize) -> Self {
        self.max_concurrent_reads = max_concurrent_reads;
        self
    }

    /// The cache, which listens to its inner store from now on.
    ///
    /// # Errors
    ///
    /// Fails on a time to live of more than a day, a read deadline of zero, and on reads at once
    /// that are none or more than a semaphore can count.
    pub fn build(self) -> Result<Cached, ConfigError> {
        let mut faults = Vec::new();
        if self.time_to_live.max(self.time_to_live_while_hearing) > DAY {
            faults.push(ConfigFault::invalid("the cache's time to live", "it is at most a day"));
        }
        if self.read_deadline.is_zero() {
            faults.push(ConfigFault::invalid("the store's read deadline", "it is above zero"));
        }
        if !(1..=Semaphore::MAX_PERMITS).contains(&self.max_concurrent_reads) {
            let reason = "it is at least 1 and at most what a semaphore counts";
            faults.push(ConfigFault::invalid("the number of concurrent reads", reason));
        }
        ConfigError::check(faults)?;
        Ok(Cached::assemble(self))
    }
}
