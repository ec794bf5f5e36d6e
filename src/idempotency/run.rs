use std::{fmt, future, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::{runtime::Handle, time::Instant};

use super::{config::Settings, response};
use crate::{
    Rejection, RejectionKind,
    auth::Responder,
    domain::Timestamp,
    error::StoreError,
    store::{IdempotencyState, Lease, RequestFingerprint, Slot, StoredResponse},
};

/// How often storing an answer is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often a lease is renewed before it would end.
const RENEWALS_PER_LEASE: u32 = 3;

/// How a request with a key begins.
#[derive(Debug)]
#[non_exhaustive]
pub enum Begun {
    /// It is the first: run it.
    Start(Run),
    /// It has run: this is its answer.
    Replay(StoredResponse),
}

/// The right to run a request under its key.
///
/// One that is dropped frees the key in the background, as where the handler panics. Where no
/// runtime is left to do it, the lease does.
#[must_use]
pub struct Run {
    claim: Arc<Claim>,
    ended: bool,
}

/// What holds a slot.
pub(super) struct Claim {
    settings: Arc<Settings>,
    slot: Slot,
    fingerprint: RequestFingerprint,
    now: Timestamp,
    lease: Lease,
}

impl Run {
    /// Runs the work, and renews the lease for as long as it takes.
    pub async fn guard<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut renewing = pin!(self.claim.keep_renewing());
        future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => {
                // It never ends.
                let _ = renewing.as_mut().poll(cx);
                Poll::Pending
            }
        })
        .await
    }

    /// Keeps the answer, and says whether it is kept. One that is too large is not; then a refusal
    /// in this responder's form is kept in its place.
    ///
    /// Headers that are about the first exchange alone are left out.
    ///
    /// `false` also where the lease was lost, or where the store can't be reached: the answer is
    /// still the caller's. Storing goes on in the background, and when nobody waits for it.
    pub async fn complete(self, mut response: StoredResponse, responder: &Responder) -> bool {
        response.headers.retain(|(name, _)| response::is_kept_header(name));
        if response::size(&response) > self.claim.settings.max_response_bytes {
            self.complete_too_large(responder).await;
            return false;
        }
        self.keep(response).await
    }

    /// Has retries refused, as the request has run and its answer is too large to be kept.
    pub async fn complete_too_large(self, responder: &Responder) {
        #[cfg(feature = "tracing")]
        tracing::error!("an answer is too large to be kept under its idempotency key");
        self.keep(response::too_large(responder)).await;
    }

    /// Frees the key: the next request runs.
    pub async fn release(mut self) {
        self.ended = true;
        let deadline = self.claim.settings.store_deadline;
        let releasing = tokio::spawn(Arc::clone(&self.claim).release());
        // It goes on when it takes longer.
        let _ = tokio::time::timeout(deadline, releasing).await;
    }

    async fn keep(mut self, response: StoredResponse) -> bool {
        self.ended = true;
        let deadline = self.claim.settings.store_deadline;
        let keeping = tokio::spawn(Arc::clone(&self.claim).keep(response));
        matches!(tokio::time::timeout(deadline, keeping).await, Ok(Ok(true)))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.ended
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(Arc::clone(&self.claim).release());
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("lease", &self.claim.lease).finish_non_exhaustive()
    }
}

impl Claim {
    pub(super) fn new(
        settings: Arc<Settings>,
        slot: Slot,
        fingerprint: RequestFingerprint,
    ) -> Self {
        let now = settings.clock.now();
        let lease = Lease::new(now.plus(settings.lease));
        Self { settings, slot, fingerprint, now, lease }
    }

    pub(super) async fn begin(self) -> Result<Begun, Rejection> {
        let state = self.claim(&self.lease, self.now).await;
        // Dropped in the cases below where it is not handed out: nobody can tell then whether a
        // store that failed has claimed the slot all the same.
        let run = Run {
            claim: Arc::new(self),
            ended: matches!(&state, Ok(state) if *state != IdempotencyState::Started),
        };
        match state {
            Ok(IdempotencyState::Started) => Ok(Begun::Start(run)),
            Ok(IdempotencyState::Done(response)) => Ok(Begun::Replay(response)),
            Ok(IdempotencyState::InProgress { .. }) => {
                Err(RejectionKind::IdempotencyInProgress.into())
            }
            Ok(IdempotencyState::Reused) => Err(RejectionKind::IdempotencyKeyReused.into()),
            Err(error) => Err(Rejection::new(RejectionKind::StoreUnavailable).cause(error)),
        }
    }

    async fn claim(&self, lease: &Lease, now: Timestamp) -> Result<IdempotencyState, StoreError> {
        self.settings.store.begin_request(&self.slot, &self.fingerprint, lease, now).await
    }

    async fn keep_renewing(&self) {
        loop {
            tokio::time::sleep(self.settings.lease / RENEWALS_PER_LEASE).await;
            let now = self.settings.clock.now();
            let lease = Lease { token: self.lease.token, until: now.plus(self.settings.lease) };
            // After a failure the next try may still come in time.
            if matches!(self.claim(&lease, now).await, Ok(state) if state != IdempotencyState::Started)
            {
                break;
            }
        }
        future::pending().await
    }

    async fn keep(self: Arc<Self>, response: StoredResponse) -> bool {
        match self.complete(&response).await {
            Ok(kept) => kept,
            Err(_error) => {
                #[cfg(feature = "tracing")]
                tracing::warn!(error = %_error, "an answer waits for the store to be kept");
                tokio::spawn(self.keep_trying(response));
                false
            }
        }
    }

    async fn keep_trying(self: Arc<Self>, response: StoredResponse) {
        let give_up = Instant::now() + self.settings.lease;
        while Instant::now() < give_up {
            tokio::time::sleep(RETRY).await;
            if self.complete(&response).await.is_ok() {
                return;
            }
        }
        #[cfg(feature = "tracing")]
        tracing::error!("an answer could not be kept under its idempotency key");
    }

    async fn complete(&self, response: &StoredResponse) -> Result<bool, StoreError> {
        let expires_at = self.settings.clock.now().plus(self.settings.keep_for);
        let store = &self.settings.store;
        let kept = store.complete_request(&self.slot, &self.lease, response, expires_at).await?;
        #[cfg(feature = "tracing")]
        if !kept {
            tracing::warn!("a handler took longer than its lease, so its answer is not kept");
        }
        Ok(kept)
    }

    async fn release(self: Arc<Self>) {
        // Where the store can't, the lease does it.
        let _ = self.settings.store.release_request(&self.slot, &self.lease).await;
    }
}
