use std::{sync::Arc, time::Duration};

use super::{Backend, Parts, Secrets, housekeeping::Housekeeping};
#[cfg(feature = "jwks")]
use crate::token::OAuthTokens;
use crate::{
    ApiKeys, Cached, Validator,
    api::{
        AuditApi, CredentialApi, IssuanceHook, IssueToken, KeysApi, PaymentHandler,
        PaymentReceived, PurchasesApi,
    },
    auth::{Fallback, ProblemBody},
    domain::{Clock, SystemClock},
    error::{ConfigError, ConfigFault},
    store::{DeniedTokens, KeyUsage, Payment, PaymentStore, Store},
};

/// Collects the parts of a [`Backend`].
#[derive(Debug)]
#[must_use]
pub struct BackendBuilder {
    store: Arc<dyn Store>,
    secrets: Secrets,
    handler: Option<Arc<dyn PaymentHandler>>,
    hook: Option<Arc<dyn IssuanceHook>>,
    fallback: Option<Arc<dyn Fallback>>,
    body: Option<Arc<dyn ProblemBody>>,
    clock: Arc<dyn Clock>,
    key_life: Duration,
    cache_life: Option<Duration>,
    longest_token_life: Option<Duration>,
}

impl BackendBuilder {
    pub(super) fn new(store: Arc<dyn Store>, secrets: Secrets) -> Self {
        Self {
            store,
            secrets,
            handler: None,
            hook: None,
            fallback: None,
            body: None,
            clock: Arc::new(SystemClock),
            key_life: Duration::from_secs(60 * 60),
            cache_life: None,
            longest_token_life: None,
        }
    }

    /// Deals with payments, at least once each. Without one they are kept for somebody else.
    pub fn on_payment(mut self, handler: impl PaymentHandler) -> Self {
        self.handler = Some(Arc::new(handler));
        self
    }

    /// Approves or refuses what Key0 asks a credential for. Without one, all is for sale.
    pub fn approve(mut self, hook: impl IssuanceHook) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Asks the application about bearer values that are neither tokens nor keys.
    pub fn fallback(mut self, fallback: impl Fallback) -> Self {
        self.fallback = Some(Arc::new(fallback));
        self
    }

    /// Gives all refusals, those of internal endpoints among them, a body of the application's own
    /// form.
    pub fn problem_body(mut self, body: impl ProblemBody) -> Self {
        self.body = Some(Arc::new(body));
        self
    }

    /// Sets where the time comes from, for all parts, the cache among them; the system's clock by
    /// default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets how long issued keys live; an hour by default.
    pub fn key_life(mut self, life: Duration) -> Self {
        self.key_life = life;
        self
    }

    /// Sets how long looked-up keys are remembered; five seconds by default.
    pub fn cache_life(mut self, life: Duration) -> Self {
        self.cache_life = Some(life);
        self
    }

    /// Sets how long access tokens may live, 366 days at most, as [`DeniedTokens::longest_token_life`]
    /// does. One that lives longer is refused. Without it, tokens may live as long as they like.
    pub fn longest_token_life(mut self, life: Duration) -> Self {
        self.longest_token_life = Some(life);
        self
    }

