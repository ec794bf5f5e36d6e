use crate::{
    Identity, Rejection, RejectionKind,
    domain::{Action, Role, text::ShortText},
};

/// What a route asks of an [`Identity`]. Nothing is allowed that a policy does not name.
///
/// ```
/// use key0_auth::{Policy, domain::{Action, Role}};
///
/// let photo = Policy::resource("photo-1");
/// let gold = Policy::resource("photo-1").and(Policy::plan("gold"));
/// let staff = Policy::permission("photos", Action::Read).or(Policy::role(Role::Minter));
/// # let _ = (photo, gold, staff);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy(pub(super) Rule);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    Resource(ShortText),
    Plan(ShortText),
    Role(Role),
    Permission(Box<str>, Action),
    All(Vec<Policy>),
    Any(Vec<Policy>),
}

impl Policy {
    /// A credential that was bought for this resource, or for every resource.
    pub fn resource(id: impl AsRef<str>) -> Self {
        Self(Rule::Resource(ShortText::new(id.as_ref())))
    }

    /// A credential that was bought with this plan.
    pub fn plan(id: impl AsRef<str>) -> Self {
        Self(Rule::Plan(ShortText::new(id.as_ref())))
    }

    /// A partner's key of exactly this role. One with permissions of its own has no longer the
    /// rights of its role, and is refused.
    pub fn role(role: Role) -> Self {
        Self(Rule::Role(role))
    }

    /// A partner's key that may do this to resources of this kind: by its permissions where it has
    /// some, else by its role.
    pub fn permission(resource: impl Into<Box<str>>, action: Action) -> Self {
        Self(Rule::Permission(resource.into(), action))
    }

    /// Whether this identity is let in.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions), which names the
    /// permission where one is missing, and never what others may do.
    pub fn check(&self, identity: &Identity) -> Result<(), Rejection> {
        let denied = || Rejection::from(RejectionKind::InsufficientPermissions);
        let granted = match &self.0 {
            Rule::Resource(id) => identity.opens(id.as_str()),
            Rule::Plan(id) => identity.plan_id().is_some_and(|plan| plan == id.as_str()),
            Rule::Role(role) => identity.permissions().is_none() && identity.role() == Some(*role),
            Rule::Permission(resource, action) => {
                if identity.allows(resource, *action) {
                    return Ok(());
                }
                return Err(denied().scope(format!("{resource}:{}", action.as_str())));
            }
            Rule::All(policies) => return Self::check_all(policies, identity),
            Rule::Any(policies) => return Self::check_any(policies, identity),
        };
        if granted { Ok(()) } else { Err(denied()) }
    }
}
