//! The newest refusals, kept in memory, and `GET /refusals`, which shows them to operators.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    response::IntoResponse,
    routing::get,
};
use http::header::CACHE_CONTROL;
use key0_auth::{Rejection, domain::Timestamp};
use serde::{Serialize, Serializer};

use crate::query::Query;

/// How many are remembered in which a caller is known.
const KNOWN: usize = 8_000;
/// How many others: anybody can make those, and must not displace the rest.
const ANONYMOUS: usize = 2_000;
/// The most that is kept of a text that a caller chose, in bytes.
const MAX_TEXT: usize = 256;
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// A refused request, without any secret: what callers chose of it is as the log shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refusal {
    pub(super) at: Timestamp,
    pub(super) request_id: String,
    pub(super) listener: &'static str,
    pub(super) method: &'static str,
    /// The template; none where the path leads nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<String>,
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) retry: &'static str,
    pub(super) detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) caller: Option<Who>,
    /// The permission or the resource that it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wanted: Option<String>,
    /// What the caller has bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<String>,
}

/// Who was refused, where that is known.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Who {
    pub(super) kind: &'static str,
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) display: Option<String>,
}

/// The newest refusals of this process. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    known: VecDeque<Kept>,
    anonymous: VecDeque<Kept>,
    /// How many there were in all: the number of the next one.
    seen: u64,
}

/// With its number. Those of one queue stand there oldest first.
type Kept = (u64, Arc<Refusal>);

/// A page, newest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(serialize_with = "plain")]
    refusals: Vec<Arc<Refusal>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Which of them are asked for.
#[derive(Debug, Default)]
struct Filter {
    code: Option<String>,
    /// An id, or the form in which a key is shown.
    caller: Option<String>,
    request_id: Option<String>,
    limit: usize,
    before: u64,
}

impl Refusals {
    pub(super) fn add(&self, refusal: Refusal) {
        let refusal = Arc::new(refusal);
        let mut ring = self.lock();
        let number = ring.seen;
        ring.seen += 1;
        let (queue, most) = match refusal.caller {
            Some(_) => (&mut ring.known, KNOWN),
            None => (&mut ring.anonymous, ANONYMOUS),
        };
        queue.push_back((number, refusal));
        let displaced = if queue.len() > most { queue.pop_front() } else { None };
        // Requests need not wait until it is freed, nor while a page is made.
        drop(ring);
        drop(displaced);
    }

    fn page(&self, filter: &Filter) -> Page {
        let mut matching: Vec<Kept> = {
            let ring = self.lock();
            ring.known.iter().chain(&ring.anonymous).cloned().collect()
        };
        matching.retain(|(number, refusal)| *number < filter.before && filter.matches(refusal));
        matching.sort_unstable_by_key(|(number, _)| Reverse(*number));
        let more = matching.len() > filter.limit;
        matching.truncate(filter.limit);
        let next_cursor = matching.last().filter(|_| more).map(|(number, _)| number.to_string());
        Page { refusals: matching.into_iter().map(|(_, refusal)| refusal).collect(), next_cursor }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `GET /refusals`, behind no guard yet.
    pub(crate) fn routes(&self) -> Router {
        Router::new().route("/refusals", get(show)).with_state(self.clone())
    }
}

impl Filter {
    fn parse(query: Option<&str>) -> Result<Self, Rejection> {
        let query = Query::new(query);
        let limit = query.number("limit", 1..=MAX_LIMIT as u64)?;
        Ok(Self {
            code: query.get("code")?,
            caller: query.get("caller")?,
            request_id: query.get("requestId")?,
            limit: limit.map_or(DEFAULT_LIMIT, |limit| limit as usize),
            before: query.number("cursor", 0..=u64::MAX)?.unwrap_or(u64::MAX),
        })
    }

    fn matches(&self, refusal: &Refusal) -> bool {
        let is_caller = |who: &Who, text: &String| {
            who.id == *text || who.display.as_ref().is_some_and(|display| display == text)
        };
        self.code.as_ref().is_none_or(|code| code == refusal.code)
            && self.request_id.as_ref().is_none_or(|id| *id == refusal.request_id)
            && self
                .caller
                .as_ref()
                .is_none_or(|text| refusal.caller.as_ref().is_some_and(|who| is_caller(who, text)))
    }
}

fn plain<S: Serializer>(refusals: &[Arc<Refusal>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(refusals.iter().map(Arc::as_ref))
}

/// The beginning of a text, as much of it as is kept.
pub(super) fn kept(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

async fn show(
    State(refusals): State<Refusals>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Rejection> {
    let filter = Filter::parse(query.as_deref())?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(refusals.page(&filter))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(number: usize) -> Refusal {
        let caller = Who {
            kind: "payment_key",
            id: format!("id-{}", number % 2),
            display: Some(format!("ak_{}…", number % 2)),
        };
        Refusal {
            at: Timestamp::from_seconds(0),
            request_id: number.to_string(),
            listener: "public",
            method: "GET",
            route: None,
            status: 401,
            code: if number.is_multiple_of(3) { "key_revoked" } else { "key_expired" },
            retry: "new_credential",
            detail: String::new(),
            caller: Some(caller),
            wanted: None,
            held: None,
        }
    }

    fn ids(refusals: &Refusals, query: &str) -> Vec<usize> {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let query = format!("{query}&cursor={cursor}");
            let page = refusals.page(&Filter::parse(Some(&query)).expect("legal"));
            ids.extend(
                page.refusals.iter().map(|it| it.request_id.parse::<usize>().expect("ours")),
            );
            match page.next_cursor {
                Some(next) => cursor = next,
                None => return ids,
            }
        }
    }

    #[test]
    fn the_newest_are_remembered_and_come_in_pages() {
        let refusals = Refusals::default();
        (0..KNOWN + 10).for_each(|number| refusals.add(refusal(number)));
        let all: Vec<_> = (10..KNOWN + 10).rev().collect();
        assert_eq!(ids(&refusals, "limit=1000"), all);
        assert_eq!(ids(&refusals, "limit=999"), all);
        let of = |is: fn(&usize) -> bool| all.iter().copied().filter(is).collect::<Vec<_>>();
        assert_eq!(ids(&refusals, "code=key_revoked"), of(|it| it % 3 == 0));
        assert_eq!(
            ids(&refusals, "caller=id-1&code=key_expired"),
            of(|it| it % 6 == 1 || it % 6 == 5)
        );
        assert_eq!(ids(&refusals, "caller=ak_0%E2%80%A6&limit=1000"), of(|it| it % 2 == 0));
        assert_eq!(ids(&refusals, "requestId=77"), [77]);
        assert!(ids(&refusals, "requestId=7&caller=").is_empty());
    }

    #[test]
    fn what_anybody_can_make_displaces_only_its_like() {
        let refusals = Refusals::default();
        let anonymous = |number| Refusal { caller: None, ..refusal(number) };
        refusals.add(refusal(0));
        (1..=2 * KNOWN).for_each(|number| refusals.add(anonymous(number)));
        refusals.add(refusal(2 * KNOWN + 1));
        let newest = (2 * KNOWN - ANONYMOUS + 1..=2 * KNOWN + 1).rev();
        assert_eq!(ids(&refusals, "limit=1000"), newest.chain([0]).collect::<Vec<_>>());
    }

    #[test]
    fn a_page_that_can_not_be_is_refused() {
        for query in ["limit=0", "limit=1001", "limit=+1", "limit=x", "cursor=-1", "code=a&code=b"]
        {
            assert!(Filter::parse(Some(query)).is_err(), "{query}");
        }
    }
}
