//! Helpers for tests: a token signer, a clock to be set, a store that fails on demand, identities, a
//! proof that no route was left open, and a kit of cases for stores of your own.
//!
//! They are for `[dev-dependencies]`:
//!
//! ```toml
//! [dev-dependencies]
//! key0-auth = { version = "0.1", features = ["testing"] }
//! ```
//!
//! Nothing here weakens what it tests: tokens are signed and verified as in production, and an
//! [`Identity`](crate::Identity) still comes out of a [`Validator`](crate::Validator) alone.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use key0_auth::{RejectionKind, Validator, testing::{FakeClock, TokenSigner}};
//!
//! let clock = FakeClock::new();
//! let signer = TokenSigner::new().clock(clock.clone());
//! let validator = Validator::builder()
//!     .access_tokens(signer.access_tokens())
//!     .clock(clock.clone())
//!     .build()?;
//! let header = format!("Bearer {}", signer.token().resource("photo-1").sign());
//! let identity = validator.validate([header.as_bytes()], []).await?;
//! assert!(identity.opens("photo-1"));
//!
//! clock.advance(Duration::from_secs(60 * 60));
//! let refused = validator.validate([header.as_bytes()], []).await.expect_err("an hour later");
//! assert_eq!(refused.kind(), RejectionKind::TokenExpired);
//! # Ok(())
//! # }
//! ```
//!
//! # Panics
//!
//! Helpers panic where a test can only be wrong: with ids that are none, or secrets that are too
//! short.

mod clock;
mod guarded;
#[cfg(feature = "actix")]
mod guarded_actix;
#[cfg(feature = "tower")]
mod guarded_tower;
mod identity;
mod payment;
mod signer;
mod store;
mod store_kit;

pub use clock::FakeClock;
pub use guarded::{Probe, ProbeAnswer, assert_guarded_by, assert_sold_by};
#[cfg(feature = "actix")]
#[cfg_attr(docsrs, doc(cfg(feature = "actix")))]
pub use guarded_actix::{assert_actix_guarded, assert_actix_sold};
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use guarded_tower::{assert_guarded, assert_sold};
pub use identity::{buyer, operator, partner};
pub use payment::{issuance_request, payment};
pub use signer::{TestToken, TokenSigner};
pub use store::{FaultyStore, Mood};
pub use store_kit::StoreKit;
