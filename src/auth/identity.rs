use std::{fmt, sync::Arc};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{fallback::FallbackGrant, gateway::GatewayCall};
use crate::{
    apikey::{BootstrapHolder, Grant, KeyDigest, KeyRecord, Predecessor},
    domain::{Action, Claims, KeyId, Permissions, PlanId, ResourceId, Role, Timestamp},
};

/// The longest subject of a fallback that stands in a lasting id as it is.
const MAX_SUBJECT_BYTES: usize = 256;

/// Who is asking: a proof that a credential was validated.
///
/// Only a [`Validator`](crate::Validator) makes one, so a function that takes an `Identity` can't
/// be called for a request that was not validated. Cheap to clone.
///
/// ```
/// use key0_auth::{Identity, Policy, Rejection};
///
/// fn photo(id: &str, caller: &Identity) -> Result<String, Rejection> {
///     Policy::resource(id).check(caller)?;
///     Ok(format!("photo {id} for {}", caller.subject()))
/// }
/// ```
#[derive(Clone)]
pub struct Identity(Proof);

#[derive(Clone)]
enum Proof {
    Token(Arc<Claims>),
    Key(Arc<KeyRecord>, Held),
    Bootstrap(Arc<BootstrapHolder>),
    Fallback(Arc<FallbackGrant>),
    Gateway(Arc<GatewayCall>),
}

/// Which secret of a key was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Present,
    /// The one that the present secret has replaced, and that still works.
    Replaced,
}

/// What kind of credential an identity was proved with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityKind {
    /// An access token that Key0 signed.
    AccessToken,
    /// An API key that was issued for a payment.
    PaymentKey,
    /// An API key of a partner.
    IntegratorKey,
    /// An API key from the configuration.
    BootstrapKey,
    /// A credential of the application's own, which its fallback knew.
    Fallback,
    /// The secret of Key0's gateway, which hands on a call that was paid for.
    Gateway,
}

impl Identity {
    pub(super) fn from_claims(claims: Arc<Claims>) -> Self {
        Self(Proof::Token(claims))
    }

    /// For the secret of this digest.
    pub(super) fn from_record(record: Arc<KeyRecord>, digest: &KeyDigest) -> Self {
        let held = match record.replaced(digest) {
            Some(_) => Held::Replaced,
            None => Held::Present,
        };
        Self(Proof::Key(record, held))
    }

    pub(super) fn from_bootstrap(holder: Arc<BootstrapHolder>) -> Self {
        Self(Proof::Bootstrap(holder))
    }

    pub(super) fn from_fallback(grant: FallbackGrant) -> Self {
        Self(Proof::Fallback(Arc::new(grant)))
    }

    pub(super) fn from_gateway(call: GatewayCall) -> Self {
        Self(Proof::Gateway(Arc::new(call)))
    }

    /// What kind of credential it was.
    pub fn kind(&self) -> IdentityKind {
        match &self.0 {
            Proof::Token(_) => IdentityKind::AccessToken,
            Proof::Key(record, _) => match record.grant {
                Grant::Integrator { .. } => IdentityKind::IntegratorKey,
                Grant::Payment { .. } => IdentityKind::PaymentKey,
            },
            Proof::Bootstrap(_) => IdentityKind::BootstrapKey,
            Proof::Fallback(_) => IdentityKind::Fallback,
            Proof::Gateway(_) => IdentityKind::Gateway,
        }
    }

    /// Who it is: a token's request id, a key's id, what the fallback says, or `gateway`. Not a secret.
    pub fn subject(&self) -> &str {
        match &self.0 {
            Proof::Token(claims) => claims.request_id().as_str(),
            Proof::Key(record, _) => record.id.as_str(),
            Proof::Bootstrap(holder) => holder.id.as_str(),
            Proof::Fallback(grant) => grant.subject(),
            Proof::Gateway(_) => "gateway",
        }
    }

    /// What may be shown of the secret of an issued key that was sent, as `ak_1a2B…`.
    pub fn display(&self) -> Option<&str> {
        match (&self.0, self.predecessor()) {
            (Proof::Key(..), Some(old)) => Some(&old.display),
            (Proof::Key(record, _), None) => Some(&record.display),
            _ => None,
        }
    }

    /// What may be shown of the secret that has replaced the one that was sent, as `ak_1a2B…`.
    pub fn replaced_by(&self) -> Option<&str> {
        match &self.0 {
            Proof::Key(record, Held::Replaced) => Some(&record.display),
            _ => None,
        }
    }

    /// The secret that was sent, where another has replaced it.
    fn predecessor(&self) -> Option<&Predecessor> {
        match &self.0 {
            Proof::Key(record, Held::Replaced) => record.predecessor.as_ref(),
            _ => None,
        }
    }

    /// The label of an issued key.
    pub fn label(&self) -> Option<&str> {
        match &self.0 {
            Proof::Key(record, _) => record.label.as_deref(),
            Proof::Token(_) | Proof::Bootstrap(_) | Proof::Fallback(_) | Proof::Gateway(_) => None,
        }
    }

