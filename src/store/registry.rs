use async_trait::async_trait;

use super::keys::KeyStore;
use crate::{
    apikey::{Grant, KeyAction, KeyDigest, KeyEvent, KeyKind, KeyRecord, Metadata},
    domain::{Actor, KeyId, Permissions, PlanId, ResourceId, Role, Timestamp},
    error::{StoreError, StoreErrorKind},
};

/// A [`KeyStore`] that an operator can manage: list, rotate, clear up.
///
/// Whoever only validates credentials needs the [`KeyStore`] alone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::{MemoryStore, apikey::KeyKind};
/// use key0_auth::store::{KeyRegistry, spi::{KeyFilter, KeyQuery}};
///
/// let store = MemoryStore::new();
/// let first = KeyQuery {
///     kind: KeyKind::Integrator,
///     in_force_at: None,
///     filter: KeyFilter { label: Some("acme".to_owned()), ..KeyFilter::default() },
///     after: None,
///     limit: 100,
/// };
/// assert!(store.list(&first).await?.keys.is_empty());
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait KeyRegistry: KeyStore {
    /// A page of keys, newest first. A key that is there all the while stands on exactly one page
    /// of a listing, whatever is added, revoked or removed between the pages.
    ///
    /// A page can hold fewer keys than asked for although more follow: a store may bound how much
    /// it looks through for one page.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError>;

    /// The last `limit` lines of a key's history, the oldest first. Nothing for an unknown key.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn history(&self, id: &KeyId, limit: u32) -> Result<Vec<KeyEvent>, StoreError>;

    /// Gives a key another secret, durably, and tells the listeners before it returns. The old
    /// secret becomes the key's [predecessor](KeyRecord::predecessor) where `rotation` says until
    /// when, else it is unknown from then on; the predecessor until now is unknown in any case.
    /// `false`, and nothing changes, where the key is unknown, revoked, or has another secret than
    /// `rotation.old`.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell which secret counts now; with
    /// [`StoreErrorKind::Conflict`](crate::error::StoreErrorKind::Conflict) when it holds the new
    /// digest already.
    async fn rotate(
        &self,
        id: &KeyId,
        rotation: &Rotation,
        by: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Adds up to some hundred records, each as [`insert`](KeyStore::insert) does, and says of each
    /// whether it was added: one whose id or digest is known already is passed over. For imports;
    /// a store may share one commit among them.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell which were added.
    async fn insert_many(
        &self,
        records: &[KeyRecord],
        by: &Actor,
    ) -> Result<Vec<bool>, StoreError> {
        let mut added = Vec::with_capacity(records.len());
        for record in records {
            match self.insert(record, by).await {
                Ok(()) => added.push(true),
                Err(error) if error.kind() == StoreErrorKind::Conflict => added.push(false),
                Err(error) => return Err(error),
            }
        }
        Ok(added)
    }

    /// Changes what is said of a key, durably, and tells the listeners before it returns. Its
    /// history then says so. The record as it is now; `None`, and nothing changes, where the key is
    /// unknown or revoked.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell what is said of the key now.
    async fn edit(
        &self,
        id: &KeyId,
        edit: &KeyEdit,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyRecord>, StoreError>;

    /// [Revokes](KeyStore::revoke) a key, and keeps why.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell whether the key is revoked now.
    async fn revoke_because(
        &self,
        id: &KeyId,
        reason: Option<&str>,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError>;

    /// Keeps when keys were used: the latest use, and the first one of those that were never used
    /// before. Ids that are unknown are passed over. The listeners are not told.
    ///
    /// # Errors
    ///
    /// Fails when the store can't; then nothing is kept.
    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError>;

    /// Removes up to `limit` keys that were revoked before `before`, or expired before it and were
    /// never revoked, and says how many. What was issued and paid stays known, and what was done to
    /// them until [`purge_events`](super::AuditLog::purge_events) takes it.
    ///
    /// # Errors
    ///
    /// Fails when the store can't; some may be removed then.
    async fn purge_keys(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError>;
}

/// Which keys to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyQuery {
    /// Of which kind.
    pub kind: KeyKind,
    /// Only those that can be used at this instant; else all.
    pub in_force_at: Option<Timestamp>,
    /// Only those of which this holds.
    pub filter: KeyFilter,
    /// Only those that come after this cursor.
    pub after: Option<KeyCursor>,
    /// How many at most; at least 1.
    pub limit: u32,
}

/// What must hold of a key that is listed; by default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Its label is exactly this.
    pub label: Option<String>,
    /// What may be shown of it begins with this.
    pub prefix: Option<String>,
    /// It was bought with this plan.
    pub plan_id: Option<PlanId>,
    /// It was bought for this resource.
    pub resource_id: Option<ResourceId>,
    /// It was not used since; one that was never used counts from when it was made.
    pub idle_since: Option<Timestamp>,
}

impl KeyFilter {
    /// Whether it holds of this key.
    pub fn admits(&self, record: &KeyRecord) -> bool {
        let bought = match &record.grant {
            Grant::Payment { resource_id, plan_id, .. } => (Some(resource_id), Some(plan_id)),
            Grant::Integrator { .. } => (None, None),
        };
        let used_at = record.last_used_at.unwrap_or(record.created_at);
        (self.label.is_none() || self.label == record.label)
            && self.prefix.as_ref().is_none_or(|prefix| record.display.starts_with(&**prefix))
            && self.resource_id.as_ref().is_none_or(|wanted| bought.0 == Some(wanted))
            && self.plan_id.as_ref().is_none_or(|wanted| bought.1 == Some(wanted))
            && self.idle_since.is_none_or(|since| used_at < since)
    }
}

/// A point in a listing: newer keys come before it, older ones after it, and of those made at the
/// same instant the one with the greater id comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyCursor {
    /// When the key at this cursor was made.
    pub created_at: Timestamp,
    /// Its id.
    pub id: KeyId,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyPage {
    /// The keys, newest first.
    pub keys: Vec<KeyRecord>,
    /// The cursors of those whose records this version can't read, newest first. They count for the
    /// page's length, and stand in none of [`keys`](Self::keys).
    pub unreadable: Vec<KeyCursor>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<KeyCursor>,
}

/// The change from one secret of a key to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The digest of the secret that counts now.
    pub old: KeyDigest,
    /// The digest of the one that will.
    pub new: KeyDigest,
    /// What may be shown of the new one, as `ak_1a2B…`.
    pub display: String,
    /// Until when the old one works; without it, it is unknown at once.
    pub old_until: Option<Timestamp>,
}

/// What is to be changed of a key; by default nothing. Of two `Option`s the inner one is the value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyEdit {
    /// The role of a partner's key.
    pub role: Option<Role>,
    /// Its permissions.
    pub permissions: Option<Option<Permissions>>,
    /// Its label.
    pub label: Option<Option<String>>,
    /// When it expires.
    pub expires_at: Option<Option<Timestamp>>,
    /// What is kept with it.
    pub metadata: Option<Metadata>,
    /// Whether it is suspended.
    pub suspended: Option<bool>,
}

