//! A backend ready to use: secrets, store, cache, validator, endpoints and housekeeping, put together
//! in the right order, on axum or actix-web.
//!
//! A whole application on axum that sells photos, issues keys for payments and lets its operator
//! manage partners' keys:
//!
#![cfg_attr(feature = "axum", doc = "```no_run")]
#![cfg_attr(not(feature = "axum"), doc = "```ignore")]
//! use axum::{Router, extract::Path, routing::get};
//! use key0_auth::{backend::{Backend, Secrets}, store};
//!
//! async fn photo(Path(id): Path<String>) -> String {
//!     format!("photo {id}")
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let store = store::open("sqlite://backend.db").await?;
//!     let backend = Backend::builder(store, Secrets::from_env()?).build()?;
//!     let photos = Router::new()
//!         .route("/photos/{id}", get(photo))
//!         .route_layer(backend.layer().sold("id"));
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     axum::serve(listener, backend.router(photos)).await?;
//!     backend.close().await;
//!     Ok(())
//! }
//! ```
//!
//! On actix-web it is [`middleware`](Backend::middleware) and [`configure`](Backend::configure).
//! Every part can still be built by itself; what this module does is no secret.

mod builder;
mod gateway;
mod housekeeping;
#[cfg(feature = "jwks")]
mod providers;
mod secrets;
mod variables;

use std::{fmt, sync::Arc, time::Duration};

use tokio::{task::AbortHandle, time::timeout};

use self::housekeeping::Housekeeping;
pub use self::{builder::BackendBuilder, secrets::Secrets};
use crate::{
    InternalAuth, KeyStore, Rejection, RejectionKind, Validator,
    api::{AuditApi, CredentialApi, IssueToken, KeysApi, PaymentReceived, PurchasesApi},
    auth::Responder,
    store::{DeniedTokens, Store},
};

/// How long [`Backend::ready`] waits for the store.
const READY_DEADLINE: Duration = Duration::from_millis(500);

/// All parts of a backend, put together once and shared by its clones. See the
/// [module](crate::backend).
///
/// Housekeeping (when keys were used is written down, what is past its time is cleared away) runs
/// by itself, until [`close`](Self::close) or until the last clone is dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::{backend::{Backend, Secrets}, store};
///
/// let secrets = Secrets::read(|name| match name {
///     "KEY0_ACCESS_TOKEN_SECRET" => Some("a secret that Key0 shares with this backend".to_owned()),
///     "INTERNAL_AUTH_SECRET" => Some("a secret for Key0's own calls alone".to_owned()),
///     _ => None,
/// })?;
/// let backend = Backend::builder(store::open("memory://").await?, secrets).build()?;
/// backend.ready().await.expect("the store answers");
/// backend.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Backend(Arc<Parts>);

struct Parts {
    store: Arc<dyn Store>,
    validator: Validator,
    internal_auth: Arc<InternalAuth>,
    issue_token: IssueToken,
    payment_received: PaymentReceived,
    keys_api: KeysApi,
    credential_api: CredentialApi,
    purchases_api: PurchasesApi,
    audit_api: AuditApi,
    denied: DeniedTokens,
    housekeeping: Housekeeping,
    running: AbortHandle,
}

impl Backend {
    /// Starts with a store that does everything, as [`store::open`](crate::store::open) gives it.
    pub fn builder(store: Arc<dyn Store>, secrets: Secrets) -> BackendBuilder {
        BackendBuilder::new(store, secrets)
    }

    /// What validates the credentials of agents and partners.
    pub fn validator(&self) -> &Validator {
        &self.0.validator
    }

    /// What validates Key0's own calls.
    pub fn internal_auth(&self) -> &Arc<InternalAuth> {
        &self.0.internal_auth
    }

    /// The form of all refusals.
    pub fn responder(&self) -> &Responder {
        self.0.validator.responder()
    }

    /// `POST /internal/issue-token`.
    pub fn issue_token(&self) -> &IssueToken {
        &self.0.issue_token
    }

    /// `POST /internal/payment-received`.
    pub fn payment_received(&self) -> &PaymentReceived {
        &self.0.payment_received
    }

    /// `/keys`.
    pub fn keys_api(&self) -> &KeysApi {
        &self.0.keys_api
    }

    /// `/credential`.
    pub fn credential_api(&self) -> &CredentialApi {
        &self.0.credential_api
    }

    /// `/purchases`.
    pub fn purchases_api(&self) -> &PurchasesApi {
        &self.0.purchases_api
    }

