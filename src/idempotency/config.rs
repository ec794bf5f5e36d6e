use std::{sync::Arc, time::Duration};

use super::{
    key::{IdempotencyKey, IdempotentRequest},
    lease::HeldSlot,
    response,
    run::{self, Begun},
    settings::Settings,
};
use crate::{
    Identity, Rejection, RejectionKind,
    domain::Clock,
    error::StoreError,
    store::{IdempotencyStore, LONGEST_WAIT, RequestFingerprint, Slot, steady::SteadyClock},
};

/// Of whom requests are whose caller nobody knows.
const ANYBODY: &str = "anybody";
/// Of whom requests are that an internal credential let in: of Key0.
const INTERNAL: &str = "internal";

/// What is known of who sends a request.
pub(crate) struct Caller<'a> {
    pub(crate) identity: Option<&'a Identity>,
    /// An internal credential let it in.
    pub(crate) internal: bool,
    /// A middleware has looked for a credential.
    pub(crate) guarded: bool,
}

/// How requests with an `Idempotency-Key` are treated: where answers are kept, for how long, and
/// what is asked of the request. Cheap to clone; a clone with other settings is another one.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use key0_auth::{MemoryStore, idempotency::Idempotency};
///
/// let idempotency = Idempotency::new(Arc::new(MemoryStore::new()));
/// let of_payouts = idempotency.clone().required().keep_for(Duration::from_secs(7 * 24 * 60 * 60));
/// # let _ = (idempotency, of_payouts);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Idempotency(Arc<Settings>);

impl Idempotency {
    /// Keeps answers in this store for 24 hours.
    pub fn new(store: Arc<dyn IdempotencyStore>) -> Self {
        Self(Arc::new(Settings::new(store)))
    }

    /// Demands a key: a request without one is a 400. Only where a key means something, so of
    /// `POST` and `PATCH`.
    pub fn required(mut self) -> Self {
        self.settings().required = true;
        self
    }

    /// Demands JSON of a request that has a key or needs one: another media type is a 415, before
    /// anything is said of its size and its key. A route that refuses other media types by itself
    /// does it after that, and then the refusal is kept under the key.
    pub fn json(mut self) -> Self {
        self.settings().json = true;
        self
    }

    /// Never stores an answer, as it holds a secret. The key still keeps two requests from running
    /// at once; a retry runs again and must make the same answer by itself, as
    /// [`IssueToken`](crate::api::IssueToken) does.
    ///
    /// For routes that return a secret at times see [`NotKept`](super::NotKept).
    pub fn secret_responses(mut self) -> Self {
        self.settings().secret_responses = true;
        self
    }

    /// Sets how long an answer is kept; 24 hours by default.
    pub fn keep_for(mut self, keep_for: Duration) -> Self {
        self.settings().keep_for = keep_for;
        self
    }

