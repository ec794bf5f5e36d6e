//! wip

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod api;
pub mod apikey;
pub mod auth;
pub mod domain;
pub mod error;
mod policy;
pub mod store;
pub mod token;

pub use auth::{
    api_keys::ApiKeys,
    identity::Identity,
    internal::InternalAuth,
    validator::{Validator, validate_key0_token},
};
pub use error::rejection::{Rejection, RejectionKind};
pub use policy::require::Policy;
pub use store::{cached::Cached, keys::KeyStore};
pub use token::validator::AccessTokens;
