use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quick_cache::{Weighter, sync::Cache};

use super::{
    builder::CachedBuilder,
    fence::Fence,
    heard::Heard,
    lately::Lately,
    told::{Clocks, Life, Moment},
};
use crate::{
    apikey::{KeyDigest, KeyRecord},
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
    /// Of a key that was found, while all changes are told.
    longest: Duration,
    pub(super) clocks: Clocks,
    /// When the inner store last began to look for changes.
    looking: Mutex<Option<Moment>>,
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

/// A question, as of the instant at which it was asked.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) key: CacheKey,
    /// Up to when all changes were told.
    told: Option<Moment>,
}

/// An answer. The caches count no time: one that is over keeps its place until somebody asks for
/// it, or the place is needed.
#[derive(Clone)]
pub(super) struct Kept<T> {
    answer: T,
    life: Life,
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

impl Asked {
    /// By someone who does not know what was told when.
    pub(super) fn by(key: CacheKey) -> Self {
        Self { key, told: None }
    }
}

impl State {
    pub(super) fn new(limits: &CachedBuilder) -> Self {
        let CachedBuilder { max_keys, max_bytes, max_misses, time_to_live, .. } = *limits;
        let longest = match limits.inner.proves_changes() {
            true => time_to_live.max(limits.time_to_live_while_hearing),
            false => time_to_live,
        };
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
            longest,
            clocks: Clocks::new(limits.clock.clone()),
            looking: Mutex::default(),
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

    /// The question, before any answer is sought: from here on the fence holds for whoever asks.
    pub(super) fn ask(&self, digest: &KeyDigest) -> Asked {
        let seen = self.fence.look(digest);
        let key = CacheKey { digest: *digest, epoch: seen.epoch };
        Asked { key, told: Moment::of_numbers(seen.told) }
    }

    /// The remembered answer.
    pub(super) fn remembered(&self, asked: &Asked) -> Option<Option<Arc<KeyRecord>>> {
        if let Some(record) = self.alive(&self.found, asked) {
            return Some(Some(record));
        }
        self.alive(&self.unknown, &Asked { told: None, ..*asked }).map(|()| None)
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
        asked: &Asked,
    ) -> Option<T> {
        let kept = cache.get(&asked.key)?;
        // After that: an answer that another thread has just put there is older than now.
        let now = self.clocks.now();
        // While all changes up to a moment ago are told, none of them is missing here, however old
        // the answer is.
        let bound = match asked.told {
            Some(told) if told.is_within(self.falls_back(&asked.key), now) => self.longest,
            _ => self.time_to_live,
        };
        if kept.life.includes(now, bound) {
            return Some(kept.answer);
        }
        // Else a clock that was set back and goes on would come back to it. Where it has been
        // replaced in between, this costs a read.
        cache.remove(&asked.key);
        None
    }

    /// How old a proof may be for this key: half the time to live or more. With one age for all, every
    /// key would be read again in the same instant after a feed has died.
    fn falls_back(&self, key: &CacheKey) -> Duration {
        let share = u32::from(key.digest.as_bytes()[0]) + 1;
        self.time_to_live / 2 + self.time_to_live / 512 * share
    }

    /// Remembers what was read, `None` for a key that is unknown.
    pub(super) fn keep(&self, key: CacheKey, read: Option<&Arc<KeyRecord>>, asked_at: Moment) {
        let life = Life::new(asked_at, read.and_then(|record| record.expires_at));
        self.heard.read(&key.digest, read.map(|record| &**record));
        match read {
            Some(record) => {
                self.lately.note(&key.digest);
                self.found.insert(key, Kept { answer: Arc::clone(record), life });
            }
            None => self.unknown.insert(key, Kept { answer: (), life }),
        }
    }

    fn looking(&self) -> MutexGuard<'_, Option<Moment>> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn catching_up(&self) {
        *self.looking() = Some(self.clocks.now());
    }

    fn caught_up(&self) {
        // From when it began on, changes may have been made that it has not seen.
        if let Some(began) = self.looking().take() {
            self.fence.told(began.numbers());
        }
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
