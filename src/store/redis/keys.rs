use std::sync::Weak;

use async_trait::async_trait;
use redis::ScriptInvocation;

use super::{
    RedisStore,
    row::{Fields, needed},
    scripts,
};
use crate::{
    apikey::{KeyAction, KeyDigest, KeyEvent, KeyRecord},
    domain::{Actor, KeyId, Timestamp},
    error::StoreError,
    store::{
        Change, ChangeListener, KeyCursor,
        keys::KeyStore,
        stored::{StoredGrant, bad, metadata},
    },
};

#[async_trait]
impl KeyStore for RedisStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        let mut call = self.call(&scripts::FIND);
        call.arg(digest.as_bytes());
        let found: Option<Vec<Vec<u8>>> = self.read(&call).await?;
        let record = found.map(|fields| record(&Fields::new(fields))).transpose()?;
        if record.as_ref().is_some_and(|record| record.digest != *digest) {
            return Err(bad("digest"));
        }
        Ok(record)
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let mut call = self.call(&scripts::GET);
        call.arg(id.as_str());
        let found: Option<Vec<Vec<u8>>> = self.read(&call).await?;
        found.map(|fields| record(&Fields::new(fields))).transpose()
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        let mut call = self.call(&scripts::INSERT);
        add_arguments(&mut call, record, by)?;
        let () = self.write(&call).await?;
        self.tell(&[record.digest]);
        Ok(())
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        let mut call = self.call(&scripts::REVOKE);
        call.arg(id.as_str()).arg(at.as_micros());
        call.arg(event_text(&KeyEvent::new(KeyAction::Revoked, by, at)));
        let digest: Option<Vec<u8>> = self.write(&call).await?;
        let digest = digest.as_deref().map(digest_of).transpose()?;
        self.tell(digest.as_slice());
        Ok(digest)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.probe().await
    }

    fn hears_changes(&self) -> bool {
        self.shared.feed.hears()
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.shared.listeners.add(listener);
    }
}

impl RedisStore {
    /// Tells the listeners of keys that were just changed.
    pub(super) fn tell(&self, digests: &[KeyDigest]) {
        let changes: Vec<_> = digests.iter().copied().map(Change::Key).collect();
        self.shared.listeners.tell(&changes);
    }
}

/// What the scripts' `add_key` takes.
pub(super) fn add_arguments(
    call: &mut ScriptInvocation<'_>,
    record: &KeyRecord,
    by: &Actor,
) -> Result<(), StoreError> {
    let grant = StoredGrant::of(&record.grant)?;
    let cursor = cursor_text(&KeyCursor::of(record));
    call.arg(record.id.as_str()).arg(record.digest.as_bytes()).arg(record.kind().as_str());
    call.arg(&cursor).arg(micros_if_any(record.ends_at()));
    call.arg(event_text(&KeyEvent::new(KeyAction::Created, by, record.created_at)));

    call.arg("id").arg(record.id.as_str()).arg("digest").arg(record.digest.as_bytes());
    call.arg("display").arg(&record.display).arg("kind").arg(record.kind().as_str());
    call.arg("place").arg(&cursor).arg("metadata").arg(record.metadata.as_json());
    call.arg("created_at").arg(record.created_at.as_micros());
    for (name, text) in [
        ("role", &grant.role),
        ("permissions", &grant.permissions),
        ("resource_id", &grant.resource_id),
        ("plan_id", &grant.plan_id),
        ("label", &record.label),
    ] {
        if let Some(text) = text {
            call.arg(name).arg(text);
        }
    }
    for (name, instant) in [
        ("expires_at", record.expires_at),
        ("revoked_at", record.revoked_at),
        ("last_used_at", record.last_used_at),
    ] {
        if let Some(instant) = instant {
            call.arg(name).arg(instant.as_micros());
        }
    }
    Ok(())
}

pub(super) fn record(fields: &Fields) -> Result<KeyRecord, StoreError> {
    let text = |name| fields.text(name).map(|text| text.map(str::to_owned));
    let grant = StoredGrant {
        role: text("role")?,
        permissions: text("permissions")?,
        resource_id: text("resource_id")?,
        plan_id: text("plan_id")?,
    };
    Ok(KeyRecord {
        id: needed(fields.parsed("id")?, "id")?,
        digest: KeyDigest::from_bytes(needed(fields.array("digest")?, "digest")?),
        display: needed(text("display")?, "display")?,
        grant: grant.understood(fields.text("kind")?.unwrap_or_default())?,
        label: text("label")?,
        metadata: needed(fields.text("metadata")?.map(metadata).transpose()?, "metadata")?,
        created_at: needed(fields.instant("created_at")?, "created_at")?,
        expires_at: fields.instant("expires_at")?,
        revoked_at: fields.instant("revoked_at")?,
        last_used_at: fields.instant("last_used_at")?,
    })
}

pub(super) fn digest_of(bytes: &[u8]) -> Result<KeyDigest, StoreError> {
    bytes.try_into().map(KeyDigest::from_bytes).map_err(|_| bad("digest"))
}

/// A line of a history as it is kept.
pub(super) fn event_text(event: &KeyEvent) -> String {
    format!("{} {} {}", event.action.as_str(), event.at.as_micros(), event.by)
}

/// A cursor as it is kept: texts that sort as the cursors do.
pub(super) fn cursor_text(cursor: &KeyCursor) -> String {
    let KeyCursor { created_at, id } = cursor;
    format!("{:016x}{id}", created_at.as_micros().cast_unsigned() ^ (1 << 63))
}

/// The number, or nothing, as the scripts take it.
pub(super) fn micros_if_any(instant: Option<Timestamp>) -> String {
    instant.map(|instant| instant.as_micros().to_string()).unwrap_or_default()
}
