//! wip

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod apikey;
pub mod domain;
pub mod error;
pub mod store;
pub mod token;

pub use error::rejection::{Rejection, RejectionKind};
pub use store::cached::Cached;
pub use store::keys::KeyStore;
pub use token::validator::AccessTokens;
