//! Checks, on every request, that an AI agent has paid for what it asks for.
//!
//! [Key0](https://github.com/key0ai/key0) takes an agent's payment and gives it a credential: an
//! access token that Key0 signed, or an API key that this backend issued. The agent sends it as
//! `Authorization: Bearer …`. This crate turns it into an [`Identity`], or refuses the request.
//!
//! | part | what it does |
//! |---|---|
//! | [`Validator`] | turns the headers of a request into an [`Identity`] or a [`Rejection`] |
//! | [`AccessTokens`] | verifies Key0's tokens: shared secrets, public keys, JWK sets |
//! | [`ApiKeys`] | issued keys, in any [`KeyStore`], behind a cache |
//! | [`Policy`] | says what an identity must be allowed to do |
//! | `AuthLayer`, `actix::AuthMiddleware` | guard routes (features `tower`, `axum`, `actix`) |
//! | [`InternalAuth`], [`api`] | let Key0 in and answer it; manage keys; answer proxies |
//! | `backend::Backend` | all of these in one builder (feature `backend`) |
//! | `IdempotencyLayer` | runs a request with an `Idempotency-Key` once (feature `idempotency`) |
//! | `client` | calls such a backend, as partners and Key0 do (feature `client`) |
//! | `testing` | tokens, time and outages for your tests (feature `testing`) |
//!
//! # Start
//!
//! With axum, a route that opens for whoever has bought this photo, or all photos:
//!
#![cfg_attr(feature = "axum", doc = "```no_run")]
#![cfg_attr(not(feature = "axum"), doc = "```ignore")]
//! use axum::{Router, extract::Path, routing::get};
//! use key0_auth::{AccessTokens, AuthLayer, Validator, axum::with_problem_fallbacks};
//!
//! async fn photo(Path(id): Path<String>) -> String {
//!     format!("photo {id}")
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let tokens = AccessTokens::hs256(std::env::var("KEY0_ACCESS_TOKEN_SECRET")?)?;
//!     let validator = Validator::builder().access_tokens(tokens).build()?;
//!     let sold = AuthLayer::new(validator.clone()).sold("id");
//!     let routes = Router::new().route("/photos/{id}", get(photo)).route_layer(sold);
//!     let app = with_problem_fallbacks(routes, validator.responder());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     Ok(axum::serve(listener, app).await?)
//! }
//! ```
//!
//! With actix-web:
//!
#![cfg_attr(feature = "actix", doc = "```no_run")]
#![cfg_attr(not(feature = "actix"), doc = "```ignore")]
//! use actix_web::{App, HttpServer, web::Path};
//! use key0_auth::{AccessTokens, Validator, actix::{AuthMiddleware, Routes}};
//!
//! async fn photo(id: Path<String>) -> String {
//!     format!("photo {id}")
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let tokens = AccessTokens::hs256(std::env::var("KEY0_ACCESS_TOKEN_SECRET")?)?;
//!     let validator = Validator::builder().access_tokens(tokens).build()?;
//!     let sold = AuthMiddleware::new(validator.clone()).sold("id");
//!     let server = HttpServer::new(move || {
//!         let routes = Routes::new().get("/photos/{id}", photo);
//!         let routes = routes.each(|route| route.wrap(sold.clone()));
//!         App::new().configure(routes.with_problem_fallbacks(validator.responder()))
//!     });
//!     Ok(server.bind(("127.0.0.1", 3000))?.run().await?)
//! }
//! ```
//!
//! Without any framework:
//!
//! ```
//! use key0_auth::{AccessTokens, RejectionKind, validate_key0_token};
//!
//! let tokens = AccessTokens::hs256("the secret that Key0 shares with this backend")?;
//! let refused = validate_key0_token("Bearer a.b.c", &tokens).expect_err("nobody signed it");
//! assert_eq!(refused.kind(), RejectionKind::InvalidToken);
//! # Ok::<(), key0_auth::error::ConfigError>(())
//! ```
//!
//! The module `guide`, which the documentation with all features has, leads from a first route to
//! several instances.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `tower`, `aws_lc_rs` (default) | the layers; the crypto of RS256, ES256 and EdDSA |
//! | `rust_crypto` | the crypto without a C compiler |
//! | `axum`, `actix` | extractors, responses, and the endpoints as routes |
//! | `backend` | one builder for a whole backend |
//! | `sqlite`, `postgres`, `redis` | a store each |
//! | `jwks` | the keys of an identity provider, kept fresh |
//! | `idempotency` | requests with an `Idempotency-Key` run once |
//! | `client` | calls to such a backend, with safe retries |
//! | `metrics`, `openapi` | what is counted; guards and refusals in your own OpenAPI document |
//! | `testing` | tokens, time and outages for your tests, and proofs that no route is open |
//! | `tracing` | the log; `axum` and `actix` bring it |
//!
//! # What passes, what is refused
//!
//! - A token passes while its signature, its algorithm and every claim are good.
//! - A key passes while its digest is known and it is neither revoked nor expired, also on a cache
//!   hit.
//! - Everything else is refused.
//! - If the store can't answer, the request is neither: [`RejectionKind::StoreUnavailable`], a 503.
//!
//! # What to mind
//!
//! - Serve it over TLS. A bearer credential is good for whoever holds it.
//! - Start-up fails with a [`ConfigError`](error::ConfigError) that lists every fault at once.
//! - Call [`domain::check_secrets_differ`] with all secrets, unless `backend::Secrets` does.
//! - Keep the clock right. No leeway is given unless you configure one.
//! - Revoke keys through the [`Cached`] store that validates them, or through a store that notifies
//!   its caches. All stores of this crate do.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "actix")]
#[cfg_attr(docsrs, doc(cfg(feature = "actix")))]
pub mod actix;
pub mod api;
pub mod apikey;
pub mod auth;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub mod axum;
#[cfg(feature = "backend")]
#[cfg_attr(docsrs, doc(cfg(feature = "backend")))]
pub mod backend;
#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub mod client;
pub mod domain;
pub mod error;
#[cfg(any(feature = "tower", feature = "actix"))]
mod guard;
#[cfg_attr(not(any(feature = "tower", feature = "actix")), allow(dead_code, unused_imports))]
#[cfg(feature = "idempotency")]
#[cfg_attr(docsrs, doc(cfg(feature = "idempotency")))]
pub mod idempotency;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
mod metrics;
#[cfg(feature = "openapi")]
#[cfg_attr(docsrs, doc(cfg(feature = "openapi")))]
pub mod openapi;
mod policy;
pub mod store;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
pub mod token;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;

