//! No credential that a client puts into the wrong place stands in the log or among the refusals.

use serde_json::Value;

use super::{PHOTO, access_token};
use crate::process::{Request, Setup};

/// In base64: with slashes, short between them, and with an empty part.
const BASE64: [&str; 3] = [
    "q3Jx0mZ8vT4bN6wY1kLsDf/7hGu2RcPe9AiXoQzBtE+=",
    "W5rTq8/b2XcV0/nM7pKd/3sLf9/ZaYh6/uEiJo+g1RkB",
    "m4KwPz7HsVn2QbXd//tR9cLx5JgUy8FaEiZ0oW3qNv6",
];
/// Of another service, and one of hexadecimal digits.
const OTHER: [&str; 2] = ["sk_live_9fK2mQ7xZ1pL4vB8", "5f3a9c1e7b2d4f6a8c0e1b3d5f7a9c2e"];

#[test]
fn a_key_used_as_a_path_or_as_a_request_id_is_told_nowhere() {
    let operator = "hush-the-operators-key-of-these-tests";
    let backend = Setup::new()
        .set("MASTER_API_KEYS", format!("ada={operator},{},{}", BASE64.join(","), OTHER[1]))
        .set("FOREIGN_API_KEYS", "true")
        .set("VERIFY_ROUTES", "GET /api/photos/{id} resource={id}")
        .set("VERIFY_SECRET", "hush: the secret of proxies of these tests")
        .set("RUST_LOG", "debug")
        .set("LOG_FORMAT", "json")
        .start();
    let token = access_token("photo-1", 0);
    for key in BASE64.iter().chain(&OTHER) {
        for base in [
            "/",
            "//",
            "/keys/",
            "//keys/",
            "/keys//",
            "/api/",
            "/api//",
            "/api/photos/",
            "/purchases/",
            "/v1/imports/",
            "/verify/",
            "/verify/keys/",
            "/console/",
        ] {
            for method in ["GET", "DELETE"] {
                for end in ["", "/"] {
                    let request = Request::new(method, &format!("{base}{key}{end}"));
                    request.bearer(&token).send(backend.public);
                }
            }
        }
        for id in [key.to_string(), format!("\"{key}\""), format!("id={key}")] {
            let answer = Request::get(PHOTO).header("X-Request-Id", &id).send(backend.public);
            assert_eq!(answer.header("x-request-id").unwrap().len(), 36, "{id}");
        }
    }
    let trace = format!("00-{}-00f067aa0ba902b7-01", OTHER[1]);
    Request::get(PHOTO).header("traceparent", &trace).send(backend.public);
    let legacy = "x-\"ak_0123456789abcdef0123456789abcdef";
    Request::get(PHOTO).header("X-Request-Id", legacy).send(backend.public);
    Request::get("/api/the-last-one").send(backend.public);
    backend.wait_for_log("/api/the-last-one", 1);
    let mut told = vec![backend.stderr()];
    let mut cursor = String::new();
    loop {
        let page = Request::get(&format!("/refusals?limit=1000&cursor={cursor}"));
        let page = page.header("x-api-key", operator).send(backend.public);
        told.push(page.text().to_owned());
        let page: Value = page.json();
        match page["nextCursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    let parts = BASE64.iter().flat_map(|key| key.split('/')).filter(|part| !part.is_empty());
    for part in parts.chain(OTHER).chain(["0123456789abcdef"]) {
        for told in &told {
            let at =
                told.find(part).map(|at| &told[at.saturating_sub(400)..(at + 80).min(told.len())]);
            assert_eq!(at, None, "{part}");
        }
    }
    backend.kill();
}
