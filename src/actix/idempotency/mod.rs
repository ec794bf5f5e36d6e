//! Retries with an `Idempotency-Key`, for actix-web.

mod body;
mod request;
mod service;
mod transform;

pub use service::IdempotencyService;
pub use transform::IdempotencyMiddleware;
