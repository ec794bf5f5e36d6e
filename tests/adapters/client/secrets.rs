//! A credential shows in nothing that could be logged, whatever a server makes of it.

use std::{error::Error, fmt::Debug, process::Command};

use key0_auth::client::{Client, ClientBuilder};
use serde_json::{Value, json};

use super::{
    MS, builder,
    credentials::{SECRET, issuer, secret},
    server::{Reply, Seen, Server, answer_with, ok},
};

const CANARY: &str = "canary_0123456789abcdef";

/// The credential as it was sent, without a scheme before it.
fn credential(seen: &Seen) -> String {
    let value = ["x-api-key", "authorization", "x-internal-auth"]
        .iter()
        .find_map(|name| seen.header(name))
        .unwrap();
    value.strip_prefix("Bearer ").unwrap_or(value).to_owned()
}

fn repeated(seen: &Seen, status: u16, content_type: &str) -> Vec<u8> {
    let sent = credential(seen);
    let body = json!({
        "type": sent, "title": format!("{sent} is no good"), "detail": sent, "code": sent,
        "error": sent, "message": sent, "nested": [{"a": sent}], sent.clone(): 1,
    });
    let headers = [("X-Request-Id", &*sent), ("Location", &*sent), ("Retry-After", "0")];
    answer_with(status, content_type, &headers, &body.to_string())
}

/// Servers that send the credential back in every way, and fail in every way.
fn echoes() -> Vec<Reply> {
    vec![
        Reply::Made(|seen| repeated(seen, 403, "application/problem+json")),
        Reply::Made(|seen| repeated(seen, 503, "application/json")),
        Reply::Made(|seen| repeated(seen, 503, "text/html")),
        Reply::Made(|seen| repeated(seen, 302, "application/json")),
        Reply::Made(|seen| repeated(seen, 200, "application/json")),
        Reply::Made(|seen| repeated(seen, 200, "text/html")),
        // Too large, as a success and as a refusal.
        Reply::Made(|seen| {
            let body = json!({"title": credential(seen), "more": " ".repeat(20_000)});
            answer_with(200, "application/json", &[], &body.to_string())
        }),
        Reply::Made(|seen| {
            let body = json!({"title": credential(seen), "more": " ".repeat(20_000)});
            answer_with(400, "application/json", &[], &body.to_string())
        }),
        // No HTTP, and half of it.
        Reply::Made(|seen| credential(seen).into_bytes()),
        Reply::Made(|seen| {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999";
            format!("{head}\r\n\r\n{{\"a\":\"{}\"", credential(seen)).into_bytes()
        }),
        Reply::Made(|seen| format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", credential(seen)).into_bytes()),
        Reply::Drop,
        Reply::Hang,
    ]
}

fn shown(value: &impl Debug) -> String {
    format!("{value:?} {value:#?}")
}

fn chain(error: &dyn Error) -> String {
    let mut told = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        told.push_str(&format!("{error} {error:?} {error:#?} "));
        next = error.source();
    }
    told
}

/// Everything that can be shown of a client and of its calls.
async fn everything(build: impl Fn(ClientBuilder) -> ClientBuilder) -> (String, Vec<Seen>) {
    let (mut told, mut seen) = (String::new(), Vec::new());
    for echo in echoes() {
        let server = Server::start([echo]).await;
        let bare = Client::builder(server.url())
            .backoff(MS, MS)
            .timeout(300 * MS)
            .attempts(2)
            .max_answer_bytes(10_000);
        let builder = build(bare);
        told += &shown(&builder);
        let client = builder.build().unwrap();
        told += &shown(&client);
        for call in [client.get("/x"), client.post("/x").json(&json!({})), client.delete("/x")] {
            told += &shown(&call);
            if let Err(error) = call.send::<u64>().await {
                told += &chain(&error);
                told += &shown(&error.problem());
                let problem = error.problem();
                let texts = problem.map(|it| [it.type_uri(), it.title(), it.detail(), it.code()]);
                told += &shown(&texts);
                told += &shown(&problem.map(|it| (it.member("nested"), it.member("error"))));
                told += &shown(&(error.request_id(), error.code(), error.idempotency_key()));
            }
            match call.response().await {
                Ok(response) => told += &shown(&(&response, response.request_id())),
                Err(error) => told += &chain(&error),
            }
        }
        let waited = client.get("/x").poll_every(MS).poll_until(50 * MS, |_: &u64| false).await;
        told += &chain(&waited.unwrap_err());
        seen.extend(server.seen());
    }
    (told, seen)
}

