//! What is served: two protected resources, the internal endpoints, the keys API, the partner API,
//! health.

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, middleware::from_fn, routing::get};
use key0_auth::{
    ApiKeys, AuthLayer, Cached, InternalAuth, InternalAuthLayer, Validator,
    api::{
        AuditApi, CredentialApi, Introspect, IssueToken, KeysApi, PaymentReceived, PurchasesApi,
        Verify,
    },
    axum::{self as key0_axum, drain_unread},
    domain::{Clock, SystemClock},
    store::{DeniedTokens, KeyUsage},
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;

use super::{
    console,
    error::StartError,
    housekeeping::Housekeeping,
    metrics::{self, Shown},
    openapi::{Audience, Served},
    payments::LogPayment,
    ready::{Ready, ready},
    refusals::Refusals,
    requests::RequestService,
    sold,
};
use crate::{
    confidential::Confidential,
    config::{Config, IssueTokenAuth},
    database::{Opened, Opening},
    partner::Partner,
};

/// How long the start waits until it is known which access tokens are denied.
const FIRST_READING: Duration = Duration::from_secs(5);

/// The backend's parts, put together once.
#[derive(Debug, Clone)]
pub(crate) struct App {
    guards: Guards,
    keys: Arc<Cached>,
    denied: DeniedTokens,
    ready: Ready,
    usage: KeyUsage,
    payment_received: PaymentReceived,
    partner: Partner,
    store: Opened,
    counted: PrometheusHandle,
    refusals: Refusals,
}

/// What depends on secrets and on keys of the configuration.
#[derive(Debug, Clone)]
struct Guards {
    validator: Validator,
    keys_api: KeysApi,
    credential_api: CredentialApi,
    purchases_api: PurchasesApi,
    audit_api: AuditApi,
    key_checks: bool,
    issue_token: IssueToken,
    internal_auth: Arc<InternalAuth>,
    issue_token_auth: IssueTokenAuth,
    verify: Option<Verify>,
    confidential: Confidential,
}

impl Guards {
    fn new(
        config: &Config,
        store: &Opened,
        cached: &Arc<Cached>,
        denied: &DeniedTokens,
        usage: &KeyUsage,
    ) -> Self {
        let keys = ApiKeys::cached(cached.clone())
            .usage(usage.clone())
            .bootstrap(config.bootstrap.clone())
            .format(config.key_format.clone());
        let keys = Arc::new(keys);
        let mut validator = Validator::builder()
            .access_tokens(config.tokens.clone())
            .denied_tokens(denied.clone())
            .api_keys(keys.clone());
        if let Some(gateway) = &config.gateway {
            validator = validator.gateway(gateway.clone());
        }
        if let Some(seller) = &config.seller {
            validator = validator.seller(seller.clone());
        }
        let validator = match validator.build() {
            Ok(validator) => validator,
            Err(_) => unreachable!("there are tokens, keys and sources"),
        };
        config.providers.start();
        Self {
            credential_api: CredentialApi::new(
                validator.clone(),
                store.keys.clone(),
                denied.clone(),
            ),
            confidential: config.confidential.clone(),
            verify: config.verify.clone().map(|rules| Verify::new(validator.clone(), rules)),
            validator,
            keys_api: KeysApi::new(store.keys.clone(), keys.clone()),
            purchases_api: PurchasesApi::new(store.purchases.clone(), keys.clone(), denied.clone()),
            audit_api: AuditApi::new(store.audit.clone()),
            key_checks: config.key_checks,
            issue_token: IssueToken::new(store.payments.clone(), keys, config.issuance.clone())
                .time_to_live(config.key_ttl),
            internal_auth: config.internal_auth.clone(),
            issue_token_auth: config.issue_token_auth,
        }
    }
}

impl App {
    /// Opens the store and puts the parts together. Must be called within a runtime.
    pub(crate) async fn open(
        config: &Config,
        counted: PrometheusHandle,
    ) -> Result<Self, StartError> {
        let store = config.database.open(Opening::Making).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let partner = Partner::open(&store.beside, clock.clone(), store.requests.clone()).await?;
        // From then on an outage keeps the list; before, no token could be let in.
        let denied = DeniedTokens::reading_every(store.denials.clone(), config.cache_ttl);
        denied.first_reading(FIRST_READING).await.map_err(StartError::DeniedTokens)?;
        Ok(Self::new(config, store, denied, partner, clock, counted))
    }

    fn new(
        config: &Config,
        store: Opened,
        denied: DeniedTokens,
        partner: Partner,
        clock: Arc<dyn Clock>,
        counted: PrometheusHandle,
    ) -> Self {
        let cached =
            Cached::builder(store.keys.clone(), clock.clone()).time_to_live(config.cache_ttl);
        let cached = match cached.build() {
            Ok(cached) => Arc::new(cached),
            Err(_) => unreachable!("the time to live was checked when it was read"),
        };
        let usage = KeyUsage::new(store.keys.clone());
        let guards = Guards::new(config, &store, &cached, &denied, &usage);
        Self {
            guards,
            ready: Ready::new(
                cached.clone(),
                store.requests.clone(),
                clock.clone(),
                config.serving.ready_ignores_store,
                config.cache_ttl,
            ),
            keys: cached,
            denied,
            usage,
            payment_received: PaymentReceived::with_handler(
                store.payments.clone(),
                clock,
                LogPayment,
            ),
            partner,
            store,
            counted,
            refusals: Refusals::default(),
        }
    }

    /// The same store and work, behind the secrets and keys of another configuration.
    pub(crate) fn with(&self, config: &Config) -> Self {
        let guards = Guards::new(config, &self.store, &self.keys, &self.denied, &self.usage);
        // It counts what it does not tell.
        let guards = Guards { audit_api: self.guards.audit_api.clone(), ..guards };
        Self { guards, ..self.clone() }
    }

    /// What the operator should know of the store.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.store.warnings
    }

    /// Whether requests can be answered.
    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// What was refused of late.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// All routes, for one listener.
    pub(crate) fn everything(&self) -> RequestService {
        let guard = AuthLayer::new(self.guards.validator.clone()).policy(KeysApi::policy());
        let metrics = self.audited(self.metrics().route_layer(guard));
        let routes = self.open_routes().merge(self.closed_routes()).merge(metrics);
        self.finish(routes, Audience::Everybody)
    }

    /// What agents and partners may reach.
    pub(crate) fn public(&self) -> RequestService {
        self.finish(self.open_routes(), Audience::Public)
    }

    /// What Key0 and the operator may reach, where they have a listener of their own.
    pub(crate) fn internal(&self) -> RequestService {
        // Operators ask there what a credential is, too.
        let routes = self.closed_routes().merge(self.metrics()).merge(self.credential_routes());
        self.finish(routes, Audience::Internal)
    }

    /// What is to be done besides answering requests.
    pub(crate) fn housekeeping(&self) -> Housekeeping {
        Housekeeping {
            issue_token: self.guards.issue_token.clone(),
            keys: self.guards.keys_api.clone(),
            audit: self.guards.audit_api.clone(),
            credentials: self.guards.credential_api.clone(),
            denied: self.denied.clone(),
            usage: self.usage.clone(),
            idempotency: self.partner.idempotency().clone(),
            store: self.keys.clone(),
        }
    }

    /// The API for partners, which has work of its own to do.
    pub(crate) fn partner(&self) -> Partner {
        self.partner.clone()
    }

    fn open_routes(&self) -> Router {
        let validator = self.guards.key_checks.then_some(&self.guards.validator);
        self.api_routes().merge(self.credential_routes()).merge(self.partner.routes(validator))
    }

    fn credential_routes(&self) -> Router {
        key0_axum::credential_routes(self.guards.credential_api.clone())
    }

    fn closed_routes(&self) -> Router {
        let introspect = Introspect::new(self.guards.validator.clone());
        let introspect =
            key0_axum::introspect_routes(self.guards.internal_auth.clone(), introspect);
        let readers =
            AuthLayer::new(self.guards.validator.clone()).policy(KeysApi::readers_policy());
        let refusals = self.refusals.routes().route_layer(readers);
        let (validator, purchases) = (&self.guards.validator, &self.guards.purchases_api);
        let purchases = key0_axum::purchases_routes(validator.clone(), purchases.clone());
        let audit = key0_axum::audit_routes(validator.clone(), self.guards.audit_api.clone());
        let operators = self.keys_routes().merge(purchases).merge(audit).merge(refusals);
        let routes = self.internal_routes().merge(self.audited(operators));
        let routes = routes.merge(introspect).merge(console::routes());
        match &self.guards.verify {
            Some(verify) => routes.merge(key0_axum::verify_routes(verify.clone())),
            None => routes,
        }
    }

    /// Routes for operators, with the log of whom they refuse.
    fn audited(&self, operators: Router) -> Router {
        key0_axum::audit_rejections(operators, self.guards.audit_api.clone())
    }

    fn health(&self) -> Router {
        Router::new()
            .route("/", get(index))
            .route("/health", get(health))
            .route("/ready", get(ready))
            .route_layer(from_fn(drain_unread))
            .with_state(self.ready.clone())
    }

    fn metrics(&self) -> Router {
        let shown = Shown {
            handle: self.counted.clone(),
            keys: self.keys.clone(),
            payments: self.payment_received.clone(),
        };
        let show = get(metrics::show).route_layer(from_fn(drain_unread));
        Router::new().route("/metrics", show).with_state(shown)
    }

    fn api_routes(&self) -> Router {
        sold::routes().route_layer(AuthLayer::new(self.guards.validator.clone()))
    }

    fn internal_routes(&self) -> Router {
        let (auth, payments) = (self.guards.internal_auth.clone(), self.payment_received.clone());
        match self.guards.issue_token_auth {
            IssueTokenAuth::Internal => {
                key0_axum::internal_routes(auth, self.guards.issue_token.clone(), payments)
            }
            IssueTokenAuth::Body => {
                let issue_token = key0_axum::dangerous_issue_token(self.guards.issue_token.clone());
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
        let keys = self.guards.keys_api.clone();
        if self.guards.key_checks {
            key0_axum::keys_routes(self.guards.validator.clone(), keys)
        } else {
            key0_axum::dangerous_keys_routes(keys)
        }
    }

    /// The document of what a listener serves.
    fn documented(&self, audience: Audience) -> Router {
        let guards = &self.guards;
        let served = Served {
            audience,
            key_checks: guards.key_checks,
            issue_token_auth: guards.issue_token_auth,
            internal_open: guards.internal_auth.allows_anyone(),
            verify: guards.verify.as_ref().map(Verify::asks_for_secret),
        };
        served.routes()
    }

    /// What every listener has: health, a document, an answer to unknown paths and wrong methods, and
    /// what is around all routes.
    fn finish(&self, routes: Router, audience: Audience) -> RequestService {
        let routes = routes.merge(self.health()).merge(self.documented(audience));
        let routes = key0_axum::with_problem_fallbacks(routes, self.guards.validator.responder());
        RequestService::new(routes, self.guards.confidential.clone())
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    service: &'static str,
}

/// What is served here, and who may ask for it.
async fn index() -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "routes": {
            "/api": ["access_token", "payment_key"],
            "/v1": ["integrator_key", "bootstrap_key"],
            "/credential": ["access_token", "payment_key", "integrator_key", "bootstrap_key"],
            "/keys": ["master key"],
            "/purchases": ["master key", "support key"],
            "/audit": ["master key"],
            "/internal": ["internal"],
            "/introspect": ["internal"],
            "/metrics": ["master key"],
            "/refusals": ["master key", "support key"],
            "/console": [],
            "/health": [],
            "/ready": [],
        },
        "links": { "openapi": "/openapi.json", "docs": "/docs", "llms": "/llms.txt", "console": "/console" },
    }))
}

async fn health() -> Json<Health> {
    Json(Health { status: "ok", service: "backend" })
}

#[cfg(test)]
mod tests;
