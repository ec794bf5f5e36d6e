use std::sync::Arc;

use http::request::Parts;
use tower::Layer;

use super::service::AuthService;
use crate::{Policy, RejectionKind, Validator, domain::Action, guard::Guard};

/// Lets requests through whose credential a [`Validator`] finds good, and answers all others
/// itself. See the [module](crate::tower) for what exactly passes.
///
/// ```
/// use key0_auth::{AccessTokens, AuthLayer, Policy, Validator};
///
/// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
/// let validator = Validator::builder().access_tokens(tokens).build()?;
/// let any_buyer = AuthLayer::new(validator.clone());
/// let gold_buyers = AuthLayer::new(validator).policy(Policy::plan("gold"));
/// # let _ = (any_buyer, gold_buyers);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct AuthLayer {
    guard: Arc<Guard<Parts>>,
}

impl AuthLayer {
    /// Asks every request for a credential that this validator accepts.
    pub fn new(validator: Validator) -> Self {
        Self { guard: Arc::new(Guard::new(validator)) }
    }

    /// Also lets requests without any credential of ours pass, without an
    /// [`Identity`](crate::Identity). A credential that is sent must still be good, and readable.
    ///
    /// A policy asks for an identity: where one applies, the credential stays required. A policy
    /// that depends on the request ([`policy_fn`](Self::policy_fn)) can thus open some paths to
    /// everybody.
    pub fn optional(mut self) -> Self {
        self.guard_mut().make_optional();
        self
    }

    /// Asks the identity to satisfy this policy. If called several times, all of them.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.guard_mut().require(policy);
        self
    }

    /// Asks for a credential that was bought with this plan: [`Policy::plan`].
    pub fn plan(self, id: impl AsRef<str>) -> Self {
        self.policy(Policy::plan(id))
    }

    /// Asks for a key that may do this to resources of this kind: [`Policy::permission`].
    pub fn permission(self, resource: impl Into<Box<str>>, action: Action) -> Self {
        self.policy(Policy::permission(resource, action))
    }

    /// Asks the identity to satisfy a policy that depends on the request; `None` asks for no more
    /// than a good credential. If called several times, all of them.
    ///
    /// The path of the request is as the client sent it. A rule that takes an id out of it must
    /// decode it just as the router does: on routes of axum, `sold` and `path_policy` do.
    ///
    /// ```
    /// use http::{Method, request::Parts};
    /// use key0_auth::{AccessTokens, AuthLayer, Policy, Validator, domain::Action};
    ///
    /// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
    /// let validator = Validator::builder().access_tokens(tokens).build()?;
    /// let layer = AuthLayer::new(validator).policy_fn(|request: &Parts| match request.method {
    ///     Method::GET => Policy::permission("orders", Action::Read),
    ///     _ => Policy::permission("orders", Action::Update),
    /// });
    /// # let _ = layer;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn policy_fn<F, P>(mut self, policy: F) -> Self
    where
        F: Fn(&Parts) -> P + Send + Sync + 'static,
        P: Into<Option<Policy>>,
    {
        self.guard_mut().require_by(policy);
        self
    }

    /// Lets CORS preflights pass, without an [`Identity`](crate::Identity): `OPTIONS` with
    /// `Origin` and `Access-Control-Request-Method`, both with a value, and without a body. What
    /// credential comes along is removed.
    ///
    /// Needed only where the inner service answers them. A CORS layer outside of this one sees
    /// them first.
    pub fn allow_preflight(mut self) -> Self {
        self.guard_mut().allow_preflight();
        self
    }

    /// Sets the text that the caller is shown, by the kind of refusal; `None` keeps it. Status,
    /// code and challenge stay, and so do the refusals that handlers return.
    pub fn wording<F>(mut self, wording: F) -> Self
    where
        F: Fn(RejectionKind) -> Option<&'static str> + Send + Sync + 'static,
    {
        self.guard_mut().word_with(wording);
        self
    }

    pub(crate) fn guard_mut(&mut self) -> &mut Guard<Parts> {
        Arc::make_mut(&mut self.guard)
    }

    #[cfg(feature = "axum")]
    pub(crate) fn shared_guard(&self) -> Arc<Guard<Parts>> {
        Arc::clone(&self.guard)
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> AuthService<S> {
        AuthService::new(inner, Arc::clone(&self.guard))
    }
}
