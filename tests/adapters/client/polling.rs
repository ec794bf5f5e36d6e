use std::{error::Error as _, time::Duration};

use key0_auth::client::{ErrorKind, PollErrorKind};
use serde_json::{Value, json};

use super::{
    MS, PATIENCE, builder, client,
    server::{Reply, Server, answer_with, head, ok, refusal, status},
};

fn state(name: &str) -> Reply {
    ok(json!({"status": name}))
}

fn is_published(state: &Value) -> bool {
    state["status"] == "published"
}

#[tokio::test]
async fn a_state_is_waited_for_through_an_outage() {
    let server = Server::start([
        state("draft"),
        Reply::Drop,
        Reply::Bytes(head(200, 100)),
        status(503, &[]),
        refusal(500, "internal_error", &[]),
        status(429, &[("Retry-After", "0")]),
        Reply::Hang,
        state("pending"),
        state("published"),
    ])
    .await;
    let client = builder(&server).attempts(1).timeout(5_000 * MS).build().unwrap();
    let mut told = Vec::new();
    let call = client.get("/x").poll_every(MS);
    let reached = call.poll_until(PATIENCE, |state: &Value| {
        told.push(state["status"].as_str().unwrap().to_owned());
        is_published(state)
    });
    assert_eq!(reached.await.unwrap(), json!({"status": "published"}));
    assert_eq!(told, ["draft", "pending", "published"]);
    assert_eq!(server.count(), 9);
}

#[tokio::test]
async fn a_deadline_that_passes_says_what_was_seen_last() {
    let server = Server::start([state("draft"), state("pending")]).await;
    let deadline = Duration::from_secs(5);
    let call = client(&server).get("/x").poll_every(MS);
    let waiting = call.poll_until(deadline, |state: &Value| {
        // The deadline passes between this look and the next one.
        if state["status"] == "pending" {
            std::thread::sleep(deadline);
        }
        false
    });
    let error = waiting.await.unwrap_err();
    assert_eq!(error.kind(), PollErrorKind::TimedOut);
    assert_eq!(error.to_string(), "the state was not reached in time");
    assert!(error.error().is_none() && error.source().is_none());
    assert_eq!(error.into_last(), Some(json!({"status": "pending"})));
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn a_deadline_that_passes_in_an_outage_says_so() {
    let outage = || refusal(503, "store_unavailable", &[]);
    let last = refusal(503, "store_unavailable", &[("Retry-After", "3600")]);
    let server = Server::start([state("pending"), outage(), outage(), last]).await;
    let call = client(&server).get("/x").poll_every(MS);
    let error = call.poll_until(PATIENCE, is_published).await.unwrap_err();
    assert_eq!(error.kind(), PollErrorKind::TimedOut);
    assert_eq!(error.last(), Some(&json!({"status": "pending"})));
    let outage = error.error().unwrap();
    assert_eq!((outage.status(), outage.code()), (Some(503), Some("store_unavailable")));
    assert_eq!(outage.attempts(), 4);

    let server = Server::start([Reply::Hang]).await;
    let error = client(&server).get("/x").poll_until(100 * MS, is_published).await.unwrap_err();
    assert_eq!((error.kind(), error.last()), (PollErrorKind::TimedOut, None));
    assert_eq!(error.error().unwrap().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_pause_past_the_deadline_is_not_waited_for() {
    for asked in ["3600", "18446744073709551615"] {
        let server = Server::start([status(503, &[("Retry-After", asked)])]).await;
        let call = client(&server).get("/x");
        let waiting = call.poll_until(Duration::from_secs(600), is_published);
        let error = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap_err();
        assert_eq!((error.kind(), server.count()), (PollErrorKind::TimedOut, 1));
    }
}

/// An interval that does not fit any more is cut short for it.
#[tokio::test]
async fn a_last_look_is_taken_near_the_deadline() {
    let server = Server::start([state("draft"), state("published")]).await;
    let call = client(&server).get("/x").poll_every(Duration::MAX);
    call.poll_until(5_000 * MS, is_published).await.unwrap();
    assert_eq!(server.count(), 2);
    let server = Server::start([state("draft")]).await;
    let call = client(&server).get("/x").poll_every(Duration::MAX);
    let error = call.poll_until(5_000 * MS, is_published).await.unwrap_err();
    assert_eq!((error.kind(), server.count()), (PollErrorKind::TimedOut, 2));
    assert!(error.error().is_none() && error.last().is_some());
}

#[tokio::test]
async fn looks_do_not_follow_on_each_other_without_a_pause() {
    let server = Server::start([state("draft")]).await;
    let call = client(&server).get("/x").poll_every(Duration::ZERO);
    call.poll_until(300 * MS, is_published).await.unwrap_err();
    assert!((1..=31).contains(&server.count()), "{}", server.count());
}

#[tokio::test]
async fn what_will_not_pass_ends_the_waiting() {
    let html = Reply::Bytes(answer_with(200, "text/html", &[], "<html></html>"));
    for (reply, kind) in [
        (refusal(404, "not_found", &[]), ErrorKind::Refused),
        (refusal(401, "key_revoked", &[]), ErrorKind::Refused),
        (html, ErrorKind::Unreadable),
        (status(302, &[("Location", "/y")]), ErrorKind::Redirected),
    ] {
        let server = Server::start([state("draft"), reply]).await;
        let call = client(&server).get("/x").poll_every(MS);
        let error = call.poll_until(PATIENCE, is_published).await.unwrap_err();
        assert_eq!(error.kind(), PollErrorKind::Failed);
        assert_eq!(error.error().unwrap().kind(), kind);
        assert_eq!(error.last(), Some(&json!({"status": "draft"})));
        assert_eq!(server.count(), 2);
    }
}

#[tokio::test]
async fn only_reading_is_repeated_to_wait() {
    let server = Server::start([state("published")]).await;
    for call in [client(&server).post("/x"), client(&server).delete("/x")] {
        let error = call.poll_until(PATIENCE, is_published).await.unwrap_err();
        assert_eq!(error.kind(), PollErrorKind::Failed);
        assert_eq!(error.error().unwrap().kind(), ErrorKind::InvalidRequest);
    }
    assert_eq!(server.count(), 0);
}
