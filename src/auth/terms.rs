use std::fmt;

use crate::RejectionKind;

/// What one kind of refusal means over HTTP.
pub(super) struct Terms {
    pub(super) status: u16,
    pub(super) title: &'static str,
    pub(super) code: &'static str,
    pub(super) challenge: Challenge,
    pub(super) retry_after: Option<u32>,
}

/// Which challenge goes with a refusal (RFC 6750, section 3).
pub(super) enum Challenge {
    /// None: it is not about the credential.
    Silent,
    /// Every accepted scheme, without an error.
    Invite,
    /// The first accepted scheme, with this error.
    Error(&'static str),
    /// As `Error`, with the error's description.
    Explained(&'static str),
    /// That of the internal endpoints.
    Internal,
}

const BAD_REQUEST: (u16, &str) = (400, "Bad Request");
const UNAUTHORIZED: (u16, &str) = (401, "Unauthorized");
const CONFLICT: (u16, &str) = (409, "Conflict");
const UNPROCESSABLE: (u16, &str) = (422, "Unprocessable Content");
const UNAVAILABLE: (u16, &str) = (503, "Service Unavailable");

/// The whole mapping: two adapters can't disagree.
pub(super) fn terms(kind: RejectionKind) -> Terms {
    use Challenge::{Error, Explained, Internal, Invite, Silent};
    use RejectionKind as Kind;

    let ((status, title), code, challenge) = match kind {
        Kind::MissingCredential => (UNAUTHORIZED, "missing_credential", Invite),
        Kind::MalformedCredential => (BAD_REQUEST, "invalid_request", Error("invalid_request")),
        Kind::InvalidToken => (UNAUTHORIZED, "invalid_token", Explained("invalid_token")),
        Kind::TokenExpired => (UNAUTHORIZED, "token_expired", Explained("invalid_token")),
        Kind::TokenRevoked => (UNAUTHORIZED, "token_revoked", Explained("invalid_token")),
        Kind::InvalidApiKey => (UNAUTHORIZED, "invalid_api_key", Explained("invalid_token")),
        Kind::KeyRevoked => (UNAUTHORIZED, "key_revoked", Explained("invalid_token")),
        Kind::KeyExpired => (UNAUTHORIZED, "key_expired", Explained("invalid_token")),
        Kind::KeySuspended => (UNAUTHORIZED, "key_suspended", Explained("invalid_token")),
        Kind::KeyRotated => (UNAUTHORIZED, "key_rotated", Explained("invalid_token")),
        Kind::InsufficientPermissions => {
            ((403, "Forbidden"), "insufficient_permissions", Error("insufficient_scope"))
        }
        Kind::InvalidInternalAuth => (UNAUTHORIZED, "invalid_internal_auth", Internal),
        Kind::StoreUnavailable => (UNAVAILABLE, "store_unavailable", Silent),
        Kind::InvalidBody => (BAD_REQUEST, "invalid_request", Silent),
        Kind::ValidationFailed => (UNPROCESSABLE, "validation_failed", Silent),
        Kind::BodyTooLarge => ((413, "Content Too Large"), "body_too_large", Silent),
        Kind::UnsupportedMediaType => {
            ((415, "Unsupported Media Type"), "unsupported_media_type", Silent)
        }
        Kind::NotFound => ((404, "Not Found"), "not_found", Silent),
        Kind::MethodNotAllowed => ((405, "Method Not Allowed"), "method_not_allowed", Silent),
        Kind::RequestConflict => (CONFLICT, "request_conflict", Silent),
        Kind::PaymentAlreadyRedeemed => (CONFLICT, "payment_already_redeemed", Silent),
        Kind::CredentialRevoked => (CONFLICT, "credential_revoked", Silent),
        Kind::PurchaseRevoked => (CONFLICT, "purchase_revoked", Silent),
        Kind::NotForSale => (UNPROCESSABLE, "not_for_sale", Silent),
        Kind::IssuanceInProgress => (UNAVAILABLE, "issuance_in_progress", Silent),
        Kind::KeyNotRotatable => (CONFLICT, "key_not_rotatable", Silent),
        Kind::InvalidIdempotencyKey => (BAD_REQUEST, "invalid_request", Silent),
        Kind::IdempotencyKeyReused => (UNPROCESSABLE, "idempotency_key_reused", Silent),
        Kind::IdempotencyInProgress => (CONFLICT, "idempotency_in_progress", Silent),
        Kind::IdempotencyResponseNotKept => (CONFLICT, "idempotency_response_not_kept", Silent),
        Kind::Timeout => ((408, "Request Timeout"), "request_timeout", Silent),
        Kind::TooManyRequests => ((429, "Too Many Requests"), "too_many_requests", Silent),
        Kind::Internal => ((500, "Internal Server Error"), "internal_error", Silent),
    };
    let retry_after = match kind {
        Kind::StoreUnavailable
        | Kind::IssuanceInProgress
        | Kind::IdempotencyInProgress
        | Kind::Timeout
        | Kind::TooManyRequests => Some(1),
        _ => None,
    };
    Terms { status, title, code, challenge, retry_after }
}

impl RejectionKind {
    /// The status code of its answer.
    pub fn status(self) -> u16 {
        terms(self).status
    }

    /// The name of the case in its answer, as `token_expired`.
    pub fn code(self) -> &'static str {
        terms(self).code
    }

    /// The short text of its status, as `Unauthorized`.
    #[cfg(feature = "openapi")]
    pub(crate) fn title(self) -> &'static str {
        terms(self).title
    }
}

/// The code.
impl fmt::Display for RejectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
