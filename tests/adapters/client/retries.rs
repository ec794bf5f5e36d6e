use std::time::{Duration, Instant};

use key0_auth::client::{Client, ErrorKind};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    MS, PATIENCE, builder, client,
    server::{Reply, Server, answer_with, head, ok, refusal, status},
};

/// What may pass by itself, one of each.
fn passing() -> Vec<Reply> {
    let mut half = head(200, 100);
    half.extend_from_slice(b"{\"half\":");
    vec![
        Reply::Drop,
        Reply::Bytes(half),
        Reply::Bytes(b"no HTTP at all\r\n\r\n".to_vec()),
        status(408, &[]),
        status(425, &[]),
        status(429, &[]),
        refusal(502, "bad_gateway", &[]),
        status(503, &[]),
        status(503, &[("Retry-After", "0")]),
        status(504, &[]),
    ]
}

fn then_ok(mut replies: Vec<Reply>) -> Vec<Reply> {
    replies.push(ok(json!({"done": true})));
    replies
}

#[tokio::test]
async fn a_get_outlives_every_failure_that_passes() {
    let mut replies = passing();
    replies.push(status(500, &[]));
    let server = Server::start(then_ok(replies)).await;
    let client = builder(&server).attempts(20).build().unwrap();
    let response = client.get("/x").response().await.unwrap();
    assert_eq!((response.status(), response.attempts()), (200, 12));
    assert_eq!(server.count(), 12);
}

#[tokio::test]
async fn a_post_keeps_its_key_and_its_bytes() {
    let mut replies = passing();
    replies.push(Reply::Hang);
    replies.push(refusal(409, "idempotency_in_progress", &[("Retry-After", "0")]));
    let server = Server::start(then_ok(replies)).await;
    let client = builder(&server).attempts(20).timeout(5_000 * MS).build().unwrap();
    let call = client.post("/mint").json(&json!({"amount": 600, "b": 1.5, "a": "é"}));
    assert_eq!(call.send::<Value>().await.unwrap(), json!({"done": true}));
    let seen = server.seen();
    assert_eq!(seen.len(), 13);
    let key = seen[0].header("idempotency-key").unwrap();
    assert_eq!(key.len(), 36);
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].body, "{\"a\":\"é\",\"amount\":600,\"b\":1.5}".as_bytes());
    for again in &seen {
        assert_eq!(again, &seen[0], "every attempt is the first one again");
    }
    // The same call sent later is the same call; another one is another.
    call.clone().response().await.unwrap();
    client.post("/mint").response().await.unwrap();
    let seen = server.seen();
    assert_eq!(seen[13], seen[0]);
    assert_ne!(seen[14].header("idempotency-key").unwrap(), key);
}

#[tokio::test]
async fn a_key_of_ones_own_is_sent_as_it_is() {
    let server = Server::start([status(503, &[]), ok(json!({}))]).await;
    let call = client(&server).post("/mint").idempotency_key("order-17");
    let response = call.response().await.unwrap();
    assert_eq!(response.idempotency_key(), Some("order-17"));
    for seen in server.seen() {
        assert_eq!(seen.header("idempotency-key"), Some("order-17"));
    }
    for key in ["", "two words", "a\"b", "a\\b", "é", "line\nbreak", &"k".repeat(256)] {
        let error = client(&server).post("/x").idempotency_key(key).response().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{key}");
    }
    let longest = "k".repeat(255);
    client(&server).post("/x").idempotency_key(longest).response().await.unwrap();
    for call in [client(&server).get("/x"), client(&server).delete("/x")] {
        let error = call.clone().idempotency_key("key").response().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        let error = call.allow_repeats().response().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    }
    assert_eq!(server.count(), 3, "nothing of it was sent");
}

#[tokio::test]
async fn a_call_to_be_sent_once_is_sent_once() {
    for reply in passing() {
        let server = Server::start([reply]).await;
        for call in
            [client(&server).post("/x"), client(&server).get("/x"), client(&server).delete("/x")]
        {
            let error = call.once().response().await.unwrap_err();
            assert_eq!((error.attempts(), error.idempotency_key()), (1, None));
        }
        assert_eq!(server.count(), 3);
        assert!(server.seen().iter().all(|seen| seen.header("idempotency-key").is_none()));
    }
}

