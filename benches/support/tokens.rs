//! Access tokens as Key0 makes them.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use key0_auth::domain::{Clock, SystemClock};
use sha2::Sha256;

pub const SECRET: &str = "the secret of these benchmarks, 32 bytes+";

/// Key0's header.
pub const HEADER: &str = r#"{"alg":"HS256"}"#;

/// How many different tokens there are: so many that none is in a processor's near cache again.
pub const TOKENS: usize = 4_096;

/// Tokens of 408 bytes, as Key0 makes them, each another.
pub fn tokens() -> Vec<String> {
    (0..TOKENS).map(|n| sign(HEADER, &claims(n))).collect()
}

/// The plan of all credentials here.
pub const PLAN: &str = "basic";

/// What the token of this number was bought for.
pub fn resource(n: usize) -> String {
    format!("photo-collection-{n:04}")
}

/// The claims of a token that lives for a day.
pub fn claims(n: usize) -> String {
    let now = SystemClock.now();
    let life = Duration::from_secs(86_400);
    // Written out, since the order of the members is Key0's own.
    format!(
        r#"{{"sub":"550e8400-e29b-41d4-a716-{n:012}","jti":"660e8400-e29b-41d4-a716-{n:012}","resourceId":"{}","planId":"{PLAN}","txHash":"0x{n:064x}","iat":{},"exp":{}}}"#,
        resource(n),
        now.as_seconds(),
        now.plus(life).as_seconds()
    )
}

/// A token with these two texts, signed with [`SECRET`].
pub fn sign(header: &str, claims: &str) -> String {
    let input = signing_input(header, claims);
    let mac: Hmac<Sha256> = Hmac::new_from_slice(SECRET.as_bytes()).expect("any length");
    let signature = mac.chain_update(&input).finalize().into_bytes();
    format!("{input}.{}", encode(signature))
}

pub fn signing_input(header: &str, claims: &str) -> String {
    format!("{}.{}", encode(header), encode(claims))
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is signed of a token, and the signature's bytes.
pub fn parts(token: &str) -> (String, Vec<u8>) {
    let (input, signature) = token.rsplit_once('.').expect("three parts");
    (input.to_owned(), URL_SAFE_NO_PAD.decode(signature).expect("base64url"))
}

/// The least that any validation of an HS256 token costs: one HMAC with a key prepared before.
pub struct BareHmac(Hmac<Sha256>);

impl BareHmac {
    pub fn new() -> Self {
        Self(Hmac::new_from_slice(SECRET.as_bytes()).expect("any length"))
    }

    pub fn verify(&self, signing_input: &str, signature: &[u8]) -> bool {
        self.0.clone().chain_update(signing_input).verify_slice(signature).is_ok()
    }
}
