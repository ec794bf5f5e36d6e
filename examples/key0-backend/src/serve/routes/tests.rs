#![allow(clippy::unwrap_used, clippy::expect_used)]

mod openapi;

use std::time::Duration;

use axum::body::Body;
use http::StatusCode;
use http_body_util::BodyExt;
use key0_auth::{
    AccessTokens,
    apikey::{BootstrapKeys, IssuanceSecrets},
    domain::{Secret, SecretSet},
};
use tower::ServiceExt;

use super::super::requests::REQUEST_ID;
use super::*;
use crate::{config::Log, database::Database};

fn secret(name: &str) -> Secret {
    Secret::new(name, format!("{name}: a secret of over 32 bytes")).unwrap()
}

fn config() -> Config {
    let internal = SecretSet::new(secret("internal"));
    let tokens = AccessTokens::hs256(secret("access tokens").expose_bytes()).unwrap();
    Config {
        secrets: Vec::new(),
        confidential: Confidential::default(),
        gateway: None,
        verify: None,
        public: ([127, 0, 0, 1], 0).into(),
        internal: None,
        tokens: Arc::new(tokens),
        internal_auth: Arc::new(
            InternalAuth::builder().shared_secret(internal.clone()).build().unwrap(),
        ),
        providers: Default::default(),
        issue_token_auth: IssueTokenAuth::Internal,
        issuance: IssuanceSecrets::derived_from(&internal),
        bootstrap: BootstrapKeys::new(),
        key_format: Default::default(),
        seller: None,
        key_checks: true,
        database: Database::Memory,
        key_ttl: Duration::from_secs(3_600),
        cache_ttl: Duration::from_secs(5),
        log: Log { json: false, filter: String::new() },
        serving: Default::default(),
        warnings: Vec::new(),
    }
}

async fn app() -> App {
    app_of(config()).await
}

async fn app_of(config: Config) -> App {
    let counted = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
    App::open(&config, counted).await.unwrap()
}

async fn get(router: &RequestService, path: &str) -> (StatusCode, String, String) {
    let request = http::Request::get(path)
        .header("host", "localhost")
        .header("x-request-id", "mine")
        .body(Body::empty())
        .unwrap();
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let id = parts.headers[REQUEST_ID].to_str().unwrap().to_owned();
    (parts.status, id, String::from_utf8(body.to_vec()).unwrap())
}

/// Key0's gateway hands problem details on as a text.
#[tokio::test(start_paused = true)]
async fn panics_and_delays_are_told_to_the_gateway_as_json() {
    let app = app().await;
    let routes = Router::new().route("/panics", axum::routing::get(panics));
    let router =
        app.finish(routes.route("/sleeps", axum::routing::get(sleeps)), Audience::Everybody);
    for (path, token, media_type) in [
        ("/panics", true, "application/json"),
        ("/sleeps", true, "application/json"),
        ("/panics", false, "application/problem+json"),
        ("/sleeps", false, "application/problem+json"),
    ] {
        let mut request = http::Request::get(path).header("host", "localhost");
        if token {
            request = request.header("x-key0-internal-token", "the gateway's");
        }
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], media_type, "{path}");
    }
}

async fn panics() {
    panic!("something internal");
}

async fn sleeps() {
    tokio::time::sleep(Duration::from_secs(3_600)).await;
}

#[tokio::test(start_paused = true)]
async fn panics_and_delays_get_an_answer_like_any_other_refusal() {
    let app = app().await;
    let routes = Router::new().route("/panics", axum::routing::get(panics));
    let router =
        app.finish(routes.route("/sleeps", axum::routing::get(sleeps)), Audience::Everybody);
    for _ in 0..3 {
        assert_eq!(
            get(&router, "/panics").await,
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "mine".into(),
                r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"The server could not handle the request","instance":"/panics","code":"internal_error","retry":"never","error":"Internal Server Error","message":"The server could not handle the request"}"#.into()
            )
        );
        assert_eq!(
            get(&router, "/sleeps").await,
            (
                StatusCode::REQUEST_TIMEOUT,
                "mine".into(),
                r#"{"type":"about:blank","title":"Request Timeout","status":408,"detail":"The request took too long","instance":"/sleeps","code":"request_timeout","retry":"after","error":"Request Timeout","message":"The request took too long"}"#.into()
            )
        );
        assert_eq!(get(&router, "/health").await.0, StatusCode::OK);
    }
}
