//! What this library counts and measures, for the recorder that the application has installed.
//!
//! The application chooses the recorder, as `metrics-exporter-prometheus`, and installs it **before**
//! it builds validators and stores: some counters are looked up once, at their first use. Without
//! the feature `metrics` nothing is counted, and without a recorder nothing is kept.
//!
//! Labels are bounded: kinds, codes, engines, and the names of settings. No id, path or credential
//! of a caller is ever one. [`METRICS`] lists every metric; [`describe`] tells the recorder of them.
//!
//! Three gauges are read when they are asked for: call [`Cached::measure`](crate::Cached) and
//! [`PaymentReceived::measure`](crate::api::PaymentReceived) before the metrics are exported.

#[cfg(feature = "metrics")]
mod names;
// Which of these are in use depends on the features.
#[allow(dead_code)]
mod record;

#[cfg(feature = "metrics")]
pub use self::names::{METRICS, Metric, MetricKind, describe};
#[cfg(feature = "metrics")]
pub(crate) use self::record::gauge;
#[allow(unused_imports)]
pub(crate) use self::record::{
    Counter, StoreCall, accepted, feed_connected, feed_heard, idempotent_request,
    internal_validation, issuance, payment, payment_handler_run, revocation_heard, validation,
};
