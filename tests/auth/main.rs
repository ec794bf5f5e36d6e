//! Who is calling: access tokens, API keys, Key0's own calls, and the helpers for users' tests.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod access_tokens;
mod architecture;
mod differential;
#[cfg(feature = "testing")]
#[path = "../support/flow.rs"]
mod flow;
mod internal_auth;
mod links;
mod remembered_keys;
mod remembered_tokens;
#[cfg(feature = "testing")]
mod testing;
mod timing;
#[path = "../support/tokens.rs"]
mod tokens;
mod validator;
