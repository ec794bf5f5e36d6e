//! What the targets share: one secret, one instant, and tokens signed around whatever bytes.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use key0_auth::{
    AccessTokens, Rejection,
    domain::{Claims, Credential, Timestamp},
};
use sha2::Sha256;

/// The secret that signs every token here.
pub const SECRET: &str = "the secret of the fuzz targets, of no use elsewhere";
/// The instant at which tokens are validated, in seconds since 1970.
pub const NOW: i64 = 1_795_305_965;
/// A header that is good.
pub const HEADER: &str = r#"{"alg":"HS256"}"#;
/// A payload that is good at [`NOW`].
pub const PAYLOAD: &str =
    r#"{"sub":"r","jti":"c","resourceId":"photo-1","planId":"p","txHash":"0x1","exp":1795305966}"#;

/// Validates the tokens signed here.
pub fn access_tokens() -> AccessTokens {
    AccessTokens::hs256(SECRET).expect("the secret is long enough")
}

/// A token of these parts whose signature holds.
pub fn signed(header: &[u8], payload: &[u8]) -> String {
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(payload));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(token.as_bytes());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
    token
}

/// Validates a bare token at [`NOW`].
pub fn validate(tokens: &AccessTokens, token: &str) -> Result<Arc<Claims>, Rejection> {
    tokens.validate(Credential::try_from(token)?, Timestamp::from_seconds(NOW))
}
