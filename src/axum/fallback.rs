use std::sync::Arc;

use axum::{Router, handler::Handler};

use super::response::rendered;
use crate::{RejectionKind, auth::Responder};

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
        .fallback(answer(RejectionKind::NotFound, Arc::clone(&responder)))
        .method_not_allowed_fallback(answer(RejectionKind::MethodNotAllowed, responder))
}

fn answer<S: Send + Sync + 'static>(
    kind: RejectionKind,
    responder: Arc<Responder>,
) -> impl Handler<((),), S> {
    move || async move { rendered(kind.into(), &responder) }
}
