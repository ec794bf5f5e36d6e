use std::fmt;

use async_trait::async_trait;

use crate::domain::{Credential, Permissions, PlanId, ResourceId};

/// The application's own credentials: opaque tokens, or JWTs that it issues itself.
///
/// Asked about bearer values that are neither one of our access tokens nor shaped like one of our
/// API keys. A JWT that one of our keys has signed never gets here, however malformed it is.
///
/// Implemented with [`async_trait`](crate::async_trait):
///
/// ```
/// use key0_auth::{async_trait, auth::{Fallback, FallbackError, FallbackGrant}};
/// use key0_auth::domain::{Credential, ResourceId};
///
/// #[derive(Debug)]
/// struct Coupons;
///
/// #[async_trait]
/// impl Fallback for Coupons {
///     async fn validate(
///         &self,
///         credential: Credential<'_>,
///     ) -> Result<Option<FallbackGrant>, FallbackError> {
///         if !credential.expose().starts_with("coupon-") {
///             return Ok(None);
///         }
///         let resource = ResourceId::new("photo-1")?;
///         Ok(Some(FallbackGrant::new("a coupon's holder").resource(resource)))
///     }
/// }
/// ```
#[async_trait]
pub trait Fallback: fmt::Debug + Send + Sync + 'static {
    /// What this credential grants; `None` when it is not one of the application's.
    ///
    /// # Errors
    ///
    /// Fails when the application can't tell: the request is answered 503, never as if the
    /// credential were good or bad. The same where the answer takes longer than
    /// [`fallback_deadline`](super::ValidatorBuilder::fallback_deadline). The error goes to the log alone; it must hold no credential.
    async fn validate(
        &self,
        credential: Credential<'_>,
    ) -> Result<Option<FallbackGrant>, FallbackError>;
}

/// Why a fallback could not tell.
pub type FallbackError = Box<dyn std::error::Error + Send + Sync>;

/// What a credential of the application's own grants. Nothing, until it is said.
///
/// ```
/// use key0_auth::auth::FallbackGrant;
/// use key0_auth::domain::{Action, Permissions, ResourceId};
///
/// let reads_orders = Permissions::none().grant("orders", Action::Read);
/// let grant = FallbackGrant::new("session 7")
///     .resource(ResourceId::new("photo-1")?)
///     .permissions(reads_orders);
/// # let _ = grant;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct FallbackGrant {
    subject: String,
    resource_id: Option<ResourceId>,
    plan_id: Option<PlanId>,
    permissions: Permissions,
}

impl FallbackGrant {
    /// A grant to this subject, which is shown in logs.
    pub fn new(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            resource_id: None,
            plan_id: None,
            permissions: Permissions::none(),
        }
    }

    /// Opens this resource.
    #[must_use]
    pub fn resource(mut self, resource_id: ResourceId) -> Self {
        self.resource_id = Some(resource_id);
        self
    }

    /// Belongs to this plan.
    #[must_use]
    pub fn plan(mut self, plan_id: PlanId) -> Self {
        self.plan_id = Some(plan_id);
        self
    }

    /// Has these permissions.
    #[must_use]
    pub fn permissions(mut self, permissions: Permissions) -> Self {
        self.permissions = permissions;
        self
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    pub(super) fn resource_id(&self) -> Option<&ResourceId> {
        self.resource_id.as_ref()
    }

    pub(super) fn plan_id(&self) -> Option<&PlanId> {
        self.plan_id.as_ref()
    }

    pub(super) fn granted(&self) -> &Permissions {
        &self.permissions
    }
}

/// A fallback's error as the cause of a rejection.
#[derive(Debug)]
pub(super) struct Failed(pub(super) FallbackError);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the application's fallback could not answer")
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