    /// Sets for how long a key stays taken when its run has crashed; 30 seconds by default. Held
    /// between one second and half of [`LONGEST_WAIT`], so that clocks that differ by less take
    /// no running request for over. It is renewed while a handler runs.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings().lease = lease.clamp(Duration::from_secs(1), LONGEST_WAIT / 2);
        self
    }

    /// Sets how long a handler may take, with its answer's body; five minutes by default. Then it is
    /// dropped where it waits, its request is answered 500, and its key is free: a retry runs.
    pub fn max_run(mut self, longest: Duration) -> Self {
        self.settings().max_run = longest;
        self
    }

    /// Sets how long the store may take before the request is answered with an outage; two
    /// seconds by default. Never more than a third of the lease.
    pub fn store_deadline(mut self, deadline: Duration) -> Self {
        self.settings().store_deadline = deadline;
        self
    }

    /// Sets the largest answer that is kept, headers included, in bytes; 64 KiB by default.
    pub fn max_response_bytes(mut self, bytes: usize) -> Self {
        self.settings().max_response_bytes = bytes;
        self
    }

    /// Sets the largest body that a request with a key may have, in bytes; 64 KiB by default. It
    /// is read before the handler runs.
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.settings().max_body_bytes = bytes;
        self
    }

    /// Sets where the time comes from; the system's clock by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        let settings = self.settings();
        settings.steady = SteadyClock::new(clock.clone());
        settings.clock = clock;
        self
    }

    /// Takes all requests without an [`Identity`] for those of one caller: anybody can get the
    /// answer to anybody's request then. For closed networks alone; otherwise such a request is
    /// answered 401 where it has a key, also on a route where credentials are optional, and 500
    /// where the middleware that validates credentials is missing.
    pub fn dangerous_allow_anonymous(mut self) -> Self {
        self.settings().allow_anonymous = true;
        self
    }

    /// Claims the key for a request, or finds what came of it before. Must run within a tokio
    /// runtime. The fingerprint is over all that must be the same in a retry.
    ///
    /// # Errors
    ///
    /// [`IdempotencyKeyReused`](RejectionKind::IdempotencyKeyReused),
    /// [`IdempotencyInProgress`](RejectionKind::IdempotencyInProgress), or
    /// [`StoreUnavailable`](RejectionKind::StoreUnavailable): then the request must not run.
    pub(crate) async fn begin(
        &self,
        request: &IdempotentRequest,
        fingerprint: RequestFingerprint,
    ) -> Result<Begun, Rejection> {
        let slot = Slot { scope: request.caller().to_owned(), key: request.key().to_owned() };
        let held = HeldSlot::new(Arc::clone(&self.0), slot, fingerprint);
        // A task, as a claim that nobody waits for any more must be given up when it is there.
        let beginning = tokio::spawn(run::begin(held));
        match tokio::time::timeout(self.0.patience(), beginning).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(panicked)) => Err(Rejection::new(RejectionKind::Internal).cause(panicked)),
            Err(elapsed) => Err(Rejection::new(RejectionKind::StoreUnavailable).cause(elapsed)),
        }
    }

    /// Removes answers whose time is over, up to `limit`, and says how many.
    ///
    /// A hundred go by themselves with every fiftieth answer that is kept. To be called where fewer
    /// come, and where they must be gone at a certain time. None go while the clock is in doubt: it
    /// was first seen, or set by more than two minutes, within the last hour.
    ///
    /// # Errors
    ///
    /// Fails when the store can't.
    pub async fn purge(&self, limit: u32) -> Result<u32, StoreError> {
        let Some(now) = self.0.steady.believed() else { return Ok(0) };
        self.0.store.purge_requests(now, limit).await
    }

    /// Whether a request is of concern at all: by its method, and by whether it has a key.
    pub(crate) fn concerns(&self, method: &str, has_key: bool) -> bool {
        matches!(method, "POST" | "PATCH") && (has_key || self.0.required)
    }

    /// The request of this caller under the key in these header values. Where a key is demanded,
    /// none is a refusal.
    ///
    /// # Errors
    ///
    /// [`InvalidIdempotencyKey`](RejectionKind::InvalidIdempotencyKey) for a key that is missing or
    /// can't be read, [`MissingCredential`](RejectionKind::MissingCredential) for a caller whom
    /// nobody knows, unless it [may be anybody](Self::dangerous_allow_anonymous), and
    /// [`Internal`](RejectionKind::Internal) where no middleware has looked for a credential: that
    /// is the application's fault and not the caller's.
    pub(crate) fn request<'a>(
        &self,
        caller: &Caller<'_>,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<IdempotentRequest, Rejection> {
        let key = IdempotencyKey::read(values)?.ok_or_else(|| {
            Rejection::new(RejectionKind::InvalidIdempotencyKey)
                .detail("This request needs an Idempotency-Key header")
        })?;
        match caller {
            Caller { identity: Some(identity), .. } => {
                Ok(IdempotentRequest::new(identity.lasting_id(), key))
            }
            Caller { internal: true, .. } => Ok(IdempotentRequest::new(INTERNAL, key)),
            _ if self.0.allow_anonymous => Ok(IdempotentRequest::new(ANYBODY, key)),
            Caller { guarded: true, .. } => Err(RejectionKind::MissingCredential.into()),
            Caller { .. } => Err(unguarded()),
        }
    }

    /// The fingerprint of a request: over its method, its path with the query, its media type
    /// without parameters, and its body.
    pub fn fingerprint(
        method: &str,
        target: &str,
        content_type: Option<&[u8]>,
        body: &[u8],
    ) -> RequestFingerprint {
        let essence = content_type.unwrap_or_default().split(|byte| *byte == b';').next();
        let essence = essence.unwrap_or_default().trim_ascii().to_ascii_lowercase();
        RequestFingerprint::of([method.as_bytes(), target.as_bytes(), &essence, body])
    }

    /// Whether an answer with this status, which may be a refusal, is an outcome to be told again.
    pub(crate) fn keeps(&self, status: u16, refusal: Option<RejectionKind>) -> bool {
        !self.0.secret_responses && response::is_outcome(status, refusal)
    }

    /// The largest body that a request with a key may have, in bytes.
    pub(crate) fn body_limit(&self) -> usize {
        self.0.max_body_bytes
    }

    /// The largest answer that is kept, in bytes.
    pub(crate) fn response_limit(&self) -> usize {
        self.0.max_response_bytes
    }

    /// Whether JSON is demanded.
    pub(crate) fn takes_json_alone(&self) -> bool {
        self.0.json
    }

    fn settings(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.0)
    }
}

/// The layer is not where it has to be.
#[derive(Debug, thiserror::Error)]
#[error("a route with idempotency keys is not behind a middleware that requires a credential")]
struct NotBehind;

fn unguarded() -> Rejection {
    #[cfg(feature = "tracing")]
    tracing::error!("{NotBehind}");
    Rejection::new(RejectionKind::Internal).cause(NotBehind)
}
