use std::sync::Arc;

use axum::{Router, extract::Request, response::Response};

use super::response::rendered;
use crate::{
    Rejection, RejectionKind,
    auth::{Gateway, Responder},
    tower::{drain::Rest, handed_on::close, refusal::original_uri},
};

/// Answers an unknown path with a 404 and a wrong method with a 405, whose `Allow` lists the methods
/// that there are. Both have a body in the form of `responder`'s other refusals.
///
/// Call it last, on the router that holds all routes and layers: routes that are added later keep
/// axum's empty 405, and a `route_layer` that is added later would validate the credential first.
/// Routes with a fallback of their own keep it. It takes the place of the router's own
/// [`fallback`](Router::fallback): an application that has one, for a page or for files, calls
/// [`with_problem_method_fallback`] instead.
///
/// ```
/// use axum::{Router, routing::get};
/// use key0_auth::{auth::Responder, axum::with_problem_fallbacks};
///
/// let router = Router::new().route("/health", get(async || "fine"));
/// let router: Router = with_problem_fallbacks(router, &Responder::default());
/// # let _ = router;
/// ```
pub fn with_problem_fallbacks<S>(router: Router<S>, responder: &Responder) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let not_found = Arc::new(responder.clone());
    let router = router.fallback(async move |request: Request| {
        answer(RejectionKind::NotFound, not_found, request).await
    });
    with_problem_method_fallback(router, responder)
}

/// The 405 of [`with_problem_fallbacks`] alone: for an unknown path the router keeps its own
/// fallback. To be called last, likewise.
///
/// ```
/// use axum::{Router, routing::get};
/// use key0_auth::{auth::Responder, axum::with_problem_method_fallback};
///
/// let router = Router::new().route("/health", get(async || "fine")).fallback(async || "a page");
/// let router: Router = with_problem_method_fallback(router, &Responder::default());
/// # let _ = router;
/// ```
pub fn with_problem_method_fallback<S>(router: Router<S>, responder: &Responder) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let responder = Arc::new(responder.clone());
    router.method_not_allowed_fallback(async move |request: Request| {
        answer(RejectionKind::MethodNotAllowed, responder, request).await
    })
}

async fn answer(kind: RejectionKind, responder: Arc<Responder>, request: Request) -> Response {
    let rejection = Rejection::new(kind).instance(original_uri(&request).path());
    let rejection =
        responder.address(rejection, request.headers().contains_key(Gateway::TOKEN_HEADER));
    let mut response = rendered(rejection, &responder);
    if Rest::of(request).closes().await {
        close(&mut response);
    }
    response
}
