#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use axum::{body::Body, extract::Request, response::Response};
use http_body_util::BodyExt;
use key0_auth::MemoryStore;
use tower::ServiceExt;

use super::{store::Sqlite, *};

/// A clock that goes on when it is told to.
#[derive(Debug, Default)]
pub(super) struct Watch(AtomicU64);

impl Watch {
    pub(super) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Watch {
    fn now(&self) -> Timestamp {
        let passed = Duration::from_secs(self.0.load(Ordering::SeqCst));
        Timestamp::from_seconds(1_795_000_000).plus(passed)
    }
}

/// All of it in memory.
pub(super) fn partner(watch: &Arc<Watch>) -> Partner {
    partner_on(Sqlite::in_memory().unwrap(), watch.clone())
}

pub(super) fn partner_on(store: Sqlite, clock: Arc<dyn Clock>) -> Partner {
    Partner::new(Arc::new(store), clock, Arc::new(MemoryStore::new()))
}

impl Partner {
    /// After a crash between an effect and the keeping of its answer.
    pub(super) fn without_answers(&self) -> Self {
        let idempotency = Idempotency::new(Arc::new(MemoryStore::new()));
        let clock = Arc::new(self.clock.clone());
        Self { idempotency: idempotency.clock(clock).json(), ..self.clone() }
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> (u16, bool, String) {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("idempotency-key", "k")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response: Response = self.routes(None).oneshot(request).await.unwrap();
        let replayed = response.headers().contains_key("idempotent-replayed");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, replayed, String::from_utf8(body.to_vec()).unwrap())
    }
}

/// Each route with a body that it takes, and one that it refuses.
const EFFECTS: [(&str, &str, &str); 5] = [
    (
        "/v1/dpp/passports",
        r#"{"granularity":"item","application":"shop","modelNumber":"m","name":"a lamp"}"#,
        r#"{"granularity":"item"}"#,
    ),
    ("/v1/dpp/passports/publish", r#"{"filter":{}}"#, r#"{"filter":7}"#),
    ("/v1/imports", r#"{"rows":[{}]}"#, r#"{"rows":[]}"#),
    ("/v1/loyalty/reward-tiers", r#"{"name":"gold","threshold":1}"#, r#"{"name":"gold"}"#),
    ("/v1/loyalty/account/wallet/mint", r#"{"amount":5}"#, r#"{"amount":"5"}"#),
];

/// A refusal that was stored under the key would be all that the retry ever hears.
#[tokio::test]
async fn a_body_that_is_refused_takes_no_key_from_an_effect() {
    for (path, good, bad) in EFFECTS {
        let partner = partner(&Arc::default());
        let (status, replayed, told) = partner.post(path, good).await;
        assert!(matches!(status, 200..=202) && !replayed, "{path}: {status} {told}");
        let partner = partner.without_answers();
        for bad in [bad, "no JSON"] {
            let (status, _, told) = partner.post(path, bad).await;
            assert_eq!(status, 422, "{path}: {told}");
            assert!(told.contains("idempotency_key_reused"), "{path}: {told}");
        }
        // Answered from the row, then from what was kept.
        for _ in 0..2 {
            assert_eq!(partner.post(path, good).await, (status, true, told.clone()), "{path}");
        }
        // A key without an effect is free for the mended request.
        let fresh = self::partner(&Arc::default());
        assert_eq!(fresh.post(path, bad).await.0, 422, "{path}");
        let (status, replayed, _) = fresh.post(path, good).await;
        assert!(matches!(status, 200..=202) && !replayed, "{path}: {status}");
    }
}

/// A body of which nothing ever comes.
struct Silent;

impl axum::body::HttpBody for Silent {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

/// Nobody knows who they are, so together they have what one partner has.
#[tokio::test]
async fn where_nothing_is_checked_all_callers_have_one_share() {
    let router = partner(&Arc::default()).routes(None);
    let begin = || {
        let request = Request::post("/v1/imports").header("content-type", "application/json");
        let request = request.body(Body::new(Silent)).unwrap();
        tokio::spawn(router.clone().oneshot(request))
    };
    for begun in 0..200 {
        let request = begin();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        if request.is_finished() {
            assert_eq!(request.await.unwrap().unwrap().status(), 429);
            assert!(begun > 0);
            return;
        }
    }
    panic!("200 unfinished imports were taken");
}
