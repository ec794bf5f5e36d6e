//! The HTTP endpoints, in the words of no framework: bytes in, status and bytes out.
//!
//! Whoever mounts them has validated the caller before, then checks the media type with
//! [`check_media_type`], reads at most [`MAX_BODY_BYTES`], and hands the body over.
//!
//! # The bodies
//!
//! `POST /internal/issue-token`, to an [`IssueToken`]. `challengeId` may be absent, `tierId` may stand
//! for `planId`; further members are kept as metadata.
//!
//! ```json
//! {"requestId":"http-1","challengeId":"challenge-1","resourceId":"photo-1","planId":"basic",
//!  "txHash":"0xabc"}
//! ```
//!
//! ```json
//! {"token":"ak_…","expiresAt":"2026-11-29T13:00:00.000Z","tokenType":"Bearer"}
//! ```
//!
//! `POST /internal/payment-received`, to a [`PaymentReceived`]. Further members are kept, except
//! `accessToken`.
//!
//! ```json
//! {"challengeId":"challenge-1","requestId":"http-1","resourceId":"photo-1","planId":"basic",
//!  "txHash":"0xabc","type":"AccessGrant","explorerUrl":"https://explorer.example.com/tx/0xabc"}
//! ```
//!
//! ```json
//! {"received":true}
//! ```
//!
//! `POST /keys`, to a [`KeysApi`]. Every member may be absent but the `role`, which is `minter` or
//! `read`. The answer alone shows the key.
//!
//! ```json
//! {"role":"read","label":"acme","permissions":{"dpp":["create","read"]},
//!  "expiresAt":"2027-01-01T00:00:00.000Z"}
//! ```
//!
//! ```json
//! {"id":"01a22919-069a-7507-bc5c-d4c013fee99f","key":"ak_…","role":"read","label":"acme",
//!  "permissions":{"dpp":["create","read"]},"createdAt":"2026-11-29T12:00:00.000Z",
//!  "expiresAt":"2027-01-01T00:00:00.000Z"}
//! ```

mod audit;
mod body;
mod credential;
mod form;
mod holder;
mod introspect;
mod issuance;
mod issue_token;
mod keys;
mod payment_received;
mod purchases;
mod query;
#[cfg_attr(not(any(feature = "axum", feature = "actix")), allow(dead_code))]
mod rejected;
mod verify;

pub use audit::AuditApi;
pub use body::{MAX_BODY_BYTES, Reply, check_content_encoding, check_media_type};
#[cfg(any(
    feature = "axum",
    feature = "actix",
    all(feature = "tower", feature = "idempotency")
))]
pub(crate) use body::{broken_off, check_transfer_encoding};
#[cfg(any(feature = "axum", feature = "actix"))]
pub(crate) use body::{check_length, empty_or_checked};
pub use holder::CredentialApi;
pub use introspect::Introspect;
pub use issuance::{Decision, HookError, IssuanceHook, IssuanceRequest, OwnCredential, Terms};
pub use issue_token::IssueToken;
pub use keys::{KeysApi, Operator};
pub use payment_received::{HandlerError, PaymentHandler, PaymentReceived};
pub use purchases::PurchasesApi;
pub use rejected::ClientAddress;
#[cfg(any(feature = "axum", feature = "actix"))]
pub(crate) use rejected::{Asked, method_name};
pub use verify::{CallerField, Verify, VerifyRequest, VerifyRules, VerifyRulesBuilder};
