//! For actix-web: middlewares, extractors, refusals as responses, and routes whose 404 and 405 are
//! in the form of the other refusals.
//!
//! [`AuthMiddleware::sold`] guards routes by a parameter of their path, so that no handler holds a
//! check that could be left out. [`Identity`](crate::Identity), `Option<Identity>`,
//! [`Claims`](crate::domain::Claims), [`InternalCaller`](crate::auth::InternalCaller) and [`Bought`]
//! are extractors. A
//! [`Rejection`](crate::Rejection) is a response and an error, so that a handler can use `?` on
//! [`Policy::check`](crate::Policy::check); the middleware around gives it its own form.
//!
//! # What passes
//!
//! A request whose credential is good and whose [`Identity`](crate::Identity) satisfies every
//! policy of the [`AuthMiddleware`]. The identity is in the request's extensions. An
//! [`optional`](AuthMiddleware::optional) middleware also lets requests without any credential
//! pass, and one that [allows preflights](AuthMiddleware::allow_preflight) those; both without an
//! identity. The [`InternalAuthMiddleware`] lets Key0's own calls pass.
//!
//! # What is refused
//!
//! Everything else, before any of the body is read and without a call to the handler. A refusal is
//! a response, not an error, so that CORS and loggers outside still see it. It holds the typed
//! [`Rejection`](crate::Rejection) in its extensions. Every response to a caller who is known, also
//! a good one, holds the [`Caller`](crate::auth::Caller). The log tells of refusals under the target
//! `key0_auth::refusal`: at error level with the cause of a 5xx, else at debug level.
//!
//! # What to mind
//!
//! - A caller is told of an unknown path first (404), of a wrong method next (405), and only then
//!   of its credential, where the middleware is around each route. [`Routes`] sees to that. Around
//!   an `App`, a `Scope` or a `Resource` the middleware runs before, and refuses first.
//! - Build the middleware outside of the `App` factory and clone it inside: the workers then share
//!   one store and one cache.
//! - The last `wrap` runs first. A CORS middleware goes outside: only there does it see refusals,
//!   and answer preflights itself.
//! - The identity that a handler finds is always the innermost middleware's, and of the refusals
//!   that handlers return, too, the innermost middleware decides the form.
//! - Headers whose names begin with `X-Key0-` are removed from every request that passes.
//!   `Authorization`, `X-Api-Key` and the internal header stay, marked as sensitive. With a good token
//!   of Key0's [gateway](crate::auth::Gateway) they are removed, too, and so are `Cookie` and
//!   `Payment-Signature`.
//! - The middlewares change the request's headers, which actix-web allows only while nothing outside
//!   holds a clone of the `HttpRequest`. Where something does, credentials are not marked as
//!   sensitive, and a request with an `X-Key0-` header is answered 500.
//! - A rule by path is [`policy_at`](AuthMiddleware::policy_at): what a request says of its path has
//!   escapes that the router has decoded.
//!
//! ```
//! # #[actix_web::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use actix_web::{App, http::Method, test, web::Path};
//! use key0_auth::actix::{AuthMiddleware, Routes};
//! use key0_auth::{AccessTokens, Validator};
//!
//! async fn photo(id: Path<String>) -> String {
//!     format!("photo {id}")
//! }
//! let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
//! let validator = Validator::builder().access_tokens(tokens).build()?;
//! let auth = AuthMiddleware::new(validator.clone()).sold("id");
//! let routes = Routes::new().get("/photos/{id}", photo).each(|route| route.wrap(auth.clone()));
//! let app = App::new().configure(routes.with_problem_fallbacks(validator.responder()));
//! let app = test::init_service(app).await;
//! for (method, path, status) in
//!     [("GET", "/", 404), ("PUT", "/photos/1", 405), ("GET", "/photos/1", 401)]
//! {
//!     let request = test::TestRequest::with_uri(path).method(method.parse::<Method>()?);
//!     assert_eq!(test::call_service(&app, request.to_request()).await.status(), status);
//! }
//! # Ok(())
//! # }
//! ```

mod audit;
mod body;
mod credential;
mod extract;
mod fallback;
#[cfg(feature = "idempotency")]
mod idempotency;
mod internal;
mod keys;
mod proxies;
mod purchases;
mod refusal;
mod request;
mod request_id;
mod routes;
mod service;
mod sold;
mod transform;

pub use audit::{audit_rejections, audit_routes};
pub use credential::credential_routes;
#[cfg(feature = "idempotency")]
#[cfg_attr(docsrs, doc(cfg(feature = "idempotency")))]
pub use idempotency::{IdempotencyMiddleware, IdempotencyService};
pub use internal::{dangerous_issue_token, dangerous_payment_received, internal_routes};
pub use keys::{dangerous_keys_routes, keys_routes};
pub use proxies::{introspect_routes, verify_routes};
pub use purchases::purchases_routes;
pub use request_id::request_ids;
pub use routes::Routes;
pub use service::{AuthService, InternalAuthService};
pub use sold::Bought;
pub use transform::{AuthMiddleware, InternalAuthMiddleware};
