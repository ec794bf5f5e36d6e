use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::{
    Operator,
    body::{self, Reply, invalid, outage},
    keys::{self, KeysApi},
    query::Query,
    rejected::Budget,
};
use crate::{
    Policy, Rejection, RejectionKind,
    domain::{Clock, SystemClock, Timestamp},
    error::StoreError,
    store::{
        AuditCursor, AuditEvent, AuditLog, AuditPage, AuditQuery, spi::UnreadableEvent,
        steady::SteadyClock,
    },
};

/// How long a read may take: as long as one of a credential.
const READ_DEADLINE: Duration = Duration::from_millis(500);
/// How long events outlive their keys.
const RETENTION: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How many pages are read at a time: one can look through thousands of events.
const LISTINGS_AT_ONCE: usize = 1;
const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

const MASTERS_ONLY: &str = "Only a master API key can read the audit log";

/// `/audit`: what was done to keys and purchases, by whom and why. Cheap to clone.
///
/// A page is one JSON object on each line (`application/x-ndjson`), the oldest event first:
///
/// ```json
/// {"at":"2026-11-29T12:00:00.000Z","action":"revoked","kind":"key",
///  "id":"01a22919-069a-7507-bc5c-d4c013fee99f","display":"ak_1a2B…","label":"acme",
///  "actor":"bootstrap-master-ada","actorId":"bootstrap-master-ada","reason":"leaked"}
/// ```
///
/// `actor` is the label of whoever did it, else the same as `actorId`: the id of a key, or a name as
/// `host`. The header `Link` (RFC 8288) says where to go on: with `rel="next"` while there may be
/// another page, and with `rel="monitor"` (RFC 5989) at the end, for what happens later. Whoever follows
/// it meets every event once.
///
/// Events are kept for a year after their key is purged, all others for 13 months.
///
/// What is `rejected` at an endpoint for operators is told, too: of one caller or address three a minute
/// and 60 an hour in all, the rest as one number an hour. Its `kind` is `administration`, its `id` the
/// route. `actor` is the key that was sent, else `anonymous`; `reason` is the refusal, the method, and
/// whence it came where that is known. The adapters' `audit_rejections` do it for the routes they are
/// given, [`note_counted`](Self::note_counted) notes the number.
///
/// The adapters mount it behind [`policy`](Self::policy) and [`wording`](Self::wording).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::{MemoryStore, api::{AuditApi, Operator}};
///
/// let audit = AuditApi::new(Arc::new(MemoryStore::new()));
/// let page = audit.list(&Operator::host(), Some("since=2026-11-29T00:00:00Z")).await?;
/// assert!(page.body.is_empty(), "nothing was done yet");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct AuditApi {
    pub(super) log: Arc<dyn AuditLog>,
    pub(super) steady: SteadyClock,
    listings: Arc<Semaphore>,
    pub(super) rejected: Arc<Mutex<Budget>>,
}

impl AuditApi {
    /// For what this store has noted.
    pub fn new(log: Arc<dyn AuditLog>) -> Self {
        let steady = SteadyClock::new(Arc::new(SystemClock));
        let listings = Arc::new(Semaphore::new(LISTINGS_AT_ONCE));
        Self { log, steady, listings, rejected: Arc::default() }
    }

    /// Sets where the time comes from; the system's clock by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.steady = SteadyClock::new(clock);
        self
    }

    /// What the caller must be: the holder of a master key.
    pub fn policy() -> Policy {
        KeysApi::policy()
    }

    /// The texts that this API has for refusals of the credential.
    pub fn wording(kind: RejectionKind) -> Option<&'static str> {
        match kind {
            RejectionKind::InsufficientPermissions => Some(MASTERS_ONLY),
            kind => KeysApi::wording(kind),
        }
    }

    /// `GET /audit`: a page of events, the oldest first. `query` is the query of the URL, as it was
    /// sent: `since`, an instant in ISO 8601, `limit` and `cursor`.
    ///
    /// An event that this version can't read is listed by where it stands, as `"unreadable": true`.
    ///
    /// Before the end a page can be short, even empty: the store bounds how many events before `since`
    /// it passes by for one page.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request.
    pub async fn list(&self, operator: &Operator, query: Option<&str>) -> Result<Reply, Rejection> {
        operator.check_may_change().map_err(|rejection| rejection.detail(MASTERS_ONLY))?;
        let query = parse(query)?;
        // The permit is held until the answer is written down.
        let page = body::within(READ_DEADLINE, async {
            let permit = self.listings.acquire().await;
            Ok((permit, self.log.events(&query).await.map_err(outage)?))
        });
        let (_permit, page) = page.await?;
        let lines = lines(&page).into_iter();
        let relation = if page.more { "next" } else { "monitor" };
        let link = format!("<?{}>; rel=\"{relation}\"", continued(&query, page.next));
        Ok(Reply::json_lines(lines).header("link", link))
    }

    /// Removes events that have outlived their keys by a year, and others that are as old, up to `limit` or
    /// those of so many keys, and says how many. To be called every now and then. None while the clock is in
    /// doubt: it was first seen, or set by more than two minutes, within the last hour.
    ///
    /// # Errors
    ///
    /// Fails when the store can't.
    pub async fn purge(&self, limit: u32) -> Result<u32, StoreError> {
        let Some(now) = self.steady.believed() else { return Ok(0) };
        // As it purges keys: a key that is purged has been over for so long.
        let before = now.minus(keys::RETENTION).minus(RETENTION);
        self.log.purge_events(before, limit).await
    }
}

