//! Typed claims, the 405 alone, more methods: on both frameworks.
#![cfg(all(feature = "axum", feature = "actix", feature = "testing"))]

use std::sync::Arc;

use actix_web::{
    App,
    http::header::AUTHORIZATION,
    test::{TestRequest, call_service, init_service},
};
use axum::{Router, body::Body, routing::get};
use http::Request;
use key0_auth::{
    ApiKeys, AuthLayer, MemoryStore, Rejection, RejectionKind, Validator,
    actix::{AuthMiddleware, Routes},
    apikey::BootstrapKeys,
    auth::Responder,
    axum::{request_ids, with_problem_method_fallback},
    domain::{ExtraClaims, Role, Secret},
    testing::TokenSigner,
};
use serde::Deserialize;
use tower::ServiceExt;

const MASTER: &str = "a-master-key-of-the-tests-32-bytes-";

#[derive(Deserialize)]
struct Credits {
    credits: u32,
}

async fn credits(ExtraClaims(bought): ExtraClaims<Credits>) -> String {
    bought.credits.to_string()
}

#[actix_web::test]
async fn claims_of_the_application_s_own_are_typed() {
    let master = BootstrapKeys::new().key(Role::Master, Secret::new("master", MASTER).unwrap());
    let signer = TokenSigner::new();
    let validator = Validator::builder()
        .access_tokens(signer.access_tokens())
        .api_keys(ApiKeys::new(Arc::new(MemoryStore::new())).bootstrap(master))
        .build()
        .unwrap();
    let router: Router = Router::new()
        .route("/", get(credits))
        .route_layer(AuthLayer::new(validator.clone()).optional());
    let auth = AuthMiddleware::new(validator.clone()).optional();
    let routes = Routes::new().get("/", credits).each(|route| route.wrap(auth.clone()));
    let app = App::new().configure(routes.with_problem_fallbacks(validator.responder()));
    let app = init_service(app).await;
    let denied = Some(RejectionKind::InsufficientPermissions);
    for (credential, status, kind) in [
        (signer.token().claim("credits", 100).bearer(), 200, None),
        (signer.token().claim("credits", "many").bearer(), 403, denied),
        (signer.token().bearer(), 403, denied),
        (format!("Bearer {MASTER}"), 403, denied),
        ("Basic YTpi".to_owned(), 401, Some(RejectionKind::MissingCredential)),
    ] {
        let request = Request::builder().uri("/").header("authorization", &credential);
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let told = response.extensions().get::<Rejection>();
        assert_eq!((response.status().as_u16(), told.map(Rejection::kind)), (status, kind));
        // What the token said stands in no cause, either.
        assert!(!format!("{told:?}").contains("many"), "{told:?}");
        let request = TestRequest::with_uri("/").insert_header((AUTHORIZATION, credential));
        let response = call_service(&app, request.to_request()).await;
        let extensions = response.response().extensions();
        let told = extensions.get::<Rejection>().map(Rejection::kind);
        assert_eq!((response.status().as_u16(), told), (status, kind));
    }
}

/// The fallback for unknown paths stays the application's own.
#[tokio::test]
async fn the_405_can_be_had_alone() {
    let router = Router::new().route("/photos", get(async || "photos")).fallback(async || "page");
    let router: Router = with_problem_method_fallback(router, &Responder::default());
    for (method, path, status, is_problem) in
        [("GET", "/nowhere", 200, false), ("PUT", "/photos", 405, true)]
    {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.extensions().get::<Rejection>().is_some(), is_problem, "{path}");
    }
}

#[actix_web::test]
async fn routes_take_put_and_patch() {
    let routes = Routes::new()
        .put("/photo", async || "put")
        .patch("/photo", async || "patched")
        .with_problem_fallbacks(&Responder::default());
    let app = init_service(App::new().configure(routes)).await;
    for (method, status) in [("PUT", 200), ("PATCH", 200), ("POST", 405)] {
        let request = TestRequest::with_uri("/photo").method(method.parse().unwrap());
        let response = call_service(&app, request.to_request()).await;
        assert_eq!(response.status(), status, "{method}");
        let allowed = response.headers().get("allow").map(|value| value.to_str().unwrap());
        assert_eq!(allowed, (status == 405).then_some("PUT,PATCH"), "{method}");
    }
}

/// A service of actix-web's own stands behind the routes, before the 404.
#[actix_web::test]
async fn routes_take_services() {
    use actix_web::web;

    let scope = web::scope("/admin").route("/health", web::get().to(async || "fine"));
    let routes = Routes::new().get("/admin/photos", async || "photos");
    let routes = Routes::new().get("/photos", async || "photos").merge(routes.service(scope));
    let app = App::new().configure(routes.with_problem_fallbacks(&Responder::default()));
    let app = init_service(app).await;
    for (path, status) in
        [("/photos", 200), ("/admin/photos", 200), ("/admin/health", 200), ("/nowhere", 404)]
    {
        let response = call_service(&app, TestRequest::with_uri(path).to_request()).await;
        assert_eq!(response.status(), status, "{path}");
    }
}

#[actix_web::test]
async fn every_response_has_an_id() {
    let router: Router = Router::new()
        .route(
            "/",
            get(async |headers: http::HeaderMap| headers.contains_key("x-request-id").to_string()),
        )
        .layer(axum::middleware::from_fn(request_ids));
    let fails = || async { Err::<&str, _>(Rejection::from(RejectionKind::Internal)) };
    let seen = |request: actix_web::HttpRequest| async move {
        request.headers().contains_key("x-request-id").to_string()
    };
    let routes = Routes::new().get("/", seen).get("/fails", fails);
    let app = App::new()
        .configure(routes.with_problem_fallbacks(&Responder::default()))
        .wrap(actix_web::middleware::from_fn(key0_auth::actix::request_ids));
    let app = init_service(app).await;
    for (path, sent, told) in [
        ("/", Some("mine"), Some("mine")),
        ("/nowhere", Some("mine"), Some("mine")),
        ("/fails", Some("mine"), Some("mine")),
        ("/", Some("not sane"), None),
        ("/", None, None),
        ("/", Some(""), None),
    ] {
        let mut request = Request::builder().uri(path);
        let mut on_actix = TestRequest::with_uri(path);
        if let Some(id) = sent {
            request = request.header("x-request-id", id);
            on_actix = on_actix.insert_header(("x-request-id", id));
        }
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let by_axum = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let response = call_service(&app, on_actix.to_request()).await;
        let by_actix = response.headers().get("x-request-id").unwrap().to_str().unwrap().to_owned();
        for id in [by_axum, by_actix] {
            match told {
                Some(told) => assert_eq!(id, told),
                None => assert_eq!((id.len(), id.contains(' ')), (36, false), "{id}"),
            }
        }
        if path == "/" {
            let body = actix_web::body::to_bytes(response.into_body()).await.ok().unwrap();
            assert_eq!(body, "true");
        }
    }
}
