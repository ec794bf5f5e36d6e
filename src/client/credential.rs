use std::{fmt, sync::Arc, time::Duration};

use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::{
    domain::{self, ResourceId, Secret, Timestamp},
    error::ConfigFault,
    token::{SigningError, TokenIssuer},
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Headers that are not for a secret: those where servers look for other credentials, and those that
/// frame, route or describe the request.
const TAKEN: [&str; 19] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
/// What stands where a server has sent the credential back.
const LEFT_OUT: &str = "…";

/// How the client proves who it is.
#[derive(Clone)]
pub(super) enum Credential {
    ApiKey(SecretString),
    Bearer(SecretString),
    InternalSecret { header: HeaderName, secret: Secret },
    SystemToken { issuer: Arc<TokenIssuer>, audience: ResourceId },
}

/// The header of one attempt that carries the credential.
pub(super) struct Proof {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
    text: SecretString,
}

impl Credential {
    pub(super) fn api_key(key: String) -> Result<Self, ConfigFault> {
        checked("the API key", key).map(Self::ApiKey)
    }

    pub(super) fn bearer(token: String) -> Result<Self, ConfigFault> {
        checked("the bearer credential", token).map(Self::Bearer)
    }

    pub(super) fn internal_secret(header: &str, secret: Secret) -> Result<Self, ConfigFault> {
        let fault = |reason: &str| Err(ConfigFault::invalid("the internal secret", reason));
        let bytes = secret.expose_bytes();
        let legal = bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        // A server drops spaces around a header's value, and would see another secret.
        if !legal || bytes.trim_ascii().len() != bytes.len() {
            return fault("a header carries ASCII that can be seen, and no spaces around it");
        }
        match HeaderName::from_bytes(header.as_bytes()) {
            Ok(header) if TAKEN.contains(&header.as_str()) => {
                fault("its header is used for something else")
            }
            Ok(header) => Ok(Self::InternalSecret { header, secret }),
            Err(_) => fault("its header's name is no name of a header"),
        }
    }

    pub(super) fn system_tokens(issuer: TokenIssuer, audience: &str) -> Result<Self, ConfigFault> {
        match ResourceId::new(audience) {
            Ok(audience) => Ok(Self::SystemToken { issuer: Arc::new(issuer), audience }),
            Err(error) => Err(ConfigFault::invalid("the audience", error.to_string())),
        }
    }

    /// What one attempt carries. A system token is signed anew for each, so that one that is sent
    /// again after a pause has its whole life, and none is sent twice.
    pub(super) fn prove(&self, now: Timestamp, life: Duration) -> Result<Proof, SigningError> {
        match self {
            Self::ApiKey(key) => Proof::new(API_KEY, "", key.clone()),
            Self::Bearer(token) => Proof::new(AUTHORIZATION, "Bearer ", token.clone()),
            Self::InternalSecret { header, secret } => {
                let text = String::from_utf8_lossy(secret.expose_bytes()).into_owned();
                Proof::new(header.clone(), "", text.into())
            }
            Self::SystemToken { issuer, audience } => {
                let token = issuer.system_token(audience.as_str(), now, life)?;
                Proof::new(AUTHORIZATION, "Bearer ", token.into())
            }
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::ApiKey(_) => "an API key",
            Self::Bearer(_) => "a bearer credential",
            Self::InternalSecret { .. } => "an internal secret",
            Self::SystemToken { .. } => "system tokens",
        }
    }
}

impl Proof {
    fn new(name: HeaderName, scheme: &str, text: SecretString) -> Result<Self, SigningError> {
        let value = HeaderValue::try_from(format!("{scheme}{}", text.expose_secret()));
        let mut value = value.map_err(|_| SigningError::Crypto)?;
        value.set_sensitive(true);
        Ok(Self { name, value, text })
    }

    /// A text that a server has sent, without the credential in it.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(self.text.expose_secret(), LEFT_OUT)
    }

    /// The same for every text in a JSON value.
    pub(super) fn redact_json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.redact(&text).into(),
            Value::Array(items) => items.into_iter().map(|item| self.redact_json(item)).collect(),
            Value::Object(members) => {
                let members = members.into_iter();
                members.map(|(name, value)| (self.redact(&name), self.redact_json(value))).collect()
            }
            other => other,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

fn checked(name: &str, text: String) -> Result<SecretString, ConfigFault> {
    match domain::Credential::try_from(text.as_str()) {
        Ok(_) => Ok(text.into()),
        Err(_) => Err(ConfigFault::invalid(name, "it is 1 to 8192 visible ASCII characters")),
    }
}
