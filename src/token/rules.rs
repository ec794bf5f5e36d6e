//! What a token whose signature held must say, checked against a given `now`.

use std::{borrow::Cow, error::Error, fmt, mem, sync::Arc, time::Duration};

use super::raw::{Claim, Name, RawClaims};
use crate::{
    Rejection, RejectionKind,
    domain::{Claims, Timestamp, ids::IdText},
};

/// The subject of Key0's own tokens.
pub const SYSTEM_TOKEN_SUBJECT: &str = "key0-service";
pub(super) const SYSTEM_PLAN: &str = "system";
pub(super) const SYSTEM_TX_HASH: &str = "system-auth";

/// How far ahead of ours the clock may be that wrote a system token's `iat`. A token from further
/// ahead would outlive the bound that `iat` and `exp` are to keep.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What the operator asks of every token.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) issuers: Vec<Box<str>>,
    pub(super) audiences: Vec<Box<str>>,
    pub(super) leeway: Duration,
}

/// What the operator asks of Key0's own tokens besides.
#[derive(Debug)]
pub(crate) struct SystemRules<'a> {
    pub(crate) audience: &'a str,
    pub(crate) max_lifetime: Duration,
}

impl Rules {
    /// Validates an agent's token.
    pub(super) fn validate(
        &self,
        raw: RawClaims<'_>,
        now: Timestamp,
    ) -> Result<Arc<Claims>, Rejection> {
        self.validate_agents(raw, |exp, nbf| self.check_times(exp, nbf, now))
    }

    /// Validates an agent's token that may not be valid yet: one that is, or will be.
    pub(super) fn validate_early(
        &self,
        raw: RawClaims<'_>,
        now: Timestamp,
    ) -> Result<Arc<Claims>, Rejection> {
        self.validate_agents(raw, |exp, _| self.check_times(exp, None, now))
    }

    fn validate_agents(
        &self,
        raw: RawClaims<'_>,
        check_times: impl FnOnce(Timestamp, Option<Timestamp>) -> Result<(), Rejection>,
    ) -> Result<Arc<Claims>, Rejection> {
        let claims = self.validate_common(raw, check_times)?;
        match system_markers(&claims) {
            0 => Ok(claims),
            _ => Err(invalid("The token is a system token")),
        }
    }

    /// Validates one of Key0's own tokens.
    pub(super) fn validate_system(
        &self,
        raw: RawClaims<'_>,
        wanted: &SystemRules<'_>,
        now: Timestamp,
    ) -> Result<Arc<Claims>, Rejection> {
        let claims = self.validate_common(raw, |exp, nbf| self.check_times(exp, nbf, now))?;
        if system_markers(&claims) != 3 {
            return Err(invalid("The token is not a system token"));
        }
        if claims.resource_id() != wanted.audience {
            return Err(invalid("The token is meant for another service"));
        }
        let issued_at = claims.issued_at().ok_or_else(|| missing(Name::Iat))?;
        if issued_at > now.plus(MAX_CLOCK_SKEW.max(self.leeway)) {
            return Err(invalid("The token was issued in the future"));
        }
        let lifetime = claims.expires_at().since(issued_at);
        let remaining = claims.expires_at().since(now);
        if lifetime > wanted.max_lifetime || remaining > wanted.max_lifetime {
            return Err(invalid("The token lives longer than is allowed"));
        }
        Ok(claims)
    }

    /// The rules that a token can keep at one time and break at another.
    pub(super) fn check_times(
        &self,
        exp: Timestamp,
        nbf: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        if now >= exp.plus(self.leeway) {
            return Err(RejectionKind::TokenExpired.into());
        }
        if nbf.is_some_and(|nbf| now.plus(self.leeway) < nbf) {
            return Err(invalid("The token is not valid yet"));
        }
        Ok(())
    }

