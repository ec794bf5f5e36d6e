//! The HTTP endpoints, in the words of no framework: bytes in, status and bytes out.
//!
//! Whoever mounts them has judged the caller before, then checks the media type with
//! [`check_media_type`], reads at most [`MAX_BODY_BYTES`], and hands the body over.

mod body;
pub(crate) mod issue_token;
mod payment_received;

pub use body::{MAX_BODY_BYTES, Reply, check_media_type};
pub use issue_token::{
    Decision, HookError, IssuanceHook, IssuanceRequest, IssueToken, OwnCredential, Terms,
};
pub use payment_received::{HandlerError, PaymentHandler, PaymentReceived};
