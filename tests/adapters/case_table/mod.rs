//! The table of cases against every adapter: in process, and over a socket. Wherever axum and
//! actix-web serve the same backend, their answers are the same to the byte.
#![cfg(all(feature = "axum", feature = "actix"))]
mod by_actix;
mod by_axum;
mod by_tower;
mod parts;
mod twins;

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Request, Response};

use self::parts::Parts;
use crate::{
    cases::{self, Target, differences, failures, table},
    key_store,
};

#[tokio::test]
async fn tower_in_process() {
    assert_none(failures(&by_tower::InProcess(Parts::new())).await);
}

#[tokio::test]
async fn axum_in_process() {
    assert_none(failures(&by_axum::InProcess::new(&Parts::new())).await);
}

#[tokio::test]
async fn axum_over_a_socket() {
    assert_none(failures(&by_axum::serve(&Parts::new()).await).await);
}

#[actix_web::test]
async fn actix_in_process() {
    assert_none(failures(&by_actix::InProcess(Parts::new())).await);
}

#[tokio::test]
async fn actix_over_a_socket() {
    let (served, server) = by_actix::serve(&Parts::new());
    assert_none(failures(&served).await);
    server.stop(true).await;
}

#[tokio::test]
async fn axum_and_actix_answer_every_case_alike() {
    let parts = Parts::new();
    let by_axum = by_axum::serve(&parts).await;
    let (by_actix, server) = by_actix::serve(&parts);
    assert_none(differences(&by_axum, &by_actix).await);
    server.stop(true).await;
}

/// A comparison that finds nothing between different servers would prove nothing.
#[tokio::test]
async fn the_comparison_can_fail() {
    let whole = by_axum::InProcess::new(&Parts::new());
    let by_hand = by_tower::InProcess(Parts::new());
    assert_none(differences(&whole, &by_hand).await);
    struct Other<T>(T, fn(&mut Response<Bytes>));
    impl<T: Target> Target for Other<T> {
        fn placeholder(&self, name: &str) -> Option<String> {
            self.0.placeholder(name)
        }
        async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
            let mut response = self.0.send(request).await;
            self.1(&mut response);
            response
        }
    }
    let changes: [fn(&mut Response<Bytes>); 4] = [
        |response| *response.status_mut() = http::StatusCode::IM_A_TEAPOT,
        |response| drop(response.headers_mut().remove("content-length")),
        |response| drop(response.headers_mut().insert("x-more", "x".parse().unwrap())),
        |response| *response.body_mut() = "x".into(),
    ];
    for change in changes {
        let changed = Other(by_tower::InProcess(Parts::new()), change);
        assert_eq!(differences(&whole, &changed).await.len(), table().len());
    }
}

/// Every case tells a target apart that lets everybody in or nobody, and a target must know what
/// it lacks.
#[tokio::test]
async fn the_table_can_fail() {
    struct Fixed(u16, Option<String>);
    impl Target for Fixed {
        fn placeholder(&self, _: &str) -> Option<String> {
            self.1.clone()
        }
        async fn send(&self, _: Request<Bytes>) -> Response<Bytes> {
            Response::builder().status(self.0).body(Bytes::new()).unwrap()
        }
    }
    for status in [200, 401] {
        let told = failures(&Fixed(status, Some("x".into()))).await;
        for case in table() {
            let name = format!("{}: ", case.name);
            assert!(told.iter().any(|failure| failure.starts_with(&name)), "{name}{status}");
        }
    }
    let told = failures(&Fixed(200, None)).await;
    assert!(told.iter().any(|failure| failure.contains(r#""paymentKey""#)), "{told:?}");
}

/// The table has every refusal that a layer can give, and no name twice.
#[test]
fn the_table_is_whole() {
    let table = table();
    let names: BTreeSet<_> = table.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), table.len());
    let codes = table.iter().filter_map(|case| case.expect.problem.as_ref());
    let codes: BTreeSet<_> = codes.map(|problem| &*problem.code).collect();
    let wanted = [
        "insufficient_permissions",
        "invalid_api_key",
        "invalid_internal_auth",
        "invalid_request",
        "invalid_token",
        "key_expired",
        "key_revoked",
        "method_not_allowed",
        "missing_credential",
        "not_found",
        "store_unavailable",
        "token_expired",
        "unsupported_media_type",
    ];
    assert_eq!(codes, BTreeSet::from(wanted));
}

fn assert_none(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
