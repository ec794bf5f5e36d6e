use crate::{Validator, auth::Responder};

/// In a request's extensions: the form of refusals that the middleware around gives.
#[derive(Debug, Clone)]
pub(crate) struct InForm(Validator);

impl InForm {
    pub(super) fn of(validator: &Validator) -> Self {
        Self(validator.clone())
    }

    pub(crate) fn responder(&self) -> &Responder {
        self.0.responder()
    }
}
