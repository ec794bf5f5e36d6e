//! For axum routers: extractors, refusals as responses, and 404 and 405 in the form of the other
//! refusals.
//!
//! [`AuthLayer::sold`](crate::AuthLayer::sold) guards routes by a parameter of their path, so that
//! no handler holds a check that could be left out. [`Identity`](crate::Identity),
//! `Option<Identity>`, [`Claims`](crate::domain::Claims),
//! [`InternalCaller`](crate::auth::InternalCaller) and [`Bought`] are extractors. A
//! [`Rejection`](crate::Rejection) is a response, so that a handler can use `?` on
//! [`Policy::check`](crate::Policy::check); the layer around it gives it its own form.
//!
//! [`AuthLayer::guard`](crate::AuthLayer::guard) is the same guard around a single handler.
//!
//! # The order
//!
//! A caller is told of an unknown path first (404), of a wrong method next (405), and only then
//! of its credential. That takes three steps, in this order: the routes, the layers by
//! `route_layer`, and [`with_problem_fallbacks`] last. With `layer` in place of `route_layer` an
//! unknown path would be a 401; with the fallbacks before it, a wrong method.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, body::Body, extract::{Path, Request}, routing::get};
//! use key0_auth::axum::with_problem_fallbacks;
//! use key0_auth::{AccessTokens, AuthLayer, Validator};
//! use tower::ServiceExt;
//!
//! async fn photo(Path(id): Path<String>) -> String {
//!     format!("photo {id}")
//! }
//! let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
//! let validator = Validator::builder().access_tokens(tokens).build()?;
//! let router: Router = Router::new()
//!     .route("/photos/{id}", get(photo))
//!     .route_layer(AuthLayer::new(validator.clone()).sold("id"));
//! let router = with_problem_fallbacks(router, validator.responder());
//! for (method, path, status) in
//!     [("GET", "/", 404), ("PUT", "/photos/1", 405), ("GET", "/photos/1", 401)]
//! {
//!     let request = Request::builder().method(method).uri(path).body(Body::empty())?;
//!     assert_eq!(router.clone().oneshot(request).await?.status(), status);
//! }
//! # Ok(())
//! # }
//! ```

mod audit;
mod body;
mod credential;
mod extract;
mod fallback;
mod guarded;
mod keys;
mod proxies;
mod purchases;
mod request_id;
mod response;
mod routes;
mod sold;
mod unread;

pub use audit::{audit_rejections, audit_routes};
pub use credential::credential_routes;
pub use fallback::{with_problem_fallbacks, with_problem_method_fallback};
pub use guarded::{Guarded, GuardedFuture};
pub use keys::{dangerous_keys_routes, keys_routes};
pub use proxies::{introspect_routes, verify_routes};
pub use purchases::purchases_routes;
pub use request_id::request_ids;
pub use routes::{dangerous_issue_token, dangerous_payment_received, internal_routes};
pub use sold::Bought;
pub use unread::drain_unread;
