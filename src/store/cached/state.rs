use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use quick_cache::{Weighter, sync::Cache};

use super::{builder::CachedBuilder, fence::Fence, heard::Heard, lately::Lately};
use crate::{
    apikey::{KeyDigest, KeyRecord},
    domain::Timestamp,
    metrics::Counter,
    store::keys::{Change, ChangeListener},
};

/// What an entry takes beside its record.
const ENTRY: u64 = 256;

/// What is remembered, and the fence around it. The inner store tells it of changes.
pub(super) struct State {
    fence: Fence,
    pub(super) found: Cache<CacheKey, Kept<Arc<KeyRecord>>, Weight>,
    pub(super) unknown: Cache<CacheKey, Kept<()>>,
    pub(super) lately: Lately,
    time_to_live: Duration,
    heard: Heard,
    hits: Counter,
    unknown_hits: Counter,
    misses: Counter,
}

/// Where an answer is kept. Answers of an earlier epoch are out of reach, and go in time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    pub(super) digest: KeyDigest,
    epoch: u64,
}

/// An answer. The caches count no time: one that is over keeps its place until somebody asks for
/// it, or the place is needed.
#[derive(Clone)]
pub(super) struct Kept<T> {
    answer: T,
    life: Life,
    since: Instant,
}

/// What an entry counts for: its bytes, and no less than its share where all are small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    least: u64,
}

impl Weighter<CacheKey, Kept<Arc<KeyRecord>>> for Weight {
    fn weight(&self, _: &CacheKey, kept: &Kept<Arc<KeyRecord>>) -> u64 {
        (kept.answer.bytes() as u64 + ENTRY).max(self.least)
    }
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
    pub(super) fn new(limits: &CachedBuilder) -> Self {
        let CachedBuilder { max_keys, max_bytes, max_misses, time_to_live, .. } = *limits;
        let items = usize::try_from(max_keys).unwrap_or(usize::MAX);
        let weight = Weight { least: (max_bytes / max_keys.max(1)).max(1) };
        // No more than what all keys weigh: none are remembered where none are wanted.
        let capacity = weight.least.saturating_mul(max_keys).min(max_bytes);
        Self {
            fence: Fence::new(),
            found: Cache::with_weighter(items, capacity, weight),
            unknown: Cache::new(usize::try_from(max_misses).unwrap_or(usize::MAX)),
            lately: Lately::new(),
            time_to_live,
            heard: Heard::new(limits.clock.clone()),
            hits: Counter::default(),
            unknown_hits: Counter::default(),
            misses: Counter::default(),
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
        if let Some(record) = self.alive(&self.found, key, now) {
            return Some(Some(record));
        }
        self.alive(&self.unknown, key, now).map(|()| None)
    }

    /// Counts what a caller was told at once.
    pub(super) fn count(&self, remembered: Option<&Option<Arc<KeyRecord>>>) {
        let (counter, outcome) = match remembered {
            Some(Some(_)) => (&self.hits, "hit"),
            Some(None) => (&self.unknown_hits, "unknown"),
            None => (&self.misses, "miss"),
        };
        counter.count("key0_cache_lookups_total", "outcome", outcome);
    }

    fn alive<T: Clone, W: Weighter<CacheKey, Kept<T>> + Clone>(
        &self,
        cache: &Cache<CacheKey, Kept<T>, W>,
        key: &CacheKey,
        now: Timestamp,
    ) -> Option<T> {
        let kept = cache.get(key)?;
        if kept.life.includes(now) && kept.since.elapsed() < self.time_to_live {
            return Some(kept.answer);
        }
        // Else a clock that was set back and goes on would come back to it. Where it has been
        // replaced in between, this costs a read.
        cache.remove(key);
        None
    }

    /// Remembers what was read, `None` for a key that is unknown.
    pub(super) fn keep(&self, key: CacheKey, read: Option<&Arc<KeyRecord>>, life: Life) {
        let since = Instant::now();
        self.heard.read(&key.digest, read.map(|record| &**record));
        match read {
            Some(record) => {
                self.lately.note(&key.digest);
                let life = life.until_at_most(record.expires_at);
                self.found.insert(key, Kept { answer: Arc::clone(record), life, since });
            }
            None => self.unknown.insert(key, Kept { answer: (), life, since }),
        }
    }

    pub(super) fn forget(&self, digest: &KeyDigest) {
        // What changes is there: a key that was just issued is asked for next.
        self.lately.note(digest);
        self.fence.advance(digest);
    }
}

impl ChangeListener for State {
    fn changed(&self, change: Change) {
        match change {
            Change::Key(digest) => {
                self.heard.changed(&digest, || self.found.peek(&self.key(&digest)).is_some());
                self.forget(&digest);
            }
            Change::Token(_) => {}
            Change::All => {
                self.fence.advance_all();
                // For the memory's sake only.
                self.found.clear();
                self.unknown.clear();
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
            .field("unknown", &self.unknown.len())
            .finish_non_exhaustive()
    }
}
