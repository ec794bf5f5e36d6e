//! What is sold, in the shape that the contract asks for: the same work for every server.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};

use crate::support::SECRET;

pub const PATH: &str = "/api/photos/{id}";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Photo<'a> {
    id: &'a str,
    tier_id: &'a str,
    plan_id: &'a str,
    url: String,
    title: String,
    resolution: &'static str,
}

impl<'a> Photo<'a> {
    pub fn new(id: &'a str, plan: &'a str) -> Self {
        Self {
            id,
            tier_id: plan,
            plan_id: plan,
            url: format!("https://cdn.example.com/photos/{id}.jpg"),
            title: format!("Photo {id}"),
            resolution: "4K",
        }
    }
}

/// What a middleware that is written by hand keeps: made once, as it should be.
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

/// What it reads of a token: no claims that nobody asks for, which would cost it more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
pub struct Claims {
    sub: String,
    jti: String,
    pub resource_id: String,
    pub plan_id: String,
    tx_hash: String,
    exp: u64,
}

impl Verifier {
    pub fn new() -> Self {
        // Where both providers are built in, it must be told which to take. One may be set already.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.validate_aud = false;
        Self { key: DecodingKey::from_secret(SECRET.as_bytes()).expect("a secret"), validation }
    }

    /// The claims of the token in an `Authorization` header.
    pub fn verify(&self, header: Option<&str>) -> Option<Claims> {
        let token = header?.strip_prefix("Bearer ")?;
        Some(jsonwebtoken::decode(token, &self.key, &self.validation).ok()?.claims)
    }
}

impl Claims {
    pub fn opens(&self, resource: &str) -> bool {
        self.resource_id == resource || self.resource_id == "default"
    }
}
