use std::{error::Error, fmt, sync::Arc};

use super::{
    identity::{Identity, IdentityKind},
    internal::{InternalCaller, InternalStrategy},
};
use crate::{
    Rejection, RejectionKind,
    domain::{Claims, PlanId, ResourceId},
    token::ExpiredToken,
};

/// Who called, for an application's own logs and metrics. No proof of anything, and no secret.
///
/// The layers and middlewares put it into the extensions of every response to a caller whom they
/// know, refused ones among them: also the holder of a key that is revoked, expired, suspended or
/// rotated, and of a token that is expired or revoked.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use key0_auth::{auth::Caller, testing};
///
/// let caller = Caller::from(testing::buyer("photo-1", "basic").await);
/// assert_eq!(caller.kind(), "payment_key");
/// // As in "payment_key 01a22931-f19f-7166-9bce-75bcdb44e4d5 (ak_1a2B…)".
/// assert!(caller.to_string().starts_with(&format!("payment_key {} (ak_", caller.id())));
/// # }
/// ```
#[derive(Clone)]
pub struct Caller(Who);

#[derive(Clone)]
enum Who {
    Identity(Identity),
    Internal(InternalStrategy),
}

impl Caller {
    /// With what kind of credential: `access_token`, `payment_key`, `integrator_key`,
    /// `bootstrap_key`, `fallback`, `gateway` or `internal`.
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            Who::Identity(identity) => identity.kind().as_str(),
            Who::Internal(_) => "internal",
        }
    }

    /// Who it is, as [`Identity::subject`] says; of an internal caller, how it proved itself.
    pub fn id(&self) -> &str {
        match &self.0 {
            Who::Identity(identity) => identity.subject(),
            Who::Internal(strategy) => strategy.as_str(),
        }
    }

    /// What may be shown of an issued key, as `ak_1a2B…`.
    pub fn display(&self) -> Option<&str> {
        match &self.0 {
            Who::Identity(identity) => identity.display(),
            Who::Internal(_) => None,
        }
    }

    /// What the caller has bought, as [`Identity::resource_id`] says.
    pub fn resource_id(&self) -> Option<&ResourceId> {
        match &self.0 {
            Who::Identity(identity) => identity.resource_id(),
            Who::Internal(_) => None,
        }
    }

    /// By which plan, as [`Identity::plan_id`] says.
    pub fn plan_id(&self) -> Option<&PlanId> {
        match &self.0 {
            Who::Identity(identity) => identity.plan_id(),
            Who::Internal(_) => None,
        }
    }

    /// Whose credential was refused, where all of it but its state was right. The cause of such a
    /// refusal tells nothing else.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use key0_auth::{Validator, auth::Caller, testing::TokenSigner};
    ///
    /// let signer = TokenSigner::new();
    /// let validator = Validator::builder().access_tokens(signer.access_tokens()).build()?;
    /// let bearer = signer.token().expired().bearer();
    /// let refused = validator.validate([bearer.as_bytes()], []).await.expect_err("expired");
    /// let caller = Caller::of_refused(&refused).expect("the signature is good");
    /// assert_eq!(caller.to_string(), "access_token test-request");
    /// # Ok(())
    /// # }
    /// ```
    pub fn of_refused(rejection: &Rejection) -> Option<Self> {
        let cause = rejection.source()?;
        if let Some(ExpiredToken(claims)) = cause.downcast_ref() {
            return Some(Identity::from_claims(Arc::clone(claims)).into());
        }
        cause.downcast_ref().map(|HeldBy(caller)| caller.clone())
    }
}

/// The cause of a refusal: the credential is known, and its state is why.
#[derive(Debug)]
struct HeldBy(Caller);

/// The refusal of a credential for its state.
pub(super) fn refuse_held(kind: RejectionKind, holder: Identity) -> Rejection {
    Rejection::new(kind).cause(HeldBy(holder.into()))
}

/// The refusal of an access token that was ended before its time.
pub(super) fn revoked_token(claims: Arc<Claims>) -> Rejection {
    refuse_held(RejectionKind::TokenRevoked, Identity::from_claims(claims))
}

/// The refusal of a token that could outlive its denial.
pub(super) fn long_lived_token(claims: Arc<Claims>) -> Rejection {
    refuse_held(RejectionKind::InvalidToken, Identity::from_claims(claims))
        .detail("The token lives longer than is allowed")
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the credential of {}", self.0)
    }
}

impl Error for HeldBy {}

impl From<Identity> for Caller {
    fn from(identity: Identity) -> Self {
        Self(Who::Identity(identity))
    }
}

impl From<InternalCaller> for Caller {
    fn from(caller: InternalCaller) -> Self {
        Self(Who::Internal(caller.strategy()))
    }
}

impl InternalStrategy {
    /// Its name, as the sample backend's configuration has it: `shared-secret`, `signed-jwt`,
    /// `oauth` or `none`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SharedSecret => "shared-secret",
            Self::SignedJwt => "signed-jwt",
            #[cfg(feature = "jwks")]
            Self::OAuth => "oauth",
            Self::None => "none",
        }
    }
}

impl IdentityKind {
    /// Its name, as [`Caller::kind`] gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::PaymentKey => "payment_key",
            Self::IntegratorKey => "integrator_key",
            Self::BootstrapKey => "bootstrap_key",
            Self::Fallback => "fallback",
            Self::Gateway => "gateway",
        }
    }
}

/// For one line of a log: kind, id and display form. What is not printable in an id is escaped.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.id().escape_debug())?;
        match self.display() {
            Some(display) => write!(f, " ({display})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({self})")
    }
}
