//! The newest refusals, kept in memory, and `GET /refusals`, which shows them to operators.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
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
/// How many of them are of one caller, who must not displace those of all others.
const OF_ONE_CALLER: usize = KNOWN / 4;
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
    known: Known,
    anonymous: VecDeque<Kept>,
    /// How many there were in all: the number of the next one.
    seen: u64,
}

/// With its number. Those of one queue stand there oldest first.
type Kept = (u64, Arc<Refusal>);

/// Those in which a caller is known, by their numbers.
#[derive(Debug, Default)]
struct Known {
    refusals: BTreeMap<u64, Arc<Refusal>>,
    /// The numbers of each caller's, oldest first. None is empty.
    of_caller: HashMap<Caller, VecDeque<u64>>,
}

/// The kind and the id of whoever was refused.
type Caller = (&'static str, String);

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
        let displaced = match refusal.caller.as_ref().map(Who::key) {
            Some(caller) => ring.known.add(number, caller, refusal),
            None => {
                let queue = &mut ring.anonymous;
                queue.push_back((number, refusal));
                let oldest = if queue.len() > ANONYMOUS { queue.pop_front() } else { None };
                oldest.map(|(_, refusal)| refusal)
            }
        };
        // Requests need not wait until it is freed, nor while a page is made.
        drop(ring);
        drop(displaced);
    }

    fn page(&self, filter: &Filter) -> Page {
        let mut matching: Vec<Kept> = {
            let ring = self.lock();
            let known = ring.known.refusals.iter().map(|(number, it)| (*number, Arc::clone(it)));
            known.chain(ring.anonymous.iter().cloned()).collect()
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

impl Known {
    /// Adds one, and takes out the one that it displaces.
    fn add(&mut self, number: u64, caller: Caller, refusal: Arc<Refusal>) -> Option<Arc<Refusal>> {
        self.refusals.insert(number, refusal);
        let own = self.of_caller.entry(caller).or_default();
        own.push_back(number);
        if own.len() > OF_ONE_CALLER {
            return self.refusals.remove(&own.pop_front()?);
        }
        if self.refusals.len() <= KNOWN {
            return None;
        }
        let (_, displaced) = self.refusals.pop_first()?;
        // Its number is the first of its caller's, too.
        let caller = displaced.caller.as_ref()?.key();
        if let Some(own) = self.of_caller.get_mut(&caller) {
            own.pop_front();
            if own.is_empty() {
                self.of_caller.remove(&caller);
            }
        }
        Some(displaced)
    }
}

impl Who {
    fn key(&self) -> Caller {
        (self.kind, self.id.clone())
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
            id: format!("id-{}", number % 10),
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
            of(|it| it % 10 == 1 && it % 3 != 0)
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
    fn one_caller_displaces_a_part_alone() {
        let of = |id: &str, number| {
            let mut refusal = refusal(number);
            refusal.caller.as_mut().expect("known").id = id.to_owned();
            refusal
        };
        let refusals = Refusals::default();
        refusals.add(of("quiet", 0));
        (1..=2 * KNOWN).for_each(|number| refusals.add(of("loud", number)));
        let newest = (2 * KNOWN - OF_ONE_CALLER + 1..=2 * KNOWN).rev();
        assert_eq!(ids(&refusals, "limit=1000"), newest.chain([0]).collect::<Vec<_>>());
        // Nothing is kept of callers whose refusals are gone.
        (0..3 * KNOWN).for_each(|number| refusals.add(of(&number.to_string(), number)));
        let ring = refusals.lock();
        assert_eq!((ring.known.refusals.len(), ring.known.of_caller.len()), (KNOWN, KNOWN));
        assert!(ring.known.of_caller.values().all(|own| own.len() == 1));
    }

    #[test]
    fn a_page_that_can_not_be_is_refused() {
        for query in ["limit=0", "limit=1001", "limit=+1", "limit=x", "cursor=-1", "code=a&code=b"]
        {
            assert!(Filter::parse(Some(query)).is_err(), "{query}");
        }
    }
}
