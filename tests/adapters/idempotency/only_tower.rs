//! What actix-web has no like of: routers in routers, trailers, and readiness.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Extension, Router, body::Body, routing::post};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use key0_auth::{
    AuthLayer, IdempotencyLayer,
    axum::with_problem_fallbacks,
    idempotency::{Idempotency, IdempotentRequest},
    testing::Mood,
};
use tower::{Layer, ServiceExt, service_fn};

use crate::idempotency::shop::{ALICE, Shop};

fn request<B>(path: &str, body: B) -> Request<B> {
    let request = Request::post(path).header("x-api-key", ALICE).header("idempotency-key", "k");
    request.body(body).unwrap()
}

/// axum cuts what has led to an inner router off the path.
#[tokio::test]
async fn routers_in_routers_do_not_share_their_keys() {
    let shop = Shop::new();
    let orders = || {
        let order = async |Extension(of): Extension<IdempotentRequest>| of.key().to_owned();
        Router::new().route("/orders", post(order))
    };
    let router = Router::new()
        .nest("/photos", orders())
        .nest("/data", orders())
        .route_layer(IdempotencyLayer::new(shop.idempotency()))
        .route_layer(AuthLayer::new(shop.validator.clone()));
    let inner = Router::new()
        .nest("/photos", orders().route_layer(IdempotencyLayer::new(shop.idempotency())))
        .nest("/data", orders().route_layer(IdempotencyLayer::new(shop.idempotency())))
        .route_layer(AuthLayer::new(shop.validator.clone()));
    for router in [inner, router] {
        let router = with_problem_fallbacks(router, shop.validator.responder());
        let send = async |path: &str| {
            let response = router.clone().oneshot(request(path, Body::empty())).await.unwrap();
            (response.status(), response.headers().contains_key("idempotent-replayed"))
        };
        assert_eq!(send("/photos/orders").await.0, StatusCode::OK);
        assert_eq!(send("/photos/orders").await, (StatusCode::OK, true));
        assert_eq!(send("/data/orders").await, (StatusCode::UNPROCESSABLE_ENTITY, false));
        assert_eq!(send("/nothing").await.0, StatusCode::NOT_FOUND);
    }
}

/// Frames and what comes after them.
struct Frames(VecDeque<Result<Frame<Bytes>, &'static str>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.0.pop_front())
    }
}

async fn answers(
    frames: fn() -> Frames,
) -> [Response<impl http_body::Body<Error = &'static str>>; 2] {
    let shop = Shop::new();
    let handler = service_fn(move |_: Request<Full<Bytes>>| async move {
        Ok::<_, Infallible>(Response::new(frames()))
    });
    let service = AuthLayer::new(shop.validator.clone())
        .layer(IdempotencyLayer::new(shop.idempotency()).layer(handler));
    let send = async || service.clone().oneshot(request("/", Full::from("a body"))).await.unwrap();
    [send().await, send().await]
}

#[tokio::test]
async fn trailers_reach_the_first_caller_alone() {
    let answers = answers(|| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        Frames([Ok(Frame::data(Bytes::from("data"))), Ok(Frame::trailers(trailers))].into())
    });
    let [first, retry] = answers.await;
    assert!(retry.headers().contains_key("idempotent-replayed"));
    let (first, retry) = (first.collect().await.unwrap(), retry.collect().await.unwrap());
    assert_eq!(first.trailers().unwrap()["x-sum"], "1");
    assert!(retry.trailers().is_none());
    assert_eq!((first.to_bytes(), retry.to_bytes()), ("data".into(), "data".into()));
}

/// The lease is renewed by another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_keeps_its_key() {
    let shop = Shop::new();
    let handler = service_fn(|_: Request<Full<Bytes>>| async {
        std::thread::sleep(Duration::from_secs(12));
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let idempotency = Idempotency::new(shop.store.clone()).lease(Duration::from_secs(5));
    let service = AuthLayer::new(shop.validator.clone())
        .layer(IdempotencyLayer::new(idempotency).layer(handler));
    let first = tokio::spawn(service.clone().oneshot(request("/", Full::from("a body"))));
    tokio::time::sleep(Duration::from_secs(8)).await;
    let second = service.clone().oneshot(request("/", Full::from("a body"))).await.unwrap();
    assert_eq!(second.status(), StatusCode::CONFLICT);
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    let retry = service.oneshot(request("/", Full::from("a body"))).await.unwrap();
    assert!(retry.headers().contains_key("idempotent-replayed"));
}

#[tokio::test]
async fn a_service_that_fails_frees_the_key() {
    let shop = Shop::new();
    let failures = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let handler = service_fn(move |_: Request<Full<Bytes>>| {
        let first = failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        async move { if first { Err("broken") } else { Ok(Response::new(Full::<Bytes>::default())) } }
    });
    let service = AuthLayer::new(shop.validator.clone())
        .layer(IdempotencyLayer::new(shop.idempotency()).layer(handler));
    let send = async || service.clone().oneshot(request("/", Full::from("a body"))).await;
    shop.store.set_for("release_request", Mood::Slow(Duration::from_millis(20)));
    assert_eq!(send().await.unwrap_err(), "broken");
    assert_eq!(send().await.unwrap().status(), StatusCode::OK);
}
