//! The sample backend from outside: a process, and real sockets.
pub(crate) mod internal;
mod keys;
mod lifecycle;
pub(crate) mod limits;
mod order;
mod recorded;
mod untold;

use key0_auth::{
    domain::{Claims, Clock, SystemClock, Timestamp},
    token::TokenIssuer,
};
use serde_json::{Value, json};

use crate::process;
use crate::process::{Request, token_secret};

pub(crate) const PHOTO: &str = "/api/photos/photo-1";
pub(crate) const ISSUE_TOKEN: &str = "/internal/issue-token";
pub(crate) const PAYMENT_RECEIVED: &str = "/internal/payment-received";
pub(crate) const PHOTO_1: &str = r#"{"id":"photo-1","tierId":"basic","planId":"basic","url":"https://cdn.example.com/photos/photo-1.jpg","title":"Photo photo-1","resolution":"4K"}"#;

fn now() -> Timestamp {
    SystemClock.now()
}

/// A good token for a resource, with a claim `pad` of so many bytes.
pub(crate) fn access_token(resource: &str, pad: usize) -> String {
    access_token_by(&TokenIssuer::hs256(&token_secret()), resource, pad)
}

/// A good token of this purchase.
pub(crate) fn access_token_of(challenge: &str) -> String {
    let claims = Claims::new(
        "request-1".parse().unwrap(),
        challenge.parse().unwrap(),
        "photo-1".parse().unwrap(),
        "basic".parse().unwrap(),
        "0xabc".parse().unwrap(),
        now().plus(std::time::Duration::from_secs(3_600)),
    );
    TokenIssuer::hs256(&token_secret()).access_token(&claims).unwrap()
}

pub(crate) fn access_token_by(issuer: &TokenIssuer, resource: &str, pad: usize) -> String {
    // On a whole second: the digits of a fraction would make some tokens longer than others.
    let expires_at = Timestamp::from_seconds(now().as_seconds() + 3_600);
    let claims = Claims::new(
        "request-1".parse().unwrap(),
        "challenge-1".parse().unwrap(),
        resource.parse().unwrap(),
        "basic".parse().unwrap(),
        "0xabc".parse().unwrap(),
        expires_at,
    );
    let claims = match pad {
        0 => claims,
        _ => claims.with_extra([("pad".to_owned(), json!("x".repeat(pad)))].into_iter().collect()),
    };
    issuer.access_token(&claims).unwrap()
}

/// What Key0 asks for, with ids of its own for each `n`.
pub(crate) fn order(n: impl std::fmt::Display) -> Value {
    json!({
        "requestId": format!("request-{n}"),
        "challengeId": format!("challenge-{n}"),
        "resourceId": "photo-1",
        "planId": "basic",
        "txHash": format!("0x{n}"),
    })
}

pub(crate) fn issue(n: impl std::fmt::Display) -> Request {
    Request::post(ISSUE_TOKEN, &order(n)).internal(process::INTERNAL_SECRET)
}
