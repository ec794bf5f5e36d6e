//! Access tokens as Key0 signs them, and variants that differ in one thing.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use key0_auth::{
    domain::{Claims, Secret, Timestamp},
    token::TokenIssuer,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Sha256, Sha384, Sha512};

const HOUR: Duration = Duration::from_secs(3_600);

/// How a token differs from a good one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenVariant {
    /// The header, as it stands.
    #[serde(default = "hs256")]
    header: String,
    /// Claims that are set. `{"now": n}` is so many seconds from now, null removes one.
    #[serde(default)]
    claims: Map<String, Value>,
    /// Further members, written before the closing brace.
    #[serde(default)]
    append: String,
    /// What signs it; the backend's secret and HMAC-SHA256, unless it is said.
    #[serde(default)]
    signature: Signature,
    /// What is done to the text in the end.
    #[serde(default)]
    change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Signature {
    #[default]
    Hs256,
    Hs384,
    Hs512,
    /// HMAC-SHA256 with a secret that nobody knows.
    Stranger,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Change {
    #[default]
    Not,
    /// The resource is another one, under the old signature.
    Tampered,
    PaddedHeader,
    PaddedPayload,
    PaddedSignature,
    /// The last character of the signature carries bits that mean nothing, and they are not zero.
    StrayBits,
    FourthPart,
    NoSignature,
}

fn hs256() -> String {
    r#"{"alg":"HS256"}"#.to_owned()
}

/// Every variant by its name.
pub(crate) fn variants() -> Result<BTreeMap<String, TokenVariant>, serde_json::Error> {
    serde_json::from_str(include_str!("token_variants.json"))
}

/// A good token for a resource, as Key0 signs it.
pub(crate) fn good(secret: &Secret, run: &str, resource: &str, now: Timestamp) -> Option<String> {
    let claims = Claims::new(
        run.parse().ok()?,
        run.parse().ok()?,
        resource.parse().ok()?,
        "basic".parse().ok()?,
        run.parse().ok()?,
        now.plus(HOUR),
    );
    TokenIssuer::hs256(secret).access_token(&claims.issued(now)).ok()
}

/// A token with which Key0 proves itself.
pub(crate) fn system(secret: &Secret, audience: &str, now: Timestamp) -> Option<String> {
    TokenIssuer::hs256(secret).system_token(audience, now, Duration::from_secs(60)).ok()
}

impl TokenVariant {
    /// Whether it can be made without the backend's secret.
    pub(crate) fn needs_no_secret(&self) -> bool {
        matches!(self.signature, Signature::Stranger | Signature::None)
    }

    /// The token at this time, its claims filled in by `fill`.
    pub(crate) fn make(
        &self,
        secret: &[u8],
        now: Timestamp,
        fill: impl Fn(&str) -> String,
    ) -> String {
        let mut payload = self.payload(now, fill);
        let header = URL_SAFE_NO_PAD.encode(&self.header);
        let encoded = URL_SAFE_NO_PAD.encode(&payload);
        let (header, encoded) = match self.change {
            Change::PaddedHeader => (format!("{header}="), encoded),
            Change::PaddedPayload => (header, format!("{encoded}=")),
            _ => (header, encoded),
        };
        let input = format!("{header}.{encoded}");
        let mut signature = match self.signature {
            Signature::Hs256 | Signature::Stranger => hmac::<Hmac<Sha256>>(secret, &input),
            Signature::Hs384 => hmac::<Hmac<Sha384>>(secret, &input),
            Signature::Hs512 => hmac::<Hmac<Sha512>>(secret, &input),
            Signature::None => String::new(),
        };
        match self.change {
            Change::Tampered => {
                payload = payload.replace("photo-1", "default");
                return format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(payload));
            }
            Change::PaddedSignature => signature.push('='),
            Change::StrayBits => stray(&mut signature),
            Change::FourthPart => signature.push_str(".e30"),
            Change::NoSignature => return input,
            Change::Not | Change::PaddedHeader | Change::PaddedPayload => {}
        }
        format!("{input}.{signature}")
    }

    fn payload(&self, now: Timestamp, fill: impl Fn(&str) -> String) -> String {
        let (run, seconds) = (fill("${run}"), now.as_seconds());
        let mut claims = json!({
            "sub": run, "jti": run, "resourceId": "photo-1", "planId": "basic", "txHash": run,
            "iat": seconds, "exp": seconds + 3_600,
        });
        for (name, value) in &self.claims {
            claims[name] = match (value, value.get("now").and_then(Value::as_f64)) {
                // Whole seconds stay whole, as Key0 writes them.
                (_, Some(offset)) if offset.fract() == 0.0 => (seconds + offset as i64).into(),
                (_, Some(offset)) => (seconds as f64 + offset).into(),
                (Value::String(text), None) => fill(text).into(),
                (other, None) => other.clone(),
            };
            if let (true, Some(claims)) = (value.is_null(), claims.as_object_mut()) {
                claims.remove(name);
            }
        }
        let mut payload = claims.to_string();
        if !self.append.is_empty() {
            payload.pop();
            payload.push_str(&format!(",{}}}", self.append));
        }
        payload
    }
}

fn hmac<M: Mac + KeyInit>(secret: &[u8], input: &str) -> String {
    // HMAC takes a key of any length.
    let signature = M::new_from_slice(secret).map(|mac| {
        let mac = mac.chain_update(input.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    });
    signature.unwrap_or_default()
}

/// Sets the lowest of the bits that mean nothing: 32 bytes fill 43 characters but for two.
fn stray(signature: &mut String) {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = signature.pop().and_then(|last| ALPHABET.find(last));
    let other = last.and_then(|at| ALPHABET.chars().nth(at + 1));
    signature.extend(other);
}
