use axum::{
    Router,
    extract::Request,
    response::Response,
    routing::{get, post},
};

use super::body::{answer, check_direct, read_form};
use crate::{AuthLayer, Identity, Rejection, api::CredentialApi};

/// `GET /credential` for the holder of any good credential, and `POST /credential/revoke` for
/// whoever knows one. To be merged into a router that ends with
/// [`with_problem_fallbacks`](super::with_problem_fallbacks).
pub fn credential_routes<S>(api: CredentialApi) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let auth = AuthLayer::new(api.validator().clone());
    let show = {
        let api = api.clone();
        async move |identity: Identity| answer(api.show(&identity))
    };
    let revoke = async move |request: Request| -> Result<Response, Rejection> {
        check_direct(request.headers(), request.extensions())?;
        let body = read_form(request).await?;
        api.revoke(&body).await.map(answer)
    };
    Router::new()
        .route("/credential", get(show))
        .route_layer(auth)
        .route("/credential/revoke", post(revoke))
}
