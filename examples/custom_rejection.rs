//! Refusals in your own words and in your own form. The status and the challenge stay.
//!
//! ```sh
//! cargo run --features axum --example custom_rejection
//! ```

mod common;

use axum::{Router, extract::Path, routing::get};
use key0_auth::{
    AccessTokens, AuthLayer, Identity, Policy, Rejection, RejectionKind, Validator,
    auth::{Problem, ProblemBody},
    axum::with_problem_fallbacks,
};
use serde_json::json;

/// The body that this application's clients expect of every error.
#[derive(Debug)]
struct Envelope;

impl ProblemBody for Envelope {
    fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
        let body = json!({ "ok": false, "reason": problem.code(), "text": problem.detail() });
        ("application/json".to_owned(), body.to_string().into_bytes())
    }
}

#[tokio::main]
async fn main() -> common::Outcome {
    let secret = common::secret()?;
    let validator = Validator::builder()
        .access_tokens(AccessTokens::hs256(&*secret)?)
        .realm("photos")
        .problem_body(Envelope)
        .build()?;
    let auth = AuthLayer::new(validator.clone()).wording(|kind| match kind {
        RejectionKind::MissingCredential => Some("Photos cost a little: pay through Key0"),
        _ => None,
    });

    let routes = Router::new().route("/photos/{id}", get(photo)).route_layer(auth);
    let app = with_problem_fallbacks(routes, validator.responder());
    let listener = tokio::net::TcpListener::bind(common::address()?).await?;
    common::announce(listener.local_addr()?, &common::token(&secret)?);
    Ok(axum::serve(listener, app).await?)
}

/// What a handler refuses gets the same form on its way out.
async fn photo(Path(id): Path<String>, identity: Identity) -> Result<String, Rejection> {
    Policy::resource(&*id).check(&identity).map_err(|refused| {
        refused.detail(format!("{id} is not the photo that you have paid for"))
    })?;
    Ok(format!("photo {id}"))
}
