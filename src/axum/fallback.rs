use std::sync::Arc;

use axum::{Router, extract::Request, response::Response};

use super::response::rendered;
use crate::{
    Rejection, RejectionKind,
    auth::{Gateway, Responder},
    tower::{
        drain::Rest,
        refusal::{close, original_uri},
    },
};

/// Answers an unknown path with a 404 and a wrong method with a 405 that says in `Allow` what
/// goes, both with a body in the form of `responder`'s other refusals.
///
/// Call it last, on the router that holds all routes and layers: routes that are added later keep
/// axum's empty 405, and a `route_layer` that is added later would judge the credential first.
/// Routes with a fallback of their own keep it.
pub fn with_problem_fallbacks<S>(router: Router<S>, responder: &Responder) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let responder = Arc::new(responder.clone());
    router
        .fallback({
            let responder = Arc::clone(&responder);
            async move |request: Request| answer(RejectionKind::NotFound, responder, request).await
        })
        .method_not_allowed_fallback(async move |request: Request| {
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
