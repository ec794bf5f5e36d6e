use std::{borrow::Cow, error::Error, fmt, sync::Arc};

use super::FieldError;

/// Why a request was refused.
///
/// A rejection never holds any part of a credential. Its text is meant for the caller who was
/// refused; the cause, if there is one, is for the log and stands in [`source`](Error::source).
///
/// What a rejection means over HTTP (status, challenge, body) is decided in one place,
/// [`Responder`](crate::auth::Responder).
///
/// ```
/// use key0_auth::{Rejection, RejectionKind};
///
/// let refused = Rejection::new(RejectionKind::NotForSale).detail("This photo is sold out");
/// assert_eq!((refused.kind().status(), refused.kind().code()), (422, "not_for_sale"));
/// ```
#[derive(Debug, Clone)]
pub struct Rejection {
    kind: RejectionKind,
    pub(super) detail: Cow<'static, str>,
    pub(super) errors: Option<Arc<Vec<FieldError>>>,
    scope: Option<Box<str>>,
    source: Option<Arc<dyn Error + Send + Sync>>,
    instance: Option<Box<str>>,
    purchases: Option<Arc<[Purchase]>>,
    to_gateway: bool,
    retry_after: Option<u16>,
}

/// What could be bought so that a refused request is let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Purchase {
    pub(crate) plan_id: Option<Box<str>>,
    pub(crate) resource_id: Option<Box<str>>,
}

/// What the caller of a refused request can do about it: the member `retry` of a refusal's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// `never`: the request is wrong, and stays so.
    Never,
    /// `after`: the same request later, when the seconds of `Retry-After` are over.
    After,
    /// `new_credential`: with another credential of whoever issued this one.
    NewCredential,
    /// `purchase`: buying what the route sells cures it.
    Purchase,
}

/// A longer path is not told again, in bytes.
const MAX_INSTANCE_BYTES: usize = 2 * 1024;

/// The kinds of refusal, one for every row that callers can tell apart.
///
/// Each names its answer over HTTP: [`status`](Self::status) and [`code`](Self::code).
///
/// ```
/// use key0_auth::RejectionKind;
///
/// let kind = RejectionKind::KeyRevoked;
/// assert_eq!((kind.status(), kind.code()), (401, "key_revoked"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// 401 `missing_credential`: the request carries no credential of an accepted kind.
    MissingCredential,
    /// 400 `invalid_request`: the credential can't be read: sent twice, two different ones, or
    /// illegal bytes.
    MalformedCredential,
    /// 401 `invalid_token`: an access token, or an opaque bearer credential, that is not good.
    InvalidToken,
    /// 401 `token_expired`: an access token whose signature holds and whose time is over.
    TokenExpired,
    /// 401 `token_revoked`: an access token that was ended before its time.
    TokenRevoked,
    /// 401 `invalid_api_key`: an API key that is unknown or mistyped.
    InvalidApiKey,
    /// 401 `key_revoked`: an API key that is known and was revoked.
    KeyRevoked,
    /// 401 `key_expired`: an API key that is known and whose time is over.
    KeyExpired,
    /// 401 `key_suspended`: an API key that is known and suspended.
    KeySuspended,
    /// 401 `key_rotated`: the secret of an API key that has been replaced by another one.
    KeyRotated,
    /// 403 `insufficient_permissions`: a good credential without the right that this request
    /// needs.
    InsufficientPermissions,
    /// 401 `invalid_internal_auth`: the caller of an internal endpoint did not prove who it is.
    InvalidInternalAuth,
    /// 503 `store_unavailable`: the store, or the application's fallback, could not answer.
    /// Says nothing of the credential.
    StoreUnavailable,
    /// 400 `invalid_request`: the body is not what the endpoint takes.
    InvalidBody,
    /// 422 `validation_failed`: members of the body are missing, unknown or wrong; the application's
    /// own routes may say so, this crate's answer 400.
    ValidationFailed,
    /// 413 `body_too_large`: the body is larger than the endpoint takes.
    BodyTooLarge,
    /// 415 `unsupported_media_type`: the body is not of a media type that the endpoint takes.
    UnsupportedMediaType,
    /// 404 `not_found`: there is nothing at this path.
    NotFound,
    /// 405 `method_not_allowed`: the path exists, but not with this method.
    MethodNotAllowed,
    /// 409 `request_conflict`: the same id was used before with another body.
    RequestConflict,
    /// 409 `payment_already_redeemed`: the payment has bought a credential already.
    PaymentAlreadyRedeemed,
    /// 409 `credential_revoked`: the credential that this request asks for again has been
    /// revoked.
    CredentialRevoked,
    /// 409 `purchase_revoked`: the purchase that this request asks a credential for has been
    /// revoked.
    PurchaseRevoked,
    /// 422 `not_for_sale`: the application does not sell what was asked for.
    NotForSale,
    /// 503 `issuance_in_progress`: the same issuance is being worked on by another request.
    IssuanceInProgress,
    /// 409 `key_not_rotatable`: the key can't get another secret: of the wrong kind, or over.
    KeyNotRotatable,
    /// 400 `invalid_request`: an idempotency key that can't be read, was sent twice, or is
    /// missing where one is demanded.
    InvalidIdempotencyKey,
    /// 422 `idempotency_key_reused`: an idempotency key was used before with another request.
    IdempotencyKeyReused,
    /// 409 `idempotency_in_progress`: the first request with this idempotency key is still
    /// running.
    IdempotencyInProgress,
    /// 409 `idempotency_response_not_kept`: the request with this idempotency key has run, but
    /// its response could not be kept.
    IdempotencyResponseNotKept,
    /// 408 `request_timeout`: the request took longer than the server allows.
    Timeout,
    /// 429 `too_many_requests`: the caller asks for more at a time than the application gives
    /// one.
    TooManyRequests,
    /// 500 `internal_error`: a fault of the server.
    Internal,
}

