use actix_web::{
    HttpMessage, HttpRequest,
    dev::ServiceRequest,
    middleware::{Next, from_fn},
};

use super::{AuthMiddleware, Routes, body::reply, keys::Checked};
use crate::{
    Rejection, Validator,
    api::{Asked, AuditApi, ClientAddress, method_name},
    auth::Caller,
    domain::RouteName,
};

/// `GET /audit`, what was done to keys and purchases, for the holders of a master key that `validator`
/// accepts. To be merged into [`Routes`] that end with
/// [`with_problem_fallbacks`](Routes::with_problem_fallbacks).
///
/// ```
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, Validator, actix::audit_routes, api::AuditApi};
///
/// let store = Arc::new(MemoryStore::new());
/// let validator = Validator::builder().api_keys(ApiKeys::new(store.clone())).build()?;
/// let routes = audit_routes(validator, AuditApi::new(store));
/// # let _ = routes;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn audit_routes(validator: Validator, audit: AuditApi) -> Routes {
    let auth = AuthMiddleware::new(validator).policy(AuditApi::policy()).wording(AuditApi::wording);
    let list = move |caller: Checked, request: HttpRequest| {
        let (audit, query) = (audit.clone(), request.query_string().to_owned());
        async move { audit.list(&caller.into(), Some(&query)).await.map(reply) }
    };
    Routes::new().get("/audit", list).each(|route| route.wrap(auth.clone()))
}

/// Has the audit log tell which requests to these routes are refused with 401 or 403, a bounded number of
/// them: see [`AuditApi`]. For routes of operators, with their guards, as [`keys_routes`](super::keys_routes).
///
/// A request came from the [`ClientAddress`] that a middleware further out has put into its extensions,
/// else from the other end of the connection.
///
/// ```
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, Validator, api::{AuditApi, KeysApi}};
/// use key0_auth::actix::{audit_rejections, audit_routes, keys_routes};
///
/// let store = Arc::new(MemoryStore::new());
/// let keys = Arc::new(ApiKeys::new(store.clone()));
/// let validator = Validator::builder().api_keys(keys.clone()).build()?;
/// let audit = AuditApi::new(store.clone());
/// let operators = keys_routes(validator.clone(), KeysApi::new(store, keys))
///     .merge(audit_routes(validator, audit.clone()));
/// let routes = audit_rejections(operators, audit);
/// # let _ = routes;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn audit_rejections(routes: Routes, audit: AuditApi) -> Routes {
    let noting = move |request: ServiceRequest, next: Next<_>| {
        let route = request.match_pattern();
        let address = request.extensions().get().map(|ClientAddress(address)| *address);
        let asked = Asked {
            method: method_name(request.method().as_str()),
            route: route.and_then(|route| RouteName::new(&route).ok()),
            address: address.or_else(|| request.peer_addr().map(|peer| peer.ip())),
        };
        let audit = audit.clone();
        async move {
            let response = next.call(request).await?;
            {
                let extensions = response.response().extensions();
                if let Some(rejection) = extensions.get::<Rejection>() {
                    audit.note_rejection(rejection, extensions.get::<Caller>(), &asked);
                }
            }
            Ok(response.map_into_boxed_body())
        }
    };
    routes.each(move |route| route.wrap(from_fn(noting.clone())))
}
