use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    response::{ProblemBody, Responder},
    source::{bearer_value, trim},
};
#[cfg(feature = "jwks")]
use crate::token::OAuthTokens;
use crate::{
    AccessTokens, Rejection, RejectionKind,
    domain::{ChallengeId, Clock, Credential, ResourceId, SecretSet, SystemClock, Timestamp},
    error::{ConfigError, ConfigFault},
    metrics,
    token::{MAX_LEEWAY, SystemRules},
};

/// The header that carries the shared secret, unless another is configured.
pub(crate) const DEFAULT_HEADER: &str = "x-internal-auth";
/// How long a system token may live, unless another limit is configured.
const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(300);
/// The system tokens that replay protection remembers at a time.
const MAX_REMEMBERED: usize = 65_536;

/// Decides whether the caller of an internal endpoint is Key0.
///
/// Several strategies can be on at once, for a migration: any one that holds opens. A header that
/// is sent twice, an empty one and an absent one are refused.
///
/// ```
/// use key0_auth::{InternalAuth, domain::{Secret, SecretSet}};
///
/// let secret = Secret::new("INTERNAL_AUTH_SECRET", "a secret for Key0's own calls alone")?;
/// let internal = InternalAuth::builder().shared_secret(SecretSet::new(secret)).build()?;
/// assert!(internal.validate([], [&b"a secret for Key0's own calls alone"[..]]).is_ok());
/// assert!(internal.validate([], [&b""[..]]).is_err());
/// assert!(internal.validate([], []).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct InternalAuth {
    shared_secret: Option<SecretSet>,
    signed_jwt: Option<SignedJwt>,
    #[cfg(feature = "jwks")]
    pub(crate) oauth: Option<OAuthTokens>,
    anyone: bool,
    header: Box<str>,
    responder: Responder,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct SignedJwt {
    tokens: Arc<AccessTokens>,
    audience: Box<str>,
    max_lifetime: Duration,
    seen: Option<Seen>,
}

/// The strategy by which an internal caller proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InternalStrategy {
    /// It knows the shared secret.
    SharedSecret,
    /// It holds a system token.
    SignedJwt,
    /// It holds a token of the operator's identity provider.
    #[cfg(feature = "jwks")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwks")))]
    OAuth,
    /// Nothing was asked of it.
    None,
}

/// Proof that the caller of an internal endpoint was validated and let in.
#[derive(Debug, Clone, Copy)]
pub struct InternalCaller(InternalStrategy);

impl InternalCaller {
    /// How it proved itself.
    pub fn strategy(&self) -> InternalStrategy {
        self.0
    }
}

