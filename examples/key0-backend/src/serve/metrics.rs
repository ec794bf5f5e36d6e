//! What is counted and measured, and `GET /metrics`, which shows it as Prometheus reads it.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, response::IntoResponse};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use key0_auth::{Cached, api::PaymentReceived};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use super::secret_uses::Dating;

/// The upper bounds of the histograms, in seconds.
const BUCKETS: [f64; 13] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// How often measurements are moved into their buckets, asked for or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// The metrics of this binary; those of the library are in `key0_auth::metrics`.
pub(crate) const METRICS: [(&str, Kind, &str); 10] = [
    ("key0_build_info", Kind::Gauge, "1, with the version as its label"),
    ("key0_http_requests_total", Kind::Counter, "Requests by route, status and code"),
    ("key0_http_request_seconds", Kind::Histogram, "How long requests took, by route"),
    ("key0_connections", Kind::Gauge, "Connections that are open, by listener"),
    ("key0_connections_limit", Kind::Gauge, "How many may be open, by listener"),
    (
        "key0_connections_closed_total",
        Kind::Counter,
        "Connections that were refused, and idle ones that were closed for others",
    ),
    ("key0_config_reloads_total", Kind::Counter, "Readings of the configuration by SIGHUP"),
    ("key0_config_faulty", Kind::Gauge, "1 while the configuration that was last read is faulty"),
    (
        "key0_secret_configured_timestamp_seconds",
        Kind::Gauge,
        "Since when this instance knows a secret under this name; 0 where it does no more",
    ),
    (
        "key0_secret_used_timestamp_seconds",
        Kind::Gauge,
        "When a secret last verified something; 0 where it has not since the start",
    ),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Why nothing can be counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetricsError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("another recorder of metrics is there already")]
    Taken,
}

/// Counts from now on, in the whole process. Before anything that is counted is made.
pub(crate) fn start() -> Result<PrometheusHandle, MetricsError> {
    let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS)?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(Dating(recorder)).map_err(|_| MetricsError::Taken)?;
    key0_auth::metrics::describe();
    for (name, kind, about) in METRICS {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, about),
            Kind::Gauge => metrics::describe_gauge!(name, about),
            Kind::Histogram => {
                metrics::describe_histogram!(name, metrics::Unit::Seconds, about);
            }
        }
    }
    metrics::gauge!("key0_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::gauge!("key0_config_faulty").set(0.0);
    Ok(handle)
}

/// Keeps the measurements from piling up where nobody asks for them.
pub(crate) async fn keep_up(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        handle.run_upkeep();
    }
}

/// A request was answered. The code of a refusal says more than its status.
pub(crate) fn request(
    listener: &'static str,
    method: &'static str,
    route: Option<&str>,
    status: u16,
    code: Option<&'static str>,
    took: Duration,
) {
    let route: Arc<str> = route.unwrap_or("none").into();
    metrics::counter!(
        "key0_http_requests_total",
        "listener" => listener,
        "method" => method,
        "route" => Arc::clone(&route),
        "status" => status.to_string(),
        "code" => code.unwrap_or("ok"),
    )
    .increment(1);
    metrics::histogram!("key0_http_request_seconds", "listener" => listener, "route" => route)
        .record(took.as_secs_f64());
}

/// So many connections of a listener are open.
pub(crate) fn connections(listener: &'static str, open: usize) {
    metrics::gauge!("key0_connections", "listener" => listener).set(open as f64);
}

/// So many may be.
pub(crate) fn connections_limit(listener: &'static str, limit: usize) {
    metrics::gauge!("key0_connections_limit", "listener" => listener).set(limit as f64);
}

/// Connections were closed by this side.
pub(crate) fn connections_closed(listener: &'static str, why: &'static str, count: usize) {
    metrics::counter!("key0_connections_closed_total", "listener" => listener, "why" => why)
        .increment(count as u64);
}

/// The configuration was read again.
pub(crate) fn reloaded(faulty: bool) {
    let outcome = if faulty { "faulty" } else { "ok" };
    metrics::counter!("key0_config_reloads_total", "outcome" => outcome).increment(1);
    metrics::gauge!("key0_config_faulty").set(f64::from(u8::from(faulty)));
}

/// What is measured at the moment when somebody asks.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) handle: PrometheusHandle,
    pub(crate) keys: Arc<Cached>,
    pub(crate) payments: PaymentReceived,
}

/// `GET /metrics`.
pub(crate) async fn show(State(shown): State<Shown>) -> impl IntoResponse {
    shown.keys.measure();
    shown.payments.measure().await;
    let headers =
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (headers, shown.handle.render())
}
