//! What is served: two protected resources, the internal endpoints, the keys API, the partner API,
//! health.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::get,
};
use key0_auth::{
    ApiKeys, AuthLayer, Cached, Identity, InternalAuth, InternalAuthLayer, Policy, Rejection,
    RejectionKind, Validator,
    api::{HandlerError, IssueToken, KeysApi, PaymentHandler, PaymentReceived},
    axum as key0_axum,
    domain::{Clock, PlanId, ResourceId, SystemClock},
    store::{KeyUsage, Payment, SharedPing},
};
use serde::Serialize;

use super::{error::StartError, housekeeping::Housekeeping, requests::RequestService};
use crate::{
    config::{Config, IssueTokenAuth},
    database::Opened,
    partner::Partner,
};

/// The backend's parts, put together once.
#[derive(Debug, Clone)]
pub(crate) struct App {
    validator: Validator,
    keys: Arc<Cached>,
    ready: SharedPing,
    keys_api: KeysApi,
    key_checks: bool,
    usage: KeyUsage,
    issue_token: IssueToken,
    payment_received: PaymentReceived,
    internal_auth: Arc<InternalAuth>,
    issue_token_auth: IssueTokenAuth,
    partner: Partner,
    warnings: Vec<String>,
}

impl App {
    /// Opens the store and puts the parts together. Must be called within a runtime.
    pub(crate) async fn open(config: &Config) -> Result<Self, StartError> {
        let store = config.database.open(true).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let place = config.database.partner_place();
        let partner = Partner::open(&place, clock.clone(), store.requests.clone())?;
        Ok(Self::new(config, store, partner, clock))
    }

    fn new(config: &Config, store: Opened, partner: Partner, clock: Arc<dyn Clock>) -> Self {
        let cached =
            Cached::builder(store.keys.clone(), clock.clone()).time_to_live(config.cache_ttl);
        let cached = match cached.build() {
            Ok(cached) => Arc::new(cached),
            Err(_) => unreachable!("the time to live was checked when it was read"),
        };
        let usage = KeyUsage::new(store.keys.clone());
        let keys = ApiKeys::cached(cached.clone())
            .usage(usage.clone())
            .bootstrap(config.bootstrap.clone());
        let keys = Arc::new(keys);
        let validator = Validator::builder()
            .access_tokens(config.tokens.clone())
            .api_keys(keys.clone())
            .build();
        let validator = match validator {
            Ok(validator) => validator,
            Err(_) => unreachable!("there are tokens, keys and sources"),
        };
        for keys in &config.remote_keys {
            keys.start();
        }
        Self {
            validator,
            ready: SharedPing::new(cached.clone()),
            keys: cached,
            keys_api: KeysApi::new(store.keys, keys.clone()),
            key_checks: config.key_checks,
            usage,
            issue_token: IssueToken::new(store.payments.clone(), keys, config.issuance.clone())
                .time_to_live(config.key_ttl),
            payment_received: PaymentReceived::with_handler(store.payments, clock, LogPayment),
            internal_auth: config.internal_auth.clone(),
            issue_token_auth: config.issue_token_auth,
            partner,
            warnings: store.warnings,
        }
    }

    /// What the operator should know of the store.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All routes, for one listener.
    pub(crate) fn everything(&self) -> RequestService {
        let closed = self.internal_routes().merge(self.keys_routes());
        self.finish(self.open_routes().merge(closed))
    }

    /// What agents and partners may reach.
    pub(crate) fn public(&self) -> RequestService {
        self.finish(self.open_routes())
    }

    /// What Key0 and the operator may reach, where they have a listener of their own.
    pub(crate) fn internal(&self) -> RequestService {
        self.finish(self.health().merge(self.internal_routes()).merge(self.keys_routes()))
    }

    /// What is to be done besides answering requests.
    pub(crate) fn housekeeping(&self) -> Housekeeping {
        Housekeeping::new(
            self.issue_token.clone(),
            self.keys_api.clone(),
            self.usage.clone(),
            self.partner.idempotency().clone(),
            self.keys.clone(),
        )
    }

    /// The API for partners, which has work of its own to do.
    pub(crate) fn partner(&self) -> Partner {
        self.partner.clone()
    }

