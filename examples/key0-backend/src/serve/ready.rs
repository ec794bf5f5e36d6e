//! Whether the backend is ready: what `GET /ready` says, and what the log says of an outage.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header::CACHE_CONTROL};
use key0_auth::{
    KeyStore,
    domain::Clock,
    error::{StoreError, StoreErrorKind},
    store::{
        IdempotencyStore,
        spi::{Lease, RequestFingerprint, Slot},
    },
};
use serde::Serialize;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::logging::Chain;

/// For how long an answer is shared.
const SHARED: Duration = Duration::from_secs(1);
/// How long a question to the store may take.
const DEADLINE: Duration = Duration::from_millis(500);
/// How long what is written to see whether writing works may stay.
const TRACE: Duration = Duration::from_secs(60);

/// Asks the store whether it answers and takes writes: once a second at most, whoever wants to
/// know. Clones share the answer.
#[derive(Debug, Clone)]
pub(crate) struct Ready(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    keys: Arc<dyn KeyStore>,
    requests: Arc<dyn IdempotencyStore>,
    clock: Arc<dyn Clock>,
    /// What is written, again and again.
    slot: Slot,
    lease: Lease,
    ignores_store: bool,
    cache_ttl: Duration,
    last: Mutex<Option<(Instant, Checks)>>,
    stopping: AtomicBool,
    /// Whether an outage is being watched until its end.
    outage: AtomicBool,
}

/// What works.
#[derive(Debug, Clone)]
struct Checks {
    store: Result<(), StoreError>,
    writes: Result<(), StoreError>,
    feed: bool,
}

#[derive(Serialize)]
struct Answer {
    status: &'static str,
    checks: Told,
}

#[derive(Serialize)]
struct Told {
    store: &'static str,
    writes: &'static str,
    feed: &'static str,
}

impl Ready {
    pub(crate) fn new(
        keys: Arc<dyn KeyStore>,
        requests: Arc<dyn IdempotencyStore>,
        clock: Arc<dyn Clock>,
        ignores_store: bool,
        cache_ttl: Duration,
    ) -> Self {
        let key = uuid::Uuid::now_v7().to_string();
        Self(Arc::new(Shared {
            keys,
            requests,
            slot: Slot { scope: "ready".to_owned(), key },
            lease: Lease::new(clock.now().plus(TRACE)),
            clock,
            ignores_store,
            cache_ttl,
            last: Mutex::default(),
            stopping: AtomicBool::new(false),
            outage: AtomicBool::new(false),
        }))
    }

    /// From now on nobody is to send requests here.
    pub(crate) fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    async fn checks(&self) -> Checks {
        let mut last = self.0.last.lock().await;
        if let Some((_, checks)) = last.as_ref().filter(|(at, _)| at.elapsed() < SHARED) {
            return checks.clone();
        }
        let (store, writes) = tokio::join!(within(self.0.keys.ping()), within(self.write()));
        let checks = Checks { store, writes, feed: self.0.keys.hears_changes() };
        *last = Some((Instant::now(), checks.clone()));
        checks
    }

    /// Takes a slot that is its own, or holds it for longer.
    async fn write(&self) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let lease = Lease { until: now.plus(TRACE), ..self.0.lease.clone() };
        let fingerprint = RequestFingerprint::of([]);
        self.0.requests.begin_request(&self.0.slot, &fingerprint, &lease, now).await.map(drop)
    }

    /// A request found the store unavailable. Where it really is, that is said once, and its end.
    pub(crate) fn store_failed(&self) {
        if self.0.outage.swap(true, Ordering::Relaxed) {
            return;
        }
        let ready = self.clone();
        tokio::spawn(async move {
            ready.watch_outage().await;
            ready.0.outage.store(false, Ordering::Relaxed);
        });
    }

    async fn watch_outage(&self) {
        let began = Instant::now();
        let checks = self.checks().await;
        let Err(error) = checks.store.and(checks.writes) else { return };
        let (error, seconds) = (Chain(&error).to_string(), self.0.cache_ttl.as_secs());
        tracing::error!(
            error,
            "the store fails: keys that are remembered hold for {seconds} s, then requests with \
             keys get 503; revocations made elsewhere take up to {seconds} s to arrive; nothing is \
             issued or revoked here; access tokens go on"
        );
        loop {
            sleep(SHARED).await;
            let checks = self.checks().await;
            if checks.store.is_ok() && checks.writes.is_ok() {
                let lasted_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(lasted_ms, "the store works again");
                return;
            }
        }
    }
}

/// `GET /ready`.
pub(crate) async fn ready(State(ready): State<Ready>) -> Response {
    let checks = ready.checks().await;
    let works = checks.store.is_ok() && checks.writes.is_ok();
    let status = match works || ready.0.ignores_store {
        _ if ready.0.stopping.load(Ordering::Relaxed) => "draining",
        true => "ready",
        false => "unavailable",
    };
    let told = |works: bool| if works { "ok" } else { "failed" };
    let checks = Told {
        store: told(checks.store.is_ok()),
        writes: told(checks.writes.is_ok()),
        feed: told(checks.feed),
    };
    let mut response = Json(Answer { status, checks }).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status != "ready" {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

async fn within<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let done = timeout(DEADLINE, work).await;
    done.unwrap_or_else(|_| Err(StoreError::new(StoreErrorKind::TimedOut)))
}

#[cfg(test)]
mod tests {
    use key0_auth::{
        MemoryStore,
        domain::SystemClock,
        testing::{FaultyStore, Mood},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_are_answered_by_one_look_a_second() {
        let store = FaultyStore::new(MemoryStore::new());
        let (requests, clock) = (Arc::new(MemoryStore::new()), Arc::new(SystemClock));
        let ready = Ready::new(store.clone(), requests, clock, false, SHARED);
        let all = async |status: u16| {
            for _ in 0..50 {
                assert_eq!(super::ready(State(ready.clone())).await.status(), status);
            }
        };
        all(200).await;
        assert_eq!(store.calls("ping"), 1);
        store.set(Mood::Hangs);
        all(200).await;
        tokio::time::advance(SHARED).await;
        all(503).await;
        assert_eq!(store.calls("ping"), 2);
        store.set(Mood::Works);
        tokio::time::advance(SHARED).await;
        all(200).await;
        ready.stop();
        all(503).await;
        assert_eq!(store.calls("ping"), 3);
    }
}
