use std::{fmt, sync::Arc};

use super::{
    refused::{Refused, report},
    request::{
        GatewayHeaders, IncomingRequest, RemovedHeaders, X_API_KEY, treatment, treatment_proxied,
        treatment_unseen,
    },
    requirement::Requirement,
};
use crate::{
    Identity, InternalAuth, Policy, Rejection, RejectionKind, Validator,
    auth::{
        Caller, Gateway, InternalCaller, InternalStrategy, Lookup, Proxied, Responder, Sent,
        Validation,
    },
    policy::combine,
};

/// What a middleware asks of a request, of which an application's rules see an `H`.
pub(crate) struct Guard<H> {
    validator: Validator,
    optional: bool,
    allow_preflight: bool,
    requirements: Vec<Requirement<H>>,
    wording: Option<Arc<Wording>>,
}

type Wording = dyn Fn(RejectionKind) -> Option<&'static str> + Send + Sync;

/// In a request's extensions: an optional guard let it in without a credential.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anonymous;

/// What can be said of a request without waiting.
pub(crate) enum Outcome {
    Pass,
    Refuse(Refused),
    LookUp(Lookup),
}

impl<H> Guard<H> {
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

    #[cfg(any(feature = "axum", feature = "actix"))]
    pub(crate) fn require_by_path<F>(&mut self, parameter: &str, policy: F)
    where
        F: Fn(&str) -> Policy + Send + Sync + 'static,
    {
        let policy = Arc::new(policy);
        self.requirements.push(Requirement::OfPath { parameter: parameter.into(), policy });
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

    /// Validates a request, and makes it fit for the handler whatever comes of it.
    pub(crate) fn validate(&self, request: &mut impl IncomingRequest<Head = H>) -> Outcome {
        let preflight = self.allow_preflight && is_preflight(request);
        let removed = request.get::<GatewayHeaders>();
        let by_gateway = self.validator.gateway().filter(|_| !preflight).and_then(|gateway| {
            let header = |name| {
                let removed = removed.iter().flat_map(|headers| headers.values(name));
                Sent::of(removed.chain(request.values(name)))
            };
            let (method, path) = (request.method(), request.path());
            gateway.validate(method, path, || request.route(), header)
        });
        let proxied = by_gateway.is_some();
        let to_gateway = proxied || removed.is_some();
        let validation = (!preflight).then(|| {
            if let Some(decided) = by_gateway {
                return Validation::Decided(decided);
            }
            match self.validator.read(request.authorization(), request.api_key()) {
                Ok(presented) => self.validator.validate_now(presented),
                Err(rejection) => Validation::Decided(Err(rejection)),
            }
        });
        let treated = request.treat_headers(|name| match (preflight, proxied) {
            (true, _) => treatment_unseen(name),
            (_, true) => treatment_proxied(name),
            _ => treatment(name, X_API_KEY),
        });
        let address = |refused: Refused| {
            let Refused { rejection, caller } = refused;
            let rejection = if to_gateway { rejection.for_gateway() } else { rejection };
            Outcome::Refuse(Refused { rejection, caller })
        };
        if let Err(rejection) = keep_gateway_headers(request, treated) {
            return address(self.refuse(request, rejection, None));
        }
        // Whoever put it there validated the request by other rules than ours.
        request.remove::<Identity>();
        // Nobody asks for it where nothing is to be done only once.
        #[cfg(feature = "idempotency")]
        if !matches!(request.method(), "GET" | "HEAD") {
            request.insert(super::response::RefusalForm::of(&self.validator));
        }

        match validation {
            None => {
                request.insert(Anonymous);
                Outcome::Pass
            }
            Some(Validation::Pending(lookup)) => Outcome::LookUp(lookup),
            Some(Validation::Decided(Err(rejection)))
                if self.optional
                    && rejection.kind() == RejectionKind::MissingCredential
                    && !self.requirements.iter().any(|asked| asked.of(request).is_some()) =>
            {
                request.insert(Anonymous);
                Outcome::Pass
            }
            Some(Validation::Decided(result)) => match self.admit(request, result) {
                Ok(()) => Outcome::Pass,
                Err(refused) => address(refused),
            },
        }
    }

    /// Lets a request in whose credential was validated: hands its identity on.
    pub(crate) fn admit(
        &self,
        request: &mut impl IncomingRequest<Head = H>,
        validated: Result<Identity, Rejection>,
    ) -> Result<(), Refused> {
        let identity = match validated {
            Ok(identity) => identity,
            Err(rejection) => {
                let policies = self.requirements.iter().filter_map(|asked| asked.of(request));
                let policies: Vec<_> =
                    policies.flatten().map(|policy| policy.purchases()).collect();
                let rejection = match policies.is_empty() {
                    true => rejection,
                    false => rejection.purchases(combine(policies.into_iter())),
                };
                let caller = Caller::of_refused(&rejection);
                return Err(self.refuse(request, rejection, caller));
            }
        };
        for policy in self.requirements.iter().filter_map(|asked| asked.of(request)) {
            if let Err(rejection) = policy.and_then(|policy| policy.check(&identity)) {
                return Err(self.refuse(request, rejection, Some(identity.into())));
            }
        }
        request.insert(identity);
        Ok(())
    }

    fn refuse(
        &self,
        request: &mut impl IncomingRequest<Head = H>,
        rejection: Rejection,
        caller: Option<Caller>,
    ) -> Refused {
        report(&rejection, caller.as_ref(), request.method(), || request.route());
        Refused { rejection: self.word(rejection).instance(request.path()), caller }
    }

    fn word(&self, rejection: Rejection) -> Rejection {
        match self.wording.as_ref().and_then(|wording| wording(rejection.kind())) {
            Some(text) => rejection.detail(text),
            None => rejection,
        }
    }
}

/// Lets a request to an internal endpoint in, or says why not.
pub(crate) fn admit_internal(
    internal: &Arc<InternalAuth>,
    request: &mut impl IncomingRequest,
) -> Result<(), Refused> {
    let secret = internal.header();
    let proxied = request.values(Gateway::TOKEN_HEADER).next().is_some()
        || request.get::<GatewayHeaders>().is_some();
    let validated = internal.validate(request.authorization(), request.values(secret));
    let validated = match validated {
        // Whoever may call, what a buyer sends through the gateway may not.
        Ok(caller) if proxied && caller.strategy() == InternalStrategy::None => {
            Err(Rejection::new(RejectionKind::InvalidInternalAuth).cause(Proxied))
        }
        validated => validated,
    };
    let treated = request.treat_headers(|name| treatment(name, secret));
    let validated = keep_gateway_headers(request, treated).and(validated);
    #[cfg(feature = "idempotency")]
    request.insert(super::response::RefusalForm::of_internal(internal));
    let validated = validated.map_err(|rejection| {
        report(&rejection, None, request.method(), || request.route());
        let rejection = rejection.instance(request.path());
        if proxied { rejection.for_gateway() } else { rejection }
    });
    // Takes the place of what an outer middleware may have put there.
    request.insert::<InternalCaller>(validated?);
    Ok(())
}

/// Keeps what was removed of a gateway's request, for guards further inside.
fn keep_gateway_headers(
    request: &mut impl IncomingRequest,
    treated: Result<RemovedHeaders, Rejection>,
) -> Result<(), Rejection> {
    if let Some(headers) = GatewayHeaders::of(treated?) {
        request.insert(headers);
    }
    Ok(())
}

/// A CORS preflight as browsers send it (Fetch standard, section 4.8): it has no body.
fn is_preflight(request: &mut impl IncomingRequest) -> bool {
    let has =
        |name| request.values(name).next().is_some_and(|value| !value.trim_ascii().is_empty());
    let tells_of_body = request.values("content-length").any(|length| length.trim_ascii() != b"0")
        || request.values("transfer-encoding").next().is_some();
    request.method() == "OPTIONS"
        && has("origin")
        && has("access-control-request-method")
        && !tells_of_body
        && !request.has_untold_body()
}

// By hand, since neither asks anything of `H`.

impl<H> Clone for Guard<H> {
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

impl<H> fmt::Debug for Guard<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("validator", &self.validator)
            .field("optional", &self.optional)
            .field("allow_preflight", &self.allow_preflight)
            .field("requirements", &self.requirements)
            .finish_non_exhaustive()
    }
}
