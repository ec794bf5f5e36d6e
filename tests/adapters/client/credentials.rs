use std::{collections::HashSet, sync::Arc, time::Duration};

use key0_auth::{
    AccessTokens, InternalAuth,
    auth::InternalStrategy,
    client::{Client, ClientBuilder},
    domain::{Clock, Secret, SecretSet, Timestamp},
    token::TokenIssuer,
};
use serde_json::json;

use super::{
    KEY, MS, client,
    server::{Reply, Server, ok, status},
};

pub(crate) const SECRET: &str = "a canary: the secret of internal calls";

pub(crate) fn secret() -> Secret {
    Secret::new("the tests' secret", SECRET).unwrap()
}

pub(crate) fn issuer() -> TokenIssuer {
    TokenIssuer::hs256(&secret())
}

fn plain(server: &Server) -> ClientBuilder {
    Client::builder(server.url()).backoff(MS, MS)
}

/// What stands in the two headers by which callers prove themselves, and in a third.
async fn sent(build: impl FnOnce(ClientBuilder) -> ClientBuilder) -> [Option<String>; 3] {
    let names = ["x-api-key", "authorization", "x-internal-auth"];
    sent_in(names, build).await
}

async fn sent_in<const N: usize>(
    names: [&str; N],
    build: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> [Option<String>; N] {
    let server = Server::start([ok(json!({}))]).await;
    build(plain(&server)).build().unwrap().get("/x").response().await.unwrap();
    let seen = &server.seen()[0];
    names.map(|name| seen.header(name).map(str::to_owned))
}

#[tokio::test]
async fn each_credential_stands_in_its_header() {
    let [api_key, bearer, internal] =
        [KEY.to_owned(), format!("Bearer {KEY}"), SECRET.to_owned()].map(Some);
    assert_eq!(sent(|it| it).await, [None, None, None]);
    assert_eq!(sent(|it| it.api_key(KEY)).await, [api_key, None, None]);
    assert_eq!(sent(|it| it.bearer(KEY)).await, [None, bearer, None]);
    assert_eq!(sent(|it| it.internal_secret(secret())).await, [None, None, internal.clone()]);
    let names = ["x-internal-auth", "x-service-auth"];
    let elsewhere = sent_in(names, |it| it.internal_secret_in("X-Service-Auth", secret())).await;
    assert_eq!(elsewhere, [None, internal]);
}

#[derive(Debug)]
struct Fixed(Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[tokio::test]
async fn system_tokens_open_what_key0_opens_and_are_signed_for_each_attempt() {
    let now = Timestamp::from_seconds(1_800_000_000);
    let server = Server::start([status(503, &[]), status(503, &[]), ok(json!({}))]).await;
    let client = plain(&server)
        .system_tokens(issuer(), "backend-service")
        .system_token_life(Duration::from_secs(300))
        .clock(Arc::new(Fixed(now)))
        .build()
        .unwrap();
    client.post("/internal/issue-token").allow_repeats().response().await.unwrap();
    let seen = server.seen();
    let tokens: Vec<&str> = seen.iter().map(|it| it.header("authorization").unwrap()).collect();
    assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), 3, "{tokens:?}");
    let validate = |at: Timestamp, audience: &str, token: &str| {
        let internal = InternalAuth::builder()
            .signed_jwt(Arc::new(AccessTokens::hs256(SECRET).unwrap()), audience)
            .clock(Arc::new(Fixed(at)))
            .build()
            .unwrap();
        internal.validate([token.as_bytes()], []).map(|caller| caller.strategy())
    };
    for token in tokens {
        let strategy = validate(now, "backend-service", token).unwrap();
        assert_eq!(strategy, InternalStrategy::SignedJwt);
        assert!(validate(now, "another-service", token).is_err());
        assert!(validate(now.plus(Duration::from_secs(299)), "backend-service", token).is_ok());
        assert!(validate(now.plus(Duration::from_secs(300)), "backend-service", token).is_err());
    }
}

#[tokio::test]
async fn the_internal_secret_opens_what_key0_opens() {
    let [_, _, sent] = sent(|it| it.internal_secret(secret())).await;
    let internal = InternalAuth::builder().shared_secret(SecretSet::new(secret())).build().unwrap();
    let caller = internal.validate([], [sent.unwrap().as_bytes()]).unwrap();
    assert_eq!(caller.strategy(), InternalStrategy::SharedSecret);
}

#[tokio::test]
async fn clones_share_one_client_and_its_connections() {
    let server = Server::start([Reply::Kept("{}")]).await;
    let client = client(&server);
    for _ in 0..8 {
        client.clone().get("/x").response().await.unwrap();
    }
    assert_eq!((server.count(), server.connections()), (8, 1));
    assert!(server.seen().iter().all(|seen| seen.header("x-api-key") == Some(KEY)));
}