#[cfg(all(feature = "tower", feature = "idempotency"))]
#[cfg_attr(docsrs, doc(cfg(all(feature = "tower", feature = "idempotency"))))]
pub use crate::tower::idempotency::IdempotencyLayer;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use crate::tower::{internal::InternalAuthLayer, layer::AuthLayer};
/// For implementations of this crate's traits: `KeyStore`, `IssuanceHook`, `PaymentHandler`,
/// `Fallback` and others.
pub use async_trait::async_trait;
pub use auth::{
    api_keys::ApiKeys,
    identity::Identity,
    internal::InternalAuth,
    validator::{Validator, validate_key0_token},
};
pub use error::rejection::{Rejection, RejectionKind, Retry};
pub use policy::{Policy, Sold};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use store::postgres::PostgresStore;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use store::redis::RedisStore;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use store::sqlite::SqliteStore;
pub use store::{cached::Cached, keys::KeyStore, memory::MemoryStore};
pub use token::validator::AccessTokens;

// The pages name items of all features.
#[cfg(all(
    any(doc, doctest),
    feature = "actix",
    feature = "axum",
    feature = "backend",
    feature = "client",
    feature = "idempotency",
    feature = "jwks",
    feature = "sqlite",
    feature = "testing"
))]
pub mod guide {
    #![doc = include_str!("docs/links.md")]
    #![doc = include_str!("docs/guide.md")]

    /// A page. Its links are defined twice: those of `links.md` come first and so count in rustdoc,
    /// its own are for whoever reads the file.
    macro_rules! pages {
        ($($name:ident)+) => {
            $(
                #[doc = include_str!("docs/links.md")]
                #[doc = include_str!(concat!("docs/", stringify!($name), ".md"))]
                pub mod $name {}
            )+
        };
    }

    pages! {
        first_route
        issued_keys
        internal_endpoints
        partner_keys
        selling
        own_errors
        own_store
        testing
        instances
        rotating_secrets
        proxies
        browsers
        any_language
        outages
        security
        coming_from
    }

    #[cfg(doctest)]
    #[doc = include_str!("../README.md")]
    struct Readme;
}
