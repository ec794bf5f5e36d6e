//! Cross-origin calls in both frameworks: a browser shows a script nothing, not even a refusal,
//! without the headers of CORS (Fetch standard, section 3.2).
#![cfg(all(feature = "axum", feature = "actix"))]

use std::net::SocketAddr;

use actix_cors::Cors;
use actix_web::{App, HttpServer, dev::ServerHandle};
use axum::{Router, routing::get};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use key0_auth::{
    AccessTokens, AuthLayer, Validator,
    actix::{AuthMiddleware, Routes},
    axum::with_problem_fallbacks,
};
use tower_http::cors::CorsLayer;

use crate::http1;

const SHOP: &str = "https://shop.example";

fn validator() -> Validator {
    let tokens = AccessTokens::hs256("an-access-token-secret-of-the-tests").unwrap();
    Validator::builder().access_tokens(tokens).build().unwrap()
}

async fn on_axum() -> SocketAddr {
    let cors = CorsLayer::new()
        .allow_origin([SHOP.parse().unwrap()])
        .allow_methods([http::Method::GET])
        .allow_headers([http::header::AUTHORIZATION]);
    let routes = Router::new()
        .route("/photos", get(async || "photos"))
        .route_layer(AuthLayer::new(validator()));
    let app = with_problem_fallbacks(routes, validator().responder()).layer(cors);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn on_actix() -> (SocketAddr, ServerHandle) {
    let (validator, auth) = (validator(), AuthMiddleware::new(validator()));
    let server = HttpServer::new(move || {
        let cors = Cors::default()
            .allowed_origin(SHOP)
            .allowed_methods(["GET"])
            .allowed_header("authorization");
        let routes = Routes::new().get("/photos", async || "photos");
        let routes = routes.each(|route| route.wrap(auth.clone()));
        App::new().configure(routes.with_problem_fallbacks(validator.responder())).wrap(cors)
    });
    let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    (address, handle)
}

async fn send(address: SocketAddr, method: &str, path: &str, origin: &str) -> Response<Bytes> {
    let request = Request::builder().method(method).uri(path).header("origin", origin);
    let request = match method {
        "OPTIONS" => request
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization"),
        _ => request,
    };
    http1::send(address, request.body(Bytes::new()).unwrap()).await
}

/// The value of a header, in lower case and without spaces.
fn told(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().unwrap();
    Some(value.to_ascii_lowercase().replace(' ', ""))
}

#[tokio::test]
async fn preflights_and_refusals_carry_the_headers_in_both_frameworks() {
    let (by_actix, server) = on_actix();
    for (framework, address) in [("axum", on_axum().await), ("actix-web", by_actix)] {
        let preflight = send(address, "OPTIONS", "/photos", SHOP).await;
        assert_eq!(preflight.status(), 200, "{framework}");
        for (name, value) in [
            ("access-control-allow-origin", SHOP),
            ("access-control-allow-methods", "get"),
            ("access-control-allow-headers", "authorization"),
        ] {
            assert_eq!(told(preflight.headers(), name).as_deref(), Some(value), "{framework}");
        }
        for (method, path, status) in
            [("GET", "/photos", 401), ("GET", "/nowhere", 404), ("PUT", "/photos", 405)]
        {
            let refused = send(address, method, path, SHOP).await;
            assert_eq!(refused.status(), status, "{framework}");
            let origin = told(refused.headers(), "access-control-allow-origin");
            assert_eq!(origin.as_deref(), Some(SHOP), "{framework} {path}");
            let problem = refused.headers()["content-type"] == "application/problem+json";
            assert!(problem, "{framework} {path}");
        }
        // The header is an answer to this origin, and to no other.
        let elsewhere = send(address, "GET", "/photos", "https://elsewhere.example").await;
        assert_ne!(elsewhere.status(), 200, "{framework}");
        let origin = told(elsewhere.headers(), "access-control-allow-origin");
        assert_ne!(origin.as_deref(), Some("https://elsewhere.example"), "{framework}");
    }
    server.stop(true).await;
}
