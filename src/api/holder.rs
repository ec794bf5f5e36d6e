use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    body::{self, Reply, outage},
    form,
};
use crate::{
    ApiKeys, Identity, Rejection, RejectionKind, Validator,
    apikey::KeyDigest,
    auth::IdentityKind,
    domain::{Actor, Claims, KeyId, Permissions, PlanId, ResourceId, Role, Timestamp},
    error::StoreError,
    store::{DeniedTokens, KeyRegistry, steady::SteadyClock},
    token::MAX_LEEWAY,
};

/// What stands in the record of a key that its holder has ended.
const BY_HOLDER: &str = "ended by its holder";

/// `/credential`: what the holder of a credential can ask and do. Cheap to clone.
///
/// - `GET /credential` says what it is and what is left of it, to whoever sends it.
/// - `POST /credential/revoke` (RFC 7009) ends it. The form's `token` is all the proof there is:
///   whoever knows a credential may end it.
#[derive(Debug, Clone)]
pub struct CredentialApi(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    validator: Validator,
    registry: Arc<dyn KeyRegistry>,
    keys: Arc<ApiKeys>,
    denied: DeniedTokens,
    steady: SteadyClock,
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
    renew: Option<Value>,
}

impl CredentialApi {
    /// For the credentials that `validator` accepts. `registry` and `keys` must be on the same
    /// store, and `denied` what the validator was given.
    pub fn new(
        validator: Validator,
        registry: Arc<dyn KeyRegistry>,
        keys: impl Into<Arc<ApiKeys>>,
        denied: DeniedTokens,
    ) -> Self {
        let steady = SteadyClock::new(validator.clock().clone());
        Self(Arc::new(Parts { validator, registry, keys: keys.into(), denied, steady }))
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
                renew: bought.and_then(|(plan, resource)| responder.renewal(plan, resource)),
            },
        )
    }

    /// `POST /credential/revoke`: ends the credential that the form names. An access token is
    /// denied until it expires, an issued key is revoked. What is not good, comes from the
    /// configuration or is the application's own stays as it is; the answer is the same.
    ///
    /// # Errors
    ///
    /// [`InvalidBody`](RejectionKind::InvalidBody) without exactly one `token`,
    /// [`BodyTooLarge`](RejectionKind::BodyTooLarge), and
    /// [`StoreUnavailable`](RejectionKind::StoreUnavailable) where it may not be ended.
    pub async fn revoke(&self, body: &[u8]) -> Result<Reply, Rejection> {
        let token = form::token(body)?;
        let parts = &self.0;
        match form::validate(&parts.validator, &token).await {
            Ok(identity) => match (identity.claims(), identity.key_id(), identity.kind()) {
                (Some(claims), ..) => parts.deny(claims).await?,
                (_, Some(id), IdentityKind::PaymentKey | IdentityKind::IntegratorKey) => {
                    parts.revoke(id.clone()).await?;
                }
                _ => {}
            },
            Err(rejection) => match rejection.kind() {
                _ if form::is_undecided(&rejection) => return Err(rejection),
                RejectionKind::KeySuspended => {
                    let found = parts.registry.find(&KeyDigest::of(&token)).await;
                    if let Some(record) = found.map_err(outage)? {
                        parts.revoke(record.id).await?;
                    }
                }
                _ => {}
            },
        }
        Ok(Reply::json(200, &Map::new()))
    }

    /// Removes denials of tokens that are expired by now, up to `limit`, and says how many. To be
    /// called every now and then. None while the clock is in doubt: it was set by more than two
    /// minutes within the last hour.
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
        let until = claims.expires_at().plus(MAX_LEEWAY);
        body::carry_out(async move { denied.deny(&jti, until).await.map_err(outage) }).await
    }

    async fn revoke(&self, id: KeyId) -> Result<(), Rejection> {
        let (registry, keys, now) =
            (self.registry.clone(), self.keys.clone(), self.validator.clock().now());
        body::carry_out(async move {
            let by = Actor::from(&id);
            let revoked = registry.revoke_because(&id, Some(BY_HOLDER), &by, now).await;
            if let Some(digest) = revoked.map_err(outage)? {
                keys.store().forget(&digest);
            }
            Ok(())
        })
        .await
    }
}