#[tokio::test]
async fn what_the_application_says_of_repeats_is_kept_or_refused() {
    let server = Server::start([status(503, &[])]).await;
    let post = || client(&server).post("/x");
    for call in [post().idempotency_key("mine").once(), post().once().idempotency_key("mine")] {
        let error = call.response().await.unwrap_err();
        assert_eq!((error.attempts(), error.idempotency_key()), (1, Some("mine")));
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.header("idempotency-key") == Some("mine")));
    for call in [
        post().idempotency_key("mine").allow_repeats(),
        post().allow_repeats().idempotency_key("mine"),
        post().once().allow_repeats(),
        post().allow_repeats().once(),
    ] {
        let error = call.response().await.unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::InvalidRequest, 0));
    }
    assert_eq!(server.count(), 2, "nothing of it was sent");
}

/// Whoever waits for what is being done has not failed.
#[tokio::test]
async fn a_call_in_progress_is_waited_for_until_the_deadline() {
    let soon = [("Retry-After", "0")];
    for (status, code) in [(409, "idempotency_in_progress"), (503, "issuance_in_progress")] {
        let replies = (0..9).map(|_| refusal(status, code, &soon)).chain([ok(json!({}))]);
        let server = Server::start(replies).await;
        let call = builder(&server).attempts(2).build().unwrap().post("/x");
        let call = if status == 503 { call.allow_repeats() } else { call };
        assert_eq!(call.response().await.unwrap().attempts(), 10);
        let server = Server::start([refusal(status, code, &soon)]).await;
        let call = builder(&server).deadline(5_000 * MS).build().unwrap().post("/x");
        let call = if status == 503 { call.allow_repeats() } else { call };
        let error = tokio::time::timeout(PATIENCE, call.response()).await.unwrap().unwrap_err();
        assert!(error.attempts() > 4, "{error:?}");
    }
}

#[tokio::test]
async fn a_post_that_may_be_repeated_is_sent_without_a_key() {
    let server = Server::start(then_ok(passing())).await;
    let client = builder(&server).attempts(20).build().unwrap();
    client.post("/internal/issue-token").allow_repeats().response().await.unwrap();
    assert_eq!(server.count(), 11);
    assert!(server.seen().iter().all(|seen| seen.header("idempotency-key").is_none()));
}

#[tokio::test]
async fn what_does_not_pass_is_not_sent_again() {
    let replies = [
        (status(500, &[]), 500),
        (status(501, &[]), 501),
        (refusal(409, "request_conflict", &[("Retry-After", "0")]), 409),
        (refusal(422, "idempotency_key_reused", &[]), 422),
        (refusal(403, "insufficient_permissions", &[("Retry-After", "0")]), 403),
        (status(401, &[]), 401),
        (status(404, &[]), 404),
    ];
    for (reply, expected) in replies {
        let server = Server::start([reply, ok(json!({}))]).await;
        let error = client(&server).post("/x").response().await.unwrap_err();
        assert_eq!((error.status(), error.attempts()), (Some(expected), 1));
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test]
async fn attempts_are_bounded() {
    let server = Server::start([refusal(503, "store_unavailable", &[])]).await;
    let error = client(&server).get("/x").send::<Value>().await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Refused, Some(503)));
    assert_eq!((error.code(), error.attempts()), (Some("store_unavailable"), 4));
    assert_eq!(server.count(), 4);
    let client = builder(&server).attempts(1).build().unwrap();
    assert_eq!(client.get("/x").send::<Value>().await.unwrap_err().attempts(), 1);
    assert_eq!(server.count(), 5);
}

#[tokio::test]
async fn the_whole_call_is_bounded() {
    let server = Server::start([Reply::Hang]).await;
    let client = builder(&server).attempts(1_000).timeout(100 * MS).deadline(250 * MS);
    let error = client.build().unwrap().get("/x").response().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.is_outcome_unknown());
    // Two that take their whole time, and one that gets what is left.
    assert!(error.attempts() <= 3, "{error:?}");
    let begun = Instant::now();
    let client = builder(&server).deadline(200 * MS).build().unwrap();
    let error = client.get("/x").response().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Timeout, 1));
    assert!(begun.elapsed() < PATIENCE, "the deadline cuts the attempt short");
}