/// What a page holds, in the order of the log.
fn lines(page: &AuditPage) -> Vec<Shown<'_>> {
    let mut lines: Vec<_> =
        page.events.iter().map(|event| Shown::Event(Line::new(event))).collect();
    for UnreadableEvent { cursor: AuditCursor { transaction, event }, place } in
        page.unreadable.iter().rev()
    {
        let id = format!("{transaction}-{event}");
        lines.insert((*place).min(lines.len()), Shown::Unreadable { id, unreadable: true });
    }
    lines
}

/// A line of the answer.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Event(Line<'a>),
    /// By where it stands in the store: nothing else of it is known for sure.
    Unreadable {
        id: String,
        unreadable: bool,
    },
}

/// An event as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    at: Timestamp,
    action: &'a str,
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    display: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    actor: &'a str,
    actor_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn new(event: &'a AuditEvent) -> Self {
        let by = event.by.as_str();
        Self {
            at: event.at,
            action: &event.action,
            kind: event.subject.kind(),
            id: event.subject.id(),
            display: event.display.as_deref(),
            label: event.label.as_deref(),
            actor: event.by_label.as_deref().unwrap_or(by),
            actor_id: by,
            reason: event.reason.as_deref(),
        }
    }
}

fn parse(query: Option<&str>) -> Result<AuditQuery, Rejection> {
    let query = Query::new(query);
    // As it stands in the link to the next page.
    let to_millis = |at: Timestamp| Timestamp::from_micros(at.as_micros() / 1_000 * 1_000);
    let since = query.parsed("since", str::parse::<Timestamp>)?.map(to_millis);
    let limit = query.number("limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let after = query.get("cursor")?.map(|cursor| read_cursor(&cursor, since)).transpose()?;
    Ok(AuditQuery { since, after: after.unwrap_or_default(), limit })
}

/// The query of the page that follows.
fn continued(query: &AuditQuery, after: AuditCursor) -> String {
    let since = query.since.map(|since| format!("since={since}&")).unwrap_or_default();
    format!("{since}limit={}&cursor={}", query.limit, cursor(after, query.since))
}

/// A cursor as a caller is handed it: opaque, and of no use in another listing.
fn cursor(cursor: AuditCursor, since: Option<Timestamp>) -> String {
    let mut bytes = cursor.transaction.to_be_bytes().to_vec();
    bytes.extend_from_slice(&cursor.event.to_be_bytes());
    bytes.extend_from_slice(&checksum(&bytes, since));
    URL_SAFE_NO_PAD.encode(bytes)
}

fn read_cursor(text: &str, since: Option<Timestamp>) -> Result<AuditCursor, Rejection> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (cursor, sum) = bytes.split_last_chunk::<4>()?;
        if *sum != checksum(cursor, since) {
            return None;
        }
        let (transaction, event) = cursor.split_first_chunk::<8>()?;
        let event = u64::from_be_bytes(event.try_into().ok()?);
        Some(AuditCursor { transaction: u64::from_be_bytes(*transaction), event })
    };
    read().ok_or_else(|| invalid("cursor is not one of this listing"))
}

/// Tells a tampered cursor, and one of another listing, from a good one.
fn checksum(cursor: &[u8], since: Option<Timestamp>) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(b"audit");
    if let Some(since) = since {
        hasher.update(&since.as_micros().to_be_bytes());
    }
    hasher.update(cursor);
    hasher.finalize().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_in_its_own_listing_alone() {
        let query = parse(Some("since=2026-11-29T12:00:00.123Z&limit=7")).expect("legal");
        let after = AuditCursor { transaction: 7, event: u64::MAX };
        let next = parse(Some(&continued(&query, after))).expect("legal");
        assert_eq!(next, AuditQuery { after, ..query });

        let text = cursor(after, query.since);
        for other in ["", "since=2026-11-29T12:00:00.124Z&"] {
            assert!(parse(Some(&format!("{other}cursor={text}"))).is_err(), "{other}");
        }
        for byte in 0..text.len() {
            let mut bent = text.clone().into_bytes();
            bent[byte] = if bent[byte] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bent).expect("ASCII");
            assert!(read_cursor(&bent, query.since).is_err(), "{bent}");
        }
        for bad in ["cursor=x", "since=yesterday", "limit=0", "limit=1001"] {
            assert!(parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
