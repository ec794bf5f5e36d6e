use std::convert::Infallible;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use crate::{Identity, Rejection, RejectionKind, auth::InternalCaller, domain::Claims};

impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Rejection;

    /// The identity that an [`AuthLayer`](crate::AuthLayer) put there.
    ///
    /// # Errors
    ///
    /// Without one the route is behind no such layer, or behind an optional one: a fault of the
    /// program, so [`Internal`](RejectionKind::Internal), whatever the request carries.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        validated(parts, "AuthLayer")
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Identity {
    type Rejection = Infallible;

    /// The identity, if there is one: for routes behind an
    /// [optional](crate::AuthLayer::optional) layer.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Claims {
    type Rejection = Rejection;

    /// The verified claims of the access token that the request carries.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions) for any other kind of
    /// credential, and [`Internal`](RejectionKind::Internal) without an [`Identity`].
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let identity: Identity = validated(parts, "AuthLayer")?;
        identity.claims().cloned().ok_or_else(|| RejectionKind::InsufficientPermissions.into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InternalCaller {
    type Rejection = Rejection;

    /// The caller that an [`InternalAuthLayer`](crate::InternalAuthLayer) let in.
    ///
    /// # Errors
    ///
    /// Without one the route is behind no such layer: a fault of the program, so
    /// [`Internal`](RejectionKind::Internal), whatever the request carries.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        validated(parts, "InternalAuthLayer")
    }
}

/// A handler asks for a proof that no layer has made.
#[derive(Debug, thiserror::Error)]
#[error("the route is not behind an {layer} that requires a credential")]
struct NotBehind {
    layer: &'static str,
}

pub(super) fn validated<T>(parts: &Parts, layer: &'static str) -> Result<T, Rejection>
where
    T: Clone + Send + Sync + 'static,
{
    parts.extensions.get::<T>().cloned().ok_or_else(|| {
        let fault = NotBehind { layer };
        #[cfg(feature = "tracing")]
        {
            let route = parts.extensions.get::<axum::extract::MatchedPath>();
            let route = route.map(axum::extract::MatchedPath::as_str);
            tracing::error!(method = %parts.method, route, "{fault}");
        }
        Rejection::new(RejectionKind::Internal).cause(fault)
    })
}
