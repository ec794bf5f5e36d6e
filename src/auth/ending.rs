use std::sync::Arc;

use super::{api_keys::ApiKeys, validator::Validator};
use crate::{
    AccessTokens, Rejection, RejectionKind,
    apikey::KeyState,
    domain::{Claims, Credential, KeyId, Timestamp},
    token::CompactJws,
};

/// What whoever knows a credential may end.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The access tokens of a purchase.
    Tokens(Arc<Claims>),
    /// An issued key, with all of its secrets.
    Key(KeyId),
}

impl Validator {
    /// What a credential stands for that is good, or can be so later on: a token that is not valid
    /// yet, a key that is suspended, or expired and can be prolonged. `None` for all others, and for
    /// what can't be ended here: a key of the configuration, the application's own credentials.
    ///
    /// Where it was sent plays no part, and it counts neither as a use nor as a validation.
    ///
    /// # Errors
    ///
    /// [`StoreUnavailable`](RejectionKind::StoreUnavailable) where it can't be told now.
    pub(crate) async fn to_end(&self, credential: &str) -> Result<Option<Ending>, Rejection> {
        let Ok(credential) = Credential::try_from(credential) else { return Ok(None) };
        let now = self.clock().now();
        if let (Some(tokens), Some(token)) = (self.tokens(), CompactJws::split(credential))
            && let Some(claims) = claims(tokens, credential, &token, now).await?
        {
            return Ok(Some(Ending::Tokens(claims)));
        }
        match self.keys() {
            Some(keys) => key(keys, credential, now).await,
            None => Ok(None),
        }
    }
}

async fn claims(
    tokens: &AccessTokens,
    _credential: Credential<'_>,
    token: &CompactJws<'_>,
    now: Timestamp,
) -> Result<Option<Arc<Claims>>, Rejection> {
    let mut validated = tokens.validate_early(token, now);
    #[cfg(feature = "jwks")]
    if is_undecided(&validated) {
        tokens.settle(_credential).await;
        validated = tokens.validate_early(token, now);
    }
    match validated {
        Err(rejection) if rejection.kind() == RejectionKind::StoreUnavailable => Err(rejection),
        validated => Ok(validated.ok()),
    }
}

#[cfg(feature = "jwks")]
fn is_undecided<T>(validated: &Result<T, Rejection>) -> bool {
    matches!(validated, Err(rejection) if rejection.kind() == RejectionKind::StoreUnavailable)
}

async fn key(
    keys: &ApiKeys,
    credential: Credential<'_>,
    now: Timestamp,
) -> Result<Option<Ending>, Rejection> {
    if keys.find_bootstrap(credential).is_some() {
        return Ok(None);
    }
    let Ok(digest) = keys.digest(credential) else { return Ok(None) };
    let Some(record) = keys.find(&digest).await? else { return Ok(None) };
    Ok(match record.state_of(&digest, now) {
        Some(KeyState::InForce | KeyState::Suspended | KeyState::Expired) => {
            Some(Ending::Key(record.id.clone()))
        }
        Some(KeyState::Revoked | KeyState::Rotated) | None => None,
    })
}