#[tokio::test]
async fn a_retry_after_is_waited_for() {
    for code in [429, 503] {
        let server = Server::start([status(code, &[("Retry-After", "1")]), ok(json!({}))]).await;
        let begun = Instant::now();
        client(&server).post("/x").response().await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(1));
        assert_eq!(server.count(), 2);
    }
}

#[tokio::test]
async fn a_retry_after_past_the_deadline_ends_the_call_at_once() {
    for asked in [
        "61",
        "18446744073709551615",
        "99999999999999999999999999999",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ] {
        let server = Server::start([refusal(503, "busy", &[("Retry-After", asked)])]).await;
        let call = client(&server).get("/x");
        let error = tokio::time::timeout(PATIENCE, call.response()).await.unwrap().unwrap_err();
        assert_eq!((error.status(), error.attempts()), (Some(503), 1), "{asked}");
        assert!(error.retry_after().unwrap() > Duration::from_secs(60), "{asked}");
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test]
async fn a_retry_after_that_says_nothing_is_no_pause() {
    for asked in ["-1", "soon", "1e9", "", "Sun, 06 Nov 1994 08:49:37 GMT", "\u{fffd}"] {
        let server = Server::start([status(503, &[("Retry-After", asked)]), ok(json!({}))]).await;
        let call = client(&server).get("/x");
        tokio::time::timeout(PATIENCE, call.response()).await.unwrap().unwrap();
        assert_eq!(server.count(), 2, "{asked}");
    }
}

#[tokio::test]
async fn times_without_an_end_are_fine() {
    let server = Server::start([status(503, &[]), ok(json!({}))]).await;
    let client = builder(&server).timeout(Duration::MAX).deadline(Duration::MAX).build().unwrap();
    client.get("/x").response().await.unwrap();
    let begun = client.get("/x").poll_until(Duration::MAX, |_: &Value| true).await;
    assert_eq!(begun.unwrap(), json!({}));
    let server = Server::start([status(503, &[])]).await;
    let endless = builder(&server).backoff(Duration::MAX, Duration::MAX).deadline(4_000 * MS);
    let error = endless.build().unwrap().get("/x").response().await.unwrap_err();
    assert!(error.attempts() > 1, "a pause of its own is no reason to give up: {error:?}");
}

#[tokio::test]
async fn a_delete_whose_answer_was_lost_is_done() {
    let mut half = head(200, 100);
    half.extend_from_slice(b"{");
    for lost in [
        Reply::Hang,
        Reply::Drop,
        Reply::Bytes(half),
        status(408, &[]),
        status(502, &[]),
        status(504, &[]),
    ] {
        let gone = refusal(404, "not_found", &[]);
        let server = Server::start([lost.clone(), status(503, &[]), gone.clone()]).await;
        let client = builder(&server).timeout(5_000 * MS).build().unwrap();
        let response = client.delete("/keys/1").response().await.unwrap();
        assert_eq!((response.status(), response.attempts()), (404, 3));
        let server = Server::start([lost, gone]).await;
        let client = builder(&server).timeout(5_000 * MS).build().unwrap();
        client.delete("/keys/1").send::<()>().await.unwrap();
    }
    // Where nothing can have been done, there was nothing to delete.
    for before in [None, Some(status(503, &[])), Some(status(429, &[]))] {
        let replies = before.into_iter().chain([refusal(404, "not_found", &[])]);
        let server = Server::start(replies).await;
        let error = client(&server).delete("/keys/1").send::<()>().await.unwrap_err();
        assert_eq!((error.status(), error.code()), (Some(404), Some("not_found")));
    }
    // Neither the page of a proxy, nor JSON that anybody might send, says that it is gone.
    let page = |content_type| Reply::Bytes(answer_with(404, content_type, &[], r#"{"code":"x"}"#));
    let uncoded = answer_with(404, "application/problem+json", &[], r#"{"title":"x"}"#);
    for page in [page("text/html"), page("application/json"), Reply::Bytes(uncoded)] {
        let server = Server::start([Reply::Drop, page]).await;
        let error = client(&server).delete("/keys/1").send::<()>().await.unwrap_err();
        assert_eq!((error.status(), error.attempts()), (Some(404), 2));
        assert!(error.is_outcome_unknown());
    }
    // What can't be found is no success to who reads it.
    let server = Server::start([Reply::Drop, refusal(404, "not_found", &[])]).await;
    assert!(client(&server).get("/x").response().await.is_err());
}

#[tokio::test]
async fn nobody_there_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::builder(url).backoff(MS, MS).build().unwrap();
    let error = client.post("/x").response().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Connect, 4));
    assert!(!error.is_outcome_unknown());
    assert_eq!(error.to_string(), "the server can't be reached");
}

/// A connection that was kept, and that breaks under the next request: nobody below sends it again.
#[tokio::test]
async fn a_kept_connection_that_breaks_is_treated_as_any() {
    let server = Server::start([
        Reply::Kept("{}"),
        Reply::Drop,
        Reply::Kept("{}"),
        Reply::Drop,
        Reply::Kept("{}"),
    ])
    .await;
    let client = client(&server);
    client.get("/x").response().await.unwrap();
    let error = client.post("/once").once().response().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Broken, 1));
    assert!(error.is_outcome_unknown());
    assert_eq!((server.count(), server.connections()), (2, 1));
    client.get("/x").response().await.unwrap();
    assert_eq!(client.post("/again").response().await.unwrap().attempts(), 2);
    let seen = server.seen();
    assert_eq!((seen.len(), server.connections()), (5, 3));
    assert_eq!(seen[3], seen[4]);
}

