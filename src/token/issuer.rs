use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{
    algorithm::Algorithm,
    rules::{SYSTEM_PLAN, SYSTEM_TOKEN_SUBJECT, SYSTEM_TX_HASH, system_markers},
    signature::Signer,
};
use crate::{
    domain::{Claims, Secret, Timestamp},
    error::ConfigFault,
};

/// Signs access tokens and system tokens, as Key0 does. For tests, demos, and services that play
/// Key0's part.
///
/// ```
/// use key0_auth::{domain::{Clock, Secret, SystemClock}, token::TokenIssuer};
///
/// let secret = Secret::new("the secret", "a secret that Key0 shares with this backend")?;
/// let minute = std::time::Duration::from_secs(60);
/// let token = TokenIssuer::hs256(&secret).system_token("backend-service", SystemClock.now(), minute)?;
/// assert_eq!(token.split('.').count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TokenIssuer {
    algorithm: Algorithm,
    signer: Signer,
    kid: Option<Box<str>>,
}

/// Claims that can't be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// An access token can't carry a mark of a system token: nobody would accept it.
    #[error("an access token must not carry a system token's subject, plan or hash")]
    SystemMarker,
    /// The key did not sign.
    #[error("the key could not sign")]
    Crypto,
}

impl TokenIssuer {
    /// Signs with a shared secret.
    pub fn hs256(secret: &Secret) -> Self {
        Self { algorithm: Algorithm::Hs256, signer: Signer::hmac(secret), kid: None }
    }

    /// Signs with a private key in PKCS #8 PEM. `name` stands in the error.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::BadKey`] when it is not a private key of this algorithm.
    pub fn from_pem(name: &str, algorithm: Algorithm, pem: &str) -> Result<Self, ConfigFault> {
        let signer =
            Signer::private(algorithm, pem).map_err(|reason| ConfigFault::bad_key(name, reason))?;
        Ok(Self { algorithm, signer, kid: None })
    }

    /// Names the key in the header of every token.
    #[must_use]
    pub fn kid(mut self, kid: impl Into<Box<str>>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// An agent's token with these claims.
    ///
    /// # Errors
    ///
    /// [`SigningError::SystemMarker`] when a claim would mark it as a system token.
    pub fn access_token(&self, claims: &Claims) -> Result<String, SigningError> {
        if system_markers(claims) > 0 {
            return Err(SigningError::SystemMarker);
        }
        let mut payload = claims.extra().clone();
        payload.insert("sub".into(), claims.request_id().as_str().into());
        payload.insert("jti".into(), claims.challenge_id().as_str().into());
        payload.insert("resourceId".into(), claims.resource_id().as_str().into());
        payload.insert("planId".into(), claims.plan_id().as_str().into());
        payload.insert("txHash".into(), claims.tx_hash().as_str().into());
        payload.insert("exp".into(), numeric_date(claims.expires_at()));
        if let Some(at) = claims.issued_at() {
            payload.insert("iat".into(), numeric_date(at));
        }
        if let Some(at) = claims.not_before() {
            payload.insert("nbf".into(), numeric_date(at));
        }
        if let Some(issuer) = claims.issuer() {
            payload.insert("iss".into(), issuer.into());
        }
        match claims.audience().collect::<Vec<_>>().as_slice() {
            [] => None,
            [one] => payload.insert("aud".into(), (*one).into()),
            several => payload.insert("aud".into(), several.to_vec().into()),
        };
        self.sign(&payload)
    }

    /// A token with which Key0 proves itself to the service named `audience`, from `now` on.
    ///
    /// # Errors
    ///
    /// [`SigningError::Crypto`] when the key did not sign.
    pub fn system_token(
        &self,
        audience: &str,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<String, SigningError> {
        let payload = json!({
            "sub": SYSTEM_TOKEN_SUBJECT,
            "jti": uuid::Uuid::now_v7().hyphenated().to_string(),
            "resourceId": audience,
            "planId": SYSTEM_PLAN,
            "txHash": SYSTEM_TX_HASH,
            "iat": numeric_date(now),
            "exp": numeric_date(now.plus(lifetime)),
        });
        self.sign(&payload)
    }

    pub(super) fn sign(&self, payload: &impl serde::Serialize) -> Result<String, SigningError> {
        let mut header = Map::new();
        header.insert("alg".into(), self.algorithm.as_str().into());
        if let Some(kid) = &self.kid {
            header.insert("kid".into(), (**kid).into());
        }
        let encode = |part: String| URL_SAFE_NO_PAD.encode(part);
        let payload = serde_json::to_string(payload).map_err(|_| SigningError::Crypto)?;
        let mut token = encode(Value::Object(header).to_string());
        token.push('.');
        token.push_str(&encode(payload));
        let signature = self.signer.sign(token.as_bytes()).ok_or(SigningError::Crypto)?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }
}

/// Whole seconds where that is exact, else with a fraction (RFC 7519, section 2).
fn numeric_date(at: Timestamp) -> Value {
    if at == Timestamp::from_seconds(at.as_seconds()) {
        at.as_seconds().into()
    } else {
        (at.as_micros() as f64 / 1e6).into()
    }
}
