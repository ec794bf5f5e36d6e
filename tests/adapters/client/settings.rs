use std::time::Duration;

use key0_auth::{
    client::{Client, ClientBuilder, ErrorKind},
    domain::Secret,
};
use serde_json::json;

use super::{
    KEY, client,
    credentials::{issuer, secret},
    server::{Server, ok},
};

const URL: &str = "https://api.example.com";

fn fault(builder: ClientBuilder) -> String {
    builder.build().expect_err("it can't be built").to_string()
}

#[test]
fn what_leaves_nothing_to_do_is_refused() {
    let start = || Client::builder(URL);
    let secret_with = |text: &str| Secret::new("a", format!("{text}{}", "x".repeat(32))).unwrap();
    for (builder, told) in [
        (start().api_key(""), "the API key is not valid"),
        (start().api_key("two words"), "the API key is not valid"),
        (start().api_key("line\r\nX-Evil: 1"), "the API key is not valid"),
        (start().api_key("k".repeat(8_193)), "the API key is not valid"),
        (start().bearer("é"), "the bearer credential is not valid"),
        (start().internal_secret(secret_with(" ")), "the internal secret is not valid"),
        (start().internal_secret(secret_with("a\n")), "the internal secret is not valid"),
        (start().internal_secret_in("a header", secret()), "no name of a header"),
        (start().system_tokens(issuer(), ""), "the audience is not valid"),
        (start().system_tokens(issuer(), "é"), "the audience is not valid"),
        (start().api_key(KEY).bearer(KEY), "one credential, not several"),
        (start().attempts(0), "attempts"),
        (start().timeout(Duration::ZERO), "the timeout"),
        (start().deadline(Duration::ZERO), "the deadline"),
        (start().max_answer_bytes(0), "the largest answer"),
        (start().system_token_life(Duration::from_millis(999)), "from 1 s to 300 s"),
        (start().system_token_life(Duration::from_secs(301)), "from 1 s to 300 s"),
        (Client::builder("http://api.example.com"), "without TLS"),
        (Client::builder("https://user:word@api.example.com"), "names no user"),
    ] {
        let fault = fault(builder);
        assert!(fault.contains(told), "{told}: {fault}");
    }
}

/// Where another credential is looked for, and where a secret would frame or route the request.
#[test]
fn an_internal_secret_has_a_header_of_its_own() {
    for name in [
        "Authorization",
        "proxy-authorization",
        "Cookie",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
        "Accept",
        "Content-Type",
        "Idempotency-Key",
        "User-Agent",
    ] {
        let fault = fault(Client::builder(URL).internal_secret_in(name, secret()));
        assert!(fault.contains("used for something else"), "{name}: {fault}");
    }
    assert!(Client::builder(URL).internal_secret_in("X-Mine", secret()).build().is_ok());
}

#[test]
fn every_fault_is_told_at_once() {
    let error = Client::builder("nowhere").api_key("").attempts(0).build().expect_err("three");
    assert_eq!(error.faults().len(), 3);
}

#[tokio::test]
async fn https_and_allowed_http_are_spoken() {
    assert!(Client::builder(URL).api_key(KEY).build().is_ok());
    let plain = Client::builder("http://api.example.com").dangerous_allow_plain_http();
    assert!(plain.build().is_ok());
}

/// A base below a path, and calls that try to leave it: nothing of them is sent.
#[tokio::test]
async fn no_path_leads_elsewhere() {
    let server = Server::start([ok(json!({}))]).await;
    let other = Server::start([ok(json!({}))]).await;
    let client = Client::builder(format!("{}/below/", server.url())).build().unwrap();
    let other_url = format!("{}/x", other.url());
    let other_host = other.url().replace("http:", "");
    for path in [
        "",
        "x",
        "//",
        "/../x",
        "/..",
        "/a/../../x",
        "/%2e%2e/x",
        "/%2E./x",
        "/.%2e/x",
        "/..%2fx",
        "/%2e%2e%2fx",
        "/..%5cx",
        "/\\..\\x",
        "/a//b",
        "/x#y",
        "/ x",
        "/x\r\nX-Evil: 1",
        "@host/x",
        &other_url,
        &other_host,
        &format!("/{other_url}"),
    ] {
        for call in [client.get(path), client.post(path), client.delete(path)] {
            let error = call.response().await.unwrap_err();
            assert_eq!((error.kind(), error.attempts()), (ErrorKind::InvalidRequest, 0), "{path}");
        }
        assert!(client.get(path).poll_until(Duration::MAX, |_: &()| true).await.is_err());
    }
    assert_eq!((server.count(), other.count()), (0, 0));
    client.get("/a%2Fb/").response().await.unwrap();
    assert_eq!(server.seen()[0].line, "GET /below/a%2Fb/ HTTP/1.1");
}

#[tokio::test]
async fn a_body_that_is_no_json_is_not_sent() {
    let server = Server::start([ok(json!({}))]).await;
    let no_json = std::collections::HashMap::from([((1, 2), "a key that is no text")]);
    let error = client(&server).post("/x").json(&no_json).response().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert_eq!(server.count(), 0);
}
