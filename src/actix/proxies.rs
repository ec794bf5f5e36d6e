use std::sync::Arc;

use actix_web::{HttpRequest, http::Method, web};

use super::{
    InternalAuthMiddleware, Routes,
    body::{FormBody, reply},
};
use crate::{
    InternalAuth,
    api::{Introspect, Verify, VerifyRequest},
};

/// `/verify`, by which a proxy asks whether a request may pass, for every usual method. Open to
/// whoever reaches it, unless the endpoint
/// [asks for a secret](crate::api::VerifyRulesBuilder::secret).
///
/// ```
/// use key0_auth::{AccessTokens, Validator, api::{Verify, VerifyRules}, actix::verify_routes};
///
/// let rules = VerifyRules::builder().route("GET /api/photos/{id}", "resource={id}").build()?;
/// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
/// let validator = Validator::builder().access_tokens(tokens).build()?;
/// let routes = verify_routes(Verify::new(validator, rules));
/// # let _ = routes;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify_routes(endpoint: Verify) -> Routes {
    const PATH: &str = "/verify";
    let handler = move |request: HttpRequest| {
        let endpoint = endpoint.clone();
        async move {
            let uri = request.uri();
            let rest = uri.path().split_once(PATH).map(|(_, rest)| rest);
            let headers = request.headers().iter();
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
            let asked = VerifyRequest::new(request.method().as_str(), uri.query(), rest, headers);
            reply(endpoint.handle(&asked).await)
        }
    };
    let methods =
        [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    let paths = [PATH, "/verify/{path:.*}"];
    let all = paths.into_iter().flat_map(|path| methods.clone().map(|method| (path, method)));
    all.fold(Routes::new(), |routes, (path, method)| {
        routes.route(path, method, web::to(handler.clone()))
    })
}

/// `POST /introspect`, behind `auth`. To be merged into [`Routes`] that end with
/// [`with_problem_fallbacks`](Routes::with_problem_fallbacks).
///
/// ```
/// use key0_auth::{AccessTokens, InternalAuth, Validator, api::Introspect, actix::introspect_routes};
/// use key0_auth::domain::{Secret, SecretSet};
///
/// let secret = Secret::new("INTERNAL_AUTH_SECRET", "a secret for Key0's own calls alone")?;
/// let auth = InternalAuth::builder().shared_secret(SecretSet::new(secret)).build()?;
/// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
/// let validator = Validator::builder().access_tokens(tokens).build()?;
/// let routes = introspect_routes(auth, Introspect::new(validator));
/// # let _ = routes;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn introspect_routes(auth: impl Into<Arc<InternalAuth>>, endpoint: Introspect) -> Routes {
    let auth = InternalAuthMiddleware::new(auth);
    let handler = move |FormBody(body)| {
        let endpoint = endpoint.clone();
        async move { endpoint.handle(&body).await.map(reply) }
    };
    Routes::new().post("/introspect", handler).each(|route| route.wrap(auth.clone()))
}
