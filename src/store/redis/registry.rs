use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    RedisStore,
    keys::{self, cursor_text, digest_of, event_text},
    row::{Fields, micros},
    scripts,
};
use crate::{
    apikey::{KeyAction, KeyDigest, KeyEvent, KeyRecord},
    domain::{Actor, KeyId, PlanId, ResourceId, Timestamp},
    error::StoreError,
    store::{
        KeyCursor, KeyEdit, KeyFilter, KeyPage, KeyQuery, KeyRegistry, Rotation,
        registry::Listed,
        stored::{bad, parsed},
    },
};

/// How many keys are looked through for one page.
const MOST_LOOKED_THROUGH: usize = 10_000;
/// How many of them by one script: Redis does nothing else meanwhile.
const LOOKED_THROUGH_AT_ONCE: usize = 1_000;
/// From so many bytes on, a page ends.
const MOST_BYTES: usize = 4 << 20;
/// What an edit writes; what is empty is removed.
const EDITED: [&str; 6] =
    ["role", "permissions", "label", "metadata", "expires_at", "suspended_at"];
/// How many keys are purged by one script.
const PURGED_AT_ONCE: u32 = 500;

#[async_trait]
impl KeyRegistry for RedisStore {
    // Pages and histories go with the writes, so that none stands in front of a lookup.
    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        let deadline = self.write_deadline();
        let limit = query.limit as usize;
        let (mut listed, mut next) = (Vec::new(), query.after.clone());
        let (mut looked_through, mut bytes) = (0, 0);
        while looked_through < MOST_LOOKED_THROUGH && bytes < MOST_BYTES {
            // One more than asked for tells whether another page follows.
            let wanted = limit + 1 - listed.len();
            let part = self.part(query, next.as_ref(), wanted, deadline).await?;
            looked_through += part.looked_through;
            bytes += part.bytes;
            listed.extend(part.listed);
            next = part.next;
            if listed.len() > limit {
                listed.truncate(limit);
                next = listed.last().map(Listed::cursor);
                break;
            }
            if next.is_none() {
                break;
            }
        }
        Ok(KeyPage::of(listed, next))
    }

    async fn history(&self, id: &KeyId, limit: u32) -> Result<Vec<KeyEvent>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut call = self.call(&scripts::HISTORY);
        call.arg(id.as_str()).arg(limit);
        let lines: Vec<String> = self.write(&call).await?;
        lines.iter().map(|line| event(line)).collect()
    }

    async fn rotate(
        &self,
        id: &KeyId,
        rotation: &Rotation,
        by: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let Rotation { old, new, display, old_until } = rotation;
        let mut call = self.call(&scripts::ROTATE);
        call.arg(id.as_str()).arg(old.as_bytes()).arg(new.as_bytes()).arg(display);
        call.arg(event_text(&KeyEvent::new(KeyAction::Rotated, by, at)));
        call.arg(keys::micros_if_any(*old_until));
        let (rotated, older): (bool, Vec<u8>) = self.write(&call).await?;
        if rotated {
            let older = if older.is_empty() { None } else { Some(digest_of(&older)?) };
            self.tell(&older.into_iter().chain([*old, *new]).collect::<Vec<_>>());
        }
        Ok(rotated)
    }

    async fn edit(
        &self,
        id: &KeyId,
        edit: &KeyEdit,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let deadline = self.write_deadline();
        loop {
            let mut call = self.call(&scripts::GET);
            call.arg(id.as_str());
            let found: Option<Vec<Vec<u8>>> = self.write_until(&call, deadline).await?;
            let Some(found) = found.map(Fields::new) else { return Ok(None) };
            let mut record = keys::record(&found)?;
            if record.revoked_at.is_some() {
                return Ok(None);
            }
            let events = edit.apply(&mut record, by, at);
            let mut call = self.call(&scripts::EDIT);
            call.arg(id.as_str()).arg(found.bytes("edits").unwrap_or_default());
            call.arg(found.bytes("digest").unwrap_or_default());
            call.arg(keys::micros_if_any(record.ends_at())).arg(events.len());
            for event in &events {
                call.arg(event_text(event));
            }
            for (name, value) in keys::fields(&record)? {
                if EDITED.contains(&name) {
                    call.arg(name).arg(value.unwrap_or_default());
                }
            }
            // Where somebody else was faster, once more from the start.
            let edited: bool = self.write_until(&call, deadline).await?;
            if edited {
                self.tell(&record.digests().collect::<Vec<_>>());
                return Ok(Some(record));
            }
        }
    }

    async fn revoke_because(
        &self,
        id: &KeyId,
        reason: Option<&str>,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        let mut call = self.call(&scripts::REVOKE);
        call.arg(id.as_str()).arg(at.as_micros());
        call.arg(event_text(&KeyEvent::new(KeyAction::Revoked, by, at).because(reason)));
        if let Some(reason) = reason {
            call.arg(reason);
        }
        let digests: Vec<Vec<u8>> = self.write(&call).await?;
        let digests =
            digests.iter().map(|bytes| digest_of(bytes)).collect::<Result<Vec<_>, _>>()?;
        self.tell(&digests);
        Ok(digests.first().copied())
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        let mut call = self.call(&scripts::TOUCH);
        for (id, used_at) in uses {
            call.arg(id.as_str()).arg(used_at.as_micros());
        }
        self.write(&call).await
    }

    async fn purge_keys(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        let mut removed = 0;
        while removed < limit {
            let most = PURGED_AT_ONCE.min(limit - removed);
            let mut call = self.call(&scripts::PURGE_KEYS);
            call.arg(before.as_micros()).arg(most);
            let (count, digests): (u32, Vec<Vec<u8>>) = self.write(&call).await?;
            let digests =
                digests.iter().map(|bytes| digest_of(bytes)).collect::<Result<Vec<_>, _>>()?;
            self.tell(&digests);
            removed += count;
            if count < most {
                break;
            }
        }
        Ok(removed)
    }
}

