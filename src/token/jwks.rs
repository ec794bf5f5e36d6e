use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{algorithm::Algorithm, key::VerifyingKey, signature::Verifier};
use crate::error::ConfigFault;

/// The public keys of a JWK set (RFC 7517, section 5) that can verify tokens: RSA of at least 2048
/// bits, P-256 and Ed25519.
///
/// A member that is of another kind, malformed, symmetric, private, or meant for something else
/// (`use`, `key_ops`, `alg`) is passed over and never spoils the set. Of several keys with one
/// `kid` each is tried; keys without one are tried for tokens whose `kid` nobody has.
///
/// ```
/// use key0_auth::{AccessTokens, token::JwkSet};
///
/// let set = JwkSet::parse(
///     "the keys",
///     br#"{"keys":[
///         {"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
///         {"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}
///     ]}"#,
/// )?;
/// assert_eq!(set.passed_over(), 1);
/// let tokens = AccessTokens::builder().keys(set.into_keys()).build()?;
/// # Ok::<(), key0_auth::error::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct JwkSet {
    keys: Vec<VerifyingKey>,
    passed_over: usize,
}

impl JwkSet {
    /// Reads a set. `name` is the setting it came from and stands in the error.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::BadKey`] when it is no JSON object with an array `keys`, or holds no key that
    /// can verify tokens.
    pub fn parse(name: &str, json: &[u8]) -> Result<Self, ConfigFault> {
        Self::read(json).map_err(|reason| ConfigFault::bad_key(name, reason))
    }

    pub(super) fn read(json: &[u8]) -> Result<Self, &'static str> {
        let set: Value = serde_json::from_slice(json).map_err(|_| "it is no JSON")?;
        let members = set.get("keys").and_then(Value::as_array);
        let members = members.ok_or("it is no JWK set: the array keys is missing")?;
        let keys: Vec<_> = members.iter().filter_map(|member| key(member).ok()).collect();
        if keys.is_empty() {
            return Err("none of its keys can verify tokens");
        }
        Ok(Self { passed_over: members.len() - keys.len(), keys })
    }

    /// How many members can't be used here.
    pub fn passed_over(&self) -> usize {
        self.passed_over
    }

    /// The keys, for [`AccessTokensBuilder::keys`](super::AccessTokensBuilder::keys).
    pub fn into_keys(self) -> Vec<VerifyingKey> {
        self.keys
    }
}

/// Reads one member of a set; the error says why it is passed over.
fn key(member: &Value) -> Result<VerifyingKey, &'static str> {
    let jwk = member.as_object().ok_or("it is no object")?;
    // Whoever reads the set has the private half.
    if jwk.contains_key("d") {
        return Err("it is a private key");
    }
    is_for_signatures(jwk)?;
    let (algorithm, verifier) = match text(jwk, "kty")?.ok_or("it has no kty")? {
        "RSA" => {
            let verifier = Verifier::rsa(&number(jwk, "n")?, &number(jwk, "e")?);
            (Algorithm::Rs256, verifier)
        }
        "EC" if text(jwk, "crv")? == Some("P-256") => {
            let verifier = Verifier::p256(&coordinate(jwk, "x")?, &coordinate(jwk, "y")?);
            (Algorithm::Es256, verifier)
        }
        "OKP" if text(jwk, "crv")? == Some("Ed25519") => {
            (Algorithm::EdDsa, Verifier::ed25519(&coordinate(jwk, "x")?))
        }
        _ => return Err("it is of another kind"),
    };
    if text(jwk, "alg")?.is_some_and(|name| !algorithm.is_named(name)) {
        return Err("it is for another algorithm");
    }
    let key = VerifyingKey::new(algorithm, verifier?);
    Ok(match text(jwk, "kid")? {
        Some(kid) => key.kid(kid),
        None => key,
    })
}

/// Whether `use` and `key_ops` (RFC 7517, sections 4.2 and 4.3) let the key verify signatures.
fn is_for_signatures(jwk: &Map<String, Value>) -> Result<(), &'static str> {
    if text(jwk, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Err("it is not for signatures");
    }
    let may_verify = match jwk.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|one| one == "verify"),
        Some(_) => false,
    };
    may_verify.then_some(()).ok_or("it is not for verifying")
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, &'static str> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("a member is of the wrong type"),
    }
}

/// An unsigned number (RFC 7518, section 2), without the zeros that some write before it.
fn number(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    let mut bytes = decoded(jwk, name)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    Ok(bytes)
}

fn coordinate(jwk: &Map<String, Value>, name: &str) -> Result<[u8; 32], &'static str> {
    decoded(jwk, name)?.try_into().map_err(|_| "a coordinate has 32 bytes")
}

fn decoded(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    let text = text(jwk, name)?.ok_or("a member is missing")?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a member is no base64url")
}

#[cfg(test)]
pub(super) mod tests;
