use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use super::{
    api_keys::ApiKeys,
    builder::ValidatorBuilder,
    fallback::Fallback,
    gateway::Gateway,
    identity::Identity,
    question::{Lookup, Question, Validation},
    response::Responder,
    source::{Presented, Source},
};
use crate::{
    AccessTokens, Rejection, RejectionKind,
    apikey::KeyDigest,
    domain::{Clock, Credential, SystemClock},
    metrics,
    store::DeniedTokens,
    token::CompactJws,
};

/// Decides on the credential of a request: Key0's access tokens, issued API keys, and the
/// application's own credentials, behind one answer. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::{AccessTokens, ApiKeys, MemoryStore, RejectionKind, Validator};
///
/// let validator = Validator::builder()
///     .access_tokens(AccessTokens::hs256("a secret that Key0 shares with this backend")?)
///     .api_keys(ApiKeys::new(Arc::new(MemoryStore::new())))
///     .build()?;
/// let authorization = [&b"Bearer a.b.c"[..]];
/// let refused = validator.validate(authorization, []).await.expect_err("no token of ours");
/// assert_eq!(refused.kind(), RejectionKind::InvalidToken);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Validator(Arc<Parts>);

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) tokens: Option<Arc<AccessTokens>>,
    pub(super) keys: Option<Arc<ApiKeys>>,
    pub(super) fallback: Option<Arc<dyn Fallback>>,
    pub(super) sources: Vec<Source>,
    pub(super) fallback_deadline: Duration,
    pub(super) denied: Option<DeniedTokens>,
    pub(super) gateway: Option<Gateway>,
    pub(super) responder: Responder,
    pub(super) clock: Arc<dyn Clock>,
}

impl Validator {
    /// Starts a validator. At least one of access tokens, API keys and a fallback is needed.
    pub fn builder() -> ValidatorBuilder {
        ValidatorBuilder::new()
    }

    pub(super) fn from_parts(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Validates a request by the values of its `Authorization` and `X-Api-Key` headers.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request.
    pub async fn validate<'a>(
        &self,
        authorization: impl IntoIterator<Item = &'a [u8]>,
        api_key: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Identity, Rejection> {
        match self.validate_now(self.read(authorization, api_key)?) {
            Validation::Decided(result) => result,
            Validation::Pending(lookup) => self.look_up(lookup).await,
        }
    }

    /// Finds the credential among the values of the `Authorization` and `X-Api-Key` headers.
    ///
    /// # Errors
    ///
    /// [`MissingCredential`](RejectionKind::MissingCredential),
    /// [`MalformedCredential`](RejectionKind::MalformedCredential), or the refusal of one that is
    /// too long.
    pub(crate) fn read<'a>(
        &self,
        authorization: impl IntoIterator<Item = &'a [u8]>,
        api_key: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Presented<'a>, Rejection> {
        Presented::read(&self.0.sources, authorization, api_key).inspect_err(|rejection| {
            metrics::validation("none", rejection.kind().code());
        })
    }

    /// Validates a credential as far as it goes without waiting: an access token always, an API key
    /// that is mistyped, comes from the configuration, or is remembered by the keys' cache. Its
    /// time is checked now.
    pub(crate) fn validate_now(&self, presented: Presented<'_>) -> Validation {
        let validation = self.validate_at_once(presented);
        if let Validation::Decided(result) = &validation {
            count(result, || self.shape_of(presented));
        }
        validation
    }

    fn validate_at_once(&self, presented: Presented<'_>) -> Validation {
        let credential = presented.credential();
        let keys = self.0.keys.as_deref();
        if let Some(holder) = keys.and_then(|keys| keys.find_bootstrap(credential)) {
            return Validation::Decided(Ok(Identity::from_bootstrap(holder.clone())));
        }
        match (presented, keys) {
            (Presented::ApiKey(key), Some(keys)) => self.validate_key(keys, key),
            (Presented::ApiKey(_), None) => Validation::refused(RejectionKind::InvalidApiKey),
            (Presented::Bearer(bearer), _) => self.validate_bearer(bearer),
        }
    }

    /// Answers what [`validate_now`](Self::validate_now) left open. Its time is checked when the answer is
    /// there.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request.
    pub(crate) async fn look_up(&self, lookup: Lookup) -> Result<Identity, Rejection> {
        let shape = lookup.0.shape();
        let result = self.find(lookup).await;
        count(&result, || shape);
        result
    }

