use std::convert::Infallible;

use axum::extract::MatchedPath;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::{
    Identity, Rejection, RejectionKind,
    auth::InternalCaller,
    domain::{Claims, ExtraClaims},
    guard::{self, Anonymous, NotBehind},
};

impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Rejection;

    /// The identity that an [`AuthLayer`](crate::AuthLayer) put there.
    ///
    /// # Errors
    ///
    /// [`MissingCredential`](RejectionKind::MissingCredential) behind an
    /// [optional](crate::AuthLayer::optional) layer where the request carries no credential. Behind
    /// no layer at all it is a fault of the program, so [`Internal`](RejectionKind::Internal),
    /// whatever the request carries; the log says so.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        identity(parts)
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
    /// credential; without an [`Identity`] as that fails.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        identity(parts)?
            .claims()
            .cloned()
            .ok_or_else(|| RejectionKind::InsufficientPermissions.into())
    }
}

impl<S, T> FromRequestParts<S> for ExtraClaims<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Rejection;

    /// The claims of the application's own in the access token that the request carries.
    ///
    /// # Errors
    ///
    /// [`InsufficientPermissions`](RejectionKind::InsufficientPermissions) for any other kind of
    /// credential and for claims of another type; without an [`Identity`] as that fails.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        guard::extra_claims(&identity(parts)?).map(Self)
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

pub(super) fn validated<T>(parts: &Parts, layer: &'static str) -> Result<T, Rejection>
where
    T: Clone + Send + Sync + 'static,
{
    parts.extensions.get::<T>().cloned().ok_or_else(|| {
        let route = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let fault = NotBehind::new(parts.method.as_str(), route, layer);
        fault.log();
        guard::fault(fault)
    })
}

/// The identity, where a layer was there to ask for it.
pub(super) fn identity(parts: &Parts) -> Result<Identity, Rejection> {
    match parts.extensions.get::<Anonymous>() {
        Some(Anonymous) if parts.extensions.get::<Identity>().is_none() => {
            Err(RejectionKind::MissingCredential.into())
        }
        _ => validated(parts, "AuthLayer"),
    }
}
