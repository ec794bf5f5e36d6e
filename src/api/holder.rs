use std::{sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    body::{self, Reply, outage},
    form,
};
use crate::{
    Identity, Rejection, Validator,
    apikey::{KeyDigest, KeyState},
    auth::Ending,
    domain::{Actor, Claims, Permissions, PlanId, ResourceId, Role, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::{DeniedTokens, KeyRegistry, steady::SteadyClock},
};

/// How long a read may take: as long as one of a credential.
const READ_DEADLINE: Duration = Duration::from_millis(500);
/// How many keys are looked for and revoked at a time.
const REVOKED_AT_ONCE: usize = 4;
/// What stands in the record of a key that its holder has ended.
const BY_HOLDER: &str = "ended by its holder";

/// `/credential`: what the holder of a credential can ask and do. Cheap to clone.
///
/// - `GET /credential` says what it is and what is left of it, to whoever sends it.
/// - `POST /credential/revoke` (RFC 7009) ends it. The form's `token` is all the proof there is:
///   whoever knows a credential may end it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, Validator, api::CredentialApi, store::DeniedTokens};
///
/// let store = Arc::new(MemoryStore::new());
/// let denied = DeniedTokens::new(store.clone());
/// let validator = Validator::builder()
///     .api_keys(ApiKeys::new(store.clone()))
///     .denied_tokens(denied.clone())
///     .build()?;
/// let api = CredentialApi::new(validator, store, denied);
/// // A token that is unknown changes nothing, and is no error.
/// let reply = api.revoke(b"token=ak_of_nobody").await?;
/// assert_eq!(reply.status, 200);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CredentialApi(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    validator: Validator,
    registry: Arc<dyn KeyRegistry>,
    denied: DeniedTokens,
    steady: SteadyClock,
    turns: Arc<Semaphore>,
}

/// A credential as its holder is told of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Held<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<&'a ResourceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_id: Option<&'a PlanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier_id: Option<&'a PlanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<&'a Permissions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renew: Option<Value>,
}

impl CredentialApi {
    /// For the credentials that `validator` accepts. `registry` must be on the store of its keys, and
    /// `denied` what it was given.
    pub fn new(validator: Validator, registry: Arc<dyn KeyRegistry>, denied: DeniedTokens) -> Self {
        let steady = SteadyClock::new(validator.clock().clone());
        let turns = Arc::new(Semaphore::new(REVOKED_AT_ONCE));
        Self(Arc::new(Parts { validator, registry, denied, steady, turns }))
    }

    /// The validator of the credentials.
    pub fn validator(&self) -> &Validator {
        &self.0.validator
    }

    /// `GET /credential`: what this credential is and what is left of it.
    pub fn show(&self, identity: &Identity) -> Reply {
        let expires_at = identity.expires_at();
        let left = expires_at.map(|end| end.since(self.0.validator.clock().now()).as_secs());
        let bought = identity.plan_id().zip(identity.resource_id());
        let responder = self.0.validator.responder();
        Reply::json(
            200,
            &Held {
                kind: identity.kind().as_str(),
                resource_id: identity.resource_id(),
                plan_id: identity.plan_id(),
                tier_id: identity.plan_id(),
                role: identity.role().map(Role::as_str),
                permissions: identity.permissions(),
                label: identity.label(),
                display: identity.display(),
                issued_at: identity.issued_at(),
                expires_at,
                expires_in_seconds: left,
                replaced_by: identity.replaced_by(),
                renew: bought.and_then(|(plan, resource)| responder.renewal(plan, resource)),
            },
        )
    }

    /// `POST /credential/revoke`: ends the credential that the form names.
    ///
    /// | what the token is | what happens |
    /// |---|---|
    /// | an access token that is good, not valid yet, or expired less than a day ago | it is denied until its `exp` |
    /// | an issued key, also one that is suspended or expired | it is revoked, with all of its secrets |
    /// | a secret that was replaced, within its grace | its key is revoked, with all of its secrets |
    /// | anything else | nothing |
    ///
    /// Anything else is what is forged, over or unknown, a key of the configuration, and a credential
    /// of the application's own [`Fallback`](crate::auth::Fallback), which goes on working. The answer
    /// is the same. This counts neither as a use of the key nor as a validation. A few keys are looked
    /// for at a time, so that a flood of them stands in nobody's way.
    ///
    /// # Errors
    ///
    /// [`InvalidBody`](crate::RejectionKind::InvalidBody) without exactly one `token`,
    /// [`BodyTooLarge`](crate::RejectionKind::BodyTooLarge), and
    /// [`StoreUnavailable`](crate::RejectionKind::StoreUnavailable) where it may not be ended.
    pub async fn revoke(&self, body: &[u8]) -> Result<Reply, Rejection> {
        let token = form::token(body)?;
        match self.0.validator.to_end(&token).await? {
            Some(Ending::Tokens(claims)) => self.0.deny(&claims).await?,
            Some(Ending::Key(digest)) => self.0.revoke(&digest).await?,
            None => {}
        }
        Ok(Reply::json(200, &Map::new()))
    }

    /// Removes denials of tokens that expired more than 30 days ago, up to `limit`, and says how many.
    /// To be called every now and then. None while the clock is in doubt: it was first seen, or set by
    /// more than two minutes, within the last hour.
    ///
    /// # Errors
    ///
    /// Fails when the store can't.
    pub async fn purge_denials(&self, limit: u32) -> Result<u32, StoreError> {
        let Some(now) = self.0.steady.believed() else { return Ok(0) };
        self.0.denied.purge(now, limit).await
    }
}

impl Parts {
    async fn deny(&self, claims: &Claims) -> Result<(), Rejection> {
        let (denied, jti) = (self.denied.clone(), claims.challenge_id().clone());
        let until = claims.expires_at();
        body::carry_out(async move { denied.deny(&jti, until).await.map_err(outage) }).await
    }

    /// Ends the key with this digest. The store itself is asked: what a cache remembers may be over.
    async fn revoke(&self, digest: &KeyDigest) -> Result<(), Rejection> {
        // Nobody has proven anything yet.
        let turn = timeout(READ_DEADLINE / 2, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| outage(StoreError::new(StoreErrorKind::TimedOut)))?;
        let turn = turn.map_err(|error| outage(StoreError::unavailable(error)))?;
        let found = async { self.registry.find(digest).await.map_err(outage) };
        let record = body::within(READ_DEADLINE, found).await?;
        let now = self.validator.clock().now();
        let Some(record) = record.filter(|record| {
            let state = record.state_of(digest, now);
            matches!(state, Some(KeyState::InForce | KeyState::Suspended | KeyState::Expired))
        }) else {
            return Ok(());
        };
        let id = record.id.clone();
        let (registry, validator) = (self.registry.clone(), self.validator.clone());
        body::carry_out(async move {
            let _turn = turn;
            let (by, now) = (Actor::from(&id), validator.clock().now());
            let revoked = registry.revoke_because(&id, Some(BY_HOLDER), &by, now).await;
            if let (Some(_), Some(keys)) = (revoked.map_err(outage)?, validator.keys()) {
                record.digests().for_each(|digest| keys.store().forget(&digest));
            }
            Ok(())
        })
        .await
    }
}
