//! What a token whose signature held must say, judged against a given `now`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use super::payload::{Loose, RawClaims};
use crate::{
    Rejection, RejectionKind,
    domain::{ChallengeId, Claims, InvalidId, PlanId, RequestId, ResourceId, Timestamp, TxHash},
};

/// The subject of Key0's own tokens.
pub const SYSTEM_TOKEN_SUBJECT: &str = "key0-service";
pub(super) const SYSTEM_PLAN: &str = "system";
pub(super) const SYSTEM_TX_HASH: &str = "system-auth";

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
    /// Judges an agent's token.
    pub(super) fn judge(
        &self,
        raw: RawClaims<'_>,
        now: Timestamp,
    ) -> Result<Arc<Claims>, Rejection> {
        let claims = self.judge_common(raw, now)?;
        match system_markers(&claims) {
            0 => Ok(claims),
            _ => Err(invalid("The token is a system token")),
        }
    }

    /// Judges one of Key0's own tokens.
    pub(super) fn judge_system(
        &self,
        raw: RawClaims<'_>,
        wanted: &SystemRules<'_>,
        now: Timestamp,
    ) -> Result<Arc<Claims>, Rejection> {
        let claims = self.judge_common(raw, now)?;
        if system_markers(&claims) != 3 {
            return Err(invalid("The token is not a system token"));
        }
        if claims.resource_id() != wanted.audience {
            return Err(invalid("The token is meant for another service"));
        }
        let issued_at = claims.issued_at().ok_or_else(|| missing("iat"))?;
        let lifetime = claims.expires_at().since(issued_at);
        let remaining = claims.expires_at().since(now);
        if lifetime > wanted.max_lifetime || remaining > wanted.max_lifetime {
            return Err(invalid("The token lives longer than is allowed"));
        }
        Ok(claims)
    }

    /// The rules that a token can keep at one time and break at another.
    pub(super) fn judge_times(
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

    fn judge_common(&self, raw: RawClaims<'_>, now: Timestamp) -> Result<Arc<Claims>, Rejection> {
        let iat = time(raw.iat, "iat")?;
        let nbf = time(raw.nbf, "nbf")?;
        let exp = time(raw.exp, "exp")?.ok_or_else(|| missing("exp"))?;
        let issuer = text(raw.iss, "iss")?;
        let audience = texts(raw.aud)?;

        self.judge_times(exp, nbf, now)?;
        if raw.cnf.is_some() {
            return Err(invalid("A sender-constrained token is not accepted as a bearer token"));
        }
        if !self.issuers.is_empty() && !issuer.as_deref().is_some_and(|iss| has(&self.issuers, iss))
        {
            return Err(invalid("The token comes from another issuer"));
        }
        if !self.audiences.is_empty() && !audience.iter().any(|aud| has(&self.audiences, aud)) {
            return Err(invalid("The token is meant for another audience"));
        }

        Ok(Arc::new(Claims {
            request_id: id(raw.sub, "sub", RequestId::new)?,
            challenge_id: id(raw.jti, "jti", ChallengeId::new)?,
            resource_id: id(raw.resource_id, "resourceId", ResourceId::new)?,
            plan_id: plan(raw.plan_id, raw.tier_id)?,
            tx_hash: id(raw.tx_hash, "txHash", TxHash::new)?,
            expires_at: exp,
            issued_at: iat,
            not_before: nbf,
            issuer: issuer.map(Into::into),
            audience: audience.into_iter().map(Into::into).collect(),
            extra: raw.extra,
        }))
    }
}

/// How many of the three marks of a system token are there.
pub(super) fn system_markers(claims: &Claims) -> usize {
    usize::from(claims.request_id() == SYSTEM_TOKEN_SUBJECT)
        + usize::from(claims.plan_id() == SYSTEM_PLAN)
        + usize::from(claims.tx_hash() == SYSTEM_TX_HASH)
}

fn has(configured: &[Box<str>], value: &str) -> bool {
    configured.iter().any(|one| **one == *value)
}

fn id<T>(
    value: Option<Loose<'_>>,
    name: &str,
    new: impl Fn(&str) -> Result<T, InvalidId>,
) -> Result<T, Rejection> {
    match value {
        None => Err(missing(name)),
        Some(Loose::Text(text)) => new(&text).map_err(|_| wrong_type(name)),
        Some(_) => Err(wrong_type(name)),
    }
}

fn plan(plan_id: Option<Loose<'_>>, tier_id: Option<Loose<'_>>) -> Result<PlanId, Rejection> {
    if tier_id.is_none() {
        return id(plan_id, "planId", PlanId::new);
    }
    let tier = id(tier_id, "tierId", PlanId::new)?;
    if plan_id.is_some() && id(plan_id, "planId", PlanId::new)? != tier {
        return Err(invalid("planId and tierId differ"));
    }
    Ok(tier)
}

fn time(value: Option<Loose<'_>>, name: &str) -> Result<Option<Timestamp>, Rejection> {
    match value {
        None => Ok(None),
        Some(Loose::Time(time)) => Ok(Some(time)),
        Some(_) => Err(wrong_type(name)),
    }
}

fn text<'a>(value: Option<Loose<'a>>, name: &str) -> Result<Option<Cow<'a, str>>, Rejection> {
    match value {
        None => Ok(None),
        Some(Loose::Text(text)) => Ok(Some(text)),
        Some(_) => Err(wrong_type(name)),
    }
}

/// `aud` is one text or a list of them (RFC 7519, section 4.1.3).
fn texts(value: Option<Loose<'_>>) -> Result<Vec<Cow<'_, str>>, Rejection> {
    match value {
        None => Ok(Vec::new()),
        Some(Loose::Text(text)) => Ok(vec![text]),
        Some(Loose::Texts(texts)) => Ok(texts),
        Some(_) => Err(wrong_type("aud")),
    }
}

fn invalid(detail: &'static str) -> Rejection {
    Rejection::new(RejectionKind::InvalidToken).detail(detail)
}

fn missing(name: &str) -> Rejection {
    Rejection::new(RejectionKind::InvalidToken).detail(format!("The claim {name} is missing"))
}

fn wrong_type(name: &str) -> Rejection {
    Rejection::new(RejectionKind::InvalidToken).detail(format!("The claim {name} is not valid"))
}