impl RejectionKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::MissingCredential,
        Self::MalformedCredential,
        Self::InvalidToken,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::InvalidApiKey,
        Self::KeyRevoked,
        Self::KeyExpired,
        Self::KeySuspended,
        Self::KeyRotated,
        Self::InsufficientPermissions,
        Self::InvalidInternalAuth,
        Self::StoreUnavailable,
        Self::InvalidBody,
        Self::ValidationFailed,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestConflict,
        Self::PaymentAlreadyRedeemed,
        Self::CredentialRevoked,
        Self::PurchaseRevoked,
        Self::NotForSale,
        Self::IssuanceInProgress,
        Self::KeyNotRotatable,
        Self::InvalidIdempotencyKey,
        Self::IdempotencyKeyReused,
        Self::IdempotencyInProgress,
        Self::IdempotencyResponseNotKept,
        Self::Timeout,
        Self::TooManyRequests,
        Self::Internal,
    ];

    fn default_detail(self) -> &'static str {
        match self {
            Self::MissingCredential => "No credential was sent",
            Self::MalformedCredential => "The credential could not be read",
            Self::InvalidToken => "The access token is not valid",
            Self::TokenExpired => "The access token has expired",
            Self::TokenRevoked => "The access token has been revoked",
            Self::InvalidApiKey
            | Self::KeyRevoked
            | Self::KeyExpired
            | Self::KeySuspended
            | Self::KeyRotated => "Invalid API key",
            Self::InsufficientPermissions => "The credential does not grant this",
            Self::InvalidInternalAuth => "Internal authentication failed",
            Self::StoreUnavailable => "The credential store can't be reached",
            Self::InvalidBody | Self::ValidationFailed => "The request body is not valid",
            Self::BodyTooLarge => "The request body is too large",
            Self::UnsupportedMediaType => "The request body must be application/json",
            Self::NotFound => "Nothing is found at this path",
            Self::MethodNotAllowed => "This method is not allowed here",
            Self::RequestConflict => "This id was used before with another body",
            Self::PaymentAlreadyRedeemed => "This payment has already been redeemed",
            Self::CredentialRevoked => "The credential of this payment has been revoked",
            Self::PurchaseRevoked => "This purchase has been revoked",
            Self::NotForSale => "This resource and plan are not for sale",
            Self::IssuanceInProgress => "The credential is being issued by another request",
            Self::KeyNotRotatable => {
                "Only a partner's key that is in force or suspended can be rotated"
            }
            Self::InvalidIdempotencyKey => {
                "The Idempotency-Key header must be 1 to 255 visible ASCII characters"
            }
            Self::IdempotencyKeyReused => "This idempotency key was used with another request",
            Self::IdempotencyInProgress => "A request with this idempotency key is still running",
            Self::IdempotencyResponseNotKept => {
                "This request was carried out, but its response could not be kept"
            }
            Self::Timeout => "The request took too long",
            Self::TooManyRequests => "Too many requests",
            Self::Internal => "The server could not handle the request",
        }
    }
}

