use std::{any::type_name, borrow::Cow, fmt, sync::Arc};

use super::{
    headers::{X_API_KEY, treatment},
    request::Arriving,
};
use crate::{
    Identity, Policy, Rejection, RejectionKind, Validator,
    auth::{Judgement, Lookup, Responder},
};

/// What a middleware asks of a request, of which an application's rules see an `H`.
pub(crate) struct Gate<H> {
    validator: Validator,
    optional: bool,
    allow_preflight: bool,
    requirements: Vec<Requirement<H>>,
    wording: Option<Arc<Wording>>,
}

enum Requirement<H> {
    Fixed(Policy),
    OfRequest(Arc<PolicyOf<H>>),
}

type PolicyOf<H> = dyn Fn(&H) -> Option<Policy> + Send + Sync;
type Wording = dyn Fn(RejectionKind) -> Option<&'static str> + Send + Sync;

/// What can be said of a request without waiting.
pub(crate) enum Verdict {
    Pass,
    Refuse(Rejection),
    LookUp(Lookup),
}

impl<H> Gate<H> {
    pub(crate) fn new(validator: Validator) -> Self {
        Self {
            validator,
            optional: false,
            allow_preflight: false,
            requirements: Vec::new(),
            wording: None,
        }
    }

    pub(crate) fn make_optional(&mut self) {
        self.optional = true;
    }

    pub(crate) fn allow_preflight(&mut self) {
        self.allow_preflight = true;
    }

    pub(crate) fn require(&mut self, policy: Policy) {
        self.requirements.push(Requirement::Fixed(policy));
    }

    pub(crate) fn require_by<F, P>(&mut self, policy: F)
    where
        F: Fn(&H) -> P + Send + Sync + 'static,
        P: Into<Option<Policy>>,
    {
        let policy = Arc::new(move |head: &H| policy(head).into());
        self.requirements.push(Requirement::OfRequest(policy));
    }

    pub(crate) fn word_with<F>(&mut self, wording: F)
    where
        F: Fn(RejectionKind) -> Option<&'static str> + Send + Sync + 'static,
    {
        self.wording = Some(Arc::new(wording));
    }

    pub(crate) fn validator(&self) -> &Validator {
        &self.validator
    }

    pub(crate) fn responder(&self) -> &Responder {
        self.validator.responder()
    }

    /// Judges a request, and makes it fit for the handler whatever comes of it.
    pub(crate) fn judge(&self, request: &mut impl Arriving<Head = H>) -> Verdict {
        let judgement = (!self.allow_preflight || !is_preflight(request)).then(|| {
            match self.validator.read(request.authorization(), request.api_key()) {
                Ok(presented) => self.validator.judge(presented),
                Err(rejection) => Judgement::Decided(Err(rejection)),
            }
        });
        request.treat_headers(|name| treatment(name, X_API_KEY));
        // Whoever put it there judged the request by other rules than ours.
        request.remove::<Identity>();
        // Nobody asks for it where nothing is to be done only once.
        #[cfg(feature = "idempotency")]
        if !matches!(request.method(), "GET" | "HEAD") {
            request.insert(super::form::InForm::of(&self.validator));
        }

        match judgement {
            None => Verdict::Pass,
            Some(Judgement::Pending(lookup)) => Verdict::LookUp(lookup),
            Some(Judgement::Decided(Err(rejection)))
                if self.optional
                    && rejection.kind() == RejectionKind::MissingCredential
                    && !self.requirements.iter().any(|asked| asked.of(request).is_some()) =>
            {
                Verdict::Pass
            }
            Some(Judgement::Decided(result)) => match self.admit(request, result) {
                Ok(()) => Verdict::Pass,
                Err(rejection) => Verdict::Refuse(rejection),
            },
        }
    }

    /// Lets a request in whose credential was judged: hands its identity on.
    pub(crate) fn admit(
        &self,
        request: &mut impl Arriving<Head = H>,
        judged: Result<Identity, Rejection>,
    ) -> Result<(), Rejection> {
        let identity = judged.map_err(|rejection| self.word(rejection))?;
        for policy in self.requirements.iter().filter_map(|asked| asked.of(request)) {
            policy.check(&identity).map_err(|rejection| self.word(rejection))?;
        }
        request.insert(identity);
        Ok(())
    }

    fn word(&self, rejection: Rejection) -> Rejection {
        match self.wording.as_ref().and_then(|wording| wording(rejection.kind())) {
            Some(text) => rejection.detail(text),
            None => rejection,
        }
    }
}

impl<H> Requirement<H> {
    /// The policy that applies to a request.
    fn of(&self, request: &mut impl Arriving<Head = H>) -> Option<Cow<'_, Policy>> {
        match self {
            Self::Fixed(policy) => Some(Cow::Borrowed(policy)),
            Self::OfRequest(policy_of) => request.with_head(|head| policy_of(head)).map(Cow::Owned),
        }
    }
}

/// A CORS preflight as browsers send it (Fetch standard, section 4.8).
fn is_preflight(request: &impl Arriving) -> bool {
    request.method() == "OPTIONS"
        && request.values("origin").next().is_some()
        && request.values("access-control-request-method").next().is_some()
}

// By hand, since none of them asks anything of `H`.

impl<H> Clone for Gate<H> {
    fn clone(&self) -> Self {
        Self {
            validator: self.validator.clone(),
            optional: self.optional,
            allow_preflight: self.allow_preflight,
            requirements: self.requirements.clone(),
            wording: self.wording.clone(),
        }
    }
}

impl<H> Clone for Requirement<H> {
    fn clone(&self) -> Self {
        match self {
            Self::Fixed(policy) => Self::Fixed(policy.clone()),
            Self::OfRequest(policy_of) => Self::OfRequest(Arc::clone(policy_of)),
        }
    }
}

impl<H> fmt::Debug for Gate<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("validator", &self.validator)
            .field("optional", &self.optional)
            .field("allow_preflight", &self.allow_preflight)
            .field("requirements", &self.requirements)
            .finish_non_exhaustive()
    }
}

impl<H> fmt::Debug for Requirement<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(policy) => policy.fmt(f),
            Self::OfRequest(_) => {
                let head = type_name::<H>();
                write!(f, "Fn(&{})", head.rsplit("::").next().unwrap_or(head))
            }
        }
    }
}