impl KeyEdit {
    /// Changes a record, and says what its history tells of it: nothing where nothing was changed.
    pub fn apply(&self, record: &mut KeyRecord, by: &Actor, at: Timestamp) -> Vec<KeyEvent> {
        let before = record.clone();
        if let Grant::Integrator { role, permissions } = &mut record.grant {
            *role = self.role.unwrap_or(*role);
            if let Some(wanted) = &self.permissions {
                permissions.clone_from(wanted);
            }
        }
        if let Some(label) = &self.label {
            record.label.clone_from(label);
        }
        record.expires_at = self.expires_at.unwrap_or(record.expires_at);
        if let Some(metadata) = &self.metadata {
            record.metadata = metadata.clone();
        }
        match self.suspended {
            Some(true) => record.suspended_at = record.suspended_at.or(Some(at)),
            Some(false) => record.suspended_at = None,
            None => {}
        }
        let changed = [
            ("role or permissions", record.grant != before.grant),
            ("label", record.label != before.label),
            ("expiresAt", record.expires_at != before.expires_at),
            ("metadata", record.metadata != before.metadata),
        ];
        let names: Vec<_> = changed.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        let mut events = Vec::new();
        if !names.is_empty() {
            let what = names.join(", ");
            events.push(KeyEvent::new(KeyAction::Edited, by, at).because(Some(&what)));
        }
        if record.suspended_at.is_some() != before.suspended_at.is_some() {
            let resumed = record.suspended_at.is_none();
            let action = if resumed { KeyAction::Resumed } else { KeyAction::Suspended };
            events.push(KeyEvent::new(action, by, at));
        }
        events
    }
}

/// What stands at one cursor of a listing.
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
pub(crate) enum Listed {
    Key(Box<KeyRecord>),
    Unreadable(KeyCursor),
}

#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
impl Listed {
    /// A record that was read, or its cursor. Nothing where that can't be read either: there is no
    /// id then by which it could be revoked.
    pub(crate) fn read(
        record: Result<KeyRecord, StoreError>,
        cursor: impl FnOnce() -> Result<KeyCursor, StoreError>,
    ) -> Result<Option<Self>, StoreError> {
        match record {
            Ok(record) => Ok(Some(Self::Key(Box::new(record)))),
            Err(error) if error.kind() == crate::error::StoreErrorKind::Corrupt => {
                let cursor = cursor();
                #[cfg(feature = "tracing")]
                tracing::error!(
                    id = cursor.as_ref().ok().map(|cursor| cursor.id.as_str()),
                    error = crate::error::chain(&error),
                    "the record of a key can't be read"
                );
                Ok(cursor.ok().map(Self::Unreadable))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn cursor(&self) -> KeyCursor {
        match self {
            Self::Key(record) => KeyCursor::of(record),
            Self::Unreadable(cursor) => cursor.clone(),
        }
    }
}

#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
impl KeyPage {
    pub(crate) fn of(listed: Vec<Listed>, next: Option<KeyCursor>) -> Self {
        let mut page = Self { keys: Vec::new(), unreadable: Vec::new(), next };
        for listed in listed {
            match listed {
                Listed::Key(record) => page.keys.push(*record),
                Listed::Unreadable(cursor) => page.unreadable.push(cursor),
            }
        }
        page
    }
}

impl KeyCursor {
    /// The cursor of this key.
    pub fn of(record: &KeyRecord) -> Self {
        Self { created_at: record.created_at, id: record.id.clone() }
    }
}
