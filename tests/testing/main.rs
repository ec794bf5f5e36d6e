//! The helpers that users have for their tests.
#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod guarded;
mod store;
mod tokens;