/// The port is open and nobody speaks TLS there.
#[tokio::test]
async fn a_connection_that_never_came_about_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let client = Client::builder(url).timeout(PATIENCE).attempts(1).build().unwrap();
    let error = client.post("/x").response().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(!error.is_outcome_unknown());
}

#[tokio::test]
async fn what_an_earlier_attempt_may_have_done_stays_unknown() {
    let server = Server::start([Reply::Drop, refusal(403, "key_revoked", &[])]).await;
    let error = client(&server).post("/x").response().await.unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(403), 2));
    assert!(error.is_outcome_unknown() && error.idempotency_key().is_some());
    let server = Server::start([refusal(403, "key_revoked", &[])]).await;
    assert!(!client(&server).post("/x").response().await.unwrap_err().is_outcome_unknown());
}

/// Whether one answer, to a call that is sent once, leaves open what became of it.
#[tokio::test]
async fn an_answer_that_settles_nothing_leaves_the_outcome_unknown() {
    let page = || Reply::Bytes(answer_with(200, "text/html", &[], "<html></html>"));
    let other = || ok(json!("another shape"));
    let large = || Reply::Bytes(answer_with(200, "application/json", &[], &" ".repeat(10_001)));
    let open = [status(408, &[]), status(302, &[("Location", "/y")]), page(), other(), large()]
        .into_iter()
        .chain([500, 501, 502, 503, 504, 507, 599].map(|code| status(code, &[])))
        .chain(["idempotency_in_progress", "idempotency_response_not_kept"].map(in_conflict))
        .chain([status(409, &[])]);
    let settled = [400, 401, 403, 404, 413, 415, 422, 425, 429].map(|code| status(code, &[]));
    let settled = settled.into_iter().chain([in_conflict("request_conflict")]);
    for (reply, unknown) in open.map(|it| (it, true)).chain(settled.map(|it| (it, false))) {
        let server = Server::start([reply]).await;
        let client = builder(&server).max_answer_bytes(10_000).build().unwrap();
        let error = client.post("/x").once().send::<u8>().await.unwrap_err();
        assert_eq!(error.is_outcome_unknown(), unknown, "{error:?}");
    }
}

fn in_conflict(code: &str) -> Reply {
    refusal(409, code, &[])
}

#[tokio::test]
async fn a_refusal_that_is_replayed_settles_what_became_of_the_call() {
    let replayed = [("Idempotent-Replayed", "true")];
    let server = Server::start([Reply::Drop, refusal(403, "too_poor", &replayed)]).await;
    let error = client(&server).post("/x").response().await.unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(403), 2));
    assert!(!error.is_outcome_unknown());
    // What was kept may be no answer, and without a key there is nothing to replay.
    let server = Server::start([Reply::Drop, refusal(500, "internal_error", &replayed)]).await;
    assert!(client(&server).post("/x").response().await.unwrap_err().is_outcome_unknown());
    let server = Server::start([Reply::Drop, refusal(403, "too_poor", &replayed)]).await;
    let call = client(&server).post("/x").allow_repeats();
    assert!(call.response().await.unwrap_err().is_outcome_unknown());
}
