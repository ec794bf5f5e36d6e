use std::{fmt, sync::Arc, time::Duration};

use moka::sync::Cache;

use super::fence::Fence;
use crate::{
    apikey::{KeyDigest, KeyRecord},
    domain::Timestamp,
    store::keys::{Change, ChangeListener},
};

/// What is remembered, and the fence around it. The inner store tells it of changes.
pub(super) struct State {
    fence: Fence,
    pub(super) found: Cache<CacheKey, Found>,
    pub(super) unknown: Cache<CacheKey, Life>,
}

/// Where an answer is kept. Answers of an earlier epoch are out of reach, and go when their time
/// to live is over.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    pub(super) digest: KeyDigest,
    epoch: u64,
}

/// A key that exists.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) record: Arc<KeyRecord>,
    pub(super) life: Life,
}

/// While an answer may be given, by the [`Clock`](crate::domain::Clock).
///
/// The caches count the time to live as well, by a clock that can't be set: an answer must be
/// within both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    from: Timestamp,
    until: Timestamp,
}

impl State {
    pub(super) fn new(max_keys: u64, max_misses: u64, time_to_live: Duration) -> Self {
        Self {
            fence: Fence::new(),
            found: Cache::builder().max_capacity(max_keys).time_to_live(time_to_live).build(),
            unknown: Cache::builder().max_capacity(max_misses).time_to_live(time_to_live).build(),
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
            if found.life.includes(now) {
                return Some(Some(found.record));
            }
            // Else a clock that was set back and goes on would come back to it. Where it has been
            // replaced in between, this costs a read.
            self.found.invalidate(key);
        }
        self.unknown.get(key).is_some_and(|life| life.includes(now)).then_some(None)
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
                self.found.invalidate_all();
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
            .field("found", &self.found.entry_count())
            .field("unknown", &self.unknown.entry_count())
            .finish_non_exhaustive()
    }
}
