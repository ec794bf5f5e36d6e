//! What an identity must be allowed to do.

pub(crate) mod combine;
pub(crate) mod require;
