//! wip

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod apikey;
pub mod domain;
pub mod error;
pub mod store;
pub mod token;

pub use error::rejection::{Rejection, RejectionKind};
pub use store::keys::KeyStore;
pub use store::memory::MemoryStore;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use store::sqlite::SqliteStore;
pub use token::validator::AccessTokens;