    async fn find(&self, lookup: Lookup) -> Result<Identity, Rejection> {
        match (lookup.0, &self.0.keys, &self.0.fallback) {
            (Question::Key(digest), Some(keys), _) => {
                keys.look_up(&digest, || self.0.clock.now()).await
            }
            (Question::Imported { digest, credential }, Some(keys), _) => {
                let checked = keys.look_up(&digest, || self.0.clock.now()).await;
                let credential = Credential::try_from(credential.expose_secret())?;
                self.decided(self.known_or_foreign(credential, checked)).await
            }
            (Question::Denied(claims), ..) => {
                if let Some(denied) = &self.0.denied {
                    denied.settle().await.map_err(outage)?;
                }
                let now = self.0.clock.now();
                if let Some(tokens) = &self.0.tokens {
                    tokens.check_times(&claims, now)?;
                }
                self.decided(self.unless_denied(claims, now)).await
            }
            #[cfg(feature = "jwks")]
            (Question::Token(credential), ..) => {
                self.look_up_token(Credential::try_from(credential.expose_secret())?).await
            }
            (Question::Fallback { credential, unknown }, _, Some(fallback)) => {
                let credential = Credential::try_from(credential.expose_secret())?;
                let validated = fallback.validate(credential);
                match tokio::time::timeout(self.0.fallback_deadline, validated).await {
                    Ok(Ok(Some(grant))) => Ok(Identity::from_fallback(grant)),
                    Ok(Ok(None)) => Err(unknown),
                    Ok(Err(error)) => Err(outage(super::fallback::Failed(error))),
                    Err(elapsed) => Err(outage(elapsed)),
                }
            }
            // A lookup of another validator, which had what this one lacks.
            (Question::Key(_) | Question::Imported { .. }, None, _) => {
                Err(RejectionKind::InvalidApiKey.into())
            }
            (Question::Fallback { unknown, .. }, _, None) => Err(unknown),
        }
    }

    pub(super) fn tokens(&self) -> Option<&AccessTokens> {
        self.0.tokens.as_deref()
    }

    pub(super) fn denied(&self) -> Option<&DeniedTokens> {
        self.0.denied.as_ref()
    }

