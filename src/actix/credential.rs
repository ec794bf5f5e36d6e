use super::{
    AuthMiddleware, Routes,
    body::{Direct, FormBody, reply},
};
use crate::{Identity, Rejection, api::CredentialApi};

/// `GET /credential` for the holder of any good credential, and `POST /credential/revoke` for
/// whoever knows one. To be merged into [`Routes`] that end with
/// [`with_problem_fallbacks`](Routes::with_problem_fallbacks).
pub fn credential_routes(api: CredentialApi) -> Routes {
    let auth = AuthMiddleware::new(api.validator().clone());
    let show = {
        let api = api.clone();
        move |identity: Identity| {
            let answer = reply(api.show(&identity));
            async move { Ok::<_, Rejection>(answer) }
        }
    };
    let revoke = move |_: Direct, FormBody(body)| {
        let api = api.clone();
        async move { api.revoke(&body).await.map(reply) }
    };
    Routes::new()
        .get("/credential", show)
        .each(|route| route.wrap(auth.clone()))
        .merge(Routes::new().post("/credential/revoke", revoke))
}
