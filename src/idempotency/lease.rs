use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::task::AbortHandle;

use super::settings::Settings;
use crate::{
    domain::{Clock, Timestamp},
    error::StoreError,
    store::{IdempotencyState, Lease, RequestFingerprint, Slot, StoredResponse},
};

/// How often a lease is renewed before it would end. A claim may take a third of it, so two
/// renewals fit into the rest, each of which may take as long as the wait before it.
const RENEWALS_PER_LEASE: u32 = 6;

/// How often freeing a key is tried, and how long after one try the next one is made.
const RELEASES: u32 = 3;
const RETRY: Duration = Duration::from_millis(500);
/// Every so many answers, so many slots are purged at most: more than come in meanwhile.
const PURGE_EVERY: u32 = 50;
const PURGED_AT_ONCE: u32 = 100;

/// A slot, and the lease by which it is held.
pub(super) struct HeldSlot {
    pub(super) settings: Arc<Settings>,
    slot: Slot,
    fingerprint: RequestFingerprint,
    now: Timestamp,
    /// The same by a clock that goes on while the host sleeps.
    began: Timestamp,
    lease: Lease,
}

/// Renews a lease in a task of its own, until it is dropped: a handler that keeps its thread busy
/// does not hold it up where the runtime has another one.
pub(super) struct Renewing(AbortHandle);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HeldSlot {
    pub(super) fn new(
        settings: Arc<Settings>,
        slot: Slot,
        fingerprint: RequestFingerprint,
    ) -> Self {
        let (now, began) = (settings.steady.now(), settings.clock.now());
        let lease = Lease::new(now.plus(settings.lease));
        Self { settings, slot, fingerprint, now, began, lease }
    }

    /// Claims the slot for the first time.
    pub(super) async fn begin(&self) -> Result<IdempotencyState, StoreError> {
        self.ask(&self.lease, self.now).await
    }

    /// Whether so much of the lease is over that it may end before it is renewed. By the clock and
    /// not by a timer, which stands still while a host sleeps.
    pub(super) fn is_late(&self) -> bool {
        self.settings.clock.now().since(self.began) > self.settings.patience()
    }

    /// Renews the lease from now on.
    pub(super) fn renew(held: &Arc<Self>) -> Renewing {
        Renewing(tokio::spawn(Arc::clone(held).keep_renewing()).abort_handle())
    }

    async fn keep_renewing(self: Arc<Self>) {
        let pause = self.settings.lease / RENEWALS_PER_LEASE;
        loop {
            tokio::time::sleep(pause).await;
            let renewed = within(self.settings.store_deadline.min(pause), self.claim()).await;
            // After a failure the next try may still come in time.
            if matches!(renewed, Ok(state) if state != IdempotencyState::Started) {
                return;
            }
        }
    }

    /// Keeps the answer. `false` where the slot is another's.
    pub(super) async fn complete(&self, response: &StoredResponse) -> Result<bool, StoreError> {
        if self.try_complete(response).await? {
            return Ok(true);
        }
        // An earlier try may have kept it all the same, and a slot that was purged may be free.
        let kept = match within(self.settings.store_deadline, self.claim()).await? {
            IdempotencyState::Started => self.try_complete(response).await?,
            IdempotencyState::Done(known) => known == *response,
            _ => false,
        };
        #[cfg(feature = "tracing")]
        if !kept {
            tracing::warn!("a handler took longer than its lease, so its answer is not kept");
        }
        Ok(kept)
    }

    async fn try_complete(&self, response: &StoredResponse) -> Result<bool, StoreError> {
        let expires_at = self.settings.steady.latest().plus(self.settings.keep_for);
        let store = &self.settings.store;
        let completing = store.complete_request(&self.slot, &self.lease, response, expires_at);
        let kept = within(self.settings.store_deadline, completing).await?;
        if kept {
            self.purge_now_and_then();
        }
        Ok(kept)
    }

    fn purge_now_and_then(&self) {
        let Settings { store, steady, kept, .. } = &*self.settings;
        if (kept.fetch_add(1, Relaxed) + 1).is_multiple_of(PURGE_EVERY) {
            let Some(now) = steady.believed() else { return };
            let store = Arc::clone(store);
            tokio::spawn(async move { store.purge_requests(now, PURGED_AT_ONCE).await });
        }
    }

    pub(super) async fn release(self: Arc<Self>) {
        for _ in 0..RELEASES {
            let releasing = self.settings.store.release_request(&self.slot, &self.lease);
            if within(self.settings.store_deadline, releasing).await.is_ok() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
        // The lease does it then.
    }

    /// Claims the slot, or keeps it claimed, from now on.
    async fn claim(&self) -> Result<IdempotencyState, StoreError> {
        let now = self.settings.steady.now();
        let lease = Lease { token: self.lease.token, until: now.plus(self.settings.lease) };
        self.ask(&lease, now).await
    }

    async fn ask(&self, lease: &Lease, now: Timestamp) -> Result<IdempotencyState, StoreError> {
        let Settings { store, steady, .. } = &*self.settings;
        if steady.was_believed() {
            store.begin_request(&self.slot, &self.fingerprint, lease, now).await
        } else {
            store.begin_unless_answered(&self.slot, &self.fingerprint, lease, now).await
        }
    }
}

/// What the store says, or that it takes too long.
async fn within<T>(
    deadline: Duration,
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(deadline, asked).await {
        Ok(result) => result,
        Err(elapsed) => Err(StoreError::unavailable(elapsed)),
    }
}

impl fmt::Debug for HeldSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldSlot").field("lease", &self.lease).finish_non_exhaustive()
    }
}