/// What one look through the listing has found.
struct Part {
    listed: Vec<Listed>,
    /// Where it stopped; `None` where nothing follows.
    next: Option<KeyCursor>,
    looked_through: usize,
    bytes: usize,
}

impl RedisStore {
    async fn part(
        &self,
        query: &KeyQuery,
        after: Option<&KeyCursor>,
        wanted: usize,
        deadline: Instant,
    ) -> Result<Part, StoreError> {
        let mut call = self.call(&scripts::LIST);
        call.arg(query.kind.as_str());
        call.arg(
            after.map_or_else(|| "+".to_owned(), |cursor| format!("({}", cursor_text(cursor))),
        );
        call.arg(keys::micros_if_any(query.in_force_at));
        call.arg(wanted).arg(LOOKED_THROUGH_AT_ONCE).arg(MOST_BYTES);
        let KeyFilter { label, prefix, plan_id, resource_id, idle_since } = &query.filter;
        let equal = [
            ("label", label.as_deref()),
            ("plan_id", plan_id.as_ref().map(PlanId::as_str)),
            ("resource_id", resource_id.as_ref().map(ResourceId::as_str)),
        ];
        call.arg(prefix.as_deref().unwrap_or_default()).arg(keys::micros_if_any(*idle_since));
        for (name, wanted) in equal {
            if let Some(wanted) = wanted {
                call.arg(name).arg(wanted);
            }
        }
        let (looked_through, last, found): (usize, String, Vec<Vec<Vec<u8>>>) =
            self.write_until(&call, deadline).await?;
        let bytes = found.iter().flatten().map(Vec::len).sum();
        let next = if last.is_empty() { None } else { Some(cursor(&last)?) };
        let mut listed = Vec::new();
        for fields in found {
            let fields = Fields::new(fields);
            let cursor = || cursor(fields.text("place")?.unwrap_or_default());
            listed.extend(Listed::read(keys::record(&fields), cursor)?);
        }
        Ok(Part { listed, next, looked_through, bytes })
    }
}

fn cursor(text: &str) -> Result<KeyCursor, StoreError> {
    let (created_at, id) = keys::read_cursor(text, "place")?;
    Ok(KeyCursor { created_at, id: parsed(id, "place")? })
}

/// A line of a history, which has the event's position before it unless an older version wrote it.
fn event(line: &str) -> Result<KeyEvent, StoreError> {
    let position = match line.as_bytes().first() {
        Some(b'0') => 32,
        Some(b'1') => 16,
        _ => 0,
    };
    let line = line.get(position..).unwrap_or_default();
    let mut parts = line.splitn(4, ' ');
    let (Some(action), Some(at), Some(by)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad("event"));
    };
    let by: Actor = parsed(by, "actor")?;
    Ok(KeyEvent::new(parsed(action, "action")?, &by, micros(at, "at")?).because(parts.next()))
}
