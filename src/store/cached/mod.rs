//! A cache over any key store.

mod builder;
mod fence;
mod state;

use std::{fmt, sync::Arc, sync::Weak, time::Duration};

use async_trait::async_trait;
use tokio::{sync::Semaphore, time::timeout};

pub use self::builder::CachedBuilder;
use self::state::{CacheKey, Found, Life, State};
use super::keys::{ChangeListener, KeyStore};
use crate::{
    apikey::{KeyDigest, KeyRecord},
    domain::{Clock, KeyId, Timestamp},
    error::{StoreError, StoreErrorKind},
};

/// How much longer than one read a caller waits in all. It pays for a caller who joined a read
/// that was given up, and so had to begin one of its own.
const GRACE: Duration = Duration::from_millis(50);

/// A [`KeyStore`] that remembers the answers of another one for a short while.
///
/// - **Bounded.** Keys that exist and digests that are unknown are remembered apart, each up to a
///   number of its own, so that a flood of random keys displaces no valid one.
/// - **One read at a time for each key.** Whoever asks for a key that is being read waits for that
///   read. An error reaches everyone who waits for it, and is not remembered.
/// - **Answered in time.** A store that is slower than the read deadline is a
///   [`StoreErrorKind::TimedOut`], for every caller within the deadline and 50 ms.
/// - **Revocations count at once.** A `find` that begins after [`revoke`](KeyStore::revoke)
///   returned, or after the inner store told of a [`Change`](super::Change), is never answered
///   with what was read before it. A change that the inner store doesn't tell of counts within
///   the time to live and the read deadline.
///
/// An expired or revoked record is remembered like any other: whoever asks judges its times, at
/// every request. An answer is also forgotten at the instant the key expires.
///
/// Needs a Tokio runtime with its timer enabled.
///
/// ```
/// use std::sync::Arc;
///
/// use key0_auth::{Cached, KeyStore, domain::SystemClock};
///
/// fn in_front_of(store: Arc<dyn KeyStore>) -> Arc<dyn KeyStore> {
///     Arc::new(Cached::new(store, Arc::new(SystemClock)))
/// }
/// ```
pub struct Cached {
    inner: Arc<dyn KeyStore>,
    clock: Arc<dyn Clock>,
    state: Arc<State>,
    reads: Semaphore,
    time_to_live: Duration,
    read_deadline: Duration,
}

impl Cached {
    /// A cache with the default limits: see [`CachedBuilder`].
    pub fn new(inner: Arc<dyn KeyStore>, clock: Arc<dyn Clock>) -> Self {
        Self::assemble(Self::builder(inner, clock))
    }

    /// A cache with limits of your own.
    pub fn builder(inner: Arc<dyn KeyStore>, clock: Arc<dyn Clock>) -> CachedBuilder {
        CachedBuilder::new(inner, clock)
    }

    fn assemble(builder: CachedBuilder) -> Self {
        let CachedBuilder { inner, clock, time_to_live, read_deadline, .. } = builder;
        let state = Arc::new(State::new(builder.max_keys, builder.max_misses, time_to_live));
        let listener: Weak<State> = Arc::downgrade(&state);
        inner.subscribe(listener);
        let reads = Semaphore::new(builder.max_concurrent_reads);
        Self { inner, clock, state, reads, time_to_live, read_deadline }
    }

    /// The same as [`find`](KeyStore::find), without a copy of the record.
    ///
    /// # Errors
    ///
    /// Fails when the answer is not remembered and the inner store fails or is too slow.
    pub async fn find_shared(
        &self,
        digest: &KeyDigest,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        // Before anything else: the fence holds for answers that are sought under this key.
        let key = self.state.key(digest);
        if let Some(answer) = self.state.known(&key, self.clock.now()).await {
            return Ok(answer);
        }
        let load = self.state.found.try_get_with(key, self.load(key));
        match timeout(self.read_deadline.saturating_add(GRACE), load).await {
            Ok(Ok(found)) => Ok(Some(found.record)),
            Ok(Err(not_found)) => match &*not_found {
                NotFound::Unknown => Ok(None),
                NotFound::Failed(error) => Err(error.clone()),
            },
            Err(_elapsed) => Err(StoreError::new(StoreErrorKind::TimedOut)),
        }
    }

    /// Forgets what is remembered of this digest: no `find` that begins from here on is answered
    /// with it. For a change that was made past this cache, and that its store doesn't tell of.
    pub fn forget(&self, digest: &KeyDigest) {
        self.state.forget(digest);
    }

    /// Asks the store. Runs once for all who wait for the same key.
    async fn load(&self, key: CacheKey) -> Result<Found, NotFound> {
        // The read before this one may have ended since this caller looked.
        if self.state.is_unknown(&key, self.clock.now()).await {
            return Err(NotFound::Unknown);
        }
        let read = async {
            let _permit = self.reads.acquire().await.map_err(StoreError::unavailable)?;
            let asked_at = self.clock.now();
            Ok((asked_at, self.inner.find(&key.digest).await?))
        };
        let (asked_at, record) = match timeout(self.read_deadline, read).await {
            Ok(answer) => answer.map_err(NotFound::Failed)?,
            Err(_elapsed) => {
                return Err(NotFound::Failed(StoreError::new(StoreErrorKind::TimedOut)));
            }
        };
        if let Some(record) = record {
            let life = Life::new(asked_at, self.time_to_live).until_at_most(record.expires_at);
            Ok(Found { record: Arc::new(record), life })
        } else {
            let life = Life::new(asked_at, self.time_to_live);
            self.state.unknown.insert(key, life).await;
            Err(NotFound::Unknown)
        }
    }
}

/// Why a load has no record to show.
enum NotFound {
    Unknown,
    Failed(StoreError),
}

#[async_trait]
impl KeyStore for Cached {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.find_shared(digest).await?.map(Arc::unwrap_or_clone))
    }

    /// Always asks the inner store.
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.inner.get(id).await
    }

    async fn insert(&self, record: &KeyRecord) -> Result<(), StoreError> {
        let inserted = self.inner.insert(record).await;
        // Also after an error: it can mean that the store doesn't know.
        self.state.forget(&record.digest);
        inserted
    }

    async fn revoke(&self, id: &KeyId, at: Timestamp) -> Result<Option<KeyDigest>, StoreError> {
        // No await stands between the store's answer and `forget`, so whoever drops this future
        // drops it before the answer came. Then nobody was told of a revocation, and one that was
        // committed all the same is what the store tells its listeners of.
        let revoked = self.inner.revoke(id, at).await?;
        if let Some(digest) = &revoked {
            self.state.forget(digest);
        }
        Ok(revoked)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.inner.subscribe(listener);
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("inner", &self.inner)
            .field("time_to_live", &self.time_to_live)
            .field("read_deadline", &self.read_deadline)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
