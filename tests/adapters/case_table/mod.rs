//! The table of cases against every adapter: in process, and over a socket. Wherever axum and
//! actix-web serve the same backend, their answers are the same to the byte.
#![cfg(all(feature = "axum", feature = "actix"))]
mod by_actix;
mod by_axum;
mod by_tower;
mod parts;
mod twins;

use bytes::Bytes;
use http::{Request, Response};

use self::parts::Parts;
use crate::cases::{Case, Circumstance, Target, cases_when, differences, failures};

/// What is the whole backend's, and no adapter's.
const NOT_SERVED: &[&str] = &["/ready"];

/// All cases for a backend with system tokens and a gateway, but for one that a framework answers
/// before any adapter is reached.
fn cases() -> Vec<Case> {
    let mut cases = cases_when(&[Circumstance::SignedJwt, Circumstance::Gateway]);
    cases.retain(|case| case.name != "a path that is no text shows nothing internal");
    cases
}

#[tokio::test]
async fn tower_in_process() {
    let parts = Parts::new();
    assert_none(failures(&cases(), parts.values(), &by_tower::InProcess(parts)).await);
}

#[tokio::test]
async fn axum_in_process() {
    let parts = Parts::new();
    assert_none(failures(&cases(), parts.values(), &by_axum::InProcess::new(&parts)).await);
}

#[tokio::test]
async fn axum_over_a_socket() {
    let parts = Parts::new();
    assert_none(failures(&cases(), parts.values(), &by_axum::serve(&parts).await).await);
}

/// With a guard around each handler in place of layers.
#[tokio::test]
async fn axum_by_handlers() {
    let parts = Parts::new();
    assert_none(failures(&cases(), parts.values(), &by_axum::InProcess::by_handlers(&parts)).await);
    let parts = Parts::new();
    let served = by_axum::serve_by_handlers(&parts).await;
    assert_none(failures(&cases(), parts.values(), &served).await);
}

#[actix_web::test]
async fn actix_in_process() {
    let parts = Parts::new();
    assert_none(failures(&cases(), parts.values(), &by_actix::InProcess(parts)).await);
}

#[tokio::test]
async fn actix_over_a_socket() {
    let parts = Parts::new();
    let (served, server) = by_actix::serve(&parts);
    assert_none(failures(&cases(), parts.values(), &served).await);
    server.stop(true).await;
}

#[tokio::test]
async fn axum_and_actix_answer_every_case_alike() {
    let (one, two) = twins();
    let by_axum = by_axum::serve(&one).await;
    let (by_actix, server) = by_actix::serve(&two);
    let values = one.values();
    let found = differences(&cases(), (values.clone(), &by_axum), (values, &by_actix)).await;
    assert_none(found);
    server.stop(true).await;
}

#[tokio::test]
async fn layers_and_guards_around_handlers_answer_every_case_alike() {
    let (one, two) = twins();
    let (by_layers, by_handlers) =
        (by_axum::serve(&one).await, by_axum::serve_by_handlers(&two).await);
    let values = one.values();
    let found = differences(&cases(), (values.clone(), &by_layers), (values, &by_handlers)).await;
    assert_none(found);
}

/// A comparison that finds nothing between different servers would prove nothing.
#[tokio::test]
async fn the_comparison_can_fail() {
    struct Changed<T>(T, fn(&mut Response<Bytes>));
    impl<T: Target> Target for Changed<T> {
        fn without(&self) -> &[&str] {
            NOT_SERVED
        }
        async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
            let mut response = self.0.send(request).await;
            self.1(&mut response);
            response
        }
    }
    let changes: [fn(&mut Response<Bytes>); 4] = [
        |response| *response.status_mut() = http::StatusCode::IM_A_TEAPOT,
        |response| drop(response.headers_mut().insert("content-length", 7.into())),
        |response| drop(response.headers_mut().insert("x-more", "x".parse().unwrap())),
        |response| *response.body_mut() = "x".into(),
    ];
    let told = |change: fn(&mut Response<Bytes>)| async move {
        let (one, two) = twins();
        let whole = by_axum::InProcess::new(&one);
        let by_hand = Changed(by_tower::InProcess(two), change);
        let values = one.values();
        differences(&cases(), (values.clone(), &whole), (values, &by_hand)).await
    };
    assert_none(told(|_| ()).await);
    let served = |case: &&Case| case.name != "the backend is ready";
    let served = cases().iter().filter(served).count();
    for change in changes {
        assert_eq!(told(change).await.len(), served);
    }
}

/// Every case tells a target apart that lets everybody in or nobody.
#[tokio::test]
async fn the_table_can_fail() {
    struct Fixed(u16);
    impl Target for Fixed {
        fn request_ids(&self) -> bool {
            true
        }
        async fn send(&self, _: Request<Bytes>) -> Response<Bytes> {
            Response::builder().status(self.0).body(Bytes::new()).unwrap()
        }
    }
    let cases = cases();
    for status in [200, 401] {
        let told = failures(&cases, Parts::new().values(), &Fixed(status)).await;
        assert_eq!(told.len(), cases.len(), "{status}");
    }
}

/// Two backends that know the same secrets.
fn twins() -> (Parts, Parts) {
    let one = Parts::new();
    let two = Parts::of(one.known.clone());
    (one, two)
}

fn assert_none(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
