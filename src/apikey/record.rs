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
    /// Why, where that was said.
    pub revoked_reason: Option<String>,
    /// Since when it is suspended: it opens nothing until it is resumed.
    pub suspended_at: Option<Timestamp>,
    /// The secret that the present one has replaced.
    pub predecessor: Option<Predecessor>,
    /// When it was last used; written a minute late at most.
    pub last_used_at: Option<Timestamp>,
}

/// A secret that was replaced, and still works for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Predecessor {
    /// The digest of the secret.
    pub digest: KeyDigest,
    /// What may be shown of it, as `ak_1a2B…`.
    pub display: String,
    /// From when on it is refused.
    pub until: Timestamp,
}

/// What a key opens. A payment key has no role, an integrator's key has no resource.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Grant {
    /// A partner: what its role implies, or exactly these permissions.
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
    /// Of a partner.
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
    /// It was presented by a secret that has been replaced, and the time to change over is past.
    Rotated,
    /// Its time is over.
    Expired,
    /// It is suspended, and can be resumed.
    Suspended,
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
            revoked_reason: None,
            suspended_at: None,
            predecessor: None,
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
        let reason = self.revoked_reason.as_deref().map_or(0, str::len);
        let replaced = self.predecessor.as_ref().map_or(0, |old| old.display.len());
        let texts = [self.metadata.as_json().len(), label, self.display.len(), reason, replaced];
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

    /// The digests under which the key is found: of its secret, and of the one before.
    pub fn digests(&self) -> impl Iterator<Item = KeyDigest> {
        [Some(self.digest), self.predecessor.as_ref().map(|old| old.digest)].into_iter().flatten()
    }

    /// The predecessor, where the secret with this digest is not the present one.
    pub(crate) fn replaced(&self, digest: &KeyDigest) -> Option<&Predecessor> {
        self.predecessor.as_ref().filter(|old| old.digest == *digest)
    }

    /// Whether the key can be used at `now` with its present secret: neither revoked nor
    /// suspended, and `now < expires_at`.
    pub fn state_at(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|expires_at| now >= expires_at) {
            KeyState::Expired
        } else if self.suspended_at.is_some() {
            KeyState::Suspended
        } else {
            KeyState::InForce
        }
    }

    /// Whether the key can be used at `now` with the secret of this digest. `None` where it is
    /// neither the present secret nor the one before.
    pub fn state_of(&self, digest: &KeyDigest, now: Timestamp) -> Option<KeyState> {
        let state = self.state_at(now);
        if self.digest == *digest {
            return Some(state);
        }
        let old = self.replaced(digest)?;
        Some(if state != KeyState::Revoked && now >= old.until { KeyState::Rotated } else { state })
    }
}
