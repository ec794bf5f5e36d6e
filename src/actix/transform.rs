use std::{
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{
    Error, HttpRequest,
    body::{EitherBody, MessageBody},
    dev::{ResourceDef, Service, ServiceRequest, ServiceResponse, Transform},
};

use super::service::{AuthService, InternalAuthService};
use crate::{InternalAuth, Policy, RejectionKind, Validator, domain::Action, guard::Guard};

/// Lets requests through whose credential a [`Validator`] finds good, and answers all others
/// itself. See the [module](crate::actix) for what exactly passes.
///
/// ```
/// use key0_auth::{AccessTokens, Policy, Validator, actix::AuthMiddleware};
///
/// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
/// let validator = Validator::builder().access_tokens(tokens).build()?;
/// let any_buyer = AuthMiddleware::new(validator.clone());
/// let gold_buyers = AuthMiddleware::new(validator).policy(Policy::plan("gold"));
/// # let _ = (any_buyer, gold_buyers);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct AuthMiddleware {
    guard: Arc<Guard<HttpRequest>>,
}

impl AuthMiddleware {
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
        self.guard().make_optional();
        self
    }

    /// Asks the identity to satisfy this policy. If called several times, all of them.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.guard().require(policy);
        self
    }

    /// Asks the identity to satisfy this policy on paths of this pattern, in actix-web's own form
    /// (`/orders/{id}`, `/private/{tail}*`). On other paths it asks for no more than a good
    /// credential. If called several times, all that match.
    ///
    /// The pattern is compared as actix-web's router does it: with the whole path, its escapes
    /// decoded. So `/%70rivate/a` is `/private/a` here, too.
    ///
    /// ```
    /// use key0_auth::{AccessTokens, Policy, Validator, actix::AuthMiddleware};
    ///
    /// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
    /// let validator = Validator::builder().access_tokens(tokens).build()?;
    /// let auth = AuthMiddleware::new(validator).policy_at("/gold/{tail}*", Policy::plan("gold"));
    /// # let _ = auth;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn policy_at(self, pattern: &str, policy: Policy) -> Self {
        let pattern = ResourceDef::new(pattern);
        self.policy_fn(move |request: &HttpRequest| {
            pattern.is_match(request.match_info().as_str()).then(|| policy.clone())
        })
    }

    /// Asks for a credential that was bought for the resource that a path parameter names, decoded
    /// as [`web::Path`](actix_web::web::Path) does it, or for every resource.
    ///
    /// The middleware must be around routes that have the parameter, as
    /// [`Routes::each`](super::Routes::each) puts it there. A route without it answers 500 and says
    /// so in the log; [`assert_sold`](crate::testing::assert_sold) finds it.
    ///
    /// ```
    /// use actix_web::web::Path;
    /// use key0_auth::{AccessTokens, Validator, actix::{AuthMiddleware, Routes}};
    ///
    /// // Whoever gets here has bought this photo.
    /// async fn photo(id: Path<String>) -> String {
    ///     format!("photo {id}")
    /// }
    /// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
    /// let validator = Validator::builder().access_tokens(tokens).build()?;
    /// let sold = AuthMiddleware::new(validator).sold("id");
    /// let routes = Routes::new().get("/photos/{id}", photo).each(|route| route.wrap(sold.clone()));
    /// # let _ = routes;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sold(self, parameter: &str) -> Self {
        self.path_policy(parameter, |id| Policy::resource(id))
    }

    /// Asks the identity to satisfy a policy that depends on a path parameter, decoded as
    /// [`web::Path`](actix_web::web::Path) does it. Else as [`sold`](Self::sold).
    pub fn path_policy<F>(mut self, parameter: &str, policy: F) -> Self
    where
        F: Fn(&str) -> Policy + Send + Sync + 'static,
    {
        self.guard().require_by_path(parameter, policy);
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
    /// Never look at [`path`](HttpRequest::path) here: it is as the client sent it, while the
    /// router decodes escapes before it finds the route. A rule for `/private/` is passed by
    /// `/%70rivate/a`. By path there is [`policy_at`](Self::policy_at); where the handler has the
    /// id anyway, let it call [`Policy::check`].
    ///
    /// ```
    /// use actix_web::{HttpRequest, http::Method};
    /// use key0_auth::{AccessTokens, Policy, Validator, actix::AuthMiddleware, domain::Action};
    ///
    /// let tokens = AccessTokens::hs256("a secret that Key0 shares with this backend")?;
    /// let validator = Validator::builder().access_tokens(tokens).build()?;
    /// let auth = AuthMiddleware::new(validator).policy_fn(|request: &HttpRequest| {
    ///     let read = *request.method() == Method::GET;
    ///     Policy::permission("orders", if read { Action::Read } else { Action::Update })
    /// });
    /// # let _ = auth;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn policy_fn<F, P>(mut self, policy: F) -> Self
    where
        F: Fn(&HttpRequest) -> P + Send + Sync + 'static,
        P: Into<Option<Policy>>,
    {
        self.guard().require_by(policy);
        self
    }

    /// Lets CORS preflights pass, without an [`Identity`](crate::Identity): `OPTIONS` with
    /// `Origin` and `Access-Control-Request-Method`, both with a value, and without a body. What
    /// credential comes along is removed.
    ///
    /// Needed only where what is inside answers them. A CORS middleware outside of this one sees
    /// them first.
    pub fn allow_preflight(mut self) -> Self {
        self.guard().allow_preflight();
        self
    }

    /// Sets the text that the caller is shown, by the kind of refusal; `None` keeps it. Status,
    /// code and challenge stay, and so do the refusals that handlers return.
    pub fn wording<F>(mut self, wording: F) -> Self
    where
        F: Fn(RejectionKind) -> Option<&'static str> + Send + Sync + 'static,
    {
        self.guard().word_with(wording);
        self
    }

    fn guard(&mut self) -> &mut Guard<HttpRequest> {
        Arc::make_mut(&mut self.guard)
    }
}

impl<S, B> Transform<S, ServiceRequest> for AuthMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = AuthService<S>;
    type InitError = ();
    type Future = Ready<Result<AuthService<S>, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(AuthService::new(inner, Arc::clone(&self.guard))))
    }
}

/// Lets requests through whose caller an [`InternalAuth`] lets in, and answers all others itself.
///
/// The [`InternalCaller`](crate::auth::InternalCaller) is in the request's extensions.
///
/// ```
/// use key0_auth::{InternalAuth, actix::InternalAuthMiddleware, domain::{Secret, SecretSet}};
///
/// let secret = Secret::new("INTERNAL_AUTH_SECRET", "a secret for Key0's own calls alone")?;
/// let internal = InternalAuth::builder().shared_secret(SecretSet::new(secret)).build()?;
/// let auth = InternalAuthMiddleware::new(internal);
/// # let _ = auth;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct InternalAuthMiddleware {
    internal: Arc<InternalAuth>,
}

impl InternalAuthMiddleware {
    /// Asks every request for one of these strategies.
    pub fn new(internal: impl Into<Arc<InternalAuth>>) -> Self {
        Self { internal: internal.into() }
    }
}

impl<S, B> Transform<S, ServiceRequest> for InternalAuthMiddleware
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = InternalAuthService<S>;
    type InitError = ();
    type Future = Ready<Result<InternalAuthService<S>, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(InternalAuthService::new(inner, Arc::clone(&self.internal))))
    }
}
