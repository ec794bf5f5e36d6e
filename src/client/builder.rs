use std::{fmt, sync::Arc, time::Duration};

use super::{Client, Inner, base::BaseUrl, credential::Credential, retry::RetryPolicy};
use crate::{
    auth::internal::DEFAULT_HEADER,
    domain::{Clock, Secret, SystemClock},
    error::{ConfigError, ConfigFault},
    token::TokenIssuer,
};

/// The longest time that is measured; what is longer is cut to it. It is a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The longest that a connection may take. With less than an attempt has, one that never came about
/// is told apart from an answer that is late.
const LONGEST_CONNECTING: Duration = Duration::from_secs(5);
/// How long an unused connection is kept: less than servers and balancers do, so that few calls meet
/// one that is just being closed.
const LONGEST_IDLE: Duration = Duration::from_secs(4);
/// The longest that a system token may live (300 s is also what servers accept by default).
const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(300);

/// Puts a [`Client`] together.
#[must_use]
pub struct ClientBuilder {
    base_url: String,
    allow_plain_http: bool,
    credentials: Vec<Credential>,
    faults: Vec<ConfigFault>,
    token_life: Duration,
    max_answer_bytes: usize,
    policy: RetryPolicy,
    clock: Arc<dyn Clock>,
}

impl ClientBuilder {
    pub(super) fn new(base_url: String) -> Self {
        Self {
            base_url,
            allow_plain_http: false,
            credentials: Vec::new(),
            faults: Vec::new(),
            token_life: Duration::from_secs(60),
            max_answer_bytes: 4 * 1024 * 1024,
            policy: RetryPolicy {
                attempts: 4,
                timeout: Duration::from_secs(10),
                deadline: Duration::from_secs(60),
                first_pause: Duration::from_millis(200),
                longest_pause: Duration::from_secs(5),
                jitter_seed: None,
            },
            clock: Arc::new(SystemClock),
        }
    }

    /// Sends an API key in `X-Api-Key`.
    pub fn api_key(self, key: impl Into<String>) -> Self {
        self.credential(Credential::api_key(key.into()))
    }

    /// Sends a credential in `Authorization: Bearer`, of whatever kind.
    pub fn bearer(self, credential: impl Into<String>) -> Self {
        self.credential(Credential::bearer(credential.into()))
    }

    /// Sends the secret of internal endpoints in `X-Internal-Auth`, as Key0 does.
    pub fn internal_secret(self, secret: Secret) -> Self {
        self.internal_secret_in(DEFAULT_HEADER, secret)
    }

    /// Sends the secret of internal endpoints in a header of this name: not `Authorization`, where
    /// servers look for other credentials, nor one that HTTP or the client uses for something else.
    pub fn internal_secret_in(self, header: &str, secret: Secret) -> Self {
        self.credential(Credential::internal_secret(header, secret))
    }

    /// Signs a system token for each attempt, as Key0 does for the service of this name.
    pub fn system_tokens(self, issuer: TokenIssuer, audience: &str) -> Self {
        self.credential(Credential::system_tokens(issuer, audience))
    }

    /// Sets how long a system token lives, from 1 s to 300 s; 60 s by default.
    pub fn system_token_life(mut self, life: Duration) -> Self {
        self.token_life = life;
        self
    }

