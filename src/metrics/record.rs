//! One function for each event. Without the feature they do nothing.

#[cfg(feature = "metrics")]
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A counter that is looked up at its first use, for what happens at every request.
#[derive(Clone, Default)]
pub(crate) struct Counter {
    #[cfg(feature = "metrics")]
    counter: OnceLock<metrics::Counter>,
}

impl Counter {
    /// Adds one.
    pub(crate) fn count(&self, name: &'static str, label: &'static str, value: &str) {
        #[cfg(feature = "metrics")]
        self.counter
            .get_or_init(|| metrics::counter!(name, label => value.to_owned()))
            .increment(1);
        #[cfg(not(feature = "metrics"))]
        let _ = (name, label, value);
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counter")
    }
}

macro_rules! count {
    ($name:literal $(, $label:literal => $value:expr)*) => {
        #[cfg(feature = "metrics")]
        metrics::counter!($name $(, $label => $value)*).increment(1);
        #[cfg(not(feature = "metrics"))]
        let _ = ($($value,)*);
    };
}

/// A credential was validated; `code` is `ok` or the refusal's.
pub(crate) fn validation(kind: &'static str, code: &'static str) {
    count!("key0_validations_total", "kind" => kind, "code" => code);
}

/// A credential was accepted. At every request, so without a label that asks for memory.
pub(crate) fn accepted(kind: &'static str) {
    macro_rules! count_one_of {
        ($($known:literal)*) => {
            match kind {
                $($known => {
                    count!("key0_validations_total", "kind" => $known, "code" => "ok");
                })*
                _ => validation(kind, "ok"),
            }
        };
    }
    count_one_of!("access_token" "payment_key" "integrator_key" "bootstrap_key" "fallback" "gateway");
}

/// The caller of an internal endpoint was validated.
pub(crate) fn internal_validation(strategy: &'static str, code: &'static str) {
    count!("key0_internal_validations_total", "strategy" => strategy, "code" => code);
}

/// A credential was asked for.
pub(crate) fn issuance(outcome: &'static str) {
    count!("key0_issuances_total", "outcome" => outcome);
}

/// A payment was reported.
pub(crate) fn payment(outcome: &'static str) {
    count!("key0_payments_total", "outcome" => outcome);
}

/// The payment handler ran.
pub(crate) fn payment_handler_run(outcome: &'static str) {
    count!("key0_payment_handler_runs_total", "outcome" => outcome);
}

/// A request with an idempotency key began.
pub(crate) fn idempotent_request(outcome: &'static str) {
    count!("key0_idempotent_requests_total", "outcome" => outcome);
}

/// Whether the changes of other processes are heard from now on.
pub(crate) fn feed_connected(engine: &'static str, connected: bool) {
    #[cfg(feature = "metrics")]
    metrics::gauge!("key0_feed_connected", "engine" => engine).set(f64::from(u8::from(connected)));
    #[cfg(not(feature = "metrics"))]
    let _ = (engine, connected);
}

/// The changes of other processes are known as of now.
pub(crate) fn feed_heard(engine: &'static str) {
    #[cfg(feature = "metrics")]
    {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        metrics::gauge!("key0_feed_heard_timestamp_seconds", "engine" => engine)
            .set(now.unwrap_or_default().as_secs_f64());
    }
    #[cfg(not(feature = "metrics"))]
    let _ = engine;
}

/// A revocation got known so long after it was made.
pub(crate) fn revocation_heard(lag: Duration) {
    #[cfg(feature = "metrics")]
    metrics::histogram!("key0_revocation_lag_seconds").record(lag.as_secs_f64());
    #[cfg(not(feature = "metrics"))]
    let _ = lag;
}

/// An operation of a store, from its beginning on. One that is dropped unfinished is not measured.
pub(crate) struct StoreCall {
    engine: &'static str,
    work: &'static str,
    began: Instant,
}

impl StoreCall {
    pub(crate) fn begin(engine: &'static str, work: &'static str) -> Self {
        Self { engine, work, began: Instant::now() }
    }

    /// It ended; `failure` is the kind of its error.
    pub(crate) fn end(self, failure: Option<&'static str>) {
        let Self { engine, work, began } = self;
        #[cfg(feature = "metrics")]
        {
            let took = began.elapsed().as_secs_f64();
            metrics::histogram!("key0_store_seconds", "engine" => engine, "work" => work)
                .record(took);
            if let Some(kind) = failure {
                metrics::counter!(
                    "key0_store_failures_total",
                    "engine" => engine, "work" => work, "kind" => kind
                )
                .increment(1);
            }
        }
        #[cfg(not(feature = "metrics"))]
        let _ = (engine, work, began, failure);
    }
}

/// Shows a level.
#[cfg(feature = "metrics")]
pub(crate) fn gauge(name: &'static str, labels: &[(&'static str, &'static str)], value: f64) {
    metrics::gauge!(name, labels).set(value);
}
