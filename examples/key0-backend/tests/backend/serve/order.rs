//! Refusals come in the contract's order and form, and every answer has a request id.

use std::io::Write;

use key0_auth::testing::TokenSigner;
use serde_json::{Value, json};

use crate::serve::{
    ISSUE_TOKEN, PHOTO, PHOTO_1, access_token, issue, order,
    process::{INTERNAL_SECRET, Request, Setup, connect, read_answer, token_secret},
};

/// Over 64 KiB of what is no JSON.
fn oversized() -> Vec<u8> {
    vec![b'{'; 64 * 1024 + 1]
}

/// Each request has all the faults of those after it.
#[test]
fn the_first_fault_in_order_is_told() {
    let setup = Setup::new();
    let address = &setup.start();
    let send = |request: Request| request.send(address.public);
    let post = |path: &str| Request::new("POST", path);
    let typed = || post(ISSUE_TOKEN).internal(INTERNAL_SECRET);
    let json = || typed().header("Content-Type", "application/json");

    let nothing_here = "Nothing is found at this path";
    let too_large = "The request body is too large";
    let meant = "A part of this path is empty; /internal/issue-token may be meant";
    for (path, detail) in [
        ("/nowhere", nothing_here),
        ("/internal", nothing_here),
        ("/internal/issue-token/", meant),
        ("/internal/ISSUE-TOKEN", nothing_here),
        ("/api", nothing_here),
    ] {
        let refused = send(Request::new("PUT", path).body(oversized()));
        refused.assert_problem(404, "not_found", detail);
    }
    let method = send(Request::new("PUT", ISSUE_TOKEN).body(oversized()));
    method.assert_problem(405, "method_not_allowed", "This method is not allowed here");
    assert_eq!(method.header("allow"), Some("POST"));
    send(post(ISSUE_TOKEN).header("Content-Type", "text/plain").body(oversized())).assert_problem(
        401,
        "invalid_internal_auth",
        "Internal authentication failed",
    );
    for media_type in ["text/plain", "application/jsonx", "application/problem+json", ""] {
        send(typed().header("Content-Type", media_type).body(oversized())).assert_problem(
            415,
            "unsupported_media_type",
            "The request body must be application/json",
        );
    }
    send(typed().body(oversized())).assert_problem(
        415,
        "unsupported_media_type",
        "The request body must be application/json",
    );
    send(json().body(oversized())).assert_problem(413, "body_too_large", too_large);
    send(json().body(oversized()).chunked()).assert_problem(413, "body_too_large", too_large);
    let largest = oversized()[1..].to_vec();
    for request in [json().body(largest.clone()), json().body(largest).chunked()] {
        send(request).assert_problem(400, "invalid_request", "Invalid JSON body");
    }
    assert_eq!(send(issue(1)).status, 200);
    let mut faulty = order(1);
    faulty["requestId"] = "another".into();
    faulty["planId"] = 7.into();
    send(Request::post(ISSUE_TOKEN, &faulty).internal(INTERNAL_SECRET)).assert_problem(
        400,
        "invalid_request",
        "planId must be 1 to 256 visible ASCII characters",
    );
    faulty["planId"] = "basic".into();
    send(Request::post(ISSUE_TOKEN, &faulty).internal(INTERNAL_SECRET)).assert_problem(
        409,
        "request_conflict",
        "This id was used before with another body",
    );
    let spelled = json().body(order(1).to_string());
    assert_eq!(send(spelled).status, 200);
    for spelling in ["Application/JSON; charset=utf-8", "application/json ;x=y"] {
        let request = typed().header("Content-Type", spelling).body(order(1).to_string());
        assert_eq!(send(request).status, 200, "{spelling}");
    }
}