    /// Who it is, for rows and scopes of the application's own: the same over restarts and for
    /// every credential of one purchase or one key, and another one for everybody else. Not to be
    /// shown: for a bootstrap key it is made of the key, whose place in the list may change.
    pub fn lasting_id(&self) -> String {
        match &self.0 {
            // Ids have no spaces.
            Proof::Token(claims) => {
                format!("token {} {}", claims.challenge_id(), claims.request_id())
            }
            Proof::Key(record, _) => format!("key {}", record.id),
            Proof::Bootstrap(holder) => format!("bootstrap {}", hex(&holder.mark)),
            Proof::Fallback(grant) => {
                let subject = grant.subject();
                if subject.len() <= MAX_SUBJECT_BYTES && !subject.contains(char::is_control) {
                    format!("fallback {subject}")
                } else {
                    format!("fallback-sha256 {}", hex(&Sha256::digest(subject)))
                }
            }
            Proof::Gateway(call) => call.lasting_id(),
        }
    }

    /// What was bought; none for a partner's key.
    pub fn resource_id(&self) -> Option<&ResourceId> {
        match &self.0 {
            Proof::Token(claims) => Some(claims.resource_id()),
            Proof::Key(record, _) => match &record.grant {
                Grant::Payment { resource_id, .. } => Some(resource_id),
                Grant::Integrator { .. } => None,
            },
            Proof::Bootstrap(_) | Proof::Gateway(_) => None,
            Proof::Fallback(grant) => grant.resource_id(),
        }
    }

    /// The plan that was bought, or the id of the route that was; none for a partner's key.
    pub fn plan_id(&self) -> Option<&PlanId> {
        match &self.0 {
            Proof::Token(claims) => Some(claims.plan_id()),
            Proof::Key(record, _) => match &record.grant {
                Grant::Payment { plan_id, .. } => Some(plan_id),
                Grant::Integrator { .. } => None,
            },
            Proof::Bootstrap(_) => None,
            Proof::Fallback(grant) => grant.plan_id(),
            Proof::Gateway(call) => Some(call.route_id()),
        }
    }

    /// The role of a partner's key.
    pub fn role(&self) -> Option<Role> {
        match &self.0 {
            Proof::Key(record, _) => match record.grant {
                Grant::Integrator { role, .. } => Some(role),
                Grant::Payment { .. } => None,
            },
            Proof::Bootstrap(holder) => Some(holder.role),
            Proof::Token(_) | Proof::Fallback(_) | Proof::Gateway(_) => None,
        }
    }

    /// The permissions that were granted one by one. Where a key has none, its role speaks; see
    /// [`allows`](Self::allows).
    pub fn permissions(&self) -> Option<&Permissions> {
        match &self.0 {
            Proof::Key(record, _) => match &record.grant {
                Grant::Integrator { permissions, .. } | Grant::Payment { permissions, .. } => {
                    permissions.as_ref()
                }
            },
            Proof::Fallback(grant) => Some(grant.granted()),
            Proof::Token(_) | Proof::Bootstrap(_) | Proof::Gateway(_) => None,
        }
    }

    /// Whether it may do this to resources of this kind: by its permissions where it has some,
    /// else by its role. A credential that was bought has neither, unless the application gave it
    /// permissions.
    pub fn allows(&self, resource: &str, action: Action) -> bool {
        match (self.permissions(), self.role()) {
            (Some(permissions), _) => permissions.allows(resource, action),
            (None, Some(role)) => role.allows(action),
            (None, None) => false,
        }
    }

    /// Whether it opens this resource: it was bought for it, or for all of them. A call that was paid
    /// for by itself opens what its route is about, and there is an identity for that route alone.
    pub fn opens(&self, resource: &str) -> bool {
        self.gateway().is_some() || self.resource_id().is_some_and(|bought| bought.opens(resource))
    }

    /// The claims of an access token, unknown ones included.
    pub fn claims(&self) -> Option<&Claims> {
        match &self.0 {
            Proof::Token(claims) => Some(claims),
            _ => None,
        }
    }

    /// The call, where Key0's gateway hands it on.
    pub fn gateway(&self) -> Option<&GatewayCall> {
        match &self.0 {
            Proof::Gateway(call) => Some(call),
            _ => None,
        }
    }

    /// The id of an API key.
    pub fn key_id(&self) -> Option<&KeyId> {
        match &self.0 {
            Proof::Key(record, _) => Some(&record.id),
            Proof::Bootstrap(holder) => Some(&holder.id),
            Proof::Token(_) | Proof::Fallback(_) | Proof::Gateway(_) => None,
        }
    }

    /// Whatever the application keeps with an API key, read from its text by every call.
    pub fn metadata(&self) -> Option<Map<String, Value>> {
        match &self.0 {
            Proof::Key(record, _) => Some(record.metadata.to_map()),
            _ => None,
        }
    }

    /// When the credential was made, where that is known.
    pub fn issued_at(&self) -> Option<Timestamp> {
        match &self.0 {
            Proof::Token(claims) => claims.issued_at(),
            Proof::Key(record, _) => Some(record.created_at),
            Proof::Bootstrap(_) | Proof::Fallback(_) | Proof::Gateway(_) => None,
        }
    }

    /// From when on the credential is expired, where it expires. A secret that was replaced ends with
    /// its grace, if the key itself does not end before.
    pub fn expires_at(&self) -> Option<Timestamp> {
        match &self.0 {
            Proof::Token(claims) => Some(claims.expires_at()),
            Proof::Key(record, _) => {
                let until = self.predecessor().map(|old| old.until);
                record.expires_at.into_iter().chain(until).min()
            }
            Proof::Bootstrap(_) | Proof::Fallback(_) | Proof::Gateway(_) => None,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("kind", &self.kind())
            .field("subject", &self.subject())
            .finish_non_exhaustive()
    }
}
