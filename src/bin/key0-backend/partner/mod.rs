//! `/v1`: the API for partners' back offices. They make and publish passports, import them by the
//! thousand, and mint loyalty points, with keys whose permissions are checked for each route.
//!
//! State is real and stored; the chain behind it is simulated: it certifies and settles whatever
//! it is given a second later.

mod http;
mod imports;
mod json;
mod loyalty;
mod passports;
mod query;
mod store;
mod worker;

use std::sync::Arc;

use axum::{
    Router,
    routing::{MethodRouter, get, post},
};
use key0_auth::{
    AuthLayer, Policy, RejectionKind, Validator,
    api::KeysApi,
    domain::{Action, Clock, Timestamp},
};

use self::store::Store;
pub(crate) use self::store::{OpenError, Place};

/// The API, put together once. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Partner {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Partner {
    /// Opens the tables, or makes them. Blocks: it is meant for the start-up.
    pub(crate) fn open(place: &Place, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Ok(Self { store: Store::open(place)?, clock })
    }

    /// The routes, behind `validator`; without one whoever reaches them may do everything.
    pub(crate) fn routes(&self, validator: Option<&Validator>) -> Router {
        let read = |resource| Policy::permission(resource, Action::Read);
        let create = |resource| Policy::permission(resource, Action::Create);
        let update = |resource| Policy::permission(resource, Action::Update);
        let guard = |route: MethodRouter<Self>, policy: Policy| match validator {
            Some(validator) => {
                route.route_layer(AuthLayer::new(validator.clone()).policy(policy).wording(wording))
            }
            None => route,
        };
        let tiers = guard(get(loyalty::tiers), read("loyalty"))
            .merge(guard(post(loyalty::create_tier), create("loyalty")));
        Router::new()
            .route("/v1/dpp/passports", guard(post(passports::create), create("dpp")))
            .route("/v1/dpp/passports/publish", guard(post(passports::publish), update("dpp")))
            .route("/v1/dpp/passports/{id}", guard(get(passports::show), read("dpp")))
            .route("/v1/imports", guard(post(imports::create), create("dpp").and(update("dpp"))))
            .route("/v1/imports/{id}", guard(get(imports::show), read("dpp")))
            .route("/v1/loyalty/reward-tiers", tiers)
            .route("/v1/loyalty/account/{id}/mint", guard(post(loyalty::mint), update("loyalty")))
            .route("/v1/loyalty/orders", guard(get(loyalty::orders), read("loyalty")))
            .with_state(self.clone())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// As the keys API puts it, but that other keys than a master's are welcome.
fn wording(kind: RejectionKind) -> Option<&'static str> {
    match kind {
        RejectionKind::InsufficientPermissions => None,
        kind => KeysApi::wording(kind),
    }
}