    /// `/audit`.
    pub fn audit_api(&self) -> &AuditApi {
        &self.0.audit_api
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// What runs requests with an `Idempotency-Key` once, on the same store.
    #[cfg(feature = "idempotency")]
    #[cfg_attr(docsrs, doc(cfg(feature = "idempotency")))]
    pub fn idempotency(&self) -> &crate::idempotency::Idempotency {
        &self.0.housekeeping.idempotency
    }

    /// Succeeds while the store answers in time, once it is known which access tokens are denied: for
    /// a route that tells a load balancer, and to be awaited before the first request is taken.
    ///
    /// # Errors
    ///
    /// [`StoreUnavailable`](RejectionKind::StoreUnavailable), a 503, where it does not.
    pub async fn ready(&self) -> Result<(), Rejection> {
        let unavailable = || Rejection::new(RejectionKind::StoreUnavailable);
        let ping = timeout(READY_DEADLINE, self.0.housekeeping.store.ping()).await;
        let ping = ping.map_err(|elapsed| unavailable().cause(elapsed))?;
        ping.map_err(|error| unavailable().cause(error))?;
        self.0.denied.settle().await.map_err(|error| unavailable().cause(error))
    }

    /// A layer that asks for a good credential. Give it to `route_layer`, mostly with
    /// [`sold`](crate::AuthLayer::sold), [`plan`](crate::AuthLayer::plan) or
    /// [`permission`](crate::AuthLayer::permission).
    #[cfg(feature = "tower")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
    pub fn layer(&self) -> crate::AuthLayer {
        crate::AuthLayer::new(self.0.validator.clone())
    }

    /// The application's own routes with the internal endpoints, the keys API, `/purchases`,
    /// `/audit`, `/credential`, and problem bodies for 404 and 405.
    #[cfg(feature = "axum")]
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn router<S>(&self, own: axum::Router<S>) -> axum::Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        use crate::axum::{
            audit_rejections, audit_routes, credential_routes, internal_routes, keys_routes,
            purchases_routes, with_problem_fallbacks,
        };
        let Parts { internal_auth, issue_token, payment_received, .. } = &*self.0;
        let internal =
            internal_routes(internal_auth.clone(), issue_token.clone(), payment_received.clone());
        let keys = keys_routes(self.0.validator.clone(), self.0.keys_api.clone());
        let credential = credential_routes(self.0.credential_api.clone());
        let purchases = purchases_routes(self.0.validator.clone(), self.0.purchases_api.clone());
        let audit = audit_routes(self.0.validator.clone(), self.0.audit_api.clone());
        let operators =
            audit_rejections(keys.merge(purchases).merge(audit), self.0.audit_api.clone());
        let all = own.merge(internal).merge(operators).merge(credential);
        with_problem_fallbacks(all, self.responder())
    }

    /// A middleware that asks for a good credential. Wrap routes with it, mostly with
    /// [`sold`](crate::actix::AuthMiddleware::sold),
    /// [`plan`](crate::actix::AuthMiddleware::plan) or
    /// [`permission`](crate::actix::AuthMiddleware::permission).
    #[cfg(feature = "actix")]
    #[cfg_attr(docsrs, doc(cfg(feature = "actix")))]
    pub fn middleware(&self) -> crate::actix::AuthMiddleware {
        crate::actix::AuthMiddleware::new(self.0.validator.clone())
    }

    /// The application's own routes with the internal endpoints, the keys API, `/purchases`,
    /// `/audit`, `/credential`, and problem bodies for 404 and 405, for [`App::configure`](actix_web::App::configure).
    #[cfg(feature = "actix")]
    #[cfg_attr(docsrs, doc(cfg(feature = "actix")))]
    pub fn configure(
        &self,
        own: crate::actix::Routes,
    ) -> impl FnOnce(&mut actix_web::web::ServiceConfig) + use<> {
        use crate::actix::{
            audit_rejections, audit_routes, credential_routes, internal_routes, keys_routes,
            purchases_routes,
        };
        let Parts { internal_auth, issue_token, payment_received, .. } = &*self.0;
        let internal =
            internal_routes(internal_auth.clone(), issue_token.clone(), payment_received.clone());
        let keys = keys_routes(self.0.validator.clone(), self.0.keys_api.clone());
        let credential = credential_routes(self.0.credential_api.clone());
        let purchases = purchases_routes(self.0.validator.clone(), self.0.purchases_api.clone());
        let audit = audit_routes(self.0.validator.clone(), self.0.audit_api.clone());
        let operators =
            audit_rejections(keys.merge(purchases).merge(audit), self.0.audit_api.clone());
        let all = own.merge(internal).merge(operators).merge(credential);
        all.with_problem_fallbacks(self.responder())
    }

    /// Ends the housekeeping, writes down when keys were last used, and closes the store. To be
    /// awaited once no request comes any more; takes ten seconds at most.
    pub async fn close(&self) {
        self.0.running.abort();
        self.0.denied.close();
        self.0.housekeeping.close().await;
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("store", &self.0.store)
            .field("validator", &self.0.validator)
            .finish_non_exhaustive()
    }
}
