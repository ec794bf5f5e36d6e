use std::{sync::Arc, time::Duration};

use super::{
    api_keys::ApiKeys,
    fallback::Fallback,
    gateway::Gateway,
    response::{ProblemBody, Responder},
    seller::Seller,
    source::Source,
    validator::{Parts, Validator},
};
use crate::{
    AccessTokens,
    domain::{Clock, SystemClock},
    error::{ConfigError, ConfigFault},
    store::DeniedTokens,
};

/// How long a fallback may take, unless another limit is set.
const DEFAULT_FALLBACK_DEADLINE: Duration = Duration::from_secs(2);

/// Collects what a [`Validator`] accepts.
#[derive(Debug)]
#[must_use]
pub struct ValidatorBuilder {
    tokens: Option<Arc<AccessTokens>>,
    keys: Option<Arc<ApiKeys>>,
    fallback: Option<Arc<dyn Fallback>>,
    fallback_deadline: Duration,
    denied: Option<DeniedTokens>,
    gateway: Option<Gateway>,
    sources: Vec<Source>,
    realm: String,
    body: Option<Arc<dyn ProblemBody>>,
    seller: Option<Seller>,
    clock: Arc<dyn Clock>,
}

impl ValidatorBuilder {
    pub(super) fn new() -> Self {
        Self {
            tokens: None,
            keys: None,
            fallback: None,
            fallback_deadline: DEFAULT_FALLBACK_DEADLINE,
            denied: None,
            gateway: None,
            sources: vec![Source::Bearer, Source::ApiKeyScheme, Source::ApiKeyHeader],
            realm: "api".to_owned(),
            body: None,
            seller: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Accepts Key0's access tokens.
    pub fn access_tokens(mut self, tokens: impl Into<Arc<AccessTokens>>) -> Self {
        self.tokens = Some(tokens.into());
        self
    }

    /// Refuses access tokens that were revoked, and those that live longer than
    /// [`DeniedTokens::longest_token_life`] where that is set; none are, by default.
    pub fn denied_tokens(mut self, denied: DeniedTokens) -> Self {
        self.denied = Some(denied);
        self
    }

    /// Accepts API keys.
    pub fn api_keys(mut self, keys: impl Into<Arc<ApiKeys>>) -> Self {
        self.keys = Some(keys.into());
        self
    }

    /// Asks the application about bearer values that are neither.
    pub fn fallback(mut self, fallback: impl Fallback) -> Self {
        self.fallback = Some(Arc::new(fallback));
        self
    }

    /// Sets how long the application may take to validate a credential before the request is answered
    /// 503; two seconds by default.
    pub fn fallback_deadline(mut self, deadline: Duration) -> Self {
        self.fallback_deadline = deadline;
        self
    }

    /// Lets in what Key0's gateway proxies, on the routes that are declared as sold per call. The
    /// layers and middlewares do it, since they know the method and the path of a request.
    pub fn gateway(mut self, gateway: Gateway) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Sets where a credential may stand, and what comes first where two places hold the same
    /// one. By default `Authorization: Bearer`, `Authorization: ApiKey`, then
    /// `X-Api-Key`.
    pub fn sources(mut self, sources: impl IntoIterator<Item = Source>) -> Self {
        self.sources = sources.into_iter().collect();
        self
    }

    /// Sets the realm of the challenges (RFC 9110, section 11.5); `api` by default.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// Gives refusals a body of the application's own form.
    pub fn problem_body(mut self, body: impl ProblemBody) -> Self {
        self.body = Some(Arc::new(body));
        self
    }

    /// Names the seller's shop in refusals that a purchase would cure; none by default.
    pub fn seller(mut self, seller: Seller) -> Self {
        self.seller = Some(seller);
        self
    }

    /// Sets where the time comes from; the system's clock by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks that something is accepted, and from somewhere.
    ///
    /// # Errors
    ///
    /// Fails without any kind of credential, without a source, or with a realm that can't stand
    /// in a header.
    pub fn build(mut self) -> Result<Validator, ConfigError> {
        let mut faults = Vec::new();
        let some = self.tokens.is_some() || self.keys.is_some() || self.fallback.is_some();
        if !some && self.gateway.is_none() {
            let why = "no credential could be accepted";
            faults.push(ConfigFault::missing("access tokens, API keys or a fallback", why));
        }
        if self.keys.is_none() {
            self.sources.retain(|source| *source == Source::Bearer);
        }
        if self.sources.is_empty() {
            faults.push(ConfigFault::missing("a source", "no credential could be found"));
        }
        let responder = Responder::new(&self.realm).unwrap_or_else(|fault| {
            faults.push(fault);
            Responder::default()
        });
        ConfigError::check(faults)?;
        let mut responder = responder.schemes(&self.sources).gateway(self.gateway.is_some());
        if let Some(seller) = self.seller {
            responder = responder.seller(seller);
        }
        Ok(Validator::from_parts(Parts {
            tokens: self.tokens,
            keys: self.keys,
            fallback: self.fallback,
            fallback_deadline: self.fallback_deadline,
            denied: self.denied,
            gateway: self.gateway,
            responder: match self.body {
                Some(body) => responder.body(body),
                None => responder,
            },
            sources: self.sources,
            clock: self.clock,
        }))
    }
}
