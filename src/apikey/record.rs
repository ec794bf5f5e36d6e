use super::{digest::KeyDigest, format::PlainKey, metadata::Metadata};
use crate::domain::{KeyId, Permissions, PlanId, ResourceId, Role, Timestamp};

/// What is stored of an API key. Its plain text is not part of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KeyRecord {
    /// The key's id, which logs and lists show.
    pub id: KeyId,
    /// The first characters, as `ak_1a2B…`, to tell keys apart on a screen.
    pub display: String,
    /// The digest under which the key is found.
    pub digest: KeyDigest,
    /// What the key opens.
    pub grant: Grant,
    /// A name that the operator gave it.
    pub label: Option<String>,
    /// Whatever the application keeps with it.
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is expired.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used; written a minute late at most.
    pub last_used_at: Option<Timestamp>,
}

/// What a key opens. A payment key has no role, an integrator's key has no resource.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Grant {
    /// A partner's back office: what its role implies, or exactly these permissions.
    Integrator {
        /// What the key stands for as a whole.
        role: Role,
        /// Where present, these replace what the role implies.
        permissions: Option<Permissions>,
    },
    /// An agent that has paid: this resource of this plan, nothing else.
    Payment {
        /// What was bought.
        resource_id: ResourceId,
        /// The plan that was bought.
        plan_id: PlanId,
        /// None, unless the application's issuance hook gave some.
        permissions: Option<Permissions>,
    },
}

/// The kind of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// Of a partner's back office.
    Integrator,
    /// Of an agent that has paid.
    Payment,
}

impl KeyKind {
    /// The kind's name: `integrator` or `payment`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integrator => "integrator",
            Self::Payment => "payment",
        }
    }
}

/// Whether a key can be used at some instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It can be used.
    InForce,
    /// It was revoked. This comes before an expiry.
    Revoked,
    /// Its time is over.
    Expired,
}

impl KeyRecord {
    /// A record for a key that was just made.
    pub fn new(id: KeyId, key: &PlainKey, grant: Grant, created_at: Timestamp) -> Self {
        Self { display: key.masked(), ..Self::of_digest(id, key.digest(), grant, created_at) }
    }

    /// A record for a key of which nothing but the digest is known.
    pub fn of_digest(id: KeyId, digest: KeyDigest, grant: Grant, created_at: Timestamp) -> Self {
        Self {
            id,
            display: "…".to_owned(),
            digest,
            grant,
            label: None,
            metadata: Metadata::default(),
            created_at: created_at.to_millis(),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        }
    }

    /// About how many bytes it takes, with what the allocator adds.
    pub(crate) fn bytes(&self) -> usize {
        const BLOCK: usize = 64;
        let permissions = match &self.grant {
            Grant::Integrator { permissions, .. } | Grant::Payment { permissions, .. } => {
                permissions.iter().flat_map(Permissions::resources).map(|text| text.len() + BLOCK)
            }
        };
        let label = self.label.as_deref().map_or(0, str::len);
        let texts = [self.metadata.as_json().len(), label, self.display.len()];
        size_of::<Self>()
            + texts.map(|text| text + BLOCK).iter().sum::<usize>()
            + permissions.sum::<usize>()
    }

    /// Which kind of key this is.
    pub fn kind(&self) -> KeyKind {
        match self.grant {
            Grant::Integrator { .. } => KeyKind::Integrator,
            Grant::Payment { .. } => KeyKind::Payment,
        }
    }

    /// Since when, or from when on, the key is over, as its holder is told: its revocation, else
    /// its expiry.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.revoked_at.or(self.expires_at)
    }

    /// Whether the key can be used at `now`: not revoked, and `now < expires_at`.
    pub fn state_at(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|expires_at| now >= expires_at) {
            KeyState::Expired
        } else {
            KeyState::InForce
        }
    }
}
