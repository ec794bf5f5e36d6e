#[cfg(feature = "idempotency")]
use crate::{Validator, auth::Responder};

/// In a request's extensions: the form of refusals that the middleware around gives.
#[cfg(feature = "idempotency")]
#[derive(Debug, Clone)]
pub(crate) struct RefusalForm(Validator);

#[cfg(feature = "idempotency")]
impl RefusalForm {
    pub(super) fn of(validator: &Validator) -> Self {
        Self(validator.clone())
    }

    pub(crate) fn responder(&self) -> &Responder {
        self.0.responder()
    }
}

/// Marks a response whose rejection was rendered without knowing the middleware's responder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Provisional;

/// The headers that speak of a refusal's body or of its kind. All are taken off a response whose
/// refusal is rendered again.
pub(crate) const BODY_HEADERS: [&str; 6] = [
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "retry-after",
    "www-authenticate",
];
