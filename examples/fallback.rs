//! Credentials of your own next to Key0's: here the JWTs that the backend hands to its staff.
//!
//! ```sh
//! cargo run --features axum --example fallback
//! ```

mod common;

use async_trait::async_trait;
use axum::{Router, extract::Path, routing::get};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, crypto::aws_lc, decode, encode,
};
use key0_auth::{
    AccessTokens, AuthLayer, Identity, Policy, Rejection, Validator,
    auth::{Fallback, FallbackError, FallbackGrant},
    domain::{Clock, Credential, ResourceId, SystemClock},
};
use serde::{Deserialize, Serialize};

/// The claims of the backend's own tokens.
#[derive(Serialize, Deserialize)]
struct Badge {
    sub: String,
    photo: ResourceId,
    exp: i64,
}

/// Knows the backend's own tokens.
struct Badges(DecodingKey);

#[async_trait]
impl Fallback for Badges {
    /// Key0's tokens never get here. What is neither theirs nor ours is `None`, and refused as
    /// before; an error would be a 503, for a fallback that has to ask somebody.
    async fn validate(
        &self,
        credential: Credential<'_>,
    ) -> Result<Option<FallbackGrant>, FallbackError> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.leeway = 0;
        let badge = decode::<Badge>(credential.expose(), &self.0, &rules);
        Ok(badge.ok().map(|badge| {
            let Badge { sub, photo, .. } = badge.claims;
            FallbackGrant::new(sub).resource(photo)
        }))
    }
}

impl std::fmt::Debug for Badges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Badges(..)")
    }
}

#[tokio::main]
async fn main() -> common::Outcome {
    // Where both of its crypto features are on, jsonwebtoken must be told which one to use.
    aws_lc::DEFAULT_PROVIDER.install_default().map_err(|_| "another provider is installed")?;
    let secret = common::secret()?;
    let own_secret = format!("another one than {secret}");
    let validator = Validator::builder()
        .access_tokens(AccessTokens::hs256(&*secret)?)
        .fallback(Badges(DecodingKey::from_secret(own_secret.as_bytes())?))
        .build()?;

    let auth = AuthLayer::new(validator);
    let app = Router::new().route("/photos/{id}", get(photo)).route_layer(auth);
    let listener = tokio::net::TcpListener::bind(common::address()?).await?;
    let exp = SystemClock.now().as_seconds() + 3600;
    let badge = Badge { sub: "Ada".to_owned(), photo: "photo-1".parse()?, exp };
    let badge =
        encode(&Header::default(), &badge, &EncodingKey::from_secret(own_secret.as_bytes())?)?;
    common::announce(listener.local_addr()?, &badge);
    Ok(axum::serve(listener, app).await?)
}

/// A buyer or somebody of the staff: the handler need not tell them apart.
async fn photo(Path(id): Path<String>, identity: Identity) -> Result<String, Rejection> {
    Policy::resource(&*id).check(&identity)?;
    Ok(format!("photo {id} for {}", identity.subject()))
}
