//! The keys API over an axum router, on every embedded store.
#![cfg(all(feature = "axum", feature = "sqlite", feature = "testing"))]
mod changes;
mod create;
mod lifecycle;
mod listing;
mod revocation;

use std::{any::Any, sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::get};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use key0_auth::{
    ApiKeys, AuthLayer, MemoryStore, Policy, SqliteStore, Validator,
    api::KeysApi,
    apikey::BootstrapKeys,
    axum::{dangerous_keys_routes, keys_routes, with_problem_fallbacks},
    domain::{Action, Role, Secret, Timestamp},
    store::{KeyRegistry, KeyUsage},
    testing::FakeClock,
};
use serde_json::Value;
use tower::ServiceExt;

pub(crate) const MASTER: &str = "a-master-key-of-the-configuration-1";
pub(crate) const SUPPORT: &str = "a-support-key-of-the-configuration-1";
pub(crate) const START: Timestamp = FakeClock::START;
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A backend with the keys API and one route for partners.
pub(crate) struct Office {
    pub(crate) router: Router,
    pub(crate) registry: Arc<dyn KeyRegistry>,
    pub(crate) validator: Validator,
    pub(crate) api: KeysApi,
    pub(crate) usage: KeyUsage,
    pub(crate) clock: Arc<FakeClock>,
    _guard: Box<dyn Any + Send + Sync>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub(crate) fn member(&self, name: &str) -> String {
        let json = self.json();
        json[name].as_str().unwrap_or_else(|| panic!("no {name}: {json}")).to_owned()
    }

    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, code: &str, message: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!((&*self.member("code"), &*self.member("message")), (code, message));
        assert_eq!(self.headers["cache-control"], "no-store");
    }
}

impl Office {
    pub(crate) fn on_memory() -> Self {
        Self::on(Arc::new(MemoryStore::new()), ())
    }

    pub(crate) fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("store.db")).unwrap();
        Self::on(Arc::new(store), folder)
    }

    pub(crate) fn on_each() -> [Self; 2] {
        [Self::on_memory(), Self::on_sqlite()]
    }

    pub(crate) fn on(registry: Arc<dyn KeyRegistry>, guard: impl Any + Send + Sync) -> Self {
        let clock = FakeClock::new();
        let usage = KeyUsage::new(registry.clone());
        let master = Secret::new("master", MASTER).unwrap();
        let support = Secret::new("support", SUPPORT).unwrap();
        let keys = ApiKeys::new(registry.clone())
            .usage(usage.clone())
            .bootstrap(BootstrapKeys::new().key(Role::Master, master).key(Role::Support, support));
        let keys = Arc::new(keys);
        let validator =
            Validator::builder().api_keys(keys.clone()).clock(clock.clone()).build().unwrap();
        let api = KeysApi::new(registry.clone(), keys).clock(clock.clone());
        let readers = AuthLayer::new(validator.clone()).policy(readers());
        let router = Router::new()
            .route("/v1/dpp", get(async || "a passport"))
            .route_layer(readers)
            .merge(keys_routes(validator.clone(), api.clone()));
        let router = with_problem_fallbacks(router, validator.responder());
        Self { router, registry, validator, api, usage, clock, _guard: Box::new(guard) }
    }

    /// The same without any check of `/keys`.
    pub(crate) fn unchecked(mut self) -> Self {
        self.router = with_problem_fallbacks(
            dangerous_keys_routes(self.api.clone()),
            self.validator.responder(),
        );
        self
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// A request with a master key.
    pub(crate) async fn call(&self, method: &str, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header("x-api-key", MASTER);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, body: impl Into<String>) -> Answer {
        let request = Request::post("/keys")
            .header("x-api-key", MASTER)
            .header("content-type", "application/json");
        self.send(request.body(Body::from(body.into())).unwrap()).await
    }

    /// A new key for a reader: its id and its plain text.
    pub(crate) async fn reader(&self) -> (String, String) {
        let answer = self.post(r#"{"role":"read"}"#).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        (answer.member("id"), answer.member("key"))
    }

    /// What the route for partners says to a key.
    pub(crate) async fn uses(&self, key: &str) -> Answer {
        let request = Request::get("/v1/dpp").header("x-api-key", key);
        self.send(request.body(Body::empty()).unwrap()).await
    }
}

fn readers() -> Policy {
    Policy::permission("dpp", Action::Read)
}