impl InternalAuth {
    /// Starts without any strategy; at least one is needed.
    pub fn builder() -> InternalAuthBuilder {
        InternalAuthBuilder {
            shared_secret: None,
            signed_jwt: None,
            #[cfg(feature = "jwks")]
            oauth: None,
            anyone: false,
            header: DEFAULT_HEADER.into(),
            max_lifetime: DEFAULT_MAX_LIFETIME,
            replay_protection: false,
            body: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// The header that carries the shared secret, in lower case.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Whether it [lets everybody in](InternalAuthBuilder::dangerous_allow_anyone).
    pub fn allows_anyone(&self) -> bool {
        self.anyone
    }

    /// Validates a request by the values of its `Authorization` header and of [`header`](Self::header).
    ///
    /// # Errors
    ///
    /// [`InvalidInternalAuth`](RejectionKind::InvalidInternalAuth), with one text whatever was
    /// wrong; the reason is in the source.
    pub fn validate<'a>(
        &self,
        authorization: impl IntoIterator<Item = &'a [u8]>,
        secret: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<InternalCaller, Rejection> {
        let result = self.decide(authorization, secret);
        match &result {
            Ok(caller) => metrics::internal_validation(caller.strategy().as_str(), "ok"),
            Err(rejection) => metrics::internal_validation("none", rejection.kind().code()),
        }
        result
    }

    fn decide<'a>(
        &self,
        authorization: impl IntoIterator<Item = &'a [u8]>,
        secret: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<InternalCaller, Rejection> {
        if self.anyone {
            return Ok(InternalCaller(InternalStrategy::None));
        }
        let bearer = single(authorization)?.and_then(bearer_value);
        let secret = single(secret)?.map(trim).filter(|value| !value.is_empty());
        if bearer.is_none() && secret.is_none() {
            return Err(refused(Refused::Absent));
        }
        if let Some(secrets) = &self.shared_secret {
            // Both are compared, whichever holds.
            let [by_header, by_bearer] =
                [secret, bearer].map(|value| value.is_some_and(|value| secrets.matches(value)));
            if by_header | by_bearer {
                return Ok(InternalCaller(InternalStrategy::SharedSecret));
            }
        }
        let Some(token) = bearer else { return Err(refused(Refused::Wrong)) };
        let token = Credential::parse(token).map_err(|_| refused(Refused::Wrong))?;
        let refusal = match &self.signed_jwt {
            Some(strategy) => match strategy.validate(token, self.clock.now()) {
                Ok(caller) => return Ok(caller),
                Err(refusal) => refusal,
            },
            None => refused(Refused::Wrong),
        };
        #[cfg(feature = "jwks")]
        if let Some(oauth) = &self.oauth {
            return match oauth.validate(token, self.clock.now()) {
                Ok(()) => Ok(InternalCaller(InternalStrategy::OAuth)),
                // What the other strategy can't decide is no refusal.
                Err(_) if refusal.kind() == RejectionKind::StoreUnavailable => Err(refusal),
                Err(reason) => Err(internal(reason)),
            };
        }
        Err(refusal)
    }

    /// Turns a refusal into its HTTP answer.
    pub fn responder(&self) -> &Responder {
        &self.responder
    }
}

impl SignedJwt {
    fn validate(&self, token: Credential<'_>, now: Timestamp) -> Result<InternalCaller, Rejection> {
        let rules = SystemRules { audience: &self.audience, max_lifetime: self.max_lifetime };
        let claims = self.tokens.validate_system(token, &rules, now).map_err(internal)?;
        if let Some(seen) = &self.seen {
            // Remembered for as long as any leeway could let it in again.
            seen.once(claims.challenge_id(), claims.expires_at().plus(MAX_LEEWAY), now)?;
        }
        Ok(InternalCaller(InternalStrategy::SignedJwt))
    }
}

/// The ids of system tokens that were let in, and until when each could be let in again.
#[derive(Debug, Default)]
struct Seen(Mutex<HashMap<ChallengeId, Timestamp>>);

impl Seen {
    fn once(&self, id: &ChallengeId, until: Timestamp, now: Timestamp) -> Result<(), Rejection> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_REMEMBERED {
            seen.retain(|_, until| *until > now);
        }
        if seen.get(id).is_some_and(|until| *until > now) {
            return Err(refused(Refused::Replayed));
        }
        if seen.len() >= MAX_REMEMBERED {
            // Forgetting one would let it in again; so this is an outage, not a pass.
            return Err(RejectionKind::StoreUnavailable.into());
        }
        seen.insert(id.clone(), until);
        Ok(())
    }
}

/// The reason behind the one text that an internal caller is shown.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("no internal credential was sent")]
    Absent,
    #[error("a header that carries the internal credential was sent twice")]
    Repeated,
    #[error("the internal credential is wrong")]
    Wrong,
    #[error("the system token was used before")]
    Replayed,
}

fn refused(reason: Refused) -> Rejection {
    Rejection::new(RejectionKind::InvalidInternalAuth).cause(reason)
}

/// The one text for whatever is wrong with a token, unless it can't be decided.
fn internal(reason: Rejection) -> Rejection {
    match reason.kind() {
        RejectionKind::StoreUnavailable => reason,
        _ => Rejection::new(RejectionKind::InvalidInternalAuth).cause(reason),
    }
}

fn single<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<&'a [u8]>, Rejection> {
    let mut values = values.into_iter();
    let first = values.next();
    if values.next().is_some() { Err(refused(Refused::Repeated)) } else { Ok(first) }
}

/// Collects the strategies of an [`InternalAuth`].
#[derive(Debug)]
#[must_use]
pub struct InternalAuthBuilder {
    shared_secret: Option<SecretSet>,
    signed_jwt: Option<(Arc<AccessTokens>, Box<str>)>,
    #[cfg(feature = "jwks")]
    oauth: Option<OAuthTokens>,
    anyone: bool,
    header: Box<str>,
    max_lifetime: Duration,
    replay_protection: bool,
    body: Option<Arc<dyn ProblemBody>>,
    clock: Arc<dyn Clock>,
}

impl InternalAuthBuilder {
    /// Lets in who knows one of these secrets, sent in the header or as a bearer token.
    pub fn shared_secret(mut self, secrets: SecretSet) -> Self {
        self.shared_secret = Some(secrets);
        self
    }

    /// Lets in who holds a system token for `audience`, signed with a key of `tokens`.
    pub fn signed_jwt(
        mut self,
        tokens: impl Into<Arc<AccessTokens>>,
        audience: impl Into<Box<str>>,
    ) -> Self {
        self.signed_jwt = Some((tokens.into(), audience.into()));
        self
    }

