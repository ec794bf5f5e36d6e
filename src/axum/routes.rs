use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::from_fn,
    routing::{MethodRouter, post},
};

use super::{
    body::{answer, check_direct, read},
    unread::drain_unread,
};
use crate::{
    InternalAuth, InternalAuthLayer,
    api::{IssueToken, PaymentReceived},
};

/// The two endpoints that Key0 calls, `/internal/issue-token` and `/internal/payment-received`,
/// behind `auth`. To be merged into a router that ends with
/// [`with_problem_fallbacks`](super::with_problem_fallbacks).
///
/// ```
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, InternalAuth, MemoryStore, apikey::IssuanceSecrets};
/// use key0_auth::api::{IssueToken, PaymentReceived};
/// use key0_auth::domain::{Secret, SecretSet, SystemClock};
/// use key0_auth::axum::internal_routes;
///
/// let store = Arc::new(MemoryStore::new());
/// let secret = Secret::new("INTERNAL_AUTH_SECRET", "a secret for Key0's own calls alone")?;
/// let internal = SecretSet::new(secret);
/// let issuance = IssuanceSecrets::derived_from(&internal);
/// let auth = InternalAuth::builder().shared_secret(internal).build()?;
/// let issue_token = IssueToken::new(store.clone(), ApiKeys::new(store.clone()), issuance);
/// let payments = PaymentReceived::new(store, Arc::new(SystemClock));
/// let router: axum::Router = internal_routes(auth, issue_token, payments);
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn internal_routes<S>(
    auth: impl Into<Arc<InternalAuth>>,
    issue_token: IssueToken,
    payment_received: PaymentReceived,
) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/internal/issue-token", dangerous_issue_token(issue_token))
        .route("/internal/payment-received", dangerous_payment_received(payment_received))
        .route_layer(InternalAuthLayer::new(auth))
}

/// `POST` to an [`IssueToken`], behind nothing: whoever reaches it gets a key for any payment it
/// makes up. For another guard than [`internal_routes`] has.
///
/// ```
/// use std::sync::Arc;
/// use axum::Router;
/// use key0_auth::{ApiKeys, InternalAuth, InternalAuthLayer, MemoryStore, api::IssueToken};
/// use key0_auth::{apikey::IssuanceSecrets, axum::dangerous_issue_token};
/// use key0_auth::domain::{Secret, SecretSet};
///
/// let secrets = SecretSet::new(Secret::new("SHOP_SECRET", "a secret that the shop sends to us")?);
/// let issuance = IssuanceSecrets::derived_from(&secrets);
/// let store = Arc::new(MemoryStore::new());
/// let endpoint = IssueToken::new(store.clone(), ApiKeys::new(store), issuance);
/// let shop = InternalAuth::builder().shared_secret(secrets).header("X-Shop-Auth").build()?;
/// let sell = dangerous_issue_token(endpoint).route_layer(InternalAuthLayer::new(shop));
/// let router: Router = Router::new().route("/sell", sell);
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn dangerous_issue_token<S>(endpoint: IssueToken) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    post(async move |request: Request| {
        check_direct(request.headers(), request.extensions())?;
        let body = read(request).await?;
        endpoint.handle(&body).await.map(answer)
    })
    .route_layer(from_fn(drain_unread))
}

/// `POST` to a [`PaymentReceived`], behind nothing. For another guard than [`internal_routes`]
/// has.
///
/// ```
/// use std::sync::Arc;
/// use axum::Router;
/// use key0_auth::{MemoryStore, api::PaymentReceived, axum::dangerous_payment_received};
/// use key0_auth::domain::SystemClock;
///
/// let endpoint = PaymentReceived::new(Arc::new(MemoryStore::new()), Arc::new(SystemClock));
/// // A guard of your own goes around it, as around `dangerous_issue_token`.
/// let router: Router = Router::new().route("/paid", dangerous_payment_received(endpoint));
/// # let _ = router;
/// ```
pub fn dangerous_payment_received<S>(endpoint: PaymentReceived) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    post(async move |request: Request| {
        check_direct(request.headers(), request.extensions())?;
        let body = read(request).await?;
        endpoint.handle(&body).await.map(answer)
    })
    .route_layer(from_fn(drain_unread))
}
