//! Requests that Key0's gateway proxies, over sockets of the running backend.

use serde_json::Value;

use crate::process::{Answer, INTERNAL_SECRET, Request, Setup};

const SECRET: &str = "hush: the secret of Key0's gateway, here";
const PREVIOUS: &str = "hush: the secret of Key0's gateway before now";
const MASTER: &str = "hush-a-master-key-of-these-tests-32-bytes";
const TOKEN: &str = "X-Key0-Internal-Token";

fn setup() -> Setup {
    Setup::new()
        .set("GATEWAY_SECRET", SECRET)
        .set("GATEWAY_PREVIOUS_SECRETS", PREVIOUS)
        .set("GATEWAY_ROUTES", "photo=GET /api/photos/{id}, data=GET /api/data/{id}")
        .set("MASTER_API_KEYS", MASTER)
}

fn by_gateway(method: &str, path: &str) -> Request {
    Request::new(method, path).header(TOKEN, SECRET)
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, &body(answer)["code"]), (status, &code.into()), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
}

#[test]
fn the_gateway_opens_declared_routes_alone() {
    let backend = setup().start();
    let send = |request: Request| request.send(backend.public);
    let answer = send(by_gateway("GET", "/api/photos/photo-1"));
    assert_eq!(answer.status, 200);
    let photo = body(&answer);
    assert_eq!((&photo["id"], &photo["planId"]), (&"photo-1".into(), &"photo".into()));
    assert_eq!(send(by_gateway("GET", "/api/data/x")).status, 200);
    assert_eq!(send(by_gateway("HEAD", "/api/data/x")).status, 200);
    let previous = Request::get("/api/photos/1").header(TOKEN, PREVIOUS);
    assert_eq!(send(previous).status, 200);
    // What else it carries is the buyer's.
    let request = by_gateway("GET", "/api/photos/photo-1");
    let request = request.bearer("a.b.c").bearer("d.e.f").header("X-Api-Key", MASTER);
    assert_eq!(send(request.header("X-Key0-Plan-Id", "data")).status, 200);

    let wrong = |secret: &str| Request::get("/api/photos/1").header(TOKEN, secret);
    for request in [
        wrong("hush: a secret that nobody has and never had"),
        wrong(""),
        wrong(INTERNAL_SECRET),
        by_gateway("GET", "/api/photos/1").header(TOKEN, SECRET),
    ] {
        refused(&send(request.header("X-Api-Key", MASTER)), 401, "invalid_internal_auth");
    }
    for path in [
        "/keys",
        "/keys/1",
        "/purchases",
        "/purchases/1",
        "/audit",
        "/credential",
        "/v1/loyalty/reward-tiers",
        "/metrics",
        "/api/photos/%2e%2e",
        "/api/x",
    ] {
        let request = by_gateway("GET", path).header("X-Api-Key", MASTER);
        refused(&send(request), 403, "insufficient_permissions");
    }
    for path in ["/internal/issue-token", "/internal/payment-received", "/introspect"] {
        refused(&send(by_gateway("POST", path)), 401, "invalid_internal_auth");
        let request = Request::new("POST", path).internal(SECRET);
        assert_eq!(send(request).status, 401, "{path}");
    }
    refused(&send(by_gateway("GET", "/nowhere")), 404, "not_found");
    refused(&send(by_gateway("PUT", "/api/photos/1")), 405, "method_not_allowed");
    refused(&send(by_gateway("GET", "//api/photos/1")), 404, "not_found");
    let hosts = by_gateway("GET", "/api/photos/1").header("Host", "a").header("Host", "b");
    refused(&send(hosts), 400, "invalid_request");
    // A buyer who holds no gateway's token is told in the usual form.
    let answer = send(Request::get("/api/photos/1").header("X-Key0-Payer", "x"));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(!backend.kill().stderr.contains("panicked"));
}

#[test]
fn trusted_headers_must_name_the_route() {
    let backend = setup().set("GATEWAY_PAYMENT_HEADERS", "trusted").start();
    let paid = |path: &str, plan: &str| {
        by_gateway("GET", path).header("X-Key0-Plan-Id", plan).send(backend.public)
    };
    assert_eq!(paid("/api/photos/1", "photo").status, 200);
    for (path, plan) in [("/api/photos/1", "data"), ("/api/photos/1", ""), ("/api/data/1", "photo")]
    {
        refused(&paid(path, plan), 403, "insufficient_permissions");
    }
    let answer = by_gateway("GET", "/api/photos/1").send(backend.public);
    refused(&answer, 403, "insufficient_permissions");
}

#[test]
fn the_gateway_stays_outside_where_nothing_is_checked() {
    let backend = setup()
        .set("INTERNAL_AUTH_STRATEGY", "none")
        .set("ISSUE_TOKEN_AUTH", "body")
        .set("DANGEROUS_DISABLE_KEY_CHECKS", "true")
        .start();
    for (method, path) in [
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("GET", "/v1/loyalty/reward-tiers"),
        ("POST", "/v1/imports"),
        ("POST", "/internal/issue-token"),
        ("POST", "/internal/payment-received"),
        ("POST", "/introspect"),
    ] {
        let answer = by_gateway(method, path).send(backend.public);
        assert!([401, 403].contains(&answer.status), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
    assert_eq!(Request::get("/keys").send(backend.public).status, 200);
}

#[test]
fn a_gateway_that_would_be_open_or_useless_is_a_fault() {
    for (name, value, told) in [
        ("GATEWAY_ROUTES", "", "GATEWAY_ROUTES"),
        ("GATEWAY_ROUTES", "photo", "GATEWAY_ROUTES"),
        ("GATEWAY_ROUTES", "a=GET /keys/{id}", "GATEWAY_ROUTES"),
        ("GATEWAY_ROUTES", "a=GET /a, a=GET /b", "GATEWAY_ROUTES"),
        ("GATEWAY_SECRET", INTERNAL_SECRET, "GATEWAY_SECRET"),
        ("GATEWAY_SECRET", "short", "GATEWAY_SECRET"),
        ("GATEWAY_SECRET", "", "GATEWAY_SECRET"),
        ("GATEWAY_PAYMENT_HEADERS", "yes", "GATEWAY_PAYMENT_HEADERS"),
        ("VERIFY_ROUTES", "GET /a plan=gold", "VERIFY_SECRET"),
    ] {
        let ended = setup().set(name, value).run("serve");
        assert_eq!(ended.code, Some(2), "{name}={value}: {ended:?}");
        assert!(ended.stderr.contains(told), "{name}={value}: {}", ended.stderr);
    }
    for routes in ["GET /a", "GET /a {}", "GET /a plan=", "/a plan=gold", "GET /a resource={id}"] {
        let ended = setup().set("INTERNAL_PORT", "0").set("VERIFY_ROUTES", routes).run("serve");
        assert_eq!(ended.code, Some(2), "{routes}: {ended:?}");
        assert!(ended.stderr.contains("VERIFY_ROUTES"), "{routes}: {}", ended.stderr);
    }
}
