//! What the benchmarks measure with: credentials as Key0 makes them.
// Each benchmark uses a part of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod tokens;

use std::{sync::Arc, time::Duration};

use key0_auth::{
    AccessTokens, ApiKeys, Cached, KeyStore, MemoryStore, Validator,
    apikey::{Grant, KeyFormat, KeyRecord, PlainKey},
    domain::{Actor, Clock, KeyId, Secret, SystemClock, Timestamp},
    token::VerifyingKey,
};

pub use self::tokens::{
    BareHmac, HEADER, PLAN, SECRET, TOKENS, claims, encode, parts, resource, sign, signing_input,
    tokens,
};

/// What all keys here were bought for.
pub const PHOTO: &str = "photo-1";

/// Ours, with so many keys besides the one that has signed, which is tried last.
pub fn access_tokens(others: usize) -> AccessTokens {
    let keys = (0..others).map(other_key).chain([signing_key()]);
    keys.fold(AccessTokens::builder(), |builder, key| builder.key(key)).build().expect("good keys")
}

/// The same with one key, and room for so many tokens that were accepted.
pub fn remembering(tokens: usize) -> AccessTokens {
    let builder = AccessTokens::builder().key(signing_key());
    builder.remember_verified(tokens).build().expect("a good key")
}

/// The same, where every key has a name: `key-0` and so on, of which the last has signed.
pub fn access_tokens_with_names(others: usize) -> AccessTokens {
    let keys = (0..others).map(other_key).chain([signing_key()]);
    let named = keys.enumerate().map(|(n, key)| key.kid(format!("key-{n}")));
    named.fold(AccessTokens::builder(), |builder, key| builder.key(key)).build().expect("good keys")
}

fn signing_key() -> VerifyingKey {
    VerifyingKey::hs256(&secret(SECRET))
}

fn other_key(n: usize) -> VerifyingKey {
    VerifyingKey::hs256(&secret(&format!("another secret, {n:032}")))
}

fn secret(text: &str) -> Secret {
    Secret::new("a secret", text.as_bytes()).expect("long enough")
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

/// A validator of such tokens and of API keys, and so many keys that it has in its cache.
pub async fn validator(keys: usize) -> (Validator, Vec<String>) {
    let store = Arc::new(MemoryStore::new());
    let mut texts = Vec::new();
    for _ in 0..keys {
        let (key, record) = new_key();
        store.insert(&record, &Actor::host()).await.expect("it is new");
        texts.push(key.expose().to_owned());
    }
    let validator = Validator::builder()
        .access_tokens(access_tokens(0))
        .api_keys(ApiKeys::cached(cached(store)))
        .build()
        .expect("there is what it needs");
    for key in &texts {
        let bearer = format!("Bearer {key}");
        validator.validate([bearer.as_bytes()], []).await.expect("a good key");
    }
    (validator, texts)
}

/// A key that opens [`PHOTO`], and its record.
pub fn new_key() -> (PlainKey, KeyRecord) {
    let key = KeyFormat::default().generate().expect("random bytes");
    let grant = Grant::Payment {
        resource_id: PHOTO.parse().expect("legal"),
        plan_id: PLAN.parse().expect("legal"),
        permissions: None,
    };
    let record = KeyRecord::new(KeyId::generate(), &key, grant, now());
    (key, record)
}

/// A cache that forgets nothing by itself while a benchmark runs.
pub fn cached(store: Arc<MemoryStore>) -> Arc<Cached> {
    let cached = Cached::builder(store, Arc::new(SystemClock));
    Arc::new(cached.time_to_live(Duration::from_secs(3_600)).build().expect("good limits"))
}

/// The result of a future that never waits.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => panic!("it waits"),
    }
}
