//! The document against the routes that are served.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use http::{Request, StatusCode, header::ALLOW};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::{RequestService, app};

/// The paths that a router knows, as its `Debug` names them.
fn paths(router: &RequestService) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let texts = text.split('"').filter(|text| text.starts_with('/'));
    texts.map(str::to_owned).collect()
}

async fn ask(
    router: &RequestService,
    method: &str,
    path: &str,
) -> http::Response<axum::body::Body> {
    let path = path.replace("{id}", "id-1");
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

/// The methods of each path.
async fn served(router: &RequestService) -> BTreeMap<String, BTreeSet<String>> {
    let mut served = BTreeMap::new();
    for path in paths(router) {
        let answer = ask(router, "TRACE", &path).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = answer.headers()[ALLOW].to_str().unwrap();
        let methods = allowed.split(',').map(str::trim).filter(|method| *method != "HEAD");
        served.insert(path, methods.map(str::to_lowercase).collect());
    }
    served
}

#[tokio::test]
async fn the_document_tells_every_route_and_its_guard() {
    let router = app().await.everything();
    let document = ask(&router, "GET", "/openapi.json").await;
    let document = document.into_body().collect().await.unwrap().to_bytes();
    let document: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let told: BTreeMap<String, BTreeSet<String>> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, item)| (path.clone(), item.as_object().unwrap().keys().cloned().collect()))
        .collect();
    let served = served(&router).await;
    assert!(served.len() > 15, "{served:?}");
    assert_eq!(told, served);

    for (path, methods) in &told {
        for method in methods {
            let operation = &document["paths"][path][method];
            let status = ask(&router, &method.to_uppercase(), path).await.status();
            let schemes: Vec<_> = match operation["security"].as_array() {
                None => Vec::new(),
                Some(all) => all.iter().flat_map(|one| one.as_object().unwrap().keys()).collect(),
            };
            let is_guarded = status == StatusCode::UNAUTHORIZED;
            assert_eq!(!schemes.is_empty(), is_guarded, "{method} {path}: {status}");
            for scheme in schemes {
                assert!(document["components"]["securitySchemes"][scheme].is_object());
            }
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("default"), "{method} {path}");
            assert_eq!(responses.contains_key("401"), is_guarded, "{method} {path}");
        }
    }
    // Whatever is referred to is there.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let (pointer, _) = reference.split_once('"').unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn the_page_and_the_text_tell_every_route_and_run_nothing() {
    let router = app().await.everything();
    let served = served(&router).await;
    for path in ["/docs", "/llms.txt"] {
        let answer = ask(&router, "GET", path).await;
        let policy = answer.headers().get("content-security-policy").cloned();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        for path in served.keys() {
            assert!(text.contains(path), "{path}");
        }
        assert!(!text.contains("<script") && !text.contains("://"), "{path} loads something");
        if path == "/docs" {
            let policy = policy.unwrap();
            assert!(policy.to_str().unwrap().starts_with("default-src 'none'; style-src 'sha256-"));
        }
    }
}