    /// Lets in who holds a token of the operator's identity provider. Where its keys can't be had, or
    /// a token names one that is not known yet, the answer is a 503 with `Retry-After: 1`, and they
    /// are fetched meanwhile.
    #[cfg(feature = "jwks")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwks")))]
    pub fn oauth(mut self, tokens: OAuthTokens) -> Self {
        self.oauth = Some(tokens);
        self
    }

    /// Sets how long a system token may live, from its making and from now; 300 seconds by
    /// default.
    pub fn max_lifetime(mut self, max_lifetime: Duration) -> Self {
        self.max_lifetime = max_lifetime;
        self
    }

    /// Lets each system token in only once, as far as this process knows. Off by default, since a
    /// client may send one token for several calls.
    pub fn replay_protection(mut self) -> Self {
        self.replay_protection = true;
        self
    }

    /// Lets everybody in. For closed networks alone; goes with no other strategy.
    pub fn dangerous_allow_anyone(mut self) -> Self {
        self.anyone = true;
        self
    }

    /// Sets the header that carries the shared secret; `X-Internal-Auth` by default.
    pub fn header(mut self, name: &str) -> Self {
        self.header = name.to_ascii_lowercase().into();
        self
    }

    /// Gives refusals a body of the application's own form.
    pub fn problem_body(mut self, body: impl ProblemBody) -> Self {
        self.body = Some(Arc::new(body));
        self
    }

    /// Sets where the time comes from; the system's clock by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks that there is a strategy and that none contradicts another.
    ///
    /// # Errors
    ///
    /// Fails
    ///
    /// - without a strategy, and with [`dangerous_allow_anyone`](Self::dangerous_allow_anyone)
    ///   beside another one,
    /// - with an audience that is no id, or a lifetime of less than a second,
    /// - with a header whose name is not a token (RFC 9110, section 5.6.2) or is `Authorization`.
    pub fn build(self) -> Result<InternalAuth, ConfigError> {
        let mut faults = Vec::new();
        let some = self.shared_secret.is_some() || self.signed_jwt.is_some();
        #[cfg(feature = "jwks")]
        let some = some || self.oauth.is_some();
        if !some && !self.anyone {
            let why = "nobody could call the internal endpoints";
            faults.push(ConfigFault::missing("an internal auth strategy", why));
        }
        if some && self.anyone {
            let reason = "it lets everybody in and goes with no other strategy";
            faults.push(ConfigFault::invalid("the internal auth strategy none", reason));
        }
        // It stands in the tokens as a resource id: another text would let nobody in.
        if self.signed_jwt.as_ref().is_some_and(|(_, audience)| ResourceId::new(audience).is_err())
        {
            let reason = "it is 1 to 256 visible ascii characters";
            faults.push(ConfigFault::invalid("the internal auth audience", reason));
        }
        if self.max_lifetime < Duration::from_secs(1) {
            let reason = "it is at least one second";
            faults.push(ConfigFault::invalid("the internal auth lifetime", reason));
        }
        if !is_header_name(&self.header) || &*self.header == "authorization" {
            let reason = "it is not a header name of its own";
            faults.push(ConfigFault::invalid("the internal auth header", reason));
        }
        ConfigError::check(faults)?;
        let responder = Responder::default();
        Ok(InternalAuth {
            shared_secret: self.shared_secret,
            signed_jwt: self.signed_jwt.map(|(tokens, audience)| SignedJwt {
                tokens,
                audience,
                max_lifetime: self.max_lifetime,
                seen: self.replay_protection.then(Seen::default),
            }),
            #[cfg(feature = "jwks")]
            oauth: self.oauth,
            anyone: self.anyone,
            header: self.header,
            responder: match self.body {
                Some(body) => responder.body(body),
                None => responder,
            },
            clock: self.clock,
        })
    }
}

/// Whether a text is a token (RFC 9110, section 5.6.2).
pub(crate) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_memory_is_an_outage_and_no_pass() {
        let (seen, now) = (Seen::default(), Timestamp::from_seconds(1_795_000_000));
        let id = |n: usize| ChallengeId::new(&n.to_string()).expect("legal");
        let until = now.plus(Duration::from_secs(60));
        for n in 0..MAX_REMEMBERED {
            seen.once(&id(n), until, now).expect("there is room");
        }
        let refusal = seen.once(&id(MAX_REMEMBERED), until, now).expect_err("there is none");
        assert_eq!(refusal.kind(), RejectionKind::StoreUnavailable);
        // A minute later all of them are over.
        seen.once(&id(MAX_REMEMBERED), until.plus(MAX_LEEWAY), until).expect("there is room");
    }
}
