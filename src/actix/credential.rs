use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
};

use super::{
    AuthMiddleware, Routes,
    body::{Direct, FormBody, reply},
    refusal::Asked,
    service::finish,
};
use crate::{Identity, Rejection, api::CredentialApi};

/// `GET /credential` for the holder of any good credential, and `POST /credential/revoke` for
/// whoever knows one. To be merged into [`Routes`] that end with
/// [`with_problem_fallbacks`](Routes::with_problem_fallbacks).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, Validator, api::CredentialApi, store::DeniedTokens};
/// use key0_auth::actix::credential_routes;
///
/// let store = Arc::new(MemoryStore::new());
/// let denied = DeniedTokens::new(store.clone());
/// let validator = Validator::builder()
///     .api_keys(ApiKeys::new(store.clone()))
///     .denied_tokens(denied.clone())
///     .build()?;
/// let routes = credential_routes(CredentialApi::new(validator, store, denied));
/// # let _ = routes;
/// # Ok(())
/// # }
/// ```
pub fn credential_routes(api: CredentialApi) -> Routes {
    let auth = AuthMiddleware::new(api.validator().clone());
    let show = {
        let api = api.clone();
        move |identity: Identity| {
            let answer = reply(api.show(&identity));
            async move { Ok::<_, Rejection>(answer) }
        }
    };
    let revoke = {
        let api = api.clone();
        move |_: Direct, FormBody(body)| {
            let api = api.clone();
            async move { api.revoke(&body).await.map(reply) }
        }
    };
    let show = Routes::new().get("/credential", show).each(|route| route.wrap(auth.clone()));
    let revoke = Routes::new().post("/credential/revoke", revoke);
    show.merge(revoke.each(move |route| {
        let api = api.clone();
        route.wrap(from_fn(move |request, next| in_form(api.clone(), request, next)))
    }))
}

/// Does with the answer of an endpoint behind no guard what a guard does.
async fn in_form<B: MessageBody + 'static>(
    api: CredentialApi,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let responder = api.validator().responder();
    let asked = Asked::unguarded(&request, responder);
    finish(next.call(request).await, responder, asked)
}