impl Rejection {
    /// A rejection of this kind, with the kind's own text.
    pub fn new(kind: RejectionKind) -> Self {
        Self {
            kind,
            detail: Cow::Borrowed(kind.default_detail()),
            errors: None,
            scope: None,
            source: None,
            instance: None,
            purchases: None,
            to_gateway: false,
            retry_after: None,
        }
    }

    /// Replaces the text that the caller is shown.
    ///
    /// It must hold nothing internal and no part of a credential.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Names the permission that was missing, as `resource:action` (RFC 6750, section 3).
    #[must_use]
    pub fn scope(mut self, scope: impl Into<Box<str>>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Keeps the cause, for the log alone.
    #[must_use]
    pub fn cause(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(cause));
        self
    }

    /// Names the path of the request that is refused, without its query; the member `instance` of
    /// the body (RFC 9457, section 3.1.5). The layers and middlewares do it.
    #[must_use]
    pub fn instance(mut self, path: &str) -> Self {
        self.instance = (path.len() <= MAX_INSTANCE_BYTES).then(|| path.into());
        self
    }

    /// The path of the request, where one is named.
    pub fn path(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// Tells what could be bought: any one of these, or nothing where the list is empty.
    pub(crate) fn purchases(mut self, purchases: impl Into<Arc<[Purchase]>>) -> Self {
        self.purchases = Some(purchases.into());
        self
    }

    /// What could be bought, as far as it is known.
    pub(crate) fn known_purchases(&self) -> Option<&[Purchase]> {
        self.purchases.as_deref()
    }

    /// Marks the refusal of a request that Key0's gateway proxies: its body goes out as
    /// `application/json`, since the gateway hands `application/problem+json` on as a text. The layers
    /// and middlewares do it; for whoever refuses outside of them.
    #[must_use]
    pub fn for_gateway(mut self) -> Self {
        self.to_gateway = true;
        self
    }

    /// Whether the request came from Key0's gateway.
    pub(crate) fn is_to_gateway(&self) -> bool {
        self.to_gateway
    }

    /// Sets in how many seconds the same request is worth while, where the kind's own number is wrong.
    pub(crate) fn retry_after(mut self, seconds: u16) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// In how many seconds the same request is worth while, where that was said.
    pub(crate) fn seconds_to_wait(&self) -> Option<u16> {
        self.retry_after
    }

    /// What the caller can do about it.
    pub fn retry(&self) -> Retry {
        use RejectionKind as Kind;
        match (self.kind, self.known_purchases()) {
            (
                Kind::StoreUnavailable
                | Kind::IssuanceInProgress
                | Kind::IdempotencyInProgress
                | Kind::Timeout
                | Kind::TooManyRequests,
                _,
            ) => Retry::After,
            (
                Kind::InvalidToken
                | Kind::TokenRevoked
                | Kind::InvalidApiKey
                | Kind::KeyRevoked
                | Kind::KeySuspended
                | Kind::KeyRotated,
                _,
            )
            | (Kind::InvalidInternalAuth, _) => Retry::NewCredential,
            // Where a role or a permission is asked for, no shop sells it.
            (Kind::MissingCredential | Kind::TokenExpired | Kind::KeyExpired, Some([]))
            | (Kind::InsufficientPermissions, None | Some([])) => Retry::NewCredential,
            (
                Kind::MissingCredential
                | Kind::TokenExpired
                | Kind::KeyExpired
                | Kind::InsufficientPermissions,
                _,
            ) => Retry::Purchase,
            _ => Retry::Never,
        }
    }

    /// Which kind of refusal this is.
    pub fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// The text for the caller: meaning only, no internal detail.
    pub fn message(&self) -> &str {
        &self.detail
    }

    /// The missing permission, where one is missing.
    pub fn missing_scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }
}

impl From<RejectionKind> for Rejection {
    fn from(kind: RejectionKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("request refused: ")?;
        f.write_str(&self.detail)
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}
