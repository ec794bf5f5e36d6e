//! A cache over any key store.

mod builder;
mod fence;
mod heard;
mod lately;
mod load;
mod state;
mod told;

use std::{
    fmt,
    sync::{Arc, Weak},
};

use async_trait::async_trait;

pub use self::builder::CachedBuilder;
use self::{load::Loader, state::State};
use super::keys::{ChangeListener, KeyStore};
use crate::{
    apikey::{KeyDigest, KeyRecord},
    domain::{Actor, Clock, KeyId, Timestamp},
    error::StoreError,
};

/// A [`KeyStore`] that remembers the answers of another one for a short while.
///
/// - **Bounded.** Keys that exist and digests that are unknown are remembered apart, each up to a
///   number of its own, so that a flood of random keys displaces no valid one.
/// - **One read at a time for each key.** Whoever asks for a key that is being read waits for that
///   read. It goes on when its first caller leaves. An error reaches everyone who waits for it,
///   and is not remembered.
/// - **Known keys first.** Reads of keys that were found lately, or issued or changed through this
///   cache or as its store tells, have permits of their own, and more of them than all others: a flood of unknown keys waits behind itself.
/// - **Answered in time.** A store that is slower than the read deadline is a
///   [`StoreErrorKind::TimedOut`](crate::error::StoreErrorKind::TimedOut), for every caller within the deadline and 50 ms.
/// - **Revocations count at once.** A `find` that begins after [`revoke`](KeyStore::revoke)
///   returned, or after the inner store told of a [`Change`](super::Change), is never answered
///   with what was read before it. A change that another process makes counts within the time to
///   live and the read deadline, whether the inner store tells of it in time, late or not at all.
/// - **Longer while the store tells of every change.** A key that was found is remembered for a
///   minute as long as the inner store has looked for changes less than a time to live ago, and told
///   of all: see [`ChangeListener::caught_up`]. As soon as that is longer ago, whatever keeps it from
///   looking, all answers that are older than the time to live are over.
///
/// An expired or revoked record is remembered like any other: whoever asks checks its times, at
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
    loader: Arc<Loader>,
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
        let loader = Loader::new(builder);
        let listener: Weak<State> = Arc::downgrade(&loader.state);
        loader.inner.subscribe(listener);
        Self { loader: Arc::new(loader) }
    }

    /// The answer to [`find`](KeyStore::find) if it is remembered, without waiting. The inner one
    /// is `None` where the key is remembered as unknown.
    ///
    /// This needs no runtime, and a key that is found asks for no memory.
    pub fn recall(&self, digest: &KeyDigest) -> Option<Option<Arc<KeyRecord>>> {
        let state = &self.loader.state;
        // Before anything else: from here on the fence holds for this caller.
        let asked = state.ask(digest);
        let answer = state.remembered(&asked);
        state.count(answer.as_ref());
        answer
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
        // Before anything else, as above.
        let asked = self.loader.state.ask(digest);
        if let Some(answer) = self.loader.state.remembered(&asked) {
            return Ok(answer);
        }
        // A task of its own, so that no caller who leaves takes the read away from the others.
        match tokio::spawn(Arc::clone(&self.loader).load(asked.key)).await {
            Ok(answer) => answer,
            Err(panicked) => Err(StoreError::unavailable(panicked)),
        }
    }

    /// Shows in the metrics how many keys are remembered now. To be called before they are exported.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn measure(&self) {
        let State { found, unknown, .. } = &*self.loader.state;
        for (kind, count) in [("found", found.len()), ("unknown", unknown.len())] {
            crate::metrics::gauge("key0_cache_entries", &[("kind", kind)], count as f64);
        }
    }

    /// Forgets what is remembered of this digest: no `find` that begins from here on is answered
    /// with it. For a change that was made past this cache, and that its store doesn't tell of.
    pub fn forget(&self, digest: &KeyDigest) {
        self.loader.state.forget(digest);
    }
}

#[async_trait]
impl KeyStore for Cached {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.find_shared(digest).await?.map(Arc::unwrap_or_clone))
    }

    /// Always asks the inner store, within the read deadline.
    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.loader.get(id).await
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        let inserted = self.loader.inner.insert(record, by).await;
        // Also after an error: it can mean that the store doesn't know.
        self.loader.state.forget(&record.digest);
        inserted
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        // No await stands between the store's answer and `forget`, so whoever drops this future
        // drops it before the answer came. Then nobody was told of a revocation, and one that was
        // committed all the same is what the store tells its listeners of.
        let revoked = self.loader.inner.revoke(id, by, at).await?;
        if let Some(digest) = &revoked {
            self.loader.state.forget(digest);
        }
        Ok(revoked)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.loader.inner.ping().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.loader.inner.close().await
    }

    fn hears_changes(&self) -> bool {
        self.loader.inner.hears_changes()
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.loader.inner.subscribe(listener);
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("inner", &self.loader.inner)
            .field("state", &self.loader.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
