use axum_core::{
    body::Body,
    response::{IntoResponse, Response},
};

use crate::{Rejection, auth::Responder, guard::Provisional, tower::refusal::respond};

impl IntoResponse for Rejection {
    /// The refusal with the default realm and body. Behind one of our layers it takes that
    /// layer's form on the way out.
    fn into_response(self) -> Response {
        let mut response = rendered(self, &Responder::default());
        response.extensions_mut().insert(Provisional);
        response
    }
}

/// The response to a rejection in its final form.
pub(super) fn rendered(rejection: Rejection, responder: &Responder) -> Response {
    respond(rejection, responder).map(Body::from)
}
