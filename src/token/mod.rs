//! Access tokens: which keys verify them, what a good one says, and how to sign one.
//!
//! A token is good when a configured key of the algorithm that its header names has signed it and
//! its claims keep every rule. The algorithm belongs to the key: a header can only fail to match.
//!
//! Refused, whatever the signature says:
//!
//! - a `typ` other than `JWT` and `at+jwt`,
//! - the header members `crit`, `zip`, `b64`, `jwk`, `jku`, `x5u` and `x5c`, and more than 32
//!   unknown ones,
//! - a member that stands twice,
//! - base64url with padding or stray bits, and more than 8 KiB,
//! - a `cnf` claim (RFC 7800), because a sender-constrained token is no bearer token,
//! - an `aud` where no audience is configured.
//!
//! Keys that anybody could sign for are refused when they are read: RSA of fewer than 2048 bits or
//! with an exponent of 1, Ed25519 points of small order.
//!
//! With [`remember_verified`](AccessTokensBuilder::remember_verified) an accepted token is
//! recognised by all its bytes, as they were received. A hash under a random key says where it is
//! looked for, and the bytes are compared only where the whole hash agrees: no two tokens are taken
//! for each other, and nobody can find out a remembered token by the time that a wrong one takes.

mod algorithm;
#[cfg(feature = "jwks")]
mod discovery;
mod ed25519;
#[cfg(feature = "jwks")]
mod fetch;
mod flat;
mod issuer;
mod jwks;
mod jws;
mod key;
mod keyset;
#[cfg(feature = "jwks")]
mod oauth;
mod parsed;
mod pem;
mod raw;
mod remembered;
#[cfg(feature = "jwks")]
mod remote;
mod rules;
mod signature;
#[cfg(test)]
mod tests;
pub(crate) mod validator;
#[cfg(test)]
mod wycheproof;

pub use algorithm::Algorithm;
pub use issuer::{SigningError, TokenIssuer};
pub use jwks::JwkSet;
pub(crate) use jws::CompactJws;
pub use key::VerifyingKey;
#[cfg(feature = "jwks")]
#[cfg_attr(docsrs, doc(cfg(feature = "jwks")))]
pub use oauth::{OAuthTokens, OAuthTokensBuilder};
#[cfg(feature = "jwks")]
#[cfg_attr(docsrs, doc(cfg(feature = "jwks")))]
pub use remote::RemoteKeys;
pub use rules::SYSTEM_TOKEN_SUBJECT;
pub(crate) use rules::{ExpiredToken, SystemRules};
pub use validator::{AccessTokensBuilder, MAX_LEEWAY};
