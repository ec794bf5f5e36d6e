use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    RedisStore,
    keys::{self, cursor_text, digest_of, event_text},
    row::{Fields, micros},
    scripts,
};
use crate::{
    apikey::{KeyAction, KeyEvent},
    domain::{Actor, KeyId, Timestamp},
    error::StoreError,
    store::{
        KeyCursor, KeyPage, KeyQuery, KeyRegistry, Rotation,
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
        let Rotation { old, new, display } = rotation;
        let mut call = self.call(&scripts::ROTATE);
        call.arg(id.as_str()).arg(old.as_bytes()).arg(new.as_bytes()).arg(display);
        call.arg(event_text(&KeyEvent::new(KeyAction::Rotated, by, at)));
        let rotated: bool = self.write(&call).await?;
        if rotated {
            self.tell(&[*old, *new]);
        }
        Ok(rotated)
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
    let (instant, id) = text.split_at_checked(16).ok_or_else(|| bad("place"))?;
    let bits = u64::from_str_radix(instant, 16).map_err(|_| bad("place"))?;
    let created_at = Timestamp::from_micros((bits ^ (1 << 63)).cast_signed());
    Ok(KeyCursor { created_at, id: parsed(id, "place")? })
}

fn event(line: &str) -> Result<KeyEvent, StoreError> {
    let mut parts = line.splitn(3, ' ');
    let (Some(action), Some(at), Some(by)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad("event"));
    };
    let by: Actor = parsed(by, "actor")?;
    Ok(KeyEvent::new(parsed(action, "action")?, &by, micros(at, "at")?))
}
