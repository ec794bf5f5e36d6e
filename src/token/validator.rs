use std::{sync::Arc, time::Duration};

#[cfg(feature = "jwks")]
use super::remote::RemoteKeys;
use super::{
    jws::{CompactJws, Room},
    key::{Outcome, VerifyingKey},
    keyset::KeySet,
    parsed,
    raw::{Header, RawClaims},
    remembered::{MAX_TOKENS, Remembered},
    rules::{self, Rules, SystemRules},
};
use crate::{
    Rejection, RejectionKind,
    domain::{Claims, Credential, Secret, Timestamp},
    error::{ConfigError, ConfigFault},
};

// How much room the parts of the usual token take, decoded, in bytes.
const HEADER_BYTES: usize = 128;
const SIGNATURE_BYTES: usize = 264;
const PAYLOAD_BYTES: usize = 512;

/// Validates Key0's access tokens, synchronously; the time is an argument. Pure, unless it is to
/// [remember](AccessTokensBuilder::remember_verified) tokens.
///
/// ```
/// use key0_auth::{AccessTokens, RejectionKind, domain::{Credential, Timestamp}};
///
/// let tokens = AccessTokens::hs256("correct horse battery staple, and some more")?;
/// let refused = tokens
///     .validate(Credential::try_from("a.b.c")?, Timestamp::from_seconds(1_795_305_965))
///     .expect_err("not a token of ours");
/// assert_eq!(refused.kind(), RejectionKind::InvalidToken);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AccessTokens {
    keys: KeySet,
    rules: Rules,
    remembered: Option<Remembered>,
}

impl AccessTokens {
    /// Accepts tokens signed with one shared secret of at least 32 bytes.
    ///
    /// # Errors
    ///
    /// Fails when the secret is shorter.
    pub fn hs256(secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let secret = Secret::new("the access token secret", secret.as_ref())?;
        Self::builder().key(VerifyingKey::hs256(&secret)).build()
    }

    /// Accepts tokens signed with the private half of a public key in SPKI PEM: RSA of at least
    /// 2048 bits, P-256 or Ed25519. Several blocks are several keys.
    ///
    /// # Errors
    ///
    /// Fails when a key is of another kind or can't be read.
    pub fn public_key_pem(pem: &str) -> Result<Self, ConfigError> {
        Self::builder().keys(VerifyingKey::all_from_pem("the public key", pem)?).build()
    }

    /// For several keys, an issuer, an audience or a leeway.
    pub fn builder() -> AccessTokensBuilder {
        AccessTokensBuilder {
            keys: KeySet::default(),
            rules: Rules::default(),
            max_remembered: None,
        }
    }

    /// Validates an agent's token at the time `now`.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`](RejectionKind::InvalidToken), or
    /// [`TokenExpired`](RejectionKind::TokenExpired) once the signature held;
    /// [`StoreUnavailable`](RejectionKind::StoreUnavailable) where remote keys can't be had.
    pub fn validate(
        &self,
        token: Credential<'_>,
        now: Timestamp,
    ) -> Result<Arc<Claims>, Rejection> {
        self.validate_parts(&CompactJws::split(token).ok_or_else(malformed)?, now)
    }

    /// The same for a token that is already in parts.
    pub(crate) fn validate_parts(
        &self,
        token: &CompactJws<'_>,
        now: Timestamp,
    ) -> Result<Arc<Claims>, Rejection> {
        let check = |raw: RawClaims<'_>| self.rules.validate(raw, now);
        let Some(memory) = &self.remembered else {
            return self.verify(token, check);
        };
        let wanted = memory.wanted(token);
        if let Some(claims) = memory.get(wanted) {
            return match self.check_times(&claims, now) {
                Ok(()) => Ok(claims),
                Err(refusal) => {
                    memory.forget(wanted);
                    Err(refusal)
                }
            };
        }
        let claims = self.verify(token, check)?;
        memory.insert(wanted, &claims);
        Ok(claims)
    }

    /// What a token can keep at one time and break at another.
    pub(crate) fn check_times(
        &self,
        claims: &Arc<Claims>,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let checked = self.rules.check_times(claims.expires_at(), claims.not_before(), now);
        checked.map_err(|refusal| match refusal.kind() {
            RejectionKind::TokenExpired => rules::expired(Arc::clone(claims)),
            _ => refusal,
        })
    }

