use std::sync::Arc;

use actix_web::{Route, http::Method, web};

use super::{
    InternalAuthMiddleware, Routes,
    body::{Direct, JsonBody, reply},
};
use crate::{
    InternalAuth,
    api::{IssueToken, PaymentReceived},
};

/// The two endpoints that Key0 calls, `/internal/issue-token` and `/internal/payment-received`,
/// behind `auth`. To be merged into [`Routes`] that end with
/// [`with_problem_fallbacks`](Routes::with_problem_fallbacks).
///
/// ```
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, InternalAuth, MemoryStore, apikey::IssuanceSecrets};
/// use key0_auth::api::{IssueToken, PaymentReceived};
/// use key0_auth::domain::{Secret, SecretSet, SystemClock};
/// use key0_auth::actix::internal_routes;
///
/// let store = Arc::new(MemoryStore::new());
/// let secret = Secret::new("INTERNAL_AUTH_SECRET", "a secret for Key0's own calls alone")?;
/// let internal = SecretSet::new(secret);
/// let issuance = IssuanceSecrets::derived_from(&internal);
/// let auth = InternalAuth::builder().shared_secret(internal).build()?;
/// let issue_token = IssueToken::new(store.clone(), ApiKeys::new(store.clone()), issuance);
/// let payments = PaymentReceived::new(store, Arc::new(SystemClock));
/// let routes = internal_routes(auth, issue_token, payments);
/// # let _ = routes;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn internal_routes(
    auth: impl Into<Arc<InternalAuth>>,
    issue_token: IssueToken,
    payment_received: PaymentReceived,
) -> Routes {
    let auth = InternalAuthMiddleware::new(auth);
    let issue_token = dangerous_issue_token(issue_token);
    let payment_received = dangerous_payment_received(payment_received);
    Routes::new()
        .route("/internal/issue-token", Method::POST, issue_token)
        .route("/internal/payment-received", Method::POST, payment_received)
        .each(|route| route.wrap(auth.clone()))
}

/// `POST` to an [`IssueToken`], behind nothing: whoever reaches it gets a key for any payment it
/// makes up. For another guard than [`internal_routes`] has.
///
/// ```
/// use std::sync::Arc;
/// use actix_web::http::Method;
/// use key0_auth::{ApiKeys, InternalAuth, MemoryStore, api::IssueToken};
/// use key0_auth::actix::{InternalAuthMiddleware, Routes, dangerous_issue_token};
/// use key0_auth::{apikey::IssuanceSecrets, domain::{Secret, SecretSet}};
///
/// let secrets = SecretSet::new(Secret::new("SHOP_SECRET", "a secret that the shop sends to us")?);
/// let issuance = IssuanceSecrets::derived_from(&secrets);
/// let store = Arc::new(MemoryStore::new());
/// let endpoint = IssueToken::new(store.clone(), ApiKeys::new(store), issuance);
/// let shop = InternalAuth::builder().shared_secret(secrets).header("X-Shop-Auth").build()?;
/// let sell = dangerous_issue_token(endpoint).wrap(InternalAuthMiddleware::new(Arc::new(shop)));
/// let routes = Routes::new().route("/sell", Method::POST, sell);
/// # let _ = routes;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn dangerous_issue_token(endpoint: IssueToken) -> Route {
    web::post().to(move |_: Direct, JsonBody(body)| {
        let endpoint = endpoint.clone();
        async move { endpoint.handle(&body).await.map(reply) }
    })
}

/// `POST` to a [`PaymentReceived`], behind nothing. For another guard than [`internal_routes`]
/// has.
///
/// ```
/// use std::sync::Arc;
/// use actix_web::http::Method;
/// use key0_auth::{MemoryStore, actix::{Routes, dangerous_payment_received}, api::PaymentReceived};
/// use key0_auth::domain::SystemClock;
///
/// let endpoint = PaymentReceived::new(Arc::new(MemoryStore::new()), Arc::new(SystemClock));
/// // A guard of your own goes around it, as around `dangerous_issue_token`.
/// let routes = Routes::new().route("/paid", Method::POST, dangerous_payment_received(endpoint));
/// # let _ = routes;
/// ```
pub fn dangerous_payment_received(endpoint: PaymentReceived) -> Route {
    web::post().to(move |_: Direct, JsonBody(body)| {
        let endpoint = endpoint.clone();
        async move { endpoint.handle(&body).await.map(reply) }
    })
}
