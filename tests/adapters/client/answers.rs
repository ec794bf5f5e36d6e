use std::error::Error as _;

use key0_auth::client::ErrorKind;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    MS, PATIENCE, builder, client,
    server::{Reply, Server, answer_with, head, ok, refusal, status},
};

#[derive(Debug, Deserialize, PartialEq)]
struct Minted {
    newamount: u64,
}

#[tokio::test]
async fn answers_are_typed() {
    let server = Server::start([
        ok(json!({"newamount": 600, "more": true})),
        status(204, &[]),
        status(204, &[]),
        ok(json!([1, 2])),
        Reply::Bytes(answer_with(201, "application/vnd.x+json; charset=utf-8", &[], "{\"a\":1}")),
        Reply::Bytes(answer_with(
            200,
            "Application/JSON",
            &[
                ("X-Request-Id", "seven"),
                ("Idempotent-Replayed", "true"),
                ("Two", "a"),
                ("Two", "b"),
            ],
            "1",
        )),
    ])
    .await;
    let client = client(&server);
    let minted: Minted = client.post("/mint").json(&json!({})).send().await.unwrap();
    assert_eq!(minted, Minted { newamount: 600 });
    client.delete("/x").send::<()>().await.unwrap();
    assert_eq!(client.get("/x").send::<Option<Minted>>().await.unwrap(), None);
    assert_eq!(client.get("/x").send::<Vec<u8>>().await.unwrap(), [1, 2]);
    assert_eq!(client.get("/x").send::<Value>().await.unwrap(), json!({"a": 1}));
    let response = client.get("/x?a=b").query("c", "d e").query("n", 1).response().await.unwrap();
    assert_eq!((response.request_id(), response.is_replayed()), (Some("seven"), true));
    assert_eq!((response.header("two"), response.header("three")), (None, None));
    assert_eq!((response.bytes(), response.json::<u8>().unwrap()), (&b"1"[..], 1));
    let seen = server.seen();
    assert_eq!(seen[0].line, "POST /mint HTTP/1.1");
    assert_eq!(seen[1].line, "DELETE /x HTTP/1.1");
    assert_eq!(seen[5].line, "GET /x?a=b&c=d+e&n=1 HTTP/1.1");
    assert_eq!(seen[5].header("accept"), Some("application/json, application/problem+json"));
    assert!(seen[5].header("user-agent").unwrap().starts_with("key0-auth/"));
}

#[tokio::test]
async fn a_refusal_keeps_everything_that_it_says() {
    let server = Server::start([refusal(403, "insufficient_permissions", &[])]).await;
    let error = client(&server).post("/x").send::<Value>().await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Refused, Some(403)));
    assert_eq!(error.code(), Some("insufficient_permissions"));
    assert_eq!(error.request_id(), Some("request-7"));
    let problem = error.problem().unwrap();
    assert_eq!(problem.type_uri(), Some("about:blank"));
    assert_eq!((problem.title(), problem.detail()), (Some("Refused"), Some("In detail")));
    assert_eq!(problem.member("status"), Some(&json!(403)));
    assert_eq!(
        error.to_string(),
        "the server refused the call, status 403, insufficient_permissions"
    );
}

