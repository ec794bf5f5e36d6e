use std::{fmt, sync::Arc, time::Duration};

use tokio::{runtime::Handle, time::Instant};

use super::{
    lease::{HeldSlot, Renewing},
    response,
};
use crate::{
    Rejection, RejectionKind,
    auth::Responder,
    metrics,
    store::{IdempotencyState, StoredResponse},
};

/// How often storing an answer is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// For how long storing an answer is tried again.
const KEEP_TRYING: Duration = Duration::from_secs(600);

/// How a request with a key begins.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is the first: run it.
    Start(Run),
    /// It has run: this is its answer.
    Replay(StoredResponse),
}

/// The right to run a request under its key. Its lease is renewed for as long as it is there.
///
/// One that is dropped frees the key in the background, as where the handler panics. Where no
/// runtime is left to do it, the lease does.
#[must_use]
pub(crate) struct Run {
    held: Arc<HeldSlot>,
    /// None where it has ended.
    renewing: Option<Renewing>,
}

/// The work was given up.
#[derive(Debug, thiserror::Error)]
#[error("a handler took longer than a run with an idempotency key may take")]
struct TookTooLong;

pub(super) async fn begin(held: HeldSlot) -> Result<Begun, Rejection> {
    let state = held.begin().await;
    metrics::idempotent_request(match &state {
        Ok(IdempotencyState::Started) => "started",
        Ok(IdempotencyState::Done(_)) => "replayed",
        Ok(IdempotencyState::InProgress { .. }) => "in_progress",
        Ok(IdempotencyState::Reused) => "reused",
        Err(_) => "failed",
    });
    let held = Arc::new(held);
    match state {
        Ok(IdempotencyState::Started) => {
            let run = Run::new(held);
            if run.held.is_late() {
                return Err(RejectionKind::StoreUnavailable.into());
            }
            Ok(Begun::Start(run))
        }
        Ok(IdempotencyState::Done(response)) => Ok(Begun::Replay(response)),
        Ok(IdempotencyState::InProgress { .. }) => Err(RejectionKind::IdempotencyInProgress.into()),
        Ok(IdempotencyState::Reused) => Err(RejectionKind::IdempotencyKeyReused.into()),
        Err(error) => {
            // Nobody can tell whether a store that failed has claimed the slot all the same.
            drop(Run::new(held));
            Err(Rejection::new(RejectionKind::StoreUnavailable).cause(error))
        }
    }
}

impl Run {
    fn new(held: Arc<HeldSlot>) -> Self {
        let renewing = Some(HeldSlot::renew(&held));
        Self { held, renewing }
    }

    /// Runs the work for as long as a run [may take](super::Idempotency::max_run).
    ///
    /// # Errors
    ///
    /// [`Internal`](RejectionKind::Internal) where it took longer. The work was dropped then, and
    /// the run is to be released.
    pub(crate) async fn guard<F: Future>(&self, work: F) -> Result<F::Output, Rejection> {
        tokio::time::timeout(self.held.settings.max_run, work).await.map_err(|_| {
            #[cfg(feature = "tracing")]
            tracing::error!("{TookTooLong}");
            Rejection::new(RejectionKind::Internal).cause(TookTooLong)
        })
    }

    /// Keeps the answer, and says whether it is kept. One that is too large is not; then a refusal
    /// in this responder's form is kept in its place.
    ///
    /// Headers that are about the first exchange alone are left out.
    ///
    /// `false` also where the lease was lost, or where the store can't be reached: the answer is
    /// still the caller's. Storing goes on in the background, and when nobody waits for it.
    pub(crate) async fn complete(
        self,
        mut response: StoredResponse,
        responder: &Responder,
    ) -> bool {
        response.headers.retain(|(name, _)| response::is_kept_header(name));
        if response::size(&response) > self.held.settings.max_response_bytes {
            self.complete_unkept(responder).await;
            return false;
        }
        self.keep(response).await
    }

    /// Has retries refused, as the request has run and its answer can't be kept: it is too large,
    /// or broke off.
    pub(crate) async fn complete_unkept(self, responder: &Responder) {
        #[cfg(feature = "tracing")]
        tracing::error!("an answer can't be kept under its idempotency key");
        self.keep(response::unkept(responder)).await;
    }

    /// Frees the key: the next request runs.
    pub(crate) async fn release(mut self) {
        self.renewing = None;
        let releasing = tokio::spawn(Arc::clone(&self.held).release());
        // It goes on when it takes longer.
        let _ = tokio::time::timeout(self.held.settings.store_deadline, releasing).await;
    }

    async fn keep(mut self, response: StoredResponse) -> bool {
        let keeping = keep(Arc::clone(&self.held), response, self.renewing.take());
        let deadline = self.held.settings.store_deadline;
        matches!(tokio::time::timeout(deadline, tokio::spawn(keeping)).await, Ok(Ok(true)))
    }
}

async fn keep(held: Arc<HeldSlot>, response: StoredResponse, renewing: Option<Renewing>) -> bool {
    match held.complete(&response).await {
        Ok(kept) => kept,
        Err(_error) => {
            #[cfg(feature = "tracing")]
            tracing::warn!(
                error = crate::error::chain(&_error),
                "an answer waits for the store to be kept"
            );
            tokio::spawn(keep_trying(held, response, renewing));
            false
        }
    }
}

/// Holds the key meanwhile, as its request has run.
async fn keep_trying(held: Arc<HeldSlot>, response: StoredResponse, renewing: Option<Renewing>) {
    let give_up = Instant::now() + KEEP_TRYING;
    while Instant::now() < give_up {
        tokio::time::sleep(RETRY).await;
        if held.complete(&response).await.is_ok() {
            return;
        }
    }
    drop(renewing);
    #[cfg(feature = "tracing")]
    tracing::error!("an answer could not be kept under its idempotency key");
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.renewing.take().is_some()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(Arc::clone(&self.held).release());
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("held", &self.held).finish()
    }
}
