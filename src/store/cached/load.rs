use std::{sync::Arc, time::Duration};

use moka::future::Cache;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    builder::CachedBuilder,
    state::{Asked, CacheKey, State},
};
use crate::{
    apikey::KeyRecord,
    domain::KeyId,
    error::{StoreError, StoreErrorKind},
    store::keys::KeyStore,
};

/// How much longer than one read a caller waits in all. It counts only where the read does not
/// end in time by itself, as on a runtime that is blocked or gone.
const GRACE: Duration = Duration::from_millis(50);
/// Of the reads at once, this part may be of keys that nobody knows.
const SHARE_OF_UNKNOWN: usize = 4;

/// Reads the inner store: once for all who ask at the same time, a few keys at once, in time.
pub(super) struct Loader {
    pub(super) inner: Arc<dyn KeyStore>,
    pub(super) state: Arc<State>,
    /// Makes one read of many, and keeps nothing: what was read is in the state by then.
    under_way: Cache<CacheKey, Option<Arc<KeyRecord>>>,
    /// Of what was found or changed lately, so that it never waits behind what nobody knows.
    reads_of_known: Semaphore,
    /// Of all else. Fewer, as they stand in the inner store's own queue before those.
    reads: Semaphore,
    read_deadline: Duration,
}

impl Loader {
    pub(super) fn new(limits: CachedBuilder) -> Self {
        Self {
            state: Arc::new(State::new(&limits)),
            inner: limits.inner,
            under_way: Cache::builder().max_capacity(0).build(),
            reads_of_known: Semaphore::new(limits.max_concurrent_reads),
            reads: Semaphore::new((limits.max_concurrent_reads / SHARE_OF_UNKNOWN).max(1)),
            read_deadline: limits.read_deadline,
        }
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
        let read = self.under_way.try_get_with(key, self.read(key));
        match timeout(self.read_deadline.saturating_add(GRACE), read).await {
            Ok(answer) => answer.map_err(|error| StoreError::clone(&error)),
            Err(_elapsed) => Err(timed_out()),
        }
    }

    async fn read(&self, key: CacheKey) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        // The read before this one may have ended since this caller looked.
        if let Some(answer) = self.state.remembered(&Asked::by(key)) {
            return Ok(answer);
        }
        let known = self.state.lately.knows(&key.digest);
        let permits = if known { &self.reads_of_known } else { &self.reads };
        let read = async {
            // Whoever has waited longer would most likely give the read up half-way: the store would
            // work for nobody, and have nothing done for anybody.
            let turn = timeout(self.read_deadline / 2, permits.acquire());
            let turn = turn.await.map_err(|_| timed_out())?;
            let _permit = turn.map_err(StoreError::unavailable)?;
            let asked_at = self.state.clocks.now();
            Ok((self.inner.find(&key.digest).await?, asked_at))
        };
        let (record, asked_at) =
            timeout(self.read_deadline, read).await.map_err(|_| timed_out())??;
        let record = record.map(Arc::new);
        self.state.keep(key, record.as_ref(), asked_at);
        Ok(record)
    }
}

fn timed_out() -> StoreError {
    StoreError::new(StoreErrorKind::TimedOut)
}
