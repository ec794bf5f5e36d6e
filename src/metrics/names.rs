/// A metric of this library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name. A unit, where it has one, is the name's end.
    pub name: &'static str,
    /// Whether it counts, shows a level, or measures.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub about: &'static str,
}

/// What a [`Metric`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A level.
    Gauge,
    /// A distribution, in seconds.
    Histogram,
}

const fn metric(
    kind: MetricKind,
    name: &'static str,
    labels: &'static [&'static str],
    about: &'static str,
) -> Metric {
    Metric { name, kind, labels, about }
}

use MetricKind::{Counter, Gauge, Histogram};

/// Every metric of this library.
pub const METRICS: &[Metric] = &[
    metric(
        Counter,
        "key0_validations_total",
        &["kind", "code"],
        "Credentials of agents and partners: of which kind, and ok or why not",
    ),
    metric(
        Counter,
        "key0_internal_validations_total",
        &["strategy", "code"],
        "Callers of internal endpoints: how they proved themselves, and ok or why not",
    ),
    metric(
        Counter,
        "key0_secret_uses_total",
        &["secret"],
        "What each current or previous secret, public key or bootstrap key has verified",
    ),
    metric(
        Counter,
        "key0_cache_lookups_total",
        &["outcome"],
        "Lookups of keys in the cache: hit, unknown (a hit on a key that is not known), miss",
    ),
    metric(
        Gauge,
        "key0_cache_entries",
        &["kind"],
        "Keys that the cache remembers: found and unknown ones",
    ),
    metric(
        Histogram,
        "key0_store_seconds",
        &["engine", "work"],
        "How long operations of the store took, the wait for their turn included: read, write",
    ),
    metric(
        Counter,
        "key0_store_failures_total",
        &["engine", "work", "kind"],
        "Operations of the store that failed: unavailable, timed_out, conflict, corrupt",
    ),
    metric(
        Gauge,
        "key0_feed_connected",
        &["engine"],
        "1 while changes of other processes are heard, else 0",
    ),
    metric(
        Gauge,
        "key0_feed_heard_timestamp_seconds",
        &["engine"],
        "When the store was last looked at, or heard, for changes of other processes",
    ),
    metric(
        Histogram,
        "key0_revocation_lag_seconds",
        &[],
        "From the revocation of a key that is in use, by whichever process, until it is known here",
    ),
    metric(
        Counter,
        "key0_issuances_total",
        &["outcome"],
        "Requests for credentials: new, replayed, replaced, or the code of the refusal",
    ),
    metric(
        Counter,
        "key0_payments_total",
        &["outcome"],
        "Payments that were reported: recorded, repeated, conflict",
    ),
    metric(
        Counter,
        "key0_payment_handler_runs_total",
        &["outcome"],
        "Runs of the payment handler: done, failed",
    ),
    metric(Gauge, "key0_payments_waiting", &[], "Payments whose handler has not succeeded yet"),
    metric(
        Gauge,
        "key0_payments_oldest_seconds",
        &[],
        "How long ago the oldest of them was received; 0 where none waits",
    ),
    metric(
        Counter,
        "key0_idempotent_requests_total",
        &["outcome"],
        "Requests with an Idempotency-Key: started, replayed, in_progress, reused, failed",
    ),
];

/// Tells the recorder what each metric means.
///
/// ```
/// // Once, after the application has installed its recorder.
/// key0_auth::metrics::describe();
/// ```
pub fn describe() {
    for Metric { name, kind, about, .. } in METRICS {
        match kind {
            Counter => metrics::describe_counter!(*name, *about),
            Gauge => metrics::describe_gauge!(*name, *about),
            Histogram => {
                metrics::describe_histogram!(*name, metrics::Unit::Seconds, *about);
            }
        }
    }
}
