//! An axum application that sells photos and shows its list to everybody.
//!
//! ```sh
//! cargo run --features axum --example axum_app
//! ```

mod common;

use axum::{Router, extract::Path, routing::get};
use key0_auth::{AccessTokens, AuthLayer, Identity, Validator, axum::with_problem_fallbacks};

#[tokio::main]
async fn main() -> common::Outcome {
    let secret = common::secret()?;
    let tokens = AccessTokens::hs256(&*secret)?;
    let validator = Validator::builder().access_tokens(tokens).build()?;
    let auth = AuthLayer::new(validator.clone());

    let sold = Router::new().route("/photos/{id}", get(photo)).route_layer(auth.clone().sold("id"));
    let open = Router::new().route("/photos", get(photos)).route_layer(auth.optional());
    // Last, so that an unknown path is a 404 and a wrong method a 405, whoever asks.
    let app = with_problem_fallbacks(sold.merge(open), validator.responder());

    let listener = tokio::net::TcpListener::bind(common::address()?).await?;
    common::announce(listener.local_addr()?, &common::token(&secret)?);
    Ok(axum::serve(listener, app).await?)
}

/// Whoever gets here has bought this photo.
async fn photo(Path(id): Path<String>) -> String {
    format!("photo {id}")
}

/// Behind an optional layer there may be nobody; a bad credential is refused all the same.
async fn photos(identity: Option<Identity>) -> String {
    match identity.as_ref().and_then(Identity::resource_id) {
        Some(bought) => format!("photo-1 photo-2, and you have bought {bought}"),
        None => "photo-1 photo-2".to_owned(),
    }
}
