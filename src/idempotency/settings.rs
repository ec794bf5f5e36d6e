use std::{
    fmt,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use crate::{
    domain::{Clock, SystemClock},
    store::{IdempotencyStore, steady::SteadyClock},
};

/// What an [`Idempotency`](super::Idempotency) was told.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) store: Arc<dyn IdempotencyStore>,
    pub(super) clock: Arc<dyn Clock>,
    /// The same, by which slots become free.
    pub(super) steady: SteadyClock,
    pub(super) lease: Duration,
    pub(super) keep_for: Duration,
    pub(super) store_deadline: Duration,
    pub(super) max_run: Duration,
    pub(super) max_response_bytes: usize,
    /// How many answers were kept, by all that have these settings or others like them.
    pub(super) kept: Arc<AtomicU32>,
    pub(super) max_body_bytes: usize,
    pub(super) required: bool,
    pub(super) json: bool,
    pub(super) secret_responses: bool,
    pub(super) allow_anonymous: bool,
}

impl Settings {
    pub(super) fn new(store: Arc<dyn IdempotencyStore>) -> Self {
        Self {
            store,
            clock: Arc::new(SystemClock),
            steady: SteadyClock::new(Arc::new(SystemClock)),
            lease: Duration::from_secs(30),
            keep_for: Duration::from_secs(24 * 60 * 60),
            store_deadline: Duration::from_secs(2),
            max_run: Duration::from_secs(5 * 60),
            max_response_bytes: 64 * 1024,
            kept: Arc::default(),
            max_body_bytes: 64 * 1024,
            required: false,
            json: false,
            secret_responses: false,
            allow_anonymous: false,
        }
    }

    /// How long a claim may take: a lease of which more is over may end before it is renewed.
    pub(super) fn patience(&self) -> Duration {
        self.store_deadline.min(self.lease / 3)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("store", &self.store)
            .field("lease", &self.lease)
            .field("keep_for", &self.keep_for)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}
