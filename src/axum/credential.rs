use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};

use super::{
    body::{answer, check_direct, read_form},
    unread::drain_unread,
};
use crate::{
    AuthLayer, Identity, Rejection,
    api::CredentialApi,
    auth::Responder,
    tower::refusal::{Asked, pass_on},
};

/// `GET /credential` for the holder of any good credential, and `POST /credential/revoke` for
/// whoever knows one. To be merged into a router that ends with
/// [`with_problem_fallbacks`](super::with_problem_fallbacks).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, Validator, api::CredentialApi, store::DeniedTokens};
/// use key0_auth::axum::credential_routes;
///
/// let store = Arc::new(MemoryStore::new());
/// let denied = DeniedTokens::new(store.clone());
/// let validator = Validator::builder()
///     .api_keys(ApiKeys::new(store.clone()))
///     .denied_tokens(denied.clone())
///     .build()?;
/// let routes: axum::Router = credential_routes(CredentialApi::new(validator, store, denied));
/// # let _ = routes;
/// # Ok(())
/// # }
/// ```
pub fn credential_routes<S>(api: CredentialApi) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let auth = AuthLayer::new(api.validator().clone());
    let form = from_fn_with_state(Arc::new(api.validator().responder().clone()), in_form);
    let show = {
        let api = api.clone();
        async move |identity: Identity| answer(api.show(&identity))
    };
    let revoke = async move |request: Request| -> Result<Response, Rejection> {
        check_direct(request.headers(), request.extensions())?;
        let body = read_form(request).await?;
        api.revoke(&body).await.map(answer)
    };
    let show = Router::new().route("/credential", get(show)).route_layer(auth);
    let revoke = Router::new().route("/credential/revoke", post(revoke)).route_layer(form);
    show.merge(revoke)
}

/// Does with the answer of an endpoint behind no guard what a guard does.
async fn in_form(
    State(responder): State<Arc<Responder>>,
    request: Request,
    next: Next,
) -> Response {
    let asked = Asked::unguarded(&request, &responder);
    pass_on(drain_unread(request, next).await, &responder, &asked).map(Body::new)
}
