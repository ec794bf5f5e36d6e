use tower::Layer;

use super::service::IdempotencyService;
use crate::idempotency::Idempotency;

/// Runs a request with an `Idempotency-Key` once, and answers its retries with what it answered.
/// See the [module](crate::idempotency) for what exactly that means.
///
/// It stands inside of an [`AuthLayer`](crate::AuthLayer), as keys are the caller's own; in axum
/// the layer that is added last is the outermost. The body of a request must come from
/// [`Bytes`](bytes::Bytes), as axum's does. The handler runs in a task of its own on tokio's
/// runtime.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{convert::Infallible, sync::{Arc, atomic::{AtomicU32, Ordering::SeqCst}}};
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use key0_auth::{ApiKeys, AuthLayer, IdempotencyLayer, MemoryStore, Validator};
/// use key0_auth::{apikey::BootstrapKeys, domain::{Role, Secret}, idempotency::Idempotency};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// let partner = "the-key-of-one-partner-of-the-shop";
/// let bootstrap = BootstrapKeys::new().key(Role::Minter, Secret::new("PARTNER", partner)?);
/// let store = Arc::new(MemoryStore::new());
/// let keys = ApiKeys::new(store.clone()).bootstrap(bootstrap);
/// let auth = AuthLayer::new(Validator::builder().api_keys(keys).build()?);
///
/// let orders = Arc::new(AtomicU32::new(0));
/// let handler = service_fn(move |_: Request<Full<Bytes>>| {
///     let order = format!("order {}", orders.fetch_add(1, SeqCst) + 1);
///     async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(order))) }
/// });
/// let service = auth.layer(IdempotencyLayer::new(Idempotency::new(store)).layer(handler));
///
/// for (key, order, replayed) in [("a", "order 1", false), ("a", "order 1", true), ("b", "order 2", false)] {
///     let request = Request::post("/orders").header("x-api-key", partner);
///     let request = request.header("idempotency-key", key).body(Full::from("a photo"))?;
///     let response = service.clone().oneshot(request).await?;
///     assert_eq!(response.headers().contains_key("idempotent-replayed"), replayed);
///     assert_eq!(response.into_body().collect().await?.to_bytes(), order);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct IdempotencyLayer {
    idempotency: Idempotency,
}

impl IdempotencyLayer {
    /// Treats requests by these settings.
    pub fn new(idempotency: Idempotency) -> Self {
        Self { idempotency }
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = IdempotencyService<S>;

    fn layer(&self, inner: S) -> IdempotencyService<S> {
        IdempotencyService::new(inner, self.idempotency.clone())
    }
}
