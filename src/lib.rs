//! Decides, on every request, whether the credential that an AI agent sends is good.
//!
//! Agents pay through Key0, then call with `Authorization: Bearer …`. What they hold is either an
//! access token that Key0 signed or an API key that this backend issued; partners send long-lived
//! keys in `X-Api-Key`. Key0 itself calls two internal endpoints and proves who it is.
//!
//! - [`Validator`] turns the headers of a request into an [`Identity`] or a [`Rejection`].
//! - [`Policy`] says what the identity must be allowed to do.
//! - [`AccessTokens`] takes shared secrets, public keys and JWK sets; with the feature `jwks` also
//!   those that an identity provider publishes and rotates.
//! - [`InternalAuth`] judges Key0's own calls; [`api`] answers them, and those of operators who
//!   manage keys.
//! - [`auth::Gateway`] lets in what Key0's gateway proxies, on routes that are sold per call.
//!   [`api::Verify`] answers proxies in front of backends in other languages, [`api::Introspect`]
//!   whoever holds a token and may ask about it.
//! - The module `client` calls such a backend, as integrators and Key0 do (feature `client`).
//! - `AuthLayer` and `InternalAuthLayer` do it for any tower stack (feature `tower`), the module
//!   `axum` adds extractors and routes (feature `axum`); the module `actix` is all of that for
//!   actix-web (feature `actix`).
//! - `IdempotencyLayer` and `actix::IdempotencyMiddleware` run a request with an `Idempotency-Key`
//!   once and answer its retries, see the module `idempotency` (feature `idempotency`).
//!
//! The start without any framework:
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
//! # What passes, what is refused
//!
//! A credential passes when it is proved good, and for as long as it is: signature, algorithm and
//! every claim of a token; digest, revocation and expiry of a key, also on a cache hit. All else is
//! refused. A store that can't answer is neither: [`RejectionKind::StoreUnavailable`], a 503.
//!
//! # What to mind
//!
//! - Bearer credentials are as good as their secrecy: serve them over TLS.
//! - Start-up fails with a [`ConfigError`](error::ConfigError) that lists every fault at once;
//!   requests never do. [`domain::check_secrets_differ`] is to be called with all secrets.
//! - Expiry needs a clock that is right. No leeway is given unless one is configured.
//! - Whoever revokes a key must do it through the [`Cached`] store that judges it, or through a
//!   store that tells its listeners, as those of this crate do.

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

#[cfg(all(
    doctest,
    feature = "axum",
    feature = "actix",
    feature = "client",
    feature = "idempotency"
))]
#[doc = include_str!("../README.md")]
struct Readme;
