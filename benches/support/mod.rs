//! What the benchmarks measure with: credentials as Key0 makes them, and the ways to judge them that
//! ours are compared with.
#![allow(dead_code)]

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{DecodingKey, Validation};
use key0_auth::{
    AccessTokens,
    domain::{Clock, Secret, SystemClock, Timestamp},
    token::VerifyingKey,
};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;

pub const SECRET: &str = "the secret of these benchmarks, 32 bytes+";

/// How many different tokens there are: so many that none is in a processor's near cache again.
pub const TOKENS: usize = 4_096;

/// Tokens of 408 bytes, as Key0 makes them, each another.
pub fn tokens() -> Vec<String> {
    tokens_with(r#"{"alg":"HS256"}"#, SECRET)
}

pub fn tokens_with(header: &str, secret: &str) -> Vec<String> {
    (0..TOKENS).map(|n| sign(header, &claims(n, Duration::from_secs(86_400)), secret)).collect()
}

/// The claims of a Key0 token that lives so long from now on.
pub fn claims(n: usize, life: Duration) -> String {
    let now = SystemClock.now();
    // Written out, since the order of the members is Key0's own.
    format!(
        r#"{{"sub":"550e8400-e29b-41d4-a716-{n:012}","jti":"660e8400-e29b-41d4-a716-{n:012}","resourceId":"photo-collection-{n:04}","planId":"basic","txHash":"0x{n:064x}","iat":{},"exp":{}}}"#,
        now.as_seconds(),
        now.plus(life).as_seconds()
    )
}

pub fn sign(header: &str, claims: &str, secret: &str) -> String {
    let input = format!("{}.{}", encode(header), encode(claims));
    let mac: Hmac<Sha256> = Hmac::new_from_slice(secret.as_bytes()).expect("any length");
    let signature = mac.chain_update(&input).finalize().into_bytes();
    format!("{input}.{}", encode(signature))
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The least that any judgement of such a token costs: one HMAC with a key prepared before.
pub struct BareHmac(Hmac<Sha256>);

impl BareHmac {
    pub fn new() -> Self {
        Self(Hmac::new_from_slice(SECRET.as_bytes()).expect("any length"))
    }

    pub fn verify(&self, signing_input: &str, signature: &[u8]) -> bool {
        self.0.clone().chain_update(signing_input).verify_slice(signature).is_ok()
    }
}

/// A token taken apart, as [`BareHmac`] needs it.
pub fn parts(token: &str) -> (String, Vec<u8>) {
    let (input, signature) = token.rsplit_once('.').expect("three parts");
    (input.to_owned(), URL_SAFE_NO_PAD.decode(signature).expect("base64url"))
}

/// `jsonwebtoken::decode`, made as strict as it can be, and the rules that it has no word for.
pub struct Jsonwebtoken {
    key: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
pub struct PlainClaims {
    sub: String,
    jti: String,
    resource_id: String,
    plan_id: String,
    tx_hash: String,
    exp: f64,
    iat: Option<f64>,
}

impl Jsonwebtoken {
    pub fn new() -> Self {
        let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_aud = false;
        Self { key: DecodingKey::from_secret(SECRET.as_bytes()), validation }
    }

    pub fn validate(&self, token: &str) -> Option<PlainClaims> {
        let decoded = jsonwebtoken::decode::<PlainClaims>(token, &self.key, &self.validation);
        let claims = decoded.ok()?.claims;
        let id = |text: &str| {
            (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let ids = [&claims.sub, &claims.jti, &claims.resource_id, &claims.plan_id, &claims.tx_hash];
        let system = claims.sub == "key0-service"
            || claims.plan_id == "system"
            || claims.tx_hash == "system-auth";
        (ids.iter().all(|text| id(text)) && !system).then_some(claims)
    }
}

/// Ours, with so many keys besides the one that has signed.
pub fn access_tokens(others: usize) -> AccessTokens {
    let secret = |text: &str| Secret::new("a secret", text.as_bytes()).expect("long enough");
    let other = |n: usize| VerifyingKey::hs256(&secret(&format!("another secret, {n:032}")));
    let keys = (0..others).map(other).chain([VerifyingKey::hs256(&secret(SECRET))]);
    keys.fold(AccessTokens::builder(), |builder, key| builder.key(key)).build().expect("good keys")
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

pub fn order(n: usize) -> serde_json::Value {
    json!({ "resourceId": format!("photo-{n}") })
}

/// The result of a future that never waits.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => panic!("it waits"),
    }
}