    fn validate_common(
        &self,
        raw: RawClaims<'_>,
        check_times: impl FnOnce(Timestamp, Option<Timestamp>) -> Result<(), Rejection>,
    ) -> Result<Arc<Claims>, Rejection> {
        let times = Times {
            iat: time(&raw, Name::Iat)?,
            nbf: time(&raw, Name::Nbf)?,
            exp: time(&raw, Name::Exp)?.ok_or_else(|| missing(Name::Exp))?,
        };
        text(&raw, Name::Iss)?;
        texts(&raw, Name::Aud)?;

        match check_times(times.exp, times.nbf) {
            Ok(()) => self.read(raw, times),
            Err(refusal) if refusal.kind() == RejectionKind::TokenExpired => {
                // Whoever is refused for more than that is not named.
                Err(self.read(raw, times).map_or(refusal, expired))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// The claims, where they keep the rules that time does not change.
    fn read(&self, mut raw: RawClaims<'_>, times: Times) -> Result<Arc<Claims>, Rejection> {
        let issuer = text(&raw, Name::Iss)?;
        let audience = texts(&raw, Name::Aud)?;
        if raw.is_constrained {
            return Err(invalid("A sender-constrained token is not accepted as a bearer token"));
        }
        if !self.issuers.is_empty() && !issuer.is_some_and(|iss| has(&self.issuers, iss)) {
            return Err(invalid("The token comes from another issuer"));
        }
        let is_for_us = match self.audiences.as_slice() {
            // Without a name of ours, whoever is named is somebody else.
            [] => matches!(audience, Texts::None),
            ours => audience.any(|aud| has(ours, aud)),
        };
        if !is_for_us {
            return Err(invalid("The token is meant for another audience"));
        }

        // All of them are checked before any is copied.
        let request_id = id(&raw, Name::Sub)?;
        let challenge_id = id(&raw, Name::Jti)?;
        let resource_id = id(&raw, Name::ResourceId)?;
        let plan_id = plan(&raw)?;
        let tx_hash = id(&raw, Name::TxHash)?;
        Ok(Arc::new(Claims {
            request_id: request_id.into(),
            challenge_id: challenge_id.into(),
            resource_id: resource_id.into(),
            plan_id: plan_id.into(),
            tx_hash: tx_hash.into(),
            expires_at: times.exp,
            issued_at: times.iat,
            not_before: times.nbf,
            issuer: issuer.map(Into::into),
            audience: audience.to_vec(),
            extra: mem::take(&mut raw.extra),
        }))
    }
}

/// The claims of a token that are times.
struct Times {
    iat: Option<Timestamp>,
    nbf: Option<Timestamp>,
    exp: Timestamp,
}

/// The cause of [`TokenExpired`](RejectionKind::TokenExpired): nothing but the time is against the token.
pub(crate) struct ExpiredToken(pub(crate) Arc<Claims>);

/// The refusal of a token whose time is over; of an agent's, with its claims.
pub(super) fn expired(claims: Arc<Claims>) -> Rejection {
    let refusal = Rejection::new(RejectionKind::TokenExpired);
    match system_markers(&claims) {
        0 => refusal.cause(ExpiredToken(claims)),
        _ => refusal,
    }
}

/// Tells nothing of the token: a refusal is shown with its cause.
impl fmt::Debug for ExpiredToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExpiredToken")
    }
}

impl fmt::Display for ExpiredToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token of {} expired at {}", self.0.request_id(), self.0.expires_at())
    }
}

impl Error for ExpiredToken {}

/// How many of the three marks of a system token are there.
pub(super) fn system_markers(claims: &Claims) -> usize {
    usize::from(claims.request_id() == SYSTEM_TOKEN_SUBJECT)
        + usize::from(claims.plan_id() == SYSTEM_PLAN)
        + usize::from(claims.tx_hash() == SYSTEM_TX_HASH)
}

fn has(configured: &[Box<str>], value: &str) -> bool {
    configured.iter().any(|one| **one == *value)
}

fn id<'a>(raw: &RawClaims<'a>, name: Name) -> Result<IdText<'a>, Rejection> {
    match raw.get(name) {
        None => Err(missing(name)),
        Some(Claim::Visible(text)) => IdText::new(text).map_err(|_| wrong_type(name)),
        Some(_) => Err(wrong_type(name)),
    }
}

fn plan<'a>(raw: &RawClaims<'a>) -> Result<IdText<'a>, Rejection> {
    if raw.get(Name::TierId).is_none() {
        return id(raw, Name::PlanId);
    }
    let plan = id(raw, Name::TierId)?;
    if raw.get(Name::PlanId).is_some() && id(raw, Name::PlanId)?.as_str() != plan.as_str() {
        return Err(invalid("planId and tierId differ"));
    }
    Ok(plan)
}

fn time(raw: &RawClaims<'_>, name: Name) -> Result<Option<Timestamp>, Rejection> {
    match raw.get(name) {
        None => Ok(None),
        Some(Claim::Time(time)) => Ok(Some(time)),
        Some(_) => Err(wrong_type(name)),
    }
}

fn text<'a>(raw: &RawClaims<'a>, name: Name) -> Result<Option<&'a str>, Rejection> {
    match raw.get(name) {
        None => Ok(None),
        Some(Claim::Visible(text)) => Ok(Some(text.as_str())),
        Some(Claim::Text(text)) => Ok(Some(text)),
        Some(_) => Err(wrong_type(name)),
    }
}

/// None, one or a list of texts, as `aud` is (RFC 7519, section 4.1.3).
enum Texts<'a> {
    None,
    One(&'a str),
    Many(&'a [Cow<'a, str>]),
}

impl Texts<'_> {
    fn any(&self, is_wanted: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::None => false,
            Self::One(text) => is_wanted(text),
            Self::Many(texts) => texts.iter().any(|text| is_wanted(text)),
        }
    }

    fn to_vec(&self) -> Vec<Box<str>> {
        match self {
            Self::None => Vec::new(),
            Self::One(text) => vec![(*text).into()],
            Self::Many(texts) => texts.iter().map(|text| (**text).into()).collect(),
        }
    }
}

fn texts<'a>(raw: &RawClaims<'a>, name: Name) -> Result<Texts<'a>, Rejection> {
    match raw.get(name) {
        None => Ok(Texts::None),
        Some(Claim::Visible(text)) => Ok(Texts::One(text.as_str())),
        Some(Claim::Text(text)) => Ok(Texts::One(text)),
        Some(Claim::Texts(texts)) => Ok(Texts::Many(texts)),
        Some(_) => Err(wrong_type(name)),
    }
}

fn invalid(detail: &'static str) -> Rejection {
    Rejection::new(RejectionKind::InvalidToken).detail(detail)
}

fn missing(name: Name) -> Rejection {
    invalid(name.is_missing())
}

fn wrong_type(name: Name) -> Rejection {
    invalid(name.is_not_valid())
}
