use std::fmt;

use async_trait::async_trait;

#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
use crate::error::StoreErrorKind;
use crate::{
    apikey::KeyEvent,
    domain::{Actor, ChallengeId, KeyId, RouteName, Timestamp},
    error::StoreError,
};

/// What was done to keys and purchases, by whom and why, in one order for all; and what was refused.
///
/// Every event is kept in the transaction of what it tells. It is the same store as the
/// [`KeyRegistry`](super::KeyRegistry) and the [`PurchaseStore`](super::PurchaseStore).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::{MemoryStore, store::{AuditLog, spi::{AuditCursor, AuditQuery}}};
///
/// let store = MemoryStore::new();
/// let first = AuditQuery { since: None, after: AuditCursor::default(), limit: 100 };
/// let page = store.events(&first).await?;
/// assert!(page.events.is_empty(), "nothing was done yet");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait AuditLog: fmt::Debug + Send + Sync + 'static {
    /// A page of events, the oldest first. Whoever goes on at [`next`](AuditPage::next) meets every
    /// event once, whatever is noted between the pages: no event turns up before a cursor that was
    /// handed out. A store may show an event some moments after it happened.
    ///
    /// A page can hold fewer events than asked for although more follow: a store may bound how many it
    /// looks through for one page.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell.
    async fn events(&self, query: &AuditQuery) -> Result<AuditPage, StoreError>;

    /// Notes that a request of administration was rejected, as
    /// [`AuditEvent::of_rejection`] tells it.
    ///
    /// # Errors
    ///
    /// Fails when the store can't.
    async fn note_rejection(&self, rejection: &AuditEvent) -> Result<(), StoreError>;

    /// Removes up to `limit` events, or all events of up to so many keys, and says how many: those of
    /// keys that were [purged](super::KeyRegistry::purge_keys) with an earlier `before` than this one,
    /// and the others that happened before it.
    ///
    /// # Errors
    ///
    /// Fails when the store can't; some may be removed then.
    async fn purge_events(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError>;
}

/// Which events to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only those that happened then or later.
    pub since: Option<Timestamp>,
    /// Only those that come after this cursor.
    pub after: AuditCursor,
    /// How many at most; at least 1.
    pub limit: u32,
}

/// A point in the order of all events. The default is before all of them. What the numbers mean is
/// the store's own matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditCursor {
    /// The transaction, where a store tells them apart, or the first half of where the event stands.
    pub transaction: u64,
    /// The event.
    pub event: u64,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// The events, the oldest first.
    pub events: Vec<AuditEvent>,
    /// Those that this version can't read. They count for the page's length, and stand in none of
    /// [`events`](Self::events).
    pub unreadable: Vec<UnreadableEvent>,
    /// Where the next page begins. On the last one, where that begins which happens later.
    pub next: AuditCursor,
    /// Whether there may be another page by now.
    pub more: bool,
}

/// An event that this version can't read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableEvent {
    /// Where it stands.
    pub cursor: AuditCursor,
    /// How many of the page's [`events`](AuditPage::events) come before it.
    pub place: usize,
}

/// Something that was done. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// When.
    pub at: Timestamp,
    /// What: the name of a [`KeyAction`](crate::apikey::KeyAction), of a purchase `revoked`,
    /// `retried` and `settled`, or `rejected`. A text, so that events of newer versions can be shown.
    pub action: String,
    /// To what.
    pub subject: AuditSubject,
    /// What may be shown of the key, as `ak_1a2B…`.
    pub display: Option<String>,
    /// The label of the key.
    pub label: Option<String>,
    /// Who did it.
    pub by: Actor,
    /// The label of the key of whoever did it, as long as its record is there.
    pub by_label: Option<String>,
    /// Why, where that was said; of an edit, the names of what was changed.
    pub reason: Option<String>,
}

/// What an event tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditSubject {
    /// This key.
    Key(KeyId),
    /// The purchase of this challenge; without one, of this request.
    Purchase(ChallengeId),
    /// What this route administers.
    Administration(RouteName),
}

impl AuditSubject {
    /// `key`, `purchase` or `administration`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Purchase(_) => "purchase",
            Self::Administration(_) => "administration",
        }
    }

    /// Whether its events are kept until it is purged, and longer; others go by themselves.
    pub(crate) const fn is_key(&self) -> bool {
        matches!(self, Self::Key(_))
    }

    /// The id of the key or purchase, or the route.
    pub fn id(&self) -> &str {
        match self {
            Self::Key(id) => id.as_str(),
            Self::Purchase(id) => id.as_str(),
            Self::Administration(route) => route.as_str(),
        }
    }

    /// One that was stored; no kind is a key's.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn stored(kind: Option<&str>, id: &str) -> Result<Self, StoreError> {
        use super::stored::{bad, parsed};
        match kind {
            None => Ok(Self::Key(parsed(id, "key_id")?)),
            Some("purchase") => Ok(Self::Purchase(parsed(id, "key_id")?)),
            Some("administration") => Ok(Self::Administration(parsed(id, "key_id")?)),
            Some(_) => Err(bad("kind")),
        }
    }
}

impl AuditEvent {
    /// An event of a key.
    pub fn of_key(id: &KeyId, event: &KeyEvent) -> Self {
        let KeyEvent { action, by, at, reason } = event;
        let subject = AuditSubject::Key(id.clone());
        Self { reason: reason.clone(), ..Self::new(*at, action.as_str(), subject, by) }
    }

    /// An event of a purchase.
    pub fn of_purchase(
        id: &ChallengeId,
        action: &str,
        by: &Actor,
        at: Timestamp,
        reason: Option<&str>,
    ) -> Self {
        let subject = AuditSubject::Purchase(id.clone());
        Self { reason: reason.map(str::to_owned), ..Self::new(at, action, subject, by) }
    }

    /// An event of a request of administration that was rejected.
    pub fn of_rejection(route: &RouteName, by: &Actor, at: Timestamp, reason: &str) -> Self {
        let subject = AuditSubject::Administration(route.clone());
        Self { reason: Some(reason.to_owned()), ..Self::new(at, "rejected", subject, by) }
    }

    fn new(at: Timestamp, action: &str, subject: AuditSubject, by: &Actor) -> Self {
        let (action, by) = (action.to_owned(), by.clone());
        let (display, label, by_label, reason) = (None, None, None, None);
        Self { at, action, subject, display, label, by, by_label, reason }
    }
}

impl AuditPage {
    /// A page of which nothing was found yet.
    pub(crate) fn begun(query: &AuditQuery) -> Self {
        let (events, unreadable) = (Vec::new(), Vec::new());
        Self { events, unreadable, next: query.after, more: false }
    }

    /// Adds what was found. What can't be read must hide no other.
    #[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite"))]
    pub(crate) fn take(
        &mut self,
        read: Result<AuditEvent, StoreError>,
        cursor: AuditCursor,
    ) -> Result<(), StoreError> {
        match read {
            Ok(event) => self.events.push(event),
            Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                #[cfg(feature = "tracing")]
                tracing::error!(
                    error = crate::error::chain(&error),
                    ?cursor,
                    "an event can't be read"
                );
                self.unreadable.push(UnreadableEvent { cursor, place: self.events.len() });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// How many events it has.
    #[cfg(any(feature = "redis", feature = "sqlite"))]
    pub(crate) fn len(&self) -> usize {
        self.events.len() + self.unreadable.len()
    }
}

impl AuditQuery {
    /// Whether an event of this instant is asked for.
    pub fn admits(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since)
    }
}