    fn open_routes(&self) -> Router {
        let validator = self.key_checks.then_some(&self.validator);
        self.health().merge(self.api_routes()).merge(self.partner.routes(validator))
    }

    fn health(&self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/ready", get(ready))
            .with_state(self.ready.clone())
    }

    fn api_routes(&self) -> Router {
        Router::new()
            .route("/api/photos/{id}", get(photo))
            .route("/api/data/{id}", get(data))
            .route_layer(AuthLayer::new(self.validator.clone()))
    }

    fn internal_routes(&self) -> Router {
        let (auth, payments) = (self.internal_auth.clone(), self.payment_received.clone());
        match self.issue_token_auth {
            IssueTokenAuth::Internal => {
                key0_axum::internal_routes(auth, self.issue_token.clone(), payments)
            }
            IssueTokenAuth::Body => {
                let issue_token = key0_axum::dangerous_issue_token(self.issue_token.clone());
                Router::new()
                    .route(
                        "/internal/payment-received",
                        key0_axum::dangerous_payment_received(payments),
                    )
                    .route_layer(InternalAuthLayer::new(auth))
                    .route("/internal/issue-token", issue_token)
            }
        }
    }

    fn keys_routes(&self) -> Router {
        let keys = self.keys_api.clone();
        if self.key_checks {
            key0_axum::keys_routes(self.validator.clone(), keys)
        } else {
            key0_axum::dangerous_keys_routes(keys)
        }
    }

    /// What every route has: an answer to unknown paths and wrong methods, and what is outside.
    fn finish(&self, routes: Router) -> RequestService {
        RequestService::new(key0_axum::with_problem_fallbacks(routes, self.validator.responder()))
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    service: &'static str,
}

async fn health() -> Json<Health> {
    Json(Health { status: "ok", service: "backend" })
}

async fn ready(State(store): State<SharedPing>) -> Result<Json<Health>, Rejection> {
    match store.ping().await {
        Ok(()) => Ok(Json(Health { status: "ready", service: "backend" })),
        Err(error) => {
            let rejection = Rejection::new(RejectionKind::StoreUnavailable).instance("/ready");
            Err(rejection.cause(error))
        }
    }
}

/// The id in a path, which may be escaped bytes that are no text.
type ResourcePath = Result<Path<String>, PathRejection>;

fn resource(path: ResourcePath) -> Result<String, Rejection> {
    match path {
        Ok(Path(id)) => Ok(id),
        Err(error) => Err(Rejection::new(RejectionKind::NotFound).cause(error)),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Photo<'a> {
    id: &'a str,
    tier_id: Option<&'a PlanId>,
    plan_id: Option<&'a PlanId>,
    url: String,
    title: String,
    resolution: &'static str,
}

async fn photo(path: ResourcePath, identity: Identity) -> Result<Response, Rejection> {
    let id = resource(path)?;
    Policy::resource(id.as_str()).check(&identity)?;
    let photo = Photo {
        id: &id,
        tier_id: identity.plan_id(),
        plan_id: identity.plan_id(),
        url: format!("https://cdn.example.com/photos/{id}.jpg"),
        title: format!("Photo {id}"),
        resolution: "4K",
    };
    Ok(Json(photo).into_response())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    id: &'a str,
    data: &'static str,
    tier_id: Option<&'a PlanId>,
    plan_id: Option<&'a PlanId>,
    resource_id: Option<&'a ResourceId>,
}

async fn data(path: ResourcePath, identity: Identity) -> Result<Response, Rejection> {
    let id = resource(path)?;
    Policy::resource(id.as_str()).check(&identity)?;
    let data = Data {
        id: &id,
        data: "premium content",
        tier_id: identity.plan_id(),
        plan_id: identity.plan_id(),
        resource_id: identity.resource_id(),
    };
    Ok(Json(data).into_response())
}

/// The sample's way to deal with a payment: a line in the log.
#[derive(Debug)]
struct LogPayment;

#[async_trait::async_trait]
impl PaymentHandler for LogPayment {
    async fn handle(&self, payment: &Payment) -> Result<(), HandlerError> {
        tracing::info!(
            challenge_id = %payment.challenge_id,
            resource_id = %payment.resource_id,
            plan_id = %payment.plan_id,
            tx_hash = %payment.tx_hash,
            "payment received"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