    pub(crate) fn keys(&self) -> Option<&ApiKeys> {
        self.0.keys.as_deref()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// What Key0's gateway opens, where there is one.
    pub(crate) fn gateway(&self) -> Option<&Gateway> {
        self.0.gateway.as_ref()
    }

    /// Turns a refusal into its HTTP answer.
    pub fn responder(&self) -> &Responder {
        &self.0.responder
    }

    fn shape_of(&self, presented: Presented<'_>) -> &'static str {
        let is_key = |bearer: Credential<'_>| {
            self.0
                .keys
                .as_ref()
                .is_some_and(|keys| keys.key_format().is_claimed_by(bearer.expose()))
        };
        match presented {
            Presented::ApiKey(_) => "api_key",
            Presented::Bearer(bearer) if CompactJws::split(bearer).is_some() => "access_token",
            Presented::Bearer(bearer) if is_key(bearer) => "api_key",
            Presented::Bearer(_) => "other",
        }
    }

    fn validate_bearer(&self, bearer: Credential<'_>) -> Validation {
        if let Some(token) = CompactJws::split(bearer) {
            return self.validate_token(bearer, &token);
        }
        match self.0.keys.as_deref() {
            Some(keys) if keys.key_format().is_claimed_by(bearer.expose()) => {
                self.validate_key(keys, bearer)
            }
            Some(keys) if keys.key_format().can_be_foreign(bearer.expose()) => {
                let digest = KeyDigest::of(bearer.expose());
                match keys.recall(&digest, || self.0.clock.now()) {
                    Some(checked) => self.known_or_foreign(bearer, checked),
                    None => {
                        let credential = SecretString::from(bearer.expose());
                        Validation::Pending(Lookup(Question::Imported { digest, credential }))
                    }
                }
            }
            _ => self.validate_foreign(bearer, RejectionKind::InvalidToken.into()),
        }
    }

    /// What was said of a key of another service; one that nobody imported may be the fallback's.
    fn known_or_foreign(
        &self,
        bearer: Credential<'_>,
        checked: Result<Identity, Rejection>,
    ) -> Validation {
        match checked {
            Err(rejection) if rejection.kind() == RejectionKind::InvalidApiKey => {
                self.validate_foreign(bearer, RejectionKind::InvalidToken.into())
            }
            checked => Validation::Decided(checked),
        }
    }

    fn validate_key(&self, keys: &ApiKeys, key: Credential<'_>) -> Validation {
        let digest = match keys.digest(key) {
            Ok(digest) => digest,
            Err(rejection) => return Validation::Decided(Err(rejection)),
        };
        match keys.recall(&digest, || self.0.clock.now()) {
            Some(checked) => Validation::Decided(checked),
            None => Validation::Pending(Lookup(Question::Key(digest))),
        }
    }

    fn validate_token(&self, bearer: Credential<'_>, token: &CompactJws<'_>) -> Validation {
        let Some(tokens) = self.0.tokens.as_deref() else {
            return self.validate_foreign(bearer, RejectionKind::InvalidToken.into());
        };
        let now = self.0.clock.now();
        match tokens.validate_parts(token, now) {
            Ok(claims) => self.unless_denied(claims, now),
            #[cfg(feature = "jwks")]
            Err(rejection) if rejection.kind() == RejectionKind::StoreUnavailable => {
                Validation::Pending(Lookup(Question::Token(SecretString::from(bearer.expose()))))
            }
            Err(rejection) => self.validate_foreign(bearer, rejection),
        }
    }

    #[cfg(feature = "jwks")]
    async fn look_up_token(&self, bearer: Credential<'_>) -> Result<Identity, Rejection> {
        let Some(tokens) = self.0.tokens.as_deref() else {
            return Err(RejectionKind::InvalidToken.into());
        };
        tokens.settle(bearer).await;
        let now = self.0.clock.now();
        let rejection = match tokens.validate(bearer, now) {
            Ok(claims) => return self.decided(self.unless_denied(claims, now)).await,
            // Until a set was had, the token may still be one of its signer's.
            Err(rejection)
                if rejection.kind() == RejectionKind::StoreUnavailable
                    && !tokens.knows_all_signers() =>
            {
                return Err(rejection);
            }
            Err(rejection) => rejection,
        };
        self.decided(self.validate_foreign(bearer, rejection)).await
    }

    async fn decided(&self, validation: Validation) -> Result<Identity, Rejection> {
        match validation {
            Validation::Decided(result) => result,
            Validation::Pending(lookup) => Box::pin(self.find(lookup)).await,
        }
    }

    /// For the fallback, unless one of our keys has signed it: some readers take no offence at a
    /// token of ours that is tampered with, or that has something behind it.
    fn validate_foreign(&self, credential: Credential<'_>, unknown: Rejection) -> Validation {
        let ours = || self.0.tokens.as_deref().is_some_and(|tokens| tokens.has_signed(credential));
        if self.0.fallback.is_none() || ours() {
            return Validation::Decided(Err(unknown));
        }
        let credential = SecretString::from(credential.expose());
        Validation::Pending(Lookup(Question::Fallback { credential, unknown }))
    }
}

/// Counts what came of a validation; a credential that was refused is told by its shape.
fn count(result: &Result<Identity, Rejection>, shape: impl FnOnce() -> &'static str) {
    match result {
        Ok(identity) => metrics::accepted(identity.kind().as_str()),
        Err(rejection) => metrics::validation(shape(), rejection.kind().code()),
    }
}

fn outage(cause: impl std::error::Error + Send + Sync + 'static) -> Rejection {
    Rejection::new(RejectionKind::StoreUnavailable).cause(cause)
}

/// Validates an `Authorization` header by Key0's access tokens alone, at the system's time: the
/// start without any framework. It knows nothing of tokens that were revoked.
///
/// The header comes as a text or as bytes, owned or borrowed, or as an `Option` of one:
///
/// ```
/// use key0_auth::{AccessTokens, RejectionKind, validate_key0_token};
///
/// let tokens = AccessTokens::hs256("the secret that Key0 shares with this backend")?;
/// let header = String::from("Bearer a.b.c");
/// let refused = validate_key0_token(&header, &tokens).expect_err("nobody signed it");
/// assert_eq!(refused.kind(), RejectionKind::InvalidToken);
/// assert!(validate_key0_token(header.as_str(), &tokens).is_err());
/// assert!(validate_key0_token(header.as_bytes(), &tokens).is_err());
/// assert!(validate_key0_token(Some(&header), &tokens).is_err());
///
/// let absent: Option<&str> = None;
/// let refused = validate_key0_token(absent, &tokens).expect_err("no header");
/// assert_eq!(refused.kind(), RejectionKind::MissingCredential);
/// # Ok::<(), key0_auth::error::ConfigError>(())
/// ```
///
/// # Errors
///
/// The reason to refuse the request.
pub fn validate_key0_token<Form>(
    authorization: impl AuthorizationHeader<Form>,
    tokens: &AccessTokens,
) -> Result<Identity, Rejection> {
    let credential = Presented::read(&[Source::Bearer], authorization.value(), None)?.credential();
    let token = CompactJws::split(credential).ok_or(RejectionKind::InvalidToken)?;
    tokens.validate_parts(&token, SystemClock.now()).map(Identity::from_claims)
}

/// An `Authorization` header as [`validate_key0_token`] takes it: whatever is a text or bytes, also
/// the header values of frameworks, and an `Option` of such. `Form` tells the two apart and is
/// never written out.
pub trait AuthorizationHeader<Form> {
    /// The header's value, where there is one.
    fn value(&self) -> Option<&[u8]>;
}

/// The [`AuthorizationHeader`] is there.
#[derive(Debug)]
pub enum Given {}

/// The [`AuthorizationHeader`] may be absent.
#[derive(Debug)]
pub enum Optional {}

impl<T: AsRef<[u8]>> AuthorizationHeader<Given> for T {
    fn value(&self) -> Option<&[u8]> {
        Some(self.as_ref())
    }
}

impl<T: AsRef<[u8]>> AuthorizationHeader<Optional> for Option<T> {
    fn value(&self) -> Option<&[u8]> {
        self.as_ref().map(AsRef::as_ref)
    }
}
