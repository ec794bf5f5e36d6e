//! What the benchmarks measure with: credentials as Key0 makes them, and the ways to judge them that
//! ours are compared with.
#![allow(unreachable_pub)]

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{DecodingKey, Validation};
use key0_auth::{
    AccessTokens, ApiKeys, Cached, KeyStore, MemoryStore, Validator,
    apikey::{Grant, KeyFormat, KeyRecord},
    domain::{Actor, Clock, KeyId, Secret, SystemClock, Timestamp},
    token::VerifyingKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::Sha256;

const SECRET: &str = "the secret of these benchmarks, 32 bytes+";

/// How many different tokens there are: so many that none is in a processor's near cache again.
const TOKENS: usize = 4_096;

/// Tokens of 408 bytes, as Key0 makes them, each another.
pub fn tokens() -> Vec<String> {
    (0..TOKENS).map(|n| sign(r#"{"alg":"HS256"}"#, &claims(n))).collect()
}

/// The claims of a token that lives for a day.
fn claims(n: usize) -> String {
    let now = SystemClock.now();
    let life = Duration::from_secs(86_400);
    // Written out, since the order of the members is Key0's own.
    format!(
        r#"{{"sub":"550e8400-e29b-41d4-a716-{n:012}","jti":"660e8400-e29b-41d4-a716-{n:012}","resourceId":"photo-collection-{n:04}","planId":"basic","txHash":"0x{n:064x}","iat":{},"exp":{}}}"#,
        now.as_seconds(),
        now.plus(life).as_seconds()
    )
}

fn sign(header: &str, claims: &str) -> String {
    let input = format!("{}.{}", encode(header), encode(claims));
    let mac: Hmac<Sha256> = Hmac::new_from_slice(SECRET.as_bytes()).expect("any length");
    let signature = mac.chain_update(&input).finalize().into_bytes();
    format!("{input}.{}", encode(signature))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
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

/// `jsonwebtoken::decode`, made as strict as it can be, and most of the rules that it has no word
/// for. As ours does, it keeps the claims that it gives no meaning.
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
    cnf: Option<Value>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl Jsonwebtoken {
    pub fn new() -> Self {
        let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
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
        let good = ids.iter().all(|text| id(text)) && !system && claims.cnf.is_none();
        good.then_some(claims)
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

/// A validator of such tokens and of API keys, and so many keys that it has in its cache.
pub async fn validator(keys: usize) -> (Validator, Vec<String>) {
    let store = Arc::new(MemoryStore::new());
    let mut texts = Vec::new();
    for _ in 0..keys {
        let key = KeyFormat::default().generate().expect("random bytes");
        let grant = Grant::Payment {
            resource_id: "photo-1".parse().expect("legal"),
            plan_id: "basic".parse().expect("legal"),
            permissions: None,
        };
        let record = KeyRecord::new(KeyId::generate(), &key, grant, now());
        store.insert(&record, &Actor::host()).await.expect("it is new");
        texts.push(key.expose().to_owned());
    }
    let cached = Cached::builder(store, Arc::new(SystemClock));
    let cached = cached.time_to_live(Duration::from_secs(3_600)).build().expect("good limits");
    let validator = Validator::builder()
        .access_tokens(access_tokens(0))
        .api_keys(ApiKeys::cached(Arc::new(cached)))
        .build()
        .expect("there is what it needs");
    for key in &texts {
        let bearer = format!("Bearer {key}");
        validator.validate([bearer.as_bytes()], []).await.expect("a good key");
    }
    (validator, texts)
}

/// The result of a future that never waits.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => panic!("it waits"),
    }
}
