//! What can go wrong: a request that is refused, a configuration that is wrong, a store that fails.

mod chain;
pub(crate) mod config;
mod field;
mod random;
pub(crate) mod rejection;
pub(crate) mod store;

pub use chain::chain;
pub use config::{ConfigError, ConfigFault};
pub use field::FieldError;
pub(crate) use field::MAX_TOLD_NAME;
pub use random::RandomError;
pub use store::{StoreError, StoreErrorKind};
