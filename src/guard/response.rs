#[cfg(feature = "idempotency")]
use std::sync::Arc;

#[cfg(feature = "idempotency")]
use crate::{InternalAuth, Validator, auth::Responder};

/// In a request's extensions: the form of refusals that the middleware around gives.
#[cfg(feature = "idempotency")]
#[derive(Debug, Clone)]
pub(crate) struct RefusalForm(Form);

#[cfg(feature = "idempotency")]
#[derive(Debug, Clone)]
enum Form {
    Of(Validator),
    OfInternal(Arc<InternalAuth>),
}

#[cfg(feature = "idempotency")]
impl RefusalForm {
    pub(super) fn of(validator: &Validator) -> Self {
        Self(Form::Of(validator.clone()))
    }

    pub(super) fn of_internal(internal: &Arc<InternalAuth>) -> Self {
        Self(Form::OfInternal(Arc::clone(internal)))
    }

    pub(crate) fn responder(&self) -> &Responder {
        match &self.0 {
            Form::Of(validator) => validator.responder(),
            Form::OfInternal(internal) => internal.responder(),
        }
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

/// `Cache-Control` of an answer that a credential has opened.
pub(crate) const PRIVATE: &str = "private";
/// `Vary` of an answer that depends on a credential.
pub(crate) const VARY_BY_CREDENTIAL: &str = "Authorization, X-Api-Key";

/// Whether one of the values of `Cache-Control` forbids to keep the answer at all.
pub(crate) fn is_never_kept<'a>(mut cache_control: impl Iterator<Item = &'a [u8]>) -> bool {
    cache_control.any(|value| {
        let mut directives = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        directives.any(|directive| directive.eq_ignore_ascii_case(b"no-store"))
    })
}

/// Whether the values of `Vary` name both headers that can hold a credential, or all headers.
pub(crate) fn varies_by_credential<'a>(vary: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut authorization, mut api_key) = (false, false);
    for name in vary.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii) {
        authorization |= name.eq_ignore_ascii_case(b"authorization") || name == b"*";
        api_key |= name.eq_ignore_ascii_case(b"x-api-key") || name == b"*";
    }
    authorization && api_key
}