#[test]
fn the_order_on_protected_paths() {
    let backend =
        Setup::new().set("MASTER_API_KEYS", "hush-a-master-key-of-32-bytes-or-more").start();
    let send = |request: Request| request.send(backend.public);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let refused = send(Request::new(method, PHOTO));
        refused.assert_problem(405, "method_not_allowed", "This method is not allowed here");
        assert_eq!(refused.header("allow"), Some("GET,HEAD"));
    }
    let none = send(Request::get(PHOTO));
    none.assert_problem(401, "missing_credential", "No credential was sent");
    assert_eq!(none.all("www-authenticate"), [r#"Bearer realm="api""#, r#"ApiKey realm="api""#]);
    let good = access_token("photo-1", 0);
    let twice = send(Request::get(PHOTO).bearer(&good).bearer(&good));
    twice.assert_problem(
        400,
        "invalid_request",
        "A header that carries a credential was sent twice",
    );
    let challenge = r#"Bearer realm="api", error="invalid_request""#;
    assert_eq!(twice.header("www-authenticate"), Some(challenge));
    send(Request::get(PHOTO).bearer(&good).header("X-Api-Key", "other")).assert_problem(
        400,
        "invalid_request",
        "The request carries two different credentials",
    );
    for unknown in ["ak_0123456789abcdef0123456789abcdef", "ak_mistyped"] {
        let refused = send(Request::get(PHOTO).bearer(unknown));
        refused.assert_problem(401, "invalid_api_key", "Invalid API key");
    }
    // A master key manages; it buys nothing.
    send(Request::get(PHOTO).header("X-Api-Key", "hush-a-master-key-of-32-bytes-or-more"))
        .assert_problem(403, "insufficient_permissions", "The credential does not grant this");
    send(Request::get(PHOTO).bearer(&good)).assert_ok(PHOTO_1);
    send(Request::get(&format!("{PHOTO}?a=%FF#x")).bearer(&good)).assert_ok(PHOTO_1);
    send(Request::get("/api/photos/photo%2D1").bearer(&good)).assert_ok(PHOTO_1);
    // An id that is no text names nothing, whoever asks.
    let everything = access_token("default", 0);
    for path in ["/api/photos/%FF", "/api/data/%C3%28"] {
        let refused = send(Request::get(path).bearer(&everything));
        refused.assert_problem(404, "not_found", "Nothing is found at this path");
    }
    // Whatever stands in a path stays a text in the answer.
    let quoted = send(Request::get("/api/data/%22%2C%0A").bearer(&everything));
    assert_eq!(quoted.json()["id"], "\",\n");
}

#[test]
fn head_is_answered_like_get() {
    let backend = Setup::new().start();
    let good = access_token("photo-1", 0);
    for request in [
        |method: &str, _: &str| Request::new(method, "/health"),
        |method: &str, _: &str| Request::new(method, "/ready"),
        |method: &str, good: &str| Request::new(method, PHOTO).bearer(good),
        |method: &str, good: &str| Request::new(method, "/api/photos/photo-2").bearer(good),
        |method: &str, _: &str| Request::new(method, PHOTO),
        |method: &str, _: &str| Request::new(method, "/nowhere"),
        |method: &str, _: &str| Request::new(method, ISSUE_TOKEN),
    ] {
        let [get, head] = ["GET", "HEAD"].map(|method| {
            let request = request(method, &good).header("X-Request-Id", "same");
            let mut answer = request.send(backend.public);
            answer.headers.retain(|(name, _)| name != "date");
            answer
        });
        assert!(head.body.is_empty() && !get.body.is_empty());
        assert_eq!((get.status, get.headers), (head.status, head.headers));
    }
}

#[test]
fn every_answer_has_a_request_id() {
    let backend = Setup::new().set("RUST_LOG", "key0_backend=debug").start();
    let good = access_token("photo-1", 0);
    let requests = || {
        [
            (200, Request::get("/health")),
            (200, Request::get(PHOTO).bearer(&good)),
            (200, issue(1)),
            (400, Request::get(PHOTO).bearer(&good).bearer(&good)),
            (401, Request::get(PHOTO)),
            (403, Request::get("/api/photos/photo-2").bearer(&good)),
            (404, Request::get("/nowhere")),
            (405, Request::new("PUT", PHOTO)),
            (409, issue("other").body(order(1).to_string().replace("photo-1", "photo-2"))),
            (413, issue(1).body(oversized())),
            (415, Request::new("POST", ISSUE_TOKEN).internal(INTERNAL_SECRET)),
        ]
    };
    let longest = "x".repeat(128);
    for sane in ["7", "550e8400-e29b-41d4-a716-446655440000", "!~:/\"", &longest] {
        for (status, request) in requests() {
            let answer = request.header("X-Request-Id", sane).send(backend.public);
            assert_eq!((answer.status, answer.header("x-request-id")), (status, Some(sane)));
        }
    }
    let too_long = "x".repeat(129);
    let mut made = std::collections::BTreeSet::new();
    for other in ["two words", "tab\there", "é", &too_long, ""] {
        for (status, request) in requests() {
            let answer = request.header("X-Request-Id", other).send(backend.public);
            let id = answer.header("x-request-id").unwrap().to_owned();
            assert_eq!((answer.status, id.len()), (status, 36), "{id}");
            assert!(made.insert(id));
        }
    }
    for (_, request) in requests() {
        let id = request.send(backend.public).header("x-request-id").unwrap().to_owned();
        assert!(made.insert(id));
    }
    for id in &made {
        backend.wait_for_log(id, 1);
    }
}

/// A refusal reaches a client that sends the whole of a large body before it reads.
#[test]
fn a_refused_upload_still_gets_its_answer() {
    let backend = Setup::new().start();
    let mut body = order(1);
    body["pad"] = "x".repeat(8_000_000).into();
    for (status, request) in [
        (401, Request::post(ISSUE_TOKEN, &body)),
        (413, Request::post(ISSUE_TOKEN, &body).internal(INTERNAL_SECRET)),
        (413, Request::post(ISSUE_TOKEN, &body).internal(INTERNAL_SECRET).chunked()),
        (404, Request::post("/nowhere", &body)),
    ] {
        for _ in 0..5 {
            let mut stream = connect(backend.public).unwrap();
            let bytes = request.bytes();
            // In pieces, so that the server has answered long before the last one.
            for piece in bytes.chunks(60_000) {
                stream.write_all(piece).unwrap();
                std::thread::yield_now();
            }
            assert_eq!(read_answer(&mut stream, false).unwrap().status, status);
        }
    }
}

/// Where nothing is checked, too, what is left unread of a body costs no client its next request.
#[test]
fn behind_no_guard_a_kept_connection_loses_no_request() {
    let backend = Setup::new()
        .set("ISSUE_TOKEN_AUTH", "body")
        .set("DANGEROUS_DISABLE_KEY_CHECKS", "true")
        .start();
    let proxied = |line: &str| {
        let (method, path) = line.split_once(' ').unwrap();
        Request::new(method, path).header("X-Key0-Internal-Token", "any")
    };
    for (line, status) in [
        ("POST /internal/issue-token", 403),
        ("POST /keys", 403),
        ("POST /v1/imports", 403),
        ("GET /v1/loyalty/orders", 403),
    ] {
        for length in [200, 40_000, 200_000] {
            let mut stream = connect(backend.public).unwrap();
            for _ in 0..5 {
                let request = proxied(line).header("Connection", "keep-alive");
                stream.write_all(&request.body("x".repeat(length)).bytes()).unwrap();
                let answer = read_answer(&mut stream, false).unwrap();
                assert_eq!(answer.status, status, "{line} {length}");
                if answer.header("connection") == Some("close") {
                    stream = connect(backend.public).unwrap();
                }
            }
        }
    }
}

/// One line for each request, with what an incident needs and nothing that a client could spoil it
/// with.
#[test]
fn what_the_log_says_of_a_request() {
    let setup = Setup::new().set("LOG_FORMAT", "json").set("TRUSTED_PROXIES", "127.0.0.0/8");
    let backend = setup.start();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    Request::get("/api/photos/photo-2")
        .bearer(&access_token("photo-1", 0))
        .header("X-Request-Id", "mine-1")
        .header("X-Forwarded-For", "6.6.6.6, 198.51.100.7")
        .header("traceparent", trace)
        .send(backend.public);
    Request::get(PHOTO)
        .bearer(&TokenSigner::with(token_secret()).token().request_id("late-1").expired().sign())
        .header("X-Request-Id", "mine-2")
        .send(backend.public);
    // A method may be as long as a head, and hold a key; so may a path.
    let key = "hush_1234567890abcdef1234567890abcdef";
    for method in [key, &"M".repeat(60_000)] {
        let odd = Request::new(method, PHOTO).header("X-Request-Id", "odd");
        assert_eq!(odd.send(backend.public).status, 405);
    }
    let hex = Request::get("/keys/0123456789abcdef0123456789abcdef");
    hex.header("X-Request-Id", "ak_0123456789abcdef").send(backend.public);
    assert_eq!(Request::get("/health").send(backend.public).status, 200);
    assert_eq!(Request::get("/nowhere/at/all").send(backend.public).status, 404);
    backend.wait_for_log("/nowhere", 1);
    let logged = backend.kill().stderr;
    let lines: Vec<Value> =
        logged.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(logged.lines().all(|line| line.len() < 2_000), "{logged}");
    assert!(!logged.contains("0123456789abcdef") && !logged.contains("ak_"), "{logged}");
    assert_eq!(lines.iter().filter(|line| line["message"] == "started").count(), 1);
    let refused = lines.iter().find(|line| line["request_id"] == "mine-1").unwrap();
    let expected = json!({
        "message": "request refused",
        "level": "INFO",
        "method": "GET",
        "route": "/api/photos/{id}",
        "path": "/api/photos/photo-2",
        "status": 403,
        "code": "insufficient_permissions",
        "wanted": "photo-2",
        "held": "photo-1 (basic)",
        "client_ip": "198.51.100.7",
        "caller_kind": "access_token",
        "caller_id": "request-1",
        "listener": "public",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(refused[name], *value, "{name} in {refused}");
    }
    let expired = lines.iter().find(|line| line["request_id"] == "mine-2").unwrap();
    assert_eq!([&expired["code"], &expired["caller_id"]], ["token_expired", "late-1"]);
    assert!(expired.get("error").is_none(), "the caller is told twice: {expired}");
    assert!(refused["micros"].is_u64() && refused["retry"].is_string(), "{refused}");
    let odd: Vec<_> = lines.iter().filter(|line| line["request_id"] == "odd").collect();
    assert_eq!(odd.iter().filter(|line| line["method"] == "other").count(), 2, "{logged}");
    assert!(lines.iter().all(|line| line["path"] != "/health"), "probes are for debugging");
}

#[test]
fn what_the_access_log_is_asked_for() {
    let lines = |which: &str| {
        let backend = Setup::new().set("ACCESS_LOG", which).start();
        assert_eq!(issue(1).send(backend.public).status, 200);
        assert_eq!(Request::get(PHOTO).send(backend.public).status, 401);
        backend.terminate();
        let mut backend = backend;
        backend.wait();
        let logged = backend.end().stderr;
        (logged.matches("status=200").count(), logged.matches("status=401").count())
    };
    assert_eq!([lines("all"), lines("refused"), lines("off")], [(1, 1), (0, 1), (0, 0)]);
}

/// RFC 9112, section 3.2: a request without exactly one Host is answered with 400.
#[test]
fn a_request_names_one_host() {
    let backend = Setup::new().start();
    let detail = "A request needs exactly one Host header";
    for hosts in ["", "Host: a\r\nHost: a\r\n", "Host: a\r\nHost: b\r\n"] {
        let mut stream = connect(backend.public).unwrap();
        write!(stream, "GET /health HTTP/1.1\r\n{hosts}\r\n").unwrap();
        let refused = read_answer(&mut stream, false).unwrap();
        assert_eq!((refused.status, &*refused.member("code")), (400, "invalid_request"));
        assert_eq!(refused.member("detail"), detail);
    }
    let answered = |host: &str| {
        let mut stream = connect(backend.public).unwrap();
        write!(stream, "GET /health HTTP/1.1\r\nHost:{host}\r\n\r\n").unwrap();
        read_answer(&mut stream, false).unwrap()
    };
    for host in ["a b", "a, b", "a/../b@c"] {
        answered(host).assert_problem(400, "invalid_request", "The Host header names no host");
    }
    for host in ["", "a.example:80", "[::1]:80"] {
        assert_eq!(answered(host).status, 200);
    }
}

#[test]
fn a_path_with_an_empty_part_is_told_which_one_may_be_meant() {
    let backend = Setup::new().start();
    for (path, meant) in [
        ("//health", "/health"),
        ("/api//photos///photo-1", PHOTO),
        ("/api/photos/photo-1/", PHOTO),
        ("/health/", "/health"),
    ] {
        let refused = Request::get(path).bearer(&access_token("photo-1", 0)).send(backend.public);
        assert_eq!((refused.status, &*refused.member("code")), (404, "not_found"));
        let detail = format!("A part of this path is empty; {meant} may be meant");
        assert_eq!(refused.member("detail"), detail);
    }
}

/// An id in a URL that is printed is escaped, and what a shop tells its buyers opens.
#[test]
fn ids_in_urls_and_the_short_path() {
    let backend = Setup::new().start();
    let odd = "a/b?c#d\"%";
    let photo = Request::get("/api/photos/a%2Fb%3Fc%23d%22%25").bearer(&access_token(odd, 0));
    let photo = photo.send(backend.public);
    assert_eq!((photo.status, photo.member("id")), (200, odd.to_owned()));
    let url = "https://cdn.example.com/photos/a%2Fb%3Fc%23d%22%25.jpg";
    assert_eq!(photo.member("url"), url);
    let data = Request::get("/api/photo-1").bearer(&access_token("photo-1", 0));
    assert_eq!(data.send(backend.public).member("resourceId"), "photo-1");
    let index = Request::get("/").send(backend.public);
    assert_eq!((index.status, index.member("name")), (200, "key0-backend".to_owned()));
}
