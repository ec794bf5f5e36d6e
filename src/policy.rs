//! What an identity must be allowed to do.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    Identity, Rejection, RejectionKind,
    domain::{Action, Role, text::ShortText},
    error::rejection::Purchase,
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
pub struct Policy(Rule);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Resource(ShortText),
    Plan(ShortText),
    Role(Role),
    Permission(Box<str>, Action),
    Claim(Box<str>, Value),
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

    /// An access token with this claim of the application's own, equal to this value as JSON: the type
    /// and, of a list, every member. No other kind of credential has claims.
    ///
    /// ```
    /// use key0_auth::{Policy, testing::TokenSigner};
    ///
    /// let policy = Policy::claim("tenant", "acme");
    /// let token = TokenSigner::new().token().claim("tenant", "acme");
    /// assert!(policy.check(&token.validate()?).is_ok());
    /// assert!(policy.check(&token.claim("tenant", "other").validate()?).is_err());
    /// # Ok::<(), key0_auth::Rejection>(())
    /// ```
    pub fn claim(name: impl Into<Box<str>>, value: impl Into<Value>) -> Self {
        Self(Rule::Claim(name.into(), value.into()))
    }

    /// Every one of these. An empty list does not compile.
    ///
    /// ```
    /// # use key0_auth::Policy;
    /// let policy = Policy::all([Policy::plan("gold")]);
    /// # let _ = policy;
    /// ```
    ///
    /// ```compile_fail,E0080
    /// # use key0_auth::Policy;
    /// let policy = Policy::all([]);
    /// # let _ = policy;
    /// ```
    pub fn all<const N: usize>(policies: [Self; N]) -> Self {
        const { assert!(N > 0, "a policy of nothing would let everybody in") }
        Self(Rule::All(policies.into()))
    }

    /// At least one of these. An empty list does not compile.
    ///
    /// ```
    /// # use key0_auth::Policy;
    /// let policy = Policy::any([Policy::plan("gold")]);
    /// # let _ = policy;
    /// ```
    ///
    /// ```compile_fail,E0080
    /// # use key0_auth::Policy;
    /// let policy = Policy::any([]);
    /// # let _ = policy;
    /// ```
    pub fn any<const N: usize>(policies: [Self; N]) -> Self {
        const { assert!(N > 0, "a policy of nothing would let nobody in") }
        Self(Rule::Any(policies.into()))
    }

    /// This and the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::all([self, other])
    }

    /// This or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::any([self, other])
    }

    /// Whether this identity is let in.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions), which names the
    /// permission where one is missing, and never what others may do.
    pub fn check(&self, identity: &Identity) -> Result<(), Rejection> {
        self.check_rule(identity).map_err(|rejection| rejection.purchases(self.purchases()))
    }

    /// What could be bought to satisfy it: any one of these. Nothing where it asks for a role, a
    /// permission or a claim.
    pub(crate) fn purchases(&self) -> Vec<Purchase> {
        match &self.0 {
            Rule::Resource(id) => {
                vec![Purchase { resource_id: Some(id.as_str().into()), ..Purchase::default() }]
            }
            Rule::Plan(id) => {
                vec![Purchase { plan_id: Some(id.as_str().into()), ..Purchase::default() }]
            }
            Rule::Role(_) | Rule::Permission(..) | Rule::Claim(..) => Vec::new(),
            Rule::All(policies) => combine(policies.iter().map(Self::purchases)),
            Rule::Any(policies) => {
                policies.iter().flat_map(Self::purchases).take(MAX_PURCHASES).collect()
            }
        }
    }

    fn check_rule(&self, identity: &Identity) -> Result<(), Rejection> {
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
            Rule::Claim(name, value) => {
                let claims = identity.claims();
                claims.is_some_and(|claims| claims.extra().get(&**name) == Some(value))
            }
            Rule::All(policies) => return Self::check_all(policies, identity),
            Rule::Any(policies) => return Self::check_any(policies, identity),
        };
        if granted { Ok(()) } else { Err(denied()) }
    }

    fn check_all(policies: &[Self], identity: &Identity) -> Result<(), Rejection> {
        policies.iter().try_for_each(|policy| policy.check_rule(identity))
    }

    /// Refuses with the first policy's words: what the others ask for is not told.
    fn check_any(policies: &[Self], identity: &Identity) -> Result<(), Rejection> {
        let mut refusal = None;
        for policy in policies {
            match policy.check_rule(identity) {
                Ok(()) => return Ok(()),
                Err(rejection) => refusal = refusal.or(Some(rejection)),
            }
        }
        Err(refusal.unwrap_or_else(|| RejectionKind::InsufficientPermissions.into()))
    }
}

/// What a path names that is sold: text and numbers, or a type of the application's own, for the
/// extractor `Bought` of the modules `axum` and `actix`.
///
/// ```
/// use std::borrow::Cow;
/// use key0_auth::Sold;
/// use serde::Deserialize;
///
/// /// The parameters of `/albums/{album}/photos/{number}`, sold by the album.
/// #[derive(Deserialize)]
/// struct AlbumPhoto {
///     album: String,
///     number: u32,
/// }
///
/// impl Sold for AlbumPhoto {
///     fn resource_id(&self) -> Cow<'_, str> {
///         Cow::Borrowed(&self.album)
///     }
/// }
/// # let photo = AlbumPhoto { album: "a".to_owned(), number: 1 };
/// # assert_eq!((photo.resource_id().as_ref(), photo.number), ("a", 1));
/// ```
pub trait Sold {
    /// The id under which it is sold.
    fn resource_id(&self) -> Cow<'_, str>;
}

impl Sold for String {
    fn resource_id(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }
}

impl Sold for u32 {
    fn resource_id(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_string())
    }
}

impl Sold for u64 {
    fn resource_id(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_string())
    }
}

/// How many purchases a refusal names at most.
const MAX_PURCHASES: usize = 16;

/// What satisfies several policies at once, out of what satisfies each.
pub(crate) fn combine(each: impl Iterator<Item = Vec<Purchase>>) -> Vec<Purchase> {
    each.reduce(|left, right| {
        let pairs = left.iter().flat_map(|a| right.iter().filter_map(|b| merge(a, b)));
        pairs.take(MAX_PURCHASES).collect()
    })
    .unwrap_or_default()
}

/// One purchase that is both, where there is one.
fn merge(a: &Purchase, b: &Purchase) -> Option<Purchase> {
    fn same(a: &Option<Box<str>>, b: &Option<Box<str>>) -> Option<Option<Box<str>>> {
        match (a, b) {
            (Some(a), Some(b)) if a != b => None,
            _ => Some(a.clone().or_else(|| b.clone())),
        }
    }
    Some(Purchase {
        plan_id: same(&a.plan_id, &b.plan_id)?,
        resource_id: same(&a.resource_id, &b.resource_id)?,
    })
}
