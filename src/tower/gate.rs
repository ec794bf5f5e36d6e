use std::{borrow::Cow, fmt, sync::Arc};

use http::{
    Method,
    header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, ORIGIN},
    request::Parts,
};

use super::headers::{X_API_KEY, clean, values};
use crate::{
    Identity, Policy, Rejection, RejectionKind, Validator,
    auth::{Judgement, Lookup, Responder},
};

/// What an [`AuthLayer`](crate::AuthLayer) asks of a request.
#[derive(Clone)]
pub(super) struct Gate {
    validator: Validator,
    pub(super) optional: bool,
    pub(super) allow_preflight: bool,
    pub(super) requirements: Vec<Requirement>,
    pub(super) wording: Option<Arc<Wording>>,
}

#[derive(Clone)]
pub(super) enum Requirement {
    Fixed(Policy),
    OfRequest(Arc<PolicyOf>),
}

pub(super) type PolicyOf = dyn Fn(&Parts) -> Option<Policy> + Send + Sync;
pub(super) type Wording = dyn Fn(RejectionKind) -> Option<&'static str> + Send + Sync;

/// What can be said of a request without waiting.
pub(super) enum Verdict {
    Pass,
    Refuse(Rejection),
    LookUp(Lookup),
}

impl Gate {
    pub(super) fn new(validator: Validator) -> Self {
        Self {
            validator,
            optional: false,
            allow_preflight: false,
            requirements: Vec::new(),
            wording: None,
        }
    }

    pub(super) fn validator(&self) -> &Validator {
        &self.validator
    }

    pub(super) fn responder(&self) -> &Responder {
        self.validator.responder()
    }

    /// Judges a request, and makes it fit for the inner service whatever comes of it.
    pub(super) fn judge(&self, parts: &mut Parts) -> Verdict {
        let judgement = (!self.allow_preflight || !is_preflight(parts)).then(|| {
            let authorization = values(&parts.headers, AUTHORIZATION);
            let api_key = values(&parts.headers, X_API_KEY);
            match self.validator.read(authorization, api_key) {
                Ok(presented) => self.validator.judge(presented),
                Err(rejection) => Judgement::Decided(Err(rejection)),
            }
        });
        clean(&mut parts.headers, X_API_KEY);
        // Whoever put it there judged the request by other rules than ours.
        parts.extensions.remove::<Identity>();

        match judgement {
            None => Verdict::Pass,
            Some(Judgement::Pending(lookup)) => Verdict::LookUp(lookup),
            Some(Judgement::Decided(Err(rejection)))
                if self.optional
                    && rejection.kind() == RejectionKind::MissingCredential
                    && self.policies(parts).next().is_none() =>
            {
                Verdict::Pass
            }
            Some(Judgement::Decided(result)) => match self.admit(parts, result) {
                Ok(()) => Verdict::Pass,
                Err(rejection) => Verdict::Refuse(rejection),
            },
        }
    }

    /// Lets a request in whose credential was judged: hands its identity on.
    pub(super) fn admit(
        &self,
        parts: &mut Parts,
        judged: Result<Identity, Rejection>,
    ) -> Result<(), Rejection> {
        let identity = judged.map_err(|rejection| self.word(rejection))?;
        for policy in self.policies(parts) {
            policy.check(&identity).map_err(|rejection| self.word(rejection))?;
        }
        parts.extensions.insert(identity);
        Ok(())
    }

    fn policies<'a>(&'a self, parts: &'a Parts) -> impl Iterator<Item = Cow<'a, Policy>> {
        self.requirements.iter().filter_map(|requirement| match requirement {
            Requirement::Fixed(policy) => Some(Cow::Borrowed(policy)),
            Requirement::OfRequest(policy_of) => policy_of(parts).map(Cow::Owned),
        })
    }

    fn word(&self, rejection: Rejection) -> Rejection {
        match self.wording.as_ref().and_then(|wording| wording(rejection.kind())) {
            Some(text) => rejection.detail(text),
            None => rejection,
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("validator", &self.validator)
            .field("optional", &self.optional)
            .field("allow_preflight", &self.allow_preflight)
            .field("requirements", &self.requirements)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(policy) => policy.fmt(f),
            Self::OfRequest(_) => f.write_str("Fn(&Parts)"),
        }
    }
}

/// A CORS preflight as browsers send it (Fetch standard, section 4.8).
fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS
        && parts.headers.contains_key(ORIGIN)
        && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
