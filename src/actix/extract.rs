use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload};

use crate::{Identity, Rejection, RejectionKind, auth::InternalCaller, domain::Claims};

impl FromRequest for Identity {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    /// The identity that an [`AuthMiddleware`](super::AuthMiddleware) put there. `Option<Identity>` is
    /// for routes behind an [optional](super::AuthMiddleware::optional) one.
    ///
    /// # Errors
    ///
    /// Without one the route is behind no such middleware, or behind an optional one: a fault of the
    /// program, so [`Internal`](RejectionKind::Internal), whatever the request carries.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(validated(request, "AuthMiddleware"))
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
    /// credential, and [`Internal`](RejectionKind::Internal) without an [`Identity`].
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let claims = validated(request, "AuthMiddleware").and_then(|identity: Identity| {
            identity.claims().cloned().ok_or_else(|| RejectionKind::InsufficientPermissions.into())
        });
        ready(claims)
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

/// A handler asks for a proof that no middleware has made.
#[derive(Debug, thiserror::Error)]
#[error("{method} {route} is not behind an {middleware} that requires a credential")]
struct NotBehind {
    method: String,
    route: String,
    middleware: &'static str,
}

pub(super) fn validated<T>(request: &HttpRequest, middleware: &'static str) -> Result<T, Rejection>
where
    T: Clone + 'static,
{
    request.extensions().get::<T>().cloned().ok_or_else(|| {
        let method = request.method().to_string();
        let route = request.match_pattern().unwrap_or_else(|| "a route".to_owned());
        Rejection::new(RejectionKind::Internal).cause(NotBehind { method, route, middleware })
    })
}

/// Logs the fault when it becomes a response: an `Option<Identity>` finds nothing wrong with it.
#[cfg(feature = "tracing")]
pub(super) fn log_fault(rejection: &Rejection) {
    let cause = std::error::Error::source(rejection);
    if let Some(fault) = cause.and_then(|cause| cause.downcast_ref::<NotBehind>()) {
        tracing::error!("{fault}");
    }
}
