use std::sync::Weak;

use async_trait::async_trait;
use redis::ScriptInvocation;

use super::{
    RedisStore,
    row::{Fields, needed},
    scripts,
};
use crate::{
    apikey::{KeyAction, KeyDigest, KeyEvent, KeyRecord, Predecessor},
    domain::{Actor, KeyId, Timestamp},
    error::StoreError,
    store::{
        Change, ChangeListener, KeyCursor, KeyRegistry,
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
        if record.as_ref().is_some_and(|record| record.digests().all(|known| known != *digest)) {
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
        self.tell(&record.digests().collect::<Vec<_>>());
        Ok(())
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        self.revoke_because(id, None, by, at).await
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
    let cursor = cursor_text(&KeyCursor::of(record));
    let old = record.predecessor.as_ref();
    let old_digest = old.map_or(&[][..], |old| old.digest.as_bytes());
    call.arg(record.id.as_str()).arg(record.digest.as_bytes()).arg(record.kind().as_str());
    call.arg(old_digest).arg(&cursor).arg(micros_if_any(record.ends_at()));
    call.arg(event_text(&KeyEvent::new(KeyAction::Created, by, record.created_at)));

    for (name, value) in fields(record)? {
        if let Some(value) = value {
            call.arg(name).arg(value);
        }
    }
    Ok(())
}

/// A field of a hash, and what stands there.
type Field = (&'static str, Option<Vec<u8>>);

/// The fields of a key's hash.
pub(super) fn fields(record: &KeyRecord) -> Result<[Field; 20], StoreError> {
    let grant = StoredGrant::of(&record.grant)?;
    let old = record.predecessor.as_ref();
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let bytes = |text: Option<String>| text.map(String::into_bytes);
    let instant = |at: Option<Timestamp>| at.map(|at| at.as_micros().to_string().into_bytes());
    Ok([
        ("id", text(record.id.as_str())),
        ("digest", Some(record.digest.as_bytes().to_vec())),
        ("display", text(&record.display)),
        ("kind", text(record.kind().as_str())),
        ("place", text(&cursor_text(&KeyCursor::of(record)))),
        ("metadata", text(record.metadata.as_json())),
        ("created_at", instant(Some(record.created_at))),
        ("role", bytes(grant.role)),
        ("permissions", bytes(grant.permissions)),
        ("resource_id", bytes(grant.resource_id)),
        ("plan_id", bytes(grant.plan_id)),
        ("label", bytes(record.label.clone())),
        ("expires_at", instant(record.expires_at)),
        ("revoked_at", instant(record.revoked_at)),
        ("revoked_reason", bytes(record.revoked_reason.clone())),
        ("suspended_at", instant(record.suspended_at)),
        ("last_used_at", instant(record.last_used_at)),
        ("old_digest", old.map(|old| old.digest.as_bytes().to_vec())),
        ("old_display", old.and_then(|old| text(&old.display))),
        ("old_until", instant(old.map(|old| old.until))),
    ])
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
        revoked_reason: text("revoked_reason")?,
        suspended_at: fields.instant("suspended_at")?,
        predecessor: predecessor(fields)?,
    })
}

fn predecessor(fields: &Fields) -> Result<Option<Predecessor>, StoreError> {
    let Some(digest) = fields.array("old_digest")? else { return Ok(None) };
    let display = needed(fields.text("old_display")?, "old_display")?.to_owned();
    let until = needed(fields.instant("old_until")?, "old_until")?;
    Ok(Some(Predecessor { digest: KeyDigest::from_bytes(digest), display, until }))
}

pub(super) fn digest_of(bytes: &[u8]) -> Result<KeyDigest, StoreError> {
    bytes.try_into().map(KeyDigest::from_bytes).map_err(|_| bad("digest"))
}

/// A line of a history as it is kept.
pub(super) fn event_text(event: &KeyEvent) -> String {
    let KeyEvent { action, by, at, reason, .. } = event;
    let line = format!("{} {} {by}", action.as_str(), at.as_micros());
    match reason {
        Some(reason) => format!("{line} {reason}"),
        None => line,
    }
}

/// A cursor as it is kept: texts that sort as the cursors do.
pub(super) fn cursor_text(cursor: &KeyCursor) -> String {
    let KeyCursor { created_at, id } = cursor;
    format!("{}{id}", instant_text(*created_at))
}

/// An instant as it stands in cursors.
pub(super) fn instant_text(instant: Timestamp) -> String {
    format!("{:016x}", instant.as_micros().cast_unsigned() ^ (1 << 63))
}

/// The instant of a cursor, and what follows.
pub(super) fn read_cursor<'a>(
    text: &'a str,
    name: &'static str,
) -> Result<(Timestamp, &'a str), StoreError> {
    let (instant, rest) = text.split_at_checked(16).ok_or_else(|| bad(name))?;
    let bits = u64::from_str_radix(instant, 16).map_err(|_| bad(name))?;
    Ok((Timestamp::from_micros((bits ^ (1 << 63)).cast_signed()), rest))
}

/// The number, or nothing, as the scripts take it.
pub(super) fn micros_if_any(instant: Option<Timestamp>) -> String {
    instant.map(|instant| instant.as_micros().to_string()).unwrap_or_default()
}
