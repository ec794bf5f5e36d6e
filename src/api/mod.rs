//! The HTTP endpoints, in the words of no framework: bytes in, status and bytes out.
//!
//! Whoever mounts them has validated the caller before, then checks the media type with
//! [`check_media_type`], reads at most [`MAX_BODY_BYTES`], and hands the body over.

mod body;
mod credential;
mod form;
mod introspect;
mod issuance;
mod issue_token;
mod keys;
mod payment_received;
mod query;
mod verify;

#[cfg(any(
    feature = "axum",
    feature = "actix",
    all(feature = "tower", feature = "idempotency")
))]
pub(crate) use body::broken_off;
pub use body::{MAX_BODY_BYTES, Reply, check_content_encoding, check_media_type};
#[cfg(any(feature = "axum", feature = "actix"))]
pub(crate) use body::{check_length, empty_or_checked};
pub use introspect::Introspect;
pub use issuance::{Decision, HookError, IssuanceHook, IssuanceRequest, OwnCredential, Terms};
pub use issue_token::IssueToken;
pub use keys::{KeysApi, Operator};
pub use payment_received::{HandlerError, PaymentHandler, PaymentReceived};
pub use verify::{CallerField, Verify, VerifyRequest, VerifyRules, VerifyRulesBuilder};
