//! The one table of cases: requests, and what must come back. `cases/*.json` holds them,
//! `token_variants.json` the tokens that differ from a good one in one thing. What stands in them as
//! `${name}` is filled in by [`Values`].
//!
//! The command `conformance` checks any backend by it from outside; the tests of both packages check
//! the adapters, in process and over sockets.

mod case;
mod expect;
pub(super) mod tokens;
mod values;

pub(crate) use self::{
    case::{Case, Circumstance, Expected, Group, Step, read},
    expect::Check,
    values::{Known, Values},
};

/// Why there is no table to check by.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("the table of cases is not right")]
    Table(#[from] serde_json::Error),
    #[error("the system gives no random bytes")]
    Random(#[from] getrandom::Error),
    #[error("no key can be made")]
    Key(#[from] key0_auth::error::RandomError),
}
