#[cfg(feature = "tracing")]
use super::fault::{NotBehind, known_method};
use crate::{Rejection, auth::Caller};

/// A request that a guard refuses.
pub(crate) struct Refused {
    pub(crate) rejection: Rejection,
    /// Who it was, where that is known.
    pub(crate) caller: Option<Caller>,
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, caller: None }
    }
}

/// Writes a refusal into the log: an outage or a fault of the program as an error with its cause,
/// else a line for whoever looks for it. The route is its pattern: a path may hold what a caller
/// took for an id.
#[cfg(feature = "tracing")]
pub(crate) fn report(
    rejection: &Rejection,
    caller: Option<&Caller>,
    method: &str,
    route: impl FnOnce() -> Option<String>,
) {
    let (code, status) = (rejection.kind().code(), rejection.kind().status());
    let method = known_method(method);
    let caller = caller.map(tracing::field::display);
    if status < 500 {
        tracing::debug!(target: TARGET, code, caller, method, route = route(), "request refused");
    } else if NotBehind::of(rejection).is_none() {
        // An endpoint may refuse without a cause.
        let cause = std::error::Error::source(rejection).map(crate::error::chain);
        let cause = cause.as_deref().unwrap_or_else(|| rejection.message());
        tracing::error!(
            target: TARGET, code, cause, caller, method, route = route(),
            "request could not be handled"
        );
    }
}

/// The part of the log that is about refused requests.
#[cfg(feature = "tracing")]
const TARGET: &str = "key0_auth::refusal";

#[cfg(not(feature = "tracing"))]
pub(crate) fn report(
    _: &Rejection,
    _: Option<&Caller>,
    _: &str,
    _: impl FnOnce() -> Option<String>,
) {
}
