use std::future::{Ready, ready};

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
};

use super::service::IdempotencyService;
use crate::idempotency::Idempotency;

/// Runs a request with an `Idempotency-Key` once, and answers its retries with what it answered.
/// See the [module](crate::idempotency) for what exactly that means.
///
/// It stands inside of an [`AuthMiddleware`](crate::actix::AuthMiddleware), as keys are the caller's own:
/// the last `wrap` runs first. The handler runs in a local task of its own, so that it needs the
/// runtime of an actix-web worker.
///
/// ```
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering::SeqCst}};
/// use actix_web::{App, test};
/// use key0_auth::actix::{AuthMiddleware, IdempotencyMiddleware, Routes};
/// use key0_auth::{ApiKeys, MemoryStore, Validator};
/// use key0_auth::{apikey::BootstrapKeys, domain::{Role, Secret}, idempotency::Idempotency};
///
/// let partner = "the-key-of-one-partner-of-the-shop";
/// let bootstrap = BootstrapKeys::new().key(Role::Minter, Secret::new("PARTNER", partner)?);
/// let store = Arc::new(MemoryStore::new());
/// let keys = ApiKeys::new(store.clone()).bootstrap(bootstrap);
/// let validator = Validator::builder().api_keys(keys).build()?;
/// let auth = AuthMiddleware::new(validator.clone());
/// let idempotency = IdempotencyMiddleware::new(Idempotency::new(store));
///
/// let orders = Arc::new(AtomicU32::new(0));
/// let handler = move || {
///     let order = format!("order {}", orders.fetch_add(1, SeqCst) + 1);
///     async move { order }
/// };
/// let routes = Routes::new()
///     .post("/orders", handler)
///     .each(|route| route.wrap(idempotency.clone()).wrap(auth.clone()))
///     .with_problem_fallbacks(validator.responder());
/// let app = test::init_service(App::new().configure(routes)).await;
///
/// for (key, order, replayed) in [("a", "order 1", false), ("a", "order 1", true), ("b", "order 2", false)] {
///     let request = test::TestRequest::post().uri("/orders").set_payload("a photo");
///     let request = request.append_header(("x-api-key", partner));
///     let request = request.append_header(("idempotency-key", key)).to_request();
///     let response = test::call_service(&app, request).await;
///     assert_eq!(response.headers().contains_key("idempotent-replayed"), replayed);
///     assert_eq!(test::read_body(response).await, order);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct IdempotencyMiddleware {
    idempotency: Idempotency,
}

impl IdempotencyMiddleware {
    /// Treats requests by these settings.
    pub fn new(idempotency: Idempotency) -> Self {
        Self { idempotency }
    }
}

impl<S, B> Transform<S, ServiceRequest> for IdempotencyMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = IdempotencyService<S>;
    type InitError = ();
    type Future = Ready<Result<IdempotencyService<S>, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(IdempotencyService::new(inner, self.idempotency.clone())))
    }
}
