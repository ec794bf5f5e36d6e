use std::cmp::Reverse;

use serde::Serialize;

use crate::{
    apikey::{Grant, KeyEvent, KeyFormat, KeyRecord, Metadata, PlainKey},
    domain::{KeyId, Permissions, PlanId, ResourceId, Role, Timestamp},
    store::{KeyCursor, KeyPage},
};

/// A key as lists show it: nothing of it that is secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyView<'a> {
    id: &'a KeyId,
    display: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<&'a Permissions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<&'a ResourceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_id: Option<&'a PlanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: &'a Metadata,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predecessor: Option<Replaced<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<&'a [KeyEvent]>,
}

/// The secret before the present one, and until when it works.
#[derive(Serialize)]
struct Replaced<'a> {
    display: &'a str,
    until: Timestamp,
}

/// A page of a listing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page<'a> {
    keys: Vec<Listed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Listed<'a> {
    Key(Box<KeyView<'a>>),
    Unreadable(Unreadable<'a>),
}

/// A key whose record this version can't read. It opens nothing, and can be revoked.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unreadable<'a> {
    id: &'a KeyId,
    created_at: Timestamp,
    unreadable: bool,
}

/// A key that was just made, with its plain text, which is shown nowhere else.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown<'a> {
    id: &'a KeyId,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<&'a Permissions>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: &'a Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_key_until: Option<Timestamp>,
}

impl<'a> KeyView<'a> {
    pub(super) fn new(record: &'a KeyRecord) -> Self {
        let (role, permissions) = granted(record);
        let (resource_id, plan_id) = match &record.grant {
            Grant::Payment { resource_id, plan_id, .. } => (Some(resource_id), Some(plan_id)),
            Grant::Integrator { .. } => (None, None),
        };
        Self {
            id: &record.id,
            display: &record.display,
            kind: record.kind().as_str(),
            role: role.map(Role::as_str),
            permissions,
            resource_id,
            plan_id,
            label: record.label.as_deref(),
            metadata: &record.metadata,
            created_at: record.created_at,
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
            revoked_reason: record.revoked_reason.as_deref(),
            suspended_at: record.suspended_at,
            predecessor: record
                .predecessor
                .as_ref()
                .filter(|old| old.until > Timestamp::from_micros(0))
                .map(|old| Replaced { display: &old.display, until: old.until }),
            last_used_at: record.last_used_at,
            history: None,
        }
    }

    pub(super) fn with_history(record: &'a KeyRecord, history: &'a [KeyEvent]) -> Self {
        Self { history: Some(history), ..Self::new(record) }
    }
}

impl<'a> Page<'a> {
    pub(super) fn new(page: &'a KeyPage, next_cursor: Option<String>) -> Self {
        let place = |listed: &Listed<'_>| match listed {
            Listed::Key(key) => Reverse((key.created_at, key.id.clone())),
            Listed::Unreadable(key) => Reverse((key.created_at, key.id.clone())),
        };
        let mut keys: Vec<_> =
            page.keys.iter().map(|key| Listed::Key(Box::new(KeyView::new(key)))).collect();
        let unreadable = |key: &'a KeyCursor| Unreadable {
            id: &key.id,
            created_at: key.created_at,
            unreadable: true,
        };
        keys.extend(page.unreadable.iter().map(|key| Listed::Unreadable(unreadable(key))));
        if !page.unreadable.is_empty() {
            keys.sort_by_cached_key(place);
        }
        Self { keys, next_cursor }
    }
}

impl<'a> Shown<'a> {
    pub(super) fn new(record: &'a KeyRecord, key: Option<&'a PlainKey>) -> Self {
        let (role, permissions) = granted(record);
        Self {
            id: &record.id,
            key: key.map(PlainKey::expose),
            role: role.map(Role::as_str),
            label: record.label.as_deref(),
            permissions,
            created_at: record.created_at,
            expires_at: record.expires_at,
            metadata: &record.metadata,
            warning: None,
            old_key_until: None,
        }
    }

    /// Says until when the secret before works.
    pub(super) fn until(mut self, old_key_until: Option<Timestamp>) -> Self {
        self.old_key_until = old_key_until;
        self
    }

    /// A key that was issued elsewhere. Of a digest nobody can tell the shape.
    pub(super) fn imported(record: &'a KeyRecord, by_digest: bool, format: &KeyFormat) -> Self {
        Self { warning: warning(by_digest, format), ..Self::new(record, None) }
    }
}

/// What the operator should know of a key that is taken over.
pub(super) fn warning(by_digest: bool, format: &KeyFormat) -> Option<&'static str> {
    let foreign = "only a key of a shape of ours opens anything here: keys of foreign shape are \
                   not allowed";
    (by_digest && !format.allows_foreign()).then_some(foreign)
}

fn granted(record: &KeyRecord) -> (Option<Role>, Option<&Permissions>) {
    match &record.grant {
        Grant::Integrator { role, permissions } => (Some(*role), permissions.as_ref()),
        Grant::Payment { permissions, .. } => (None, permissions.as_ref()),
    }
}