#[tokio::test]
async fn refusals_of_other_servers_are_understood() {
    let json = "application/json";
    let server = Server::start([
        Reply::Bytes(answer_with(400, json, &[], r#"{"error":"Bad","message":"really"}"#)),
        Reply::Bytes(answer_with(400, json, &[], r#"{"code":"An odd Code!","title":7}"#)),
        Reply::Bytes(answer_with(400, json, &[], r#"["no","object"]"#)),
        Reply::Bytes(answer_with(400, json, &[], "{\"cut\":")),
        Reply::Bytes(answer_with(404, "text/html", &[], "<html>404</html>")),
        status(418, &[]),
    ])
    .await;
    let client = client(&server);
    let error = client.get("/x").response().await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!((problem.title(), problem.detail()), (Some("Bad"), Some("really")));
    let error = client.get("/x").response().await.unwrap_err();
    assert_eq!((error.code(), error.problem().unwrap().title()), (Some("An odd Code!"), None));
    assert_eq!(error.to_string(), "the server refused the call, status 400");
    for status in [400, 400, 404, 418] {
        let error = client.get("/x").response().await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Refused, Some(status)));
        assert!(error.problem().is_none() && error.request_id().is_none());
    }
}

#[tokio::test]
async fn what_is_not_the_json_that_was_asked_for_is_unreadable_and_asked_for_once() {
    for (content_type, body, told) in [
        ("text/html", "<html>{}</html>", "its content type is not json"),
        ("text/plain", "{\"newamount\":1}", "its content type is not json"),
        ("application/jsonx", "{\"newamount\":1}", "its content type is not json"),
        ("application/json", "{\"newamount\":", "from line 1, column 13 on"),
        ("application/json", "{\"newamount\":\"secret\"}", "from line 1, column 21 on"),
        ("application/json", "<html></html>", "from line 1, column 1 on"),
        ("application/json", "", "from line 1, column 4 on"),
        ("application/json", "{\"newamount\":1}}", "from line 1, column 16 on"),
    ] {
        let headers = [("X-Request-Id", "seven")];
        let server =
            Server::start([Reply::Bytes(answer_with(200, content_type, &headers, body))]).await;
        let error = client(&server).post("/mint").send::<Minted>().await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Unreadable, Some(200)), "{body}");
        assert_eq!((error.request_id(), error.attempts()), (Some("seven"), 1), "{body}");
        assert!(error.idempotency_key().is_some());
        let source = error.source().unwrap().to_string();
        assert!(source.contains(told), "{body}: {source}");
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_read_to_it() {
    let chunked =
        "HTTP/1.1 200 Said\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    for reply in [
        Reply::Flood(chunked.into()),
        Reply::Flood(head(200, 1_000_000_000)),
        Reply::Bytes(answer_with(200, "application/json", &[], &" ".repeat(10_001))),
    ] {
        let server = Server::start([reply]).await;
        let client = builder(&server).max_answer_bytes(10_000).timeout(PATIENCE).attempts(1);
        let error = client.build().unwrap().get("/x").send::<Value>().await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::TooLarge, Some(200)));
        assert_eq!(server.count(), 1);
    }
    let fits = format!("{}1", " ".repeat(9_999));
    let server =
        Server::start([Reply::Bytes(answer_with(200, "application/json", &[], &fits))]).await;
    let client = builder(&server).max_answer_bytes(10_000).build().unwrap();
    assert_eq!(client.get("/x").send::<u8>().await.unwrap(), 1);
}

/// Whatever becomes of its body, a refusal is one.
#[tokio::test]
async fn the_status_of_a_refusal_stands() {
    let mut half = head(403, 100);
    half.extend_from_slice(b"{");
    for reply in [
        Reply::Flood(head(403, 1_000_000_000)),
        Reply::HangAfter(head(403, 100)),
        Reply::Bytes(half),
    ] {
        let server = Server::start([reply]).await;
        let client = builder(&server).max_answer_bytes(10_000).timeout(5_000 * MS).build().unwrap();
        let call = client.get("/x");
        let error = timeout(PATIENCE, call.response()).await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Refused, Some(403)));
        assert!(error.problem().is_none());
        assert_eq!(server.count(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_comes_drop_by_drop_is_late() {
    for reply in
        [Reply::Drip(head(200, 1_000_000)), Reply::Drip(b"HTTP/1.1 200 Said\r\nA: b".to_vec())]
    {
        let server = Server::start([reply]).await;
        let client = builder(&server).timeout(200 * MS).attempts(2).build().unwrap();
        let call = client.get("/x");
        let error = timeout(PATIENCE, call.response()).await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::Timeout, 2));
    }
}

/// A redirect would get the key.
#[tokio::test]
async fn no_redirect_is_followed() {
    let other = Server::start([ok(json!({}))]).await;
    for code in [300, 301, 302, 303, 304, 307, 308] {
        let location = format!("{}/elsewhere", other.url());
        let server = Server::start([status(code, &[("Location", &location)])]).await;
        let client = client(&server);
        for call in [client.get("/x"), client.post("/x"), client.delete("/x")] {
            let error = call.send::<Value>().await.unwrap_err();
            assert_eq!((error.kind(), error.status()), (ErrorKind::Redirected, Some(code)));
            assert_eq!(error.attempts(), 1);
        }
        assert_eq!(server.count(), 3);
    }
    assert_eq!(other.count(), 0);
}
