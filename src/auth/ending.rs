use std::{sync::Arc, time::Duration};

use super::{
    api_keys::ApiKeys,
    caller::{long_lived_token, revoked_token},
    identity::Identity,
    question::{Lookup, Question, Validation},
    validator::Validator,
};
use crate::{
    AccessTokens, Rejection, RejectionKind,
    apikey::KeyDigest,
    domain::{Claims, Credential, Timestamp},
    token::CompactJws,
};

/// How long ago a token may have expired and be ended all the same: by another instance's clock it can
/// still be good.
const CLOCKS_DIFFER: Duration = Duration::from_secs(24 * 60 * 60);

/// What whoever knows a credential may end.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The access tokens of a purchase.
    Tokens(Arc<Claims>),
    /// An issued key.
    Key(KeyDigest),
}

impl Validator {
    /// What a good token comes to: it may have been ended before its time, or live so long that nobody
    /// can tell.
    pub(super) fn unless_denied(&self, claims: Arc<Claims>, now: Timestamp) -> Validation {
        let Some(denied) = self.denied() else {
            return Validation::Decided(Ok(Identity::from_claims(claims)));
        };
        if denied.is_outlived_by(&claims, now) {
            return Validation::refused(long_lived_token(claims));
        }
        match denied.includes(claims.challenge_id()) {
            Some(false) => Validation::Decided(Ok(Identity::from_claims(claims))),
            Some(true) => Validation::refused(revoked_token(claims)),
            None => Validation::Pending(Lookup(Question::Denied(claims))),
        }
    }

    /// What a credential stands for that may be good somewhere, now or later on: a token that is
    /// signed and did not expire more than a day ago, anything of a key's shape. `None` for all others, and for
    /// what can't be ended here: a key of the configuration, the application's own credentials.
    ///
    /// Where it was sent plays no part, and it counts neither as a use nor as a validation.
    ///
    /// # Errors
    ///
    /// [`StoreUnavailable`](RejectionKind::StoreUnavailable) where it can't be told now.
    pub(crate) async fn to_end(&self, credential: &str) -> Result<Option<Ending>, Rejection> {
        let Ok(credential) = Credential::try_from(credential) else { return Ok(None) };
        let now = self.clock().now().minus(CLOCKS_DIFFER);
        if let (Some(tokens), Some(token)) = (self.tokens(), CompactJws::split(credential))
            && let Some(claims) = claims(tokens, credential, &token, now).await?
        {
            return Ok(Some(Ending::Tokens(claims)));
        }
        Ok(self.keys().and_then(|keys| key(keys, credential)))
    }
}

async fn claims(
    tokens: &AccessTokens,
    _credential: Credential<'_>,
    token: &CompactJws<'_>,
    now: Timestamp,
) -> Result<Option<Arc<Claims>>, Rejection> {
    let validated = tokens.validate_early(token, now);
    #[cfg(feature = "jwks")]
    let validated = match is_undecided(&validated) {
        true => {
            tokens.settle(_credential).await;
            tokens.validate_early(token, now)
        }
        false => validated,
    };
    match validated {
        Err(rejection) if rejection.kind() == RejectionKind::StoreUnavailable => Err(rejection),
        validated => Ok(validated.ok()),
    }
}

#[cfg(feature = "jwks")]
fn is_undecided<T>(validated: &Result<T, Rejection>) -> bool {
    matches!(validated, Err(rejection) if rejection.kind() == RejectionKind::StoreUnavailable)
}

fn key(keys: &ApiKeys, credential: Credential<'_>) -> Option<Ending> {
    if keys.find_bootstrap(credential).is_some() {
        return None;
    }
    keys.digest(credential).ok().map(Ending::Key)
}
