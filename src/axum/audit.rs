use axum::{
    Router,
    extract::{MatchedPath, RawQuery, Request},
    middleware::{Next, from_fn},
    routing::get,
};

use super::{body::answer, keys::Checked};
use crate::{
    AuthLayer, Rejection, Validator,
    api::{Asked, AuditApi, ClientAddress, method_name},
    auth::Caller,
    domain::RouteName,
};

/// `GET /audit`, what was done to keys and purchases, for the holders of a master key that `validator`
/// accepts. To be merged into a router that ends with
/// [`with_problem_fallbacks`](super::with_problem_fallbacks).
///
/// ```
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, Validator, api::AuditApi, axum::audit_routes};
///
/// let store = Arc::new(MemoryStore::new());
/// let validator = Validator::builder().api_keys(ApiKeys::new(store.clone())).build()?;
/// let router: axum::Router = audit_routes(validator, AuditApi::new(store));
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn audit_routes<S>(validator: Validator, audit: AuditApi) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let auth = AuthLayer::new(validator).policy(AuditApi::policy()).wording(AuditApi::wording);
    let list = async move |caller: Checked, RawQuery(query): RawQuery| {
        audit.list(&caller.into(), query.as_deref()).await.map(answer)
    };
    Router::new().route("/audit", get(list)).route_layer(auth)
}

/// Has the audit log tell which requests to these routes are refused with 401 or 403, a bounded number of
/// them: see [`AuditApi`]. For routes of operators, with their guards, as [`keys_routes`](super::keys_routes).
///
/// It has the client's address if an outer layer has put a [`ClientAddress`] into the extensions.
///
/// ```
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, Validator, api::{AuditApi, KeysApi}};
/// use key0_auth::axum::{audit_rejections, audit_routes, keys_routes};
///
/// let store = Arc::new(MemoryStore::new());
/// let keys = Arc::new(ApiKeys::new(store.clone()));
/// let validator = Validator::builder().api_keys(keys.clone()).build()?;
/// let audit = AuditApi::new(store.clone());
/// let operators = keys_routes(validator.clone(), KeysApi::new(store, keys))
///     .merge(audit_routes(validator, audit.clone()));
/// let router: axum::Router = audit_rejections(operators, audit);
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn audit_rejections<S>(routes: Router<S>, audit: AuditApi) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    routes.route_layer(from_fn(move |request: Request, next: Next| {
        let extensions = request.extensions();
        let route = extensions.get::<MatchedPath>();
        let asked = Asked {
            method: method_name(request.method().as_str()),
            route: route.and_then(|route| RouteName::new(route.as_str()).ok()),
            address: extensions.get().map(|ClientAddress(address)| *address),
        };
        let audit = audit.clone();
        async move {
            let response = next.run(request).await;
            let extensions = response.extensions();
            if let Some(rejection) = extensions.get::<Rejection>() {
                audit.note_rejection(rejection, extensions.get::<Caller>(), &asked);
            }
            response
        }
    }))
}
