use axum::{Router, extract::RawQuery, routing::get};

use super::{body::answer, keys::Checked};
use crate::{AuthLayer, Validator, api::AuditApi};

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