fn assert_hidden(told: &str, secrets: &[&str]) {
    for secret in secrets {
        if let Some(at) = told.find(secret) {
            let start = told[..at].char_indices().rev().nth(200).map_or(0, |(at, _)| at);
            panic!("{secret} is shown: {}", &told[start..at + secret.len()]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_never_shown() {
    let (told, seen) = everything(|it| it.api_key(CANARY)).await;
    assert!(seen.iter().all(|it| it.header("x-api-key") == Some(CANARY)) && !seen.is_empty());
    assert!(told.contains("403") && told.contains("an API key"), "{told}");
    assert_hidden(&told, &[CANARY]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_credential_is_never_shown() {
    let (told, _) = everything(|it| it.bearer(CANARY)).await;
    assert_hidden(&told, &[CANARY]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_secret_is_never_shown() {
    let (told, _) = everything(|it| it.internal_secret(secret())).await;
    assert_hidden(&told, &[SECRET]);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_system_token_nor_its_key_is_ever_shown() {
    let (told, seen) = everything(|it| it.system_tokens(issuer(), "backend-service")).await;
    let tokens: Vec<String> = seen.iter().map(credential).collect();
    assert!(tokens.len() > 10);
    for token in &tokens {
        // A signature alone is as good as the token: the rest can be guessed.
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert_hidden(&told, &[token, signature, SECRET]);
    }
}

/// A parser's words would quote the answer: here the key that was just made.
#[tokio::test]
async fn what_an_answer_holds_is_not_shown() {
    let server = Server::start([ok(json!({"key": CANARY}))]).await;
    let client = builder(&server).build().unwrap();
    let error = client.post("/keys").send::<std::collections::HashMap<String, u64>>().await;
    assert_hidden(&chain(&error.unwrap_err()), &[CANARY]);
    let response = client.post("/keys").response().await.unwrap();
    assert_hidden(&shown(&response), &[CANARY]);
    assert_hidden(&shown(&client.post("/keys").json(&json!({"a": CANARY}))), &[CANARY]);
    let poll = client.get("/x").poll_every(MS).poll_until(20 * MS, |_: &Value| false).await;
    let error = poll.unwrap_err();
    assert_eq!(error.last().unwrap()["key"], CANARY);
    assert_hidden(&chain(&error), &[CANARY]);
}

#[test]
fn a_password_in_the_address_is_not_shown() {
    let builder = Client::builder(format!("https://user:{CANARY}@host")).api_key(CANARY);
    assert_hidden(&shown(&builder), &[CANARY]);
    assert_hidden(&chain(&builder.build().unwrap_err()), &[CANARY]);
    for text in ["two words canary_0123456789abcdef", "canary_0123456789abcdef\n"] {
        let builder = Client::builder("https://host").api_key(text).bearer(text);
        assert_hidden(&shown(&builder), &[CANARY]);
        assert_hidden(&chain(&builder.build().unwrap_err()), &[CANARY]);
    }
}

const PROXY_TEST: &str = "client::secrets::a_call_past_the_proxy_of_the_environment";

/// A proxy would read the key, and the environment is not ours to set: the test is run in a process
/// of its own, whose environment names one.
#[tokio::test]
async fn no_proxy_of_the_environment_is_used() {
    let proxy = Server::start([ok(json!({"by": "the proxy"}))]).await;
    let url = proxy.url();
    let run = move || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env(name, &url);
        }
        // Each of these keeps the client from the proxy, and would let the test pass without cause.
        for name in ["NO_PROXY", "no_proxy", "REQUEST_METHOD"] {
            command.env_remove(name);
        }
        command.args(["--exact", PROXY_TEST, "--ignored"]).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{output:?}");
    assert_eq!(proxy.count(), 0);
}

#[tokio::test]
#[ignore = "run by the test above, in an environment of its own"]
async fn a_call_past_the_proxy_of_the_environment() {
    let server = Server::start([ok(json!({"by": "the server"}))]).await;
    let answer: Value = builder(&server).build().unwrap().get("/x").send().await.unwrap();
    assert_eq!(answer["by"], "the server");
}