    /// Sets how often a call is sent at most, the first time included; 4 by default. An attempt that
    /// is told that the server is [at it already](super#what-is-sent-again) is not counted: those end
    /// with the deadline.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.policy.attempts = attempts;
        self
    }

    /// Sets how long one attempt may take, to the end of its answer; 10 s by default. Half of it, and
    /// 5 s at most, is for the connection.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = timeout;
        self
    }

    /// Sets how long a call may take, with all its attempts and pauses; 60 s by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.policy.deadline = deadline;
        self
    }

    /// Sets the first pause between attempts, which doubles each time up to the longest, and has up
    /// to as much again of jitter on top; 200 ms and 5 s by default.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.policy.first_pause, self.policy.longest_pause) = (first, longest);
        self
    }

    /// Makes the jitter the same for each call: for tests.
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.policy.jitter_seed = Some(seed);
        self
    }

    /// Sets the largest answer that is read, in bytes; 4 MiB by default.
    pub fn max_answer_bytes(mut self, bytes: usize) -> Self {
        self.max_answer_bytes = bytes;
        self
    }

    /// Sets where the time of system tokens, and of dates in `Retry-After`, comes from.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Speaks http without TLS to any host, not to this one alone: whoever is on the way reads the
    /// credential, and can use it. For closed networks.
    pub fn dangerous_allow_plain_http(mut self) -> Self {
        self.allow_plain_http = true;
        self
    }

    fn credential(mut self, credential: Result<Credential, ConfigFault>) -> Self {
        match credential {
            Ok(credential) => self.credentials.push(credential),
            Err(fault) => self.faults.push(fault),
        }
        self
    }

    /// Checks everything and puts the client together.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::Invalid`]
    ///
    /// - for a base URL that is none, names a user, has a query or a fragment, or is plain http to
    ///   another host,
    /// - for a credential that can't be sent, and for a second one,
    /// - for times, attempts and sizes that leave nothing,
    /// - when TLS can't be set up.
    pub fn build(self) -> Result<Client, ConfigError> {
        let mut faults = self.faults;
        let mut check = |holds: bool, name: &str, reason: &str| {
            if !holds {
                faults.push(ConfigFault::invalid(name, reason));
            }
        };
        let policy = self.policy;
        let token_lives = (Duration::from_secs(1)..=LONGEST_TOKEN_LIFE).contains(&self.token_life);
        check(self.credentials.len() <= 1, "the client", "it has one credential, not several");
        check(token_lives, "the life of a system token", "it is from 1 s to 300 s");
        check(policy.attempts > 0, "the number of attempts", "there is at least one");
        check(!policy.timeout.is_zero(), "the timeout", "it is longer than nothing");
        check(!policy.deadline.is_zero(), "the deadline", "it is longer than nothing");
        check(self.max_answer_bytes > 0, "the largest answer", "it has at least one byte");
        let base = BaseUrl::parse(&self.base_url, self.allow_plain_http);
        let base = base.map_err(|fault| faults.push(fault)).ok();
        let http = base.as_ref().map(|base| http_client(base, &policy)).transpose();
        let http = http.map_err(|fault| faults.push(fault)).ok().flatten();
        ConfigError::check(faults)?;
        let (Some(base), Some(http)) = (base, http) else {
            return Err(ConfigFault::invalid("the base URL", "it can't be used").into());
        };
        let policy = RetryPolicy {
            timeout: policy.timeout.min(LONGEST),
            deadline: policy.deadline.min(LONGEST),
            first_pause: policy.first_pause.min(LONGEST),
            longest_pause: policy.longest_pause.clamp(policy.first_pause.min(LONGEST), LONGEST),
            ..policy
        };
        let inner = Inner {
            http,
            base,
            credential: self.credentials.into_iter().next(),
            token_life: self.token_life,
            max_answer_bytes: self.max_answer_bytes,
            policy,
            clock: self.clock,
        };
        Ok(Client(Arc::new(inner)))
    }
}

/// What sends the bytes. It follows nothing and passes nobody: a redirect, or a proxy that the
/// environment names, would get the credential.
fn http_client(base: &BaseUrl, policy: &RetryPolicy) -> Result<reqwest::Client, ConfigFault> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout((policy.timeout.min(policy.deadline) / 2).min(LONGEST_CONNECTING))
        .pool_idle_timeout(LONGEST_IDLE)
        // Only the calls above know what is safe to repeat.
        .retry(reqwest::retry::never())
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(concat!("key0-auth/", env!("CARGO_PKG_VERSION")));
    if base.is_https() {
        builder = builder.https_only(true);
    } else {
        // Without TLS there is nothing to verify, and a machine without certificates can do it.
        builder = builder.tls_certs_only([]);
    }
    let reason =
        |error: reqwest::Error| ConfigFault::invalid("TLS", error.without_url().to_string());
    builder.build().map_err(reason)
}

/// The address is shown only where it is one, without a user in it.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = BaseUrl::parse(&self.base_url, self.allow_plain_http);
        f.debug_struct("ClientBuilder")
            .field("base_url", &base.ok())
            .field("credentials", &self.credentials)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
