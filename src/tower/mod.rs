//! Middleware for any tower stack of `http` requests: [`AuthLayer`](crate::AuthLayer)
//! for routes that are sold or shared, [`InternalAuthLayer`](crate::InternalAuthLayer) for those
//! that Key0 itself calls.
//!
//! # What passes
//!
//! A request whose credential is good and whose [`Identity`](crate::Identity) satisfies every
//! policy of the layer. The identity is in the request's extensions. An
//! [`optional`](crate::AuthLayer::optional) layer also lets requests without any credential pass,
//! and one that [allows preflights](crate::AuthLayer::allow_preflight) those; both without an
//! identity.
//!
//! # What is refused
//!
//! Everything else, before any of the body is read and without a call to the inner service. A
//! refusal is a response, not an error, so a stack that can't fail stays so. It holds the typed
//! [`Rejection`](crate::Rejection) in its extensions, for whoever logs or counts outside. Every
//! response to a caller who is known, also a good one, holds the
//! [`Caller`](crate::auth::Caller).
//!
//! With the feature `tracing`, a 5xx is logged at error level with its cause, any other refusal at
//! debug level with its code and caller; the target is `key0_auth::refusal`.
//!
//! # What to mind
//!
//! - The identity that a handler finds is always the innermost layer's. A layer removes whatever
//!   identity an outer one has put there before it validates the request itself, so that an inner
//!   optional layer hands no one through who satisfied only other rules. Of the refusals that
//!   handlers return, too, the innermost layer decides the form.
//! - Headers whose names begin with `X-Key0-` are removed from every request that passes.
//!   `Authorization`, `X-Api-Key` and the internal header stay, marked as sensitive. With a good token
//!   of Key0's [gateway](crate::auth::Gateway) they are removed, too, and so are `Cookie` and
//!   `Payment-Signature`.
//! - What a handler leaves unread of a request's body over HTTP/1.x is read, or the response says
//!   `Connection: close`: otherwise a client that keeps its connection loses its next request. Only
//!   of axum's `Body` the layer sees how far it was read. Of another type it says so to each `GET`,
//!   `HEAD`, `OPTIONS` and `DELETE` with a body, and to each response that is no success.
//! - A CORS layer goes outside: only there does it see refusals, and answer preflights itself.
//! - In an axum router use `route_layer` and see the module `axum` for 404 and 405.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response};
//! use key0_auth::{AccessTokens, AuthLayer, Rejection, RejectionKind, Validator};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
//! let validator = Validator::builder().access_tokens(tokens).build()?;
//! let handler = service_fn(async |_: Request<String>| {
//!     Ok::<_, std::convert::Infallible>(Response::new("a photo".to_owned()))
//! });
//! let response = AuthLayer::new(validator).layer(handler).oneshot(Request::new(String::new())).await?;
//! assert_eq!(response.status(), 401);
//! let reason = response.extensions().get::<Rejection>().map(Rejection::kind);
//! assert_eq!(reason, Some(RejectionKind::MissingCredential));
//! # Ok(())
//! # }
//! ```

mod body;
pub(crate) mod drain;
mod future;
pub(crate) mod handed_on;
#[cfg(feature = "idempotency")]
pub(crate) mod idempotency;
pub(crate) mod internal;
pub(crate) mod layer;
#[cfg(feature = "axum")]
mod lent;
pub(crate) mod refusal;
mod request;
pub(crate) mod service;

pub use body::ResponseBody;
pub use future::{InternalResponseFuture, ResponseFuture};
#[cfg(feature = "idempotency")]
#[cfg_attr(docsrs, doc(cfg(feature = "idempotency")))]
pub use idempotency::{IdempotencyBody, IdempotencyFuture, IdempotencyService};
pub use internal::InternalAuthService;
pub use service::AuthService;
