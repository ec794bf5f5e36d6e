//! `/v1`: the API for partners. They make and publish passports, import them by the
//! thousand, and mint loyalty points, with keys whose permissions are checked for each route.
//!
//! State is real and stored; the chain behind it is simulated: it certifies and settles whatever
//! it is given a second later.
//!
//! A request passes the credential, the permission, and the idempotency key, in layers; then a
//! handler reads its body, and the store does what is asked in one transaction. What takes longer
//! the worker does.

mod http;
mod imports;
mod json;
mod loyalty;
mod passports;
mod query;
mod share;
mod store;
mod worker;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::HeaderValue,
    middleware::{Next, from_fn, from_fn_with_state},
    response::Response,
    routing::{MethodRouter, get, post},
};
use key0_auth::{
    AuthLayer, IdempotencyLayer, Policy, Rejection, RejectionKind, Validator,
    api::{KeysApi, MAX_BODY_BYTES},
    auth::Gateway,
    axum::drain_unread,
    domain::{Action, Clock, Timestamp},
    idempotency::Idempotency,
    store::{IdempotencyStore, spi::SteadyClock},
};

pub(crate) use self::store::{OpenError, PartnerCopy, Place};
use self::{
    share::{Shares, within_share},
    store::Store,
};

/// How long a key is taken when the server died in the middle of a request. Short, as the effects
/// here are recognised by their rows: a retry that comes too early does nothing twice.
const LEASE: Duration = Duration::from_secs(5);

/// The API, put together once. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Partner {
    store: Arc<dyn Store>,
    /// A clock that is set ahead must not double an effect, or forget its key.
    clock: SteadyClock,
    idempotency: Idempotency,
}

impl Partner {
    /// Opens the state, or makes what it needs: it is meant for the start-up. The answers to
    /// requests with an idempotency key are kept in `answers`.
    pub(crate) async fn open(
        place: &Place,
        clock: Arc<dyn Clock>,
        answers: Arc<dyn IdempotencyStore>,
    ) -> Result<Self, OpenError> {
        Ok(Self::new(store::open(place).await?, clock, answers))
    }

    fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        answers: Arc<dyn IdempotencyStore>,
    ) -> Self {
        let idempotency = Idempotency::new(answers).clock(clock.clone()).lease(LEASE).json();
        Self { store, clock: SteadyClock::new(clock), idempotency }
    }

    /// The routes, behind `validator`; without one whoever reaches them may do everything.
    pub(crate) fn routes(&self, validator: Option<&Validator>) -> Router {
        let read = |resource| Policy::permission(resource, Action::Read);
        let create = |resource| Policy::permission(resource, Action::Create);
        let update = |resource| Policy::permission(resource, Action::Update);
        let shares = Shares::default();
        let guard_large = |route: MethodRouter<Self>, policy: Policy, limit: usize| {
            let route =
                route.route_layer(from_fn_with_state((shares.clone(), limit), within_share));
            let Some(validator) = validator else {
                let route = route.route_layer(from_fn(check_direct));
                return route.route_layer(from_fn(drain_unread));
            };
            let auth = AuthLayer::new(validator.clone()).policy(policy);
            route.route_layer(auth.wording(wording))
        };
        let guard = |route, policy| guard_large(route, policy, MAX_BODY_BYTES);
        let once = |route: MethodRouter<Self>, limit| {
            let mut idempotency = self.idempotency.clone().max_body_bytes(limit);
            if validator.is_none() {
                idempotency = idempotency.dangerous_allow_anonymous();
            }
            route.route_layer(IdempotencyLayer::new(idempotency))
        };
        let small = |route| once(route, MAX_BODY_BYTES);
        let import = once(post(imports::create), imports::MAX_IMPORT_BYTES);
        let import =
            guard_large(import, create("dpp").and(update("dpp")), imports::MAX_IMPORT_BYTES);
        let mint = small(post(loyalty::mint)).route_layer(from_fn(loyalty::known_account));
        let tiers = guard(get(loyalty::tiers), read("loyalty"))
            .merge(guard(small(post(loyalty::create_tier)), create("loyalty")));
        Router::new()
            .route("/v1/dpp/passports", guard(small(post(passports::create)), create("dpp")))
            .route(
                "/v1/dpp/passports/publish",
                guard(small(post(passports::publish)), update("dpp")),
            )
            .route("/v1/dpp/passports/{id}", guard(get(passports::show), read("dpp")))
            .route("/v1/imports", import)
            .route("/v1/imports/{id}", guard(get(imports::show), read("dpp")))
            .route("/v1/loyalty/reward-tiers", tiers)
            .route("/v1/loyalty/account/{id}/mint", guard(mint, update("loyalty")))
            .route("/v1/loyalty/orders", guard(get(loyalty::orders), read("loyalty")))
            .with_state(self.clone())
    }

    /// Waits for writes that go on by themselves, once nothing new is asked for.
    pub(crate) async fn end(&self) {
        self.store.end().await;
    }

    /// What keeps the answers, to be purged now and then.
    pub(crate) fn idempotency(&self) -> &Idempotency {
        &self.idempotency
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Where nothing is checked, what a buyer sends through Key0's gateway is refused all the same.
async fn check_direct(request: Request, next: Next) -> Result<Response, Rejection> {
    let tokens = request.headers().get_all(Gateway::TOKEN_HEADER);
    Gateway::check_direct(tokens.into_iter().map(HeaderValue::as_bytes))?;
    Ok(next.run(request).await)
}

/// As the keys API puts it, but that other keys than a master's are welcome.
fn wording(kind: RejectionKind) -> Option<&'static str> {
    match kind {
        RejectionKind::InsufficientPermissions => None,
        kind => KeysApi::wording(kind),
    }
}
