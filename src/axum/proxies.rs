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
