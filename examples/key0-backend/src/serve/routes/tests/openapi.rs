//! The document against the routes that are served.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use http::{Request, StatusCode, header::ALLOW};
use http_body_util::BodyExt;
use key0_auth::api::VerifyRules;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

/// Paths with their methods, in lower case.
type Operations = BTreeMap<String, BTreeSet<String>>;

async fn ask(router: &RequestService, method: &str, path: &str) -> http::Response<Body> {
    let path = path.replace("{id}", "id-1");
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: http::Response<Body>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// What a router serves: its paths as its `Debug` names them, the methods as its 405 does.
async fn served(router: &RequestService) -> Operations {
    let debug = format!("{router:?}");
    let is_path = |text: &&str| text.starts_with('/') && !text.contains("__private");
    let paths: BTreeSet<_> = debug.split('"').filter(is_path).collect();
    let mut served = Operations::new();
    for path in paths {
        let answer = ask(router, "TRACE", path).await;
        if path.starts_with("/verify") {
            // It takes every method, also below, and is told once.
            assert_ne!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
            served.insert("/verify".to_owned(), BTreeSet::from(["get".to_owned()]));
            continue;
        }
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = answer.headers()[ALLOW].to_str().unwrap();
        let methods = allowed.split(',').map(str::trim).filter(|method| *method != "HEAD");
        served.insert(path.to_owned(), methods.map(str::to_lowercase).collect());
    }
    served
}

fn told(document: &Value) -> Operations {
    let methods = |item: &Value| item.as_object().unwrap().keys().cloned().collect();
    let paths = document["paths"].as_object().unwrap().iter();
    paths.map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// Checks that a router's document tells its routes, and which of them are guarded; how many there
/// are, and how many of them are.
async fn check(router: &RequestService) -> (usize, usize) {
    let document = text(ask(router, "GET", "/openapi.json").await).await;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let served = served(router).await;
    assert_eq!(told(&document), served);
    let (mut all, mut guarded) = (0, 0);
    for (path, method) in served.iter().flat_map(|(path, all)| all.iter().map(move |it| (path, it)))
    {
        let operation = &document["paths"][path][method];
        let status = ask(router, &method.to_uppercase(), path).await.status();
        let is_guarded = status == StatusCode::UNAUTHORIZED;
        let schemes: Vec<_> = operation["security"].as_array().into_iter().flatten().collect();
        assert_eq!(!schemes.is_empty(), is_guarded, "{method} {path}: {status}");
        for scheme in schemes.iter().flat_map(|one| one.as_object().unwrap().keys()) {
            assert!(document["components"]["securitySchemes"][scheme].is_object(), "{scheme}");
        }
        let told = operation["responses"].as_object().unwrap();
        // A proxy's own policy refuses with a 401, whether it needs a secret or not.
        let refuses = told.contains_key("401") && path != "/verify";
        assert_eq!(refuses, is_guarded && path != "/verify", "{method} {path}");
        assert!(told.contains_key(status.as_str()), "{method} {path}: {status}");
        (all, guarded) = (all + 1, guarded + usize::from(is_guarded));
    }
    // Whatever is referred to is there.
    for reference in document.to_string().split("\"$ref\":\"#").skip(1) {
        let (pointer, _) = reference.split_once('"').unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    (all, guarded)
}

#[tokio::test]
async fn the_document_tells_every_route_of_its_listener_and_its_guard() {
    let app = app().await;
    assert_eq!(check(&app.everything()).await, (43, 34));
    assert_eq!(check(&app.public()).await, (20, 13));
    // Who reaches the operator's listener may read the metrics.
    assert_eq!(check(&app.internal()).await, (31, 21));
}

#[tokio::test]
async fn the_document_tells_what_the_configuration_opens() {
    let anyone = InternalAuth::builder().dangerous_allow_anyone().build().unwrap();
    let opened = |verify: VerifyRules| Config {
        key_checks: false,
        internal_auth: Arc::new(anyone),
        verify: Some(verify),
        ..config()
    };
    let app = app_of(opened(VerifyRules::builder().build().unwrap())).await;
    assert_eq!(check(&app.everything()).await, (44, 12));
    assert_eq!(check(&app.internal()).await, (32, 8));

    let issue_token_auth = IssueTokenAuth::Body;
    let secret = SecretSet::new(secret("verify"));
    let verify = Some(VerifyRules::builder().secret(secret).build().unwrap());
    let app = app_of(Config { issue_token_auth, verify, ..config() }).await;
    assert_eq!(check(&app.internal()).await, (32, 21));
}

#[tokio::test]
async fn the_page_and_the_text_tell_every_route_and_load_nothing() {
    let router = app().await.everything();
    let served = served(&router).await;
    for path in ["/docs", "/llms.txt"] {
        let answer = ask(&router, "GET", path).await;
        let policy = answer.headers()["content-security-policy"].clone();
        assert!(policy.to_str().unwrap().starts_with("default-src 'none'; style-src 'sha256-"));
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let text = text(answer).await;
        for path in served.keys() {
            assert!(text.contains(path), "{path}");
        }
        assert!(!text.contains("<script") && !text.contains("://"), "{path} loads something");
    }
}
