use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload};
use serde::de::DeserializeOwned;

use crate::{
    Identity, Rejection, RejectionKind,
    auth::InternalCaller,
    domain::{Claims, ExtraClaims},
    guard::{self, Anonymous, NotBehind},
};

impl FromRequest for Identity {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    /// The identity that an [`AuthMiddleware`](super::AuthMiddleware) put there. `Option<Identity>` is
    /// for routes behind an [optional](super::AuthMiddleware::optional) one.
    ///
    /// # Errors
    ///
    /// [`MissingCredential`](RejectionKind::MissingCredential) behind an optional middleware where
    /// the request carries no credential. Behind no middleware at all it is a fault of the program,
    /// so [`Internal`](RejectionKind::Internal), whatever the request carries; the log says so.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identity(request))
    }
}

impl FromRequest for Claims {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    /// The verified claims of the access token that the request carries.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions) for any other kind of
    /// credential; without an [`Identity`] as that fails.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let claims = identity(request).and_then(|identity| {
            identity.claims().cloned().ok_or_else(|| RejectionKind::InsufficientPermissions.into())
        });
        ready(claims)
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for ExtraClaims<T> {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    /// The claims of the application's own in the access token that the request carries.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions) for any other kind of
    /// credential and for claims of another type; without an [`Identity`] as that fails.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identity(request).and_then(|caller| guard::extra_claims(&caller)).map(Self))
    }
}

impl FromRequest for InternalCaller {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    /// The caller that an [`InternalAuthMiddleware`](super::InternalAuthMiddleware) let in.
    ///
    /// # Errors
    ///
    /// Without one the route is behind no such middleware: a fault of the program, so
    /// [`Internal`](RejectionKind::Internal), whatever the request carries.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(validated(request, "InternalAuthMiddleware"))
    }
}

pub(super) fn validated<T>(request: &HttpRequest, middleware: &'static str) -> Result<T, Rejection>
where
    T: Clone + 'static,
{
    request.extensions().get::<T>().cloned().ok_or_else(|| {
        let route = request.match_pattern();
        // Logged when it becomes a response: an `Option<Identity>` finds nothing wrong with it.
        let method = request.method().as_str();
        guard::fault(NotBehind::new(method, route.as_deref(), middleware))
    })
}

/// The identity, where a middleware was there to ask for it.
pub(super) fn identity(request: &HttpRequest) -> Result<Identity, Rejection> {
    let anonymous = request.extensions().get::<Anonymous>().is_some();
    if anonymous && request.extensions().get::<Identity>().is_none() {
        return Err(RejectionKind::MissingCredential.into());
    }
    validated(request, "AuthMiddleware")
}