    /// Validates one of Key0's own tokens at the time `now`.
    pub(crate) fn validate_system(
        &self,
        token: Credential<'_>,
        wanted: &SystemRules<'_>,
        now: Timestamp,
    ) -> Result<Arc<Claims>, Rejection> {
        let token = CompactJws::split(token).ok_or_else(malformed)?;
        // Never remembered, and never looked up: what opens a route that is sold must not open an internal endpoint.
        self.verify(&token, |raw| self.rules.validate_system(raw, wanted, now))
    }

    /// Validates an agent's token that may not be valid yet. It is remembered no more for that.
    pub(crate) fn validate_early(
        &self,
        token: &CompactJws<'_>,
        now: Timestamp,
    ) -> Result<Arc<Claims>, Rejection> {
        self.verify(token, |raw| self.rules.validate_early(raw, now))
    }

    /// Whether one of our keys has signed these bytes, whatever was done to the token around them.
    /// Whatever it is, such a token is nobody else's.
    pub(crate) fn has_signed(&self, token: Credential<'_>) -> bool {
        CompactJws::split_sloppily(token.expose()).is_some_and(|token| {
            token
                .signatures_as_anyone_reads_them()
                .any(|signature| self.keys.verify_with_any(token.signing_input(), &signature))
        })
    }

    fn verify<T>(
        &self,
        token: &CompactJws<'_>,
        check: impl FnOnce(RawClaims<'_>) -> Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        self.verify_signature(token)?;
        let mut payload = Room::<PAYLOAD_BYTES>::new();
        let payload = payload.decode(token.payload()).ok_or_else(malformed)?;
        let mut unescaped = None;
        let claims = parsed::claims(payload, &mut unescaped).ok_or_else(malformed)?;
        check(claims)
    }

    /// Whether one of the keys has signed the token.
    pub(super) fn verify_signature(&self, token: &CompactJws<'_>) -> Result<(), Rejection> {
        let mut room = Room::<HEADER_BYTES>::new();
        let header = header(token, &mut room).ok_or_else(malformed)?;
        if !header.is_of_access_token() {
            return Err(Rejection::new(RejectionKind::InvalidToken)
                .detail("The token is of another type than JWT and at+jwt"));
        }
        let mut signature = Room::<SIGNATURE_BYTES>::new();
        let signature = signature.decode(token.signature()).ok_or_else(malformed)?;
        match self.keys.verify(&header, token, signature) {
            Outcome::Holds => Ok(()),
            Outcome::Fails => Err(Rejection::new(RejectionKind::InvalidToken)
                .detail("The signature of the access token is not valid")),
            Outcome::Undecided => Err(Rejection::new(RejectionKind::StoreUnavailable)
                .detail("The keys that verify this token can't be had now")),
        }
    }

    #[cfg(feature = "jwks")]
    pub(crate) fn start_fetching(&self) {
        if let Some(keys) = &self.keys.remote {
            keys.start();
        }
    }

    /// Whether the keys of the provider were had, now or before an outage.
    #[cfg(feature = "jwks")]
    pub(crate) fn knows_all_signers(&self) -> bool {
        self.keys.remote.as_ref().is_none_or(RemoteKeys::is_known)
    }

    /// Waits, for at most 2 seconds, until the key that the token names is known or known to be
    /// nobody's.
    #[cfg(feature = "jwks")]
    pub(crate) async fn settle(&self, token: Credential<'_>) {
        let (Some(keys), Some(token)) = (&self.keys.remote, CompactJws::split(token)) else {
            return;
        };
        let mut room = Room::<HEADER_BYTES>::new();
        let kid = header(&token, &mut room).and_then(|header| header.kid().map(str::to_owned));
        keys.settle(kid.as_deref()).await;
    }
}

fn header<'a>(token: &CompactJws<'a>, room: &'a mut Room<HEADER_BYTES>) -> Option<Header<'a>> {
    match Header::known(token.header()) {
        Some(header) => Some(header),
        None => parsed::header(room.decode(token.header())?),
    }
}

fn malformed() -> Rejection {
    Rejection::new(RejectionKind::InvalidToken).detail("The access token is malformed")
}

/// Collects the keys and rules of an [`AccessTokens`].
#[derive(Debug)]
#[must_use]
pub struct AccessTokensBuilder {
    keys: KeySet,
    rules: Rules,
    max_remembered: Option<usize>,
}

/// The longest leeway that can be asked for: beyond it a clock is broken, not skewed.
pub const MAX_LEEWAY: Duration = Duration::from_secs(300);

impl AccessTokensBuilder {
    /// Adds a key, current or previous.
    pub fn key(mut self, key: VerifyingKey) -> Self {
        self.keys.own.push(key);
        self
    }

