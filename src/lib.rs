//! wip

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod api;
pub mod apikey;
pub mod auth;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub mod axum;
pub mod domain;
pub mod error;
mod policy;
pub mod store;
pub mod token;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;

#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use crate::tower::{internal::InternalAuthLayer, layer::AuthLayer};
pub use auth::{
    api_keys::ApiKeys,
    identity::Identity,
    internal::InternalAuth,
    validator::{Validator, validate_key0_token},
};
pub use error::rejection::{Rejection, RejectionKind};
pub use policy::require::Policy;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use store::sqlite::SqliteStore;
pub use store::{cached::Cached, keys::KeyStore, memory::MemoryStore};
pub use token::validator::AccessTokens;