    /// Puts the parts together and starts the housekeeping. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails with everything that is wrong, all at once.
    pub fn build(self) -> Result<Backend, ConfigError> {
        let mut faults = Vec::new();
        let runtime = tokio::runtime::Handle::try_current();
        if runtime.is_err() {
            let reason = "a backend is built within one, as its housekeeping runs there";
            faults.push(ConfigFault::invalid("the tokio runtime", reason));
        }
        let Secrets { tokens, internal, issuance, bootstrap, format, gateway, seller } =
            self.secrets;
        let mut cached = Cached::builder(self.store.clone(), self.clock.clone());
        if let Some(life) = self.cache_life {
            cached = cached.time_to_live(life);
        }
        let mut internal = internal.clock(self.clock.clone());
        if let Some(body) = &self.body {
            internal = internal.problem_body(body.clone());
        }
        let cached = kept(cached.build(), &mut faults).map(Arc::new);
        let internal = kept(internal.build(), &mut faults).map(Arc::new);
        let usage = KeyUsage::new(self.store.clone());
        let interval = self.cache_life.unwrap_or(Duration::MAX);
        let denied = runtime.is_ok().then(|| {
            let denied = DeniedTokens::reading_every(self.store.clone(), interval);
            match self.longest_token_life {
                Some(life) => denied.longest_token_life(life),
                None => denied,
            }
        });
        let parts = cached.and_then(|cached| {
            let keys = ApiKeys::cached(cached.clone())
                .usage(usage.clone())
                .bootstrap(bootstrap)
                .format(format);
            let keys = Arc::new(keys);
            let mut validator = Validator::builder()
                .access_tokens(tokens.clone())
                .api_keys(keys.clone())
                .clock(self.clock.clone());
            if let Some(denied) = &denied {
                validator = validator.denied_tokens(denied.clone());
            }
            if let Some(gateway) = gateway {
                validator = validator.gateway(gateway);
            }
            if let Some(fallback) = self.fallback {
                validator = validator.fallback(Shared(fallback));
            }
            if let Some(body) = self.body {
                validator = validator.problem_body(body);
            }
            if let Some(seller) = seller {
                validator = validator.seller(seller);
            }
            kept(validator.build(), &mut faults).map(|validator| (cached, keys, validator))
        });
        ConfigError::check(faults)?;
        let (Some((cached, keys, validator)), Some(internal_auth), Ok(runtime), Some(denied)) =
            (parts, internal, runtime, denied)
        else {
            unreachable!("what is missing has its fault")
        };
        #[cfg(feature = "jwks")]
        {
            tokens.start_fetching();
            internal_auth.oauth.iter().for_each(OAuthTokens::start);
        }

        let mut issue_token = IssueToken::new(self.store.clone(), keys.clone(), issuance)
            .time_to_live(self.key_life)
            .clock(self.clock.clone());
        if let Some(hook) = self.hook {
            issue_token = issue_token.hook(Shared(hook));
        }
        let payments: Arc<dyn PaymentStore> = self.store.clone();
        let payment_received = match self.handler {
            Some(handler) => {
                PaymentReceived::with_handler(payments, self.clock.clone(), Shared(handler))
            }
            None => PaymentReceived::new(payments, self.clock.clone()),
        };
        let credential_api =
            CredentialApi::new(validator.clone(), self.store.clone(), denied.clone());
        let purchases_api = PurchasesApi::new(self.store.clone(), keys.clone(), denied.clone())
            .clock(self.clock.clone());
        let audit_api = AuditApi::new(self.store.clone()).clock(self.clock.clone());
        let keys_api = KeysApi::new(self.store.clone(), keys).clock(self.clock.clone());
        let housekeeping = Housekeeping {
            issue_token: issue_token.clone(),
            keys: keys_api.clone(),
            audit: audit_api.clone(),
            credentials: credential_api.clone(),
            usage,
            store: cached,
            #[cfg(feature = "idempotency")]
            idempotency: crate::idempotency::Idempotency::new(self.store.clone()).clock(self.clock),
        };
        let running = runtime.spawn(housekeeping.clone().run()).abort_handle();
        Ok(Backend(Arc::new(Parts {
            store: self.store,
            validator,
            internal_auth,
            issue_token,
            payment_received,
            keys_api,
            credential_api,
            purchases_api,
            audit_api,
            denied,
            housekeeping,
            running,
        })))
    }
}

fn kept<T>(made: Result<T, ConfigError>, faults: &mut Vec<ConfigFault>) -> Option<T> {
    made.map_err(|error| faults.extend(error.into_faults())).ok()
}

/// One that is known by its trait alone.
#[derive(Debug)]
struct Shared<T: ?Sized>(Arc<T>);

#[async_trait::async_trait]
impl PaymentHandler for Shared<dyn PaymentHandler> {
    async fn handle(&self, payment: &Payment) -> Result<(), crate::api::HandlerError> {
        self.0.handle(payment).await
    }
}

#[async_trait::async_trait]
impl IssuanceHook for Shared<dyn IssuanceHook> {
    async fn decide(
        &self,
        request: &crate::api::IssuanceRequest,
    ) -> Result<crate::api::Decision, crate::api::HookError> {
        self.0.decide(request).await
    }
}

#[async_trait::async_trait]
impl Fallback for Shared<dyn Fallback> {
    async fn validate(
        &self,
        credential: crate::domain::Credential<'_>,
    ) -> Result<Option<crate::auth::FallbackGrant>, crate::auth::FallbackError> {
        self.0.validate(credential).await
    }
}
