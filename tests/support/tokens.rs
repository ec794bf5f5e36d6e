//! Tokens made by hand: any text can be a header or a payload, and be signed too.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

#[cfg(feature = "aws_lc_rs")]
pub use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
#[cfg(not(feature = "aws_lc_rs"))]
pub use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;

pub const SECRET: &str = "the current secret of these tests, 32+";
pub const PREVIOUS_SECRET: &str = "the previous secret of these tests, 32+";
pub const HS256: &str = r#"{"alg":"HS256"}"#;

/// A file of `tests/fixtures/keys`.
pub fn key_file(name: &str) -> String {
    let path = format!("{}/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn hmac_sha256(secret: impl AsRef<[u8]>, message: &str) -> Vec<u8> {
    let mac: Hmac<Sha256> = Hmac::new_from_slice(secret.as_ref()).unwrap();
    mac.chain_update(message).finalize().into_bytes().to_vec()
}

/// Signs two encoded parts, whatever stands in them.
pub fn sign_parts(secret: impl AsRef<[u8]>, header: &str, payload: &str) -> String {
    let input = format!("{header}.{payload}");
    let signature = b64(hmac_sha256(secret, &input));
    format!("{input}.{signature}")
}

/// Encodes and signs a header and a payload, whatever text they are.
pub fn hs256(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    sign_parts(SECRET, &b64(header), &b64(payload))
}

/// The claims of a good token that expires an hour after `now`, in seconds.
pub fn good_claims(now: i64) -> Map<String, Value> {
    let claims = json!({
        "sub": "550e8400-e29b-41d4-a716-446655440000",
        "jti": "660e8400-e29b-41d4-a716-446655440000",
        "resourceId": "photo-1",
        "planId": "basic",
        "txHash": "0xabababababababababababababababababababababababababababababababab",
        "iat": now,
        "exp": now + 3600,
    });
    match claims {
        Value::Object(claims) => claims,
        _ => unreachable!(),
    }
}
