use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::from_fn,
    response::Response,
    routing::{any, post},
};

use super::{
    body::{answer, read_form},
    unread::drain_unread,
};
use crate::{
    InternalAuth, InternalAuthLayer, Rejection,
    api::{Introspect, Verify, VerifyRequest},
};

/// `/verify`, by which a proxy asks whether a request may pass, for every method. Open to whoever
/// reaches it, unless the endpoint [asks for a secret](crate::api::VerifyRulesBuilder::secret).
///
/// ```
/// use key0_auth::{AccessTokens, Validator, api::{Verify, VerifyRules}, axum::verify_routes};
///
/// let rules = VerifyRules::builder().route("GET /api/photos/{id}", "resource={id}").build()?;
/// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
/// let validator = Validator::builder().access_tokens(tokens).build()?;
/// let router: axum::Router = verify_routes(Verify::new(validator, rules));
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify_routes<S>(endpoint: Verify) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    const PATH: &str = "/verify";
    let handler = async move |request: Request| {
        let uri = request.uri();
        let rest = uri.path().strip_prefix(PATH);
        let headers = request.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let asked = VerifyRequest::new(request.method().as_str(), uri.query(), rest, headers);
        answer(endpoint.handle(&asked).await)
    };
    Router::new()
        .route(PATH, any(handler.clone()))
        .route("/verify/", any(handler.clone()))
        .route("/verify/{*path}", any(handler))
        .route_layer(from_fn(drain_unread))
}

/// `POST /introspect`, behind `auth`. To be merged into a router that ends with
/// [`with_problem_fallbacks`](super::with_problem_fallbacks).
///
/// ```
/// use key0_auth::{AccessTokens, InternalAuth, Validator, api::Introspect, axum::introspect_routes};
/// use key0_auth::domain::{Secret, SecretSet};
///
/// let secret = Secret::new("INTERNAL_AUTH_SECRET", "a secret for Key0's own calls alone")?;
/// let auth = InternalAuth::builder().shared_secret(SecretSet::new(secret)).build()?;
/// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
/// let validator = Validator::builder().access_tokens(tokens).build()?;
/// let router: axum::Router = introspect_routes(auth, Introspect::new(validator));
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn introspect_routes<S>(auth: impl Into<Arc<InternalAuth>>, endpoint: Introspect) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let handler = async move |request: Request| -> Result<Response, Rejection> {
        let body = read_form(request).await?;
        endpoint.handle(&body).await.map(answer)
    };
    Router::new().route("/introspect", post(handler)).route_layer(InternalAuthLayer::new(auth))
}