    /// Adds several keys.
    pub fn keys(mut self, keys: impl IntoIterator<Item = VerifyingKey>) -> Self {
        self.keys.own.extend(keys);
        self
    }

    /// Adds the keys of an identity provider, which come and go. With them nothing is
    /// [remembered](Self::remember_verified). What can't be decided because they can't be had is
    /// [`StoreUnavailable`](RejectionKind::StoreUnavailable).
    #[cfg(feature = "jwks")]
    #[cfg_attr(docsrs, doc(cfg(feature = "jwks")))]
    pub fn remote_keys(mut self, keys: RemoteKeys) -> Self {
        self.keys.remote = Some(keys);
        self
    }

    /// Requires the claim `iss` to be this. If called several times, one of them.
    pub fn issuer(mut self, issuer: impl Into<Box<str>>) -> Self {
        self.rules.issuers.push(issuer.into());
        self
    }

    /// Requires the claim `aud` to name this. If called several times, one of them. Without it, a
    /// token that has an `aud` is refused: it is meant for somebody else (RFC 7519, section 4.1.3).
    pub fn audience(mut self, audience: impl Into<Box<str>>) -> Self {
        self.rules.audiences.push(audience.into());
        self
    }

    /// Forgives clocks that differ by so much, for `exp` and `nbf`. None by default, at most
    /// [`MAX_LEEWAY`].
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = leeway;
        self
    }

    /// Remembers up to so many accepted tokens, and does not verify them again: an agent sends the
    /// same token for an hour. None by default, at most 1,000,000.
    ///
    /// - **Recognised by all of it.** A token is looked for by a hash under a random key and compared
    ///   byte by byte; one that differs anywhere is validated from the start.
    /// - **Still checked every time**: `exp` and `nbf`; and by a [`Validator`](crate::Validator) whether
    ///   it is [denied](crate::store::DeniedTokens).
    /// - **Keys.** The memory belongs to this one [`AccessTokens`], whose keys and rules never change.
    ///   For other keys you build another one, which knows nothing of what this one accepted. With
    ///   [remote keys](Self::remote_keys) nothing is remembered.
    /// - **Secrets.** The tokens are live credentials. They stay in memory until they are displaced, or
    ///   are refused for their time, and are zeroised then.
    /// - **Metrics.** `key0_secret_uses_total` counts signatures that were verified, and so not the
    ///   tokens that are recognised. The sample backend remembers none for that reason.
    /// - **Room.** Ask for twice the tokens that are in use: the memory is made of small sets, some of
    ///   which are full before others. A token with no claims but Key0's own takes less than 1.5 KiB,
    ///   none more than 72 KiB; one with more than 64 values in other claims is not remembered. Long
    ///   tokens displace several others: the texts take 2 KiB each on average at most.
    pub fn remember_verified(mut self, max_tokens: usize) -> Self {
        self.max_remembered = Some(max_tokens);
        self
    }

    /// Checks that there is a key and that the rules can be kept.
    ///
    /// # Errors
    ///
    /// Fails without a key, with an empty issuer or audience, with a leeway over [`MAX_LEEWAY`],
    /// or with a memory of no token or of too many.
    pub fn build(self) -> Result<AccessTokens, ConfigError> {
        let mut faults = Vec::new();
        if self.keys.is_empty() {
            faults.push(ConfigFault::missing("an access token key", "no token could be accepted"));
        }
        if self.rules.issuers.iter().chain(&self.rules.audiences).any(|text| text.is_empty()) {
            faults.push(ConfigFault::invalid("issuer or audience", "it must not be empty"));
        }
        if self.rules.leeway > MAX_LEEWAY {
            faults.push(ConfigFault::invalid("leeway", "it is at most 300 seconds"));
        }
        if self.max_remembered.is_some_and(|max| !(1..=MAX_TOKENS).contains(&max)) {
            let reason = "it is 1 to 1000000 tokens; leave it out to remember none";
            faults.push(ConfigFault::invalid("remember_verified", reason));
        }
        ConfigError::check(faults)?;
        // Remote keys come and go.
        let are_fixed = !self.keys.has_remote();
        let remembered = self.max_remembered.filter(|_| are_fixed).map(Remembered::new);
        Ok(AccessTokens { keys: self.keys, rules: self.rules, remembered })
    }
}
