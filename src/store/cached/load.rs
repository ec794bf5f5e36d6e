use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use super::{
    builder::CachedBuilder,
    state::{CacheKey, Found, Life, State},
};
use crate::{
    apikey::KeyRecord,
    domain::{Clock, KeyId},
    error::{StoreError, StoreErrorKind},
    store::keys::KeyStore,
};

/// How much longer than one read a caller waits in all. It counts only where the read does not
/// end in time by itself, as on a runtime that is blocked or gone.
const GRACE: Duration = Duration::from_millis(50);

/// Reads the inner store: once for all who ask at the same time, a few keys at once, in time.
pub(super) struct Loader {
    pub(super) inner: Arc<dyn KeyStore>,
    pub(super) state: Arc<State>,
    clock: Arc<dyn Clock>,
    reads: Semaphore,
    time_to_live: Duration,
    read_deadline: Duration,
}

/// Why a read has no record to show.
enum NotFound {
    Unknown,
    Failed(StoreError),
}

impl Loader {
    pub(super) fn new(limits: CachedBuilder) -> Self {
        Self {
            state: Arc::new(State::new(limits.max_keys, limits.max_misses, limits.time_to_live)),
            inner: limits.inner,
            clock: limits.clock,
            reads: Semaphore::new(limits.max_concurrent_reads),
            time_to_live: limits.time_to_live,
            read_deadline: limits.read_deadline,
        }
    }

    pub(super) async fn remembered(&self, key: &CacheKey) -> Option<Option<Arc<KeyRecord>>> {
        self.state.remembered(key, self.clock.now()).await
    }

    pub(super) async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let got = timeout(self.read_deadline, self.inner.get(id)).await;
        got.unwrap_or_else(|_elapsed| Err(timed_out()))
    }

    /// Joins the read of this key, or begins it.
    pub(super) async fn load(
        self: Arc<Self>,
        key: CacheKey,
    ) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        let found = self.state.found.try_get_with(key, self.read(key));
        match timeout(self.read_deadline.saturating_add(GRACE), found).await {
            Ok(Ok(found)) => Ok(Some(found.record)),
            Ok(Err(not_found)) => match &*not_found {
                NotFound::Unknown => Ok(None),
                NotFound::Failed(error) => Err(error.clone()),
            },
            Err(_elapsed) => Err(timed_out()),
        }
    }

    async fn read(&self, key: CacheKey) -> Result<Found, NotFound> {
        // The read before this one may have ended since this caller looked.
        if self.state.is_unknown(&key, self.clock.now()).await {
            return Err(NotFound::Unknown);
        }
        let read = async {
            let _permit = self.reads.acquire().await.map_err(StoreError::unavailable)?;
            let asked_at = self.clock.now();
            Ok((self.inner.find(&key.digest).await?, Life::new(asked_at, self.time_to_live)))
        };
        match timeout(self.read_deadline, read).await {
            Ok(Ok((Some(record), life))) => {
                let life = life.until_at_most(record.expires_at);
                Ok(Found { record: Arc::new(record), life })
            }
            Ok(Ok((None, life))) => {
                self.state.unknown.insert(key, life).await;
                Err(NotFound::Unknown)
            }
            Ok(Err(error)) => Err(NotFound::Failed(error)),
            Err(_elapsed) => Err(NotFound::Failed(timed_out())),
        }
    }
}

fn timed_out() -> StoreError {
    StoreError::new(StoreErrorKind::TimedOut)
}
