use actix_web::HttpRequest;

use super::{AuthMiddleware, Routes, body::reply, keys::Checked};
use crate::{Validator, api::AuditApi};

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
