//! What the table does not ask, asked of axum and of actix-web: bodies, their announcements,
//! methods and paths. Sent byte for byte, and the answers are compared so.

use serde_json::{Value, json};

use crate::{
    case_table::{
        by_actix, by_axum,
        parts::{MASTER_KEY, Parts},
    },
    cases::is_own,
    http_client::{Answer, Request},
};

const ISSUE_TOKEN: &str = "/internal/issue-token";
const PAYMENT_RECEIVED: &str = "/internal/payment-received";

fn order() -> Value {
    json!({
        "requestId": "request-1",
        "challengeId": "challenge-1",
        "resourceId": "photo-1",
        "planId": "basic",
        "txHash": "0x1",
    })
}

/// The requests, with the status that each must get.
fn requests(parts: &Parts) -> Vec<(u16, Request)> {
    let [secret, token] = ["internalSecret", "token"].map(|name| parts.values().get(name).unwrap());
    let mut requests = Vec::new();
    for path in [ISSUE_TOKEN, PAYMENT_RECEIVED] {
        let typed = || Request::new("POST", path).internal(&secret);
        let sent = || typed().header("content-type", "application/json");
        let too_large = || vec![b'{'; 64 * 1024 + 1];
        requests.extend([
            (200, sent().body(order().to_string())),
            (200, sent().body(order().to_string())),
            (200, sent().body(order().to_string()).chunked()),
            (409, sent().body(order().to_string().replace("0x1", "0x2"))),
            (400, sent().body(order().to_string().replace("planId", "planet"))),
            (400, sent().body("[]")),
            (400, sent().body("{")),
            (400, sent()),
            (400, sent().chunked()),
            (400, sent().body(&too_large()[1..])),
            (400, sent().body(&too_large()[1..]).chunked()),
            (413, sent().body(too_large())),
            (413, sent().body(too_large()).chunked()),
            (413, sent().body("{}").header("content-length", "99999999999")),
            (415, typed().body(too_large())),
            (415, typed().header("content-type", "text/plain").body(order().to_string())),
            (415, typed().header("content-type", "").body(order().to_string())),
            (200, typed().header("content-type", "APPLICATION/json ;x").body(order().to_string())),
            (401, Request::new("POST", path).body(too_large())),
            (405, Request::new("PUT", path).internal(&secret).body(order().to_string())),
        ]);
    }
    let rotate = || Request::new("POST", "/keys/nobodys/rotate").header("x-api-key", MASTER_KEY);
    let typed = || rotate().header("content-type", "application/json");
    requests.extend([
        (404, rotate()),
        (404, rotate().header("content-length", "0")),
        (404, typed().body("{}")),
        (404, typed().body("{}").chunked()),
        (400, typed().body(r#"{"role":"read"}"#)),
        (400, typed().chunked().body("{")),
        (404, rotate().chunked()),
        (415, rotate().body("{}")),
        (415, rotate().body("{}").chunked()),
        (415, rotate().body(vec![b'{'; 64 * 1024 + 1])),
        (415, rotate().body(vec![b'{'; 64 * 1024 + 1]).chunked()),
        (413, typed().body(vec![b'{'; 64 * 1024 + 1])),
    ]);
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        for (path, allowed) in [
            ("/health", "GET HEAD"),
            ("/api/photos/photo-1", "GET HEAD"),
            ("/v1/dpp/passports", "POST"),
            ("/api/photos", ""),
            ("/api/photos/photo-1/", ""),
            ("/API/photos/photo-1", ""),
            ("/", ""),
            ("/keys", "GET HEAD POST DELETE"),
            ("/keys/", "GET HEAD DELETE"),
            ("/keys/a", "GET HEAD PATCH DELETE"),
            ("/keys/find", "POST"),
            ("/keys/a/rotate", "POST"),
            ("//", ""),
            ("/api/photos/photo-1?a=b", "GET HEAD"),
        ] {
            let status = match (allowed, allowed.split(' ').any(|allowed| allowed == method)) {
                ("", _) => 404,
                (_, false) => 405,
                ("POST", true) => 403,
                (_, true) if path.starts_with("/keys") => 403,
                (_, true) => 200,
            };
            requests.push((status, Request::new(method, path).bearer(&token)));
        }
    }
    requests
}

/// Keys are made, looked at and revoked through either, and either knows what came of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_lives_alike_on_axum_and_on_actix() {
    let parts = Parts::new();
    let by_axum = by_axum::serve(&parts).await;
    let (by_actix, server) = by_actix::serve(&parts);
    let addresses = [by_axum.address, by_actix.address];
    let master = |method: &str, path: &str| {
        let request = Request::new(method, path).header("x-api-key", MASTER_KEY);
        request.header("content-type", "application/json")
    };
    let send = |address, request: Request| comparable(request.try_send(address).unwrap());
    let both = |request: &Request, status| {
        let [one, other] = addresses.map(|address| send(address, request.clone()));
        assert_eq!((one.status, &one), (status, &other));
    };
    // What is random in an answer is as long as in another.
    let alike = |[one, other]: [Answer; 2], status: u16| {
        let names = |answer: &Answer| {
            let object = answer.json().as_object().unwrap().clone();
            object.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!((one.status, names(&one)), (status, names(&other)));
        assert_eq!((one.status, &one.headers), (other.status, &other.headers));
        assert_eq!(one.body.len(), other.body.len());
        [one, other].map(|answer| answer.member("id"))
    };
    let create = master("POST", "/keys").body(r#"{"role":"read","label":"é"}"#);
    let ids = alike(addresses.map(|address| send(address, create.clone())), 201);
    both(&master("GET", "/keys"), 200);
    both(&master("HEAD", "/keys"), 200);
    both(&master("GET", "/keys?limit=1&status=all"), 200);
    let [one, other] = [0, 1].map(|at| {
        let path = format!("/keys/{}", ids[at]);
        both(&master("GET", &path), 200);
        let rotated = send(addresses[at], master("POST", &format!("{path}/rotate")));
        (rotated, send(addresses[at], master("DELETE", &path)))
    });
    alike([one.0, other.0], 200);
    assert_eq!((one.1.status, &one.1), (204, &other.1));
    for id in &ids {
        both(&master("DELETE", &format!("/keys/{id}")), 404);
    }
    server.stop(true).await;
}

fn comparable(mut answer: Answer) -> Answer {
    answer.headers.retain(|(name, _)| !is_own(name));
    answer.headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn axum_and_actix_answer_alike_what_the_table_does_not_ask() {
    let parts = Parts::new();
    let by_axum = by_axum::serve(&parts).await;
    let (by_actix, server) = by_actix::serve(&parts);
    for (number, (status, request)) in requests(&parts).into_iter().enumerate() {
        let [one, other] = [by_axum.address, by_actix.address]
            .map(|address| comparable(request.try_send(address).unwrap()));
        let head = String::from_utf8(request.head()).unwrap();
        assert_eq!(one.status, status, "{number}: {head}");
        assert_eq!(one, other, "{number}: {head}");
    }
    server.stop(true).await;
}
