use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::fence::Fence;
use crate::{
    apikey::{KeyDigest, KeyRecord},
    domain::Timestamp,
    store::keys::{Change, ChangeListener},
};

/// What is remembered, and the fence around it. The inner store tells it of changes.
pub(super) struct State {
    fence: Fence,
    /// Read by every request of a good key: the cache of the two whose reads are cheaper. It
    /// counts no time; what is over keeps its place until somebody asks for it or it is needed.
    pub(super) found: quick_cache::sync::Cache<CacheKey, Found>,
    pub(super) unknown: moka::sync::Cache<CacheKey, Life>,
    time_to_live: Duration,
}

/// Where an answer is kept. Answers of an earlier epoch are out of reach, and go in time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    pub(super) digest: KeyDigest,
    epoch: u64,
}

/// A key that exists.
#[derive(Clone)]
pub(super) struct Found {
    record: Arc<KeyRecord>,
    life: Life,
    kept: Instant,
}

/// While an answer may be given, by the [`Clock`](crate::domain::Clock).
///
/// The time to live is counted by a clock that can't be set as well: an answer must be within
/// both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    from: Timestamp,
    until: Timestamp,
}

impl State {
    pub(super) fn new(max_keys: u64, max_misses: u64, time_to_live: Duration) -> Self {
        Self {
            fence: Fence::new(),
            found: quick_cache::sync::Cache::new(usize::try_from(max_keys).unwrap_or(usize::MAX)),
            unknown: moka::sync::Cache::builder()
                .max_capacity(max_misses)
                .time_to_live(time_to_live)
                .build(),
            time_to_live,
        }
    }

    /// Where the answer to a question asked now is kept.
    pub(super) fn key(&self, digest: &KeyDigest) -> CacheKey {
        CacheKey { digest: *digest, epoch: self.fence.epoch(digest) }
    }

    /// The remembered answer.
    pub(super) fn remembered(
        &self,
        key: &CacheKey,
        now: Timestamp,
    ) -> Option<Option<Arc<KeyRecord>>> {
        if let Some(found) = self.found.get(key) {
            if found.life.includes(now) && found.kept.elapsed() < self.time_to_live {
                return Some(Some(found.record));
            }
            // Else a clock that was set back and goes on would come back to it. Where it has been
            // replaced in between, this costs a read.
            self.found.remove(key);
        }
        self.unknown.get(key).is_some_and(|life| life.includes(now)).then_some(None)
    }

    pub(super) fn keep(&self, key: CacheKey, record: Arc<KeyRecord>, life: Life) {
        self.found.insert(key, Found { record, life, kept: Instant::now() });
    }

    pub(super) fn forget(&self, digest: &KeyDigest) {
        self.fence.advance(digest);
    }
}

impl ChangeListener for State {
    fn changed(&self, change: Change) {
        match change {
            Change::Key(digest) => self.forget(&digest),
            Change::All => {
                self.fence.advance_all();
                // For the memory's sake only.
                self.found.clear();
                self.unknown.invalidate_all();
            }
        }
    }
}

impl Life {
    pub(super) fn new(from: Timestamp, time_to_live: Duration) -> Self {
        Self { from, until: from.plus(time_to_live) }
    }

    /// Ends at `end` too, unless that is over already.
    pub(super) fn until_at_most(self, end: Option<Timestamp>) -> Self {
        let until =
            end.filter(|end| *end > self.from).map_or(self.until, |end| end.min(self.until));
        Self { until, ..self }
    }

    /// A clock that was set back ends a life, too.
    pub(super) fn includes(self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("found", &self.found.len())
            .field("unknown", &self.unknown.entry_count())
            .finish_non_exhaustive()
    }
}
