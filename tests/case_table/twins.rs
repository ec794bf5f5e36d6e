//! What the table does not ask, asked of axum and of actix-web: bodies, their announcements,
//! methods and paths. Sent byte for byte, and the answers are compared so.

#[allow(dead_code, reason = "a part of it is used")]
#[path = "../process/http.rs"]
mod raw;

use serde_json::{Value, json};

use self::raw::{Answer, Request};
use crate::{
    by_actix, by_axum,
    cases::{is_own, wire},
    parts::Parts,
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
fn requests() -> Vec<(u16, Request)> {
    let secret = wire()["internalAuthSecret"].as_str().unwrap().to_owned();
    let token = wire()["tokens"]["hs256"].as_str().unwrap().to_owned();
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
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        for (path, allowed) in [
            ("/health", "GET HEAD"),
            ("/api/photos/photo-1", "GET HEAD"),
            ("/v1/dpp/passports", "POST"),
            ("/api/photos", ""),
            ("/api/photos/photo-1/", ""),
            ("/API/photos/photo-1", ""),
            ("/", ""),
            ("//", ""),
            ("/api/photos/photo-1?a=b", "GET HEAD"),
        ] {
            let status = match (allowed, allowed.split(' ').any(|allowed| allowed == method)) {
                ("", _) => 404,
                (_, false) => 405,
                ("POST", true) => 403,
                (_, true) => 200,
            };
            requests.push((status, Request::new(method, path).bearer(&token)));
        }
    }
    requests
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
    for (number, (status, request)) in requests().into_iter().enumerate() {
        let [one, other] = [by_axum.address, by_actix.address]
            .map(|address| comparable(request.try_send(address).unwrap()));
        let head = String::from_utf8(request.head()).unwrap();
        assert_eq!(one.status, status, "{number}: {head}");
        assert_eq!(one, other, "{number}: {head}");
    }
    server.stop(true).await;
}
