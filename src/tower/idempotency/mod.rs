//! Retries with an `Idempotency-Key`, for tower.

mod body;
mod layer;
mod request;
mod service;

pub use body::IdempotencyBody;
pub use layer::IdempotencyLayer;
pub use service::{IdempotencyFuture, IdempotencyService};
