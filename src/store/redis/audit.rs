use async_trait::async_trait;

use super::{RedisStore, keys::micros_if_any, row::micros, scripts};
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{
        AuditCursor, AuditEvent, AuditLog, AuditPage, AuditQuery, AuditSubject,
        stored::{bad, parsed},
    },
};

/// How many events are looked through for one page.
const MOST_LOOKED_THROUGH: usize = 10_000;
/// How many of them by one script: Redis does nothing else meanwhile.
const LOOKED_THROUGH_AT_ONCE: usize = 1_000;
/// How long each of the two parts of a position is, in hexadecimal digits.
const PART: usize = 16;

/// An event, what may be shown of its key, the key's label, and that of whoever did it.
type Found = (String, String, String, String);

#[async_trait]
impl AuditLog for RedisStore {
    // Pages go with the writes, so that none stands in front of a lookup.
    async fn events(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let deadline = self.write_deadline();
        let limit = query.limit as usize;
        let mut page = AuditPage { more: true, ..AuditPage::begun(query) };
        let mut looked_through = 0;
        while page.more && page.len() < limit && looked_through < MOST_LOOKED_THROUGH {
            let wanted = match query.since {
                Some(_) => LOOKED_THROUGH_AT_ONCE,
                None => LOOKED_THROUGH_AT_ONCE.min(limit - page.len()),
            };
            let mut call = self.call(&scripts::EVENTS);
            call.arg(after(page.next));
            call.arg(wanted).arg(micros_if_any(query.since));
            let (count, last, found): (i64, String, Vec<Found>) =
                self.write_until(&call, deadline).await?;
            let Ok(count) = usize::try_from(count) else {
                let why = "the events of an older version are not listed yet";
                return Err(StoreError::unavailable(why));
            };
            looked_through += count;
            page.more = count == wanted;
            let fits = limit - page.len();
            for found in found.iter().take(fits) {
                page.take(read(found), cursor(&found.0)?)?;
            }
            if found.len() > fits {
                page.next = cursor(&found[fits - 1].0)?;
                page.more = true;
            } else if !last.is_empty() {
                page.next = cursor(&last)?;
            }
        }
        Ok(page)
    }

    async fn note_rejection(&self, rejection: &AuditEvent) -> Result<(), StoreError> {
        let mut call = self.call(&scripts::NOTE_REJECTION);
        call.arg(rejection.subject.id()).arg(event_text(rejection));
        self.write(&call).await
    }

    async fn purge_events(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        let mut call = self.call(&scripts::PURGE_EVENTS);
        call.arg(before.as_micros()).arg(limit);
        self.write(&call).await
    }
}

/// Where a page begins. Events of this version have no second part.
fn after(cursor: AuditCursor) -> String {
    let AuditCursor { transaction: first, event: second } = cursor;
    match second.checked_add(1) {
        Some(next) if first >> 60 == 0 => format!("[{first:016x}{next:016x}"),
        _ => format!("[{:016x}", first.saturating_add(1)),
    }
}

/// The position of an event, and what follows.
pub(super) fn split(event: &str) -> (&str, &str) {
    event.split_at(event.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(event.len()))
}

fn cursor(event: &str) -> Result<AuditCursor, StoreError> {
    let (position, _) = split(event);
    let (first, second) = position.split_at_checked(PART).ok_or_else(|| bad("event"))?;
    let number = |part| u64::from_str_radix(part, 16).map_err(|_| bad("event"));
    let event = if second.is_empty() { 0 } else { number(second)? };
    Ok(AuditCursor { transaction: number(first)?, event })
}

fn read((event, display, label, by_label): &Found) -> Result<AuditEvent, StoreError> {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let mut parts = split(event).1.splitn(5, ' ');
    let (Some(subject), Some(action), Some(at), Some(by)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("event"));
    };
    let subject = match subject.split_at_checked(1) {
        Some(("k", id)) => AuditSubject::stored(None, id)?,
        Some(("r", id)) => AuditSubject::stored(Some("administration"), id)?,
        Some(("p", id)) => AuditSubject::stored(Some("purchase"), id)?,
        _ => return Err(bad("event")),
    };
    Ok(AuditEvent {
        at: micros(at, "at")?,
        action: action.to_owned(),
        subject,
        display: text(display),
        label: text(label),
        by: parsed(by, "actor")?,
        by_label: text(by_label),
        reason: parts.next().map(str::to_owned),
    })
}

/// The line of an event as it is kept.
pub(super) fn event_text(event: &AuditEvent) -> String {
    let AuditEvent { action, by, at, reason, .. } = event;
    let line = format!("{action} {} {by}", at.as_micros());
    match reason {
        Some(reason) => format!("{line} {reason}"),
        None => line,
    }
}
