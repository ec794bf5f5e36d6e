use std::error::Error;

use crate::{Rejection, RejectionKind};

/// A fault of the program, which whoever writes it must hear of: by the log or, where nobody
/// listens to it, by the answer, unless the program is built for release.
pub(crate) fn fault(fault: impl Error + Send + Sync + 'static) -> Rejection {
    let rejection = Rejection::new(RejectionKind::Internal);
    if cfg!(debug_assertions) && !is_logged() {
        return rejection.detail(fault.to_string()).cause(fault);
    }
    rejection.cause(fault)
}

/// Whether somebody listens to errors in the log.
fn is_logged() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::enabled!(tracing::Level::ERROR);
    #[cfg(not(feature = "tracing"))]
    return false;
}

/// A method as the log names it: what a client makes up can be long, and a secret.
#[cfg_attr(not(any(feature = "axum", feature = "actix", feature = "tracing")), allow(dead_code))]
pub(super) fn known_method(method: &str) -> &str {
    const REGISTERED: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    if REGISTERED.contains(&method) { method } else { "other" }
}

/// A handler asks for a proof that no guard around it has made.
#[cfg_attr(not(any(feature = "axum", feature = "actix")), allow(dead_code))]
#[derive(Debug, thiserror::Error)]
#[error("{method} {route} is not behind an {guard} that requires a credential")]
pub(crate) struct NotBehind {
    method: String,
    route: String,
    guard: &'static str,
}

#[cfg_attr(not(any(feature = "axum", feature = "actix")), allow(dead_code))]
impl NotBehind {
    pub(crate) fn new(method: &str, route: Option<&str>, guard: &'static str) -> Self {
        Self {
            method: known_method(method).to_owned(),
            route: route.unwrap_or("a route").to_owned(),
            guard,
        }
    }

    /// The fault that a rejection is about.
    pub(crate) fn of(rejection: &Rejection) -> Option<&Self> {
        rejection.source().and_then(<dyn Error>::downcast_ref)
    }

    /// Says it in the log, at once: nobody may be around who would log the refusal.
    pub(crate) fn log(&self) {
        #[cfg(feature = "tracing")]
        tracing::error!("{self}");
    }
}

/// What a token says beyond this crate's claims, as a type of the application's own.
#[cfg(any(feature = "axum", feature = "actix"))]
pub(crate) fn extra_claims<T: serde::de::DeserializeOwned>(
    identity: &crate::Identity,
) -> Result<T, Rejection> {
    let denied = || Rejection::new(RejectionKind::InsufficientPermissions);
    let claims = identity.claims().ok_or_else(denied)?;
    claims.extra_as().map_err(|error| denied().cause(error))
}
