//! The newest refusals, kept in memory, and `GET /refusals`, which shows them to operators.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    response::IntoResponse,
    routing::get,
};
use http::header::CACHE_CONTROL;
use key0_auth::{Rejection, RejectionKind, domain::Timestamp};
use serde::Serialize;

use crate::partner::Query;

/// How many are remembered.
const REMEMBERED: usize = 10_000;
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
    /// Oldest first.
    kept: VecDeque<Refusal>,
    /// How many there were in all: the number of the next one.
    seen: u64,
}

/// A page, newest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    refusals: Vec<Refusal>,
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
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.kept.len() == REMEMBERED {
            ring.kept.pop_front();
        }
        ring.kept.push_back(refusal);
        ring.seen += 1;
    }

    fn page(&self, filter: &Filter) -> Page {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let numbered = (0..ring.seen).rev().zip(ring.kept.iter().rev());
        let mut matching = numbered
            .filter(|(number, refusal)| *number < filter.before && filter.matches(refusal))
            .take(filter.limit + 1)
            .map(|(number, refusal)| (number, refusal.clone()))
            .collect::<Vec<_>>();
        drop(ring);
        let more = matching.len() > filter.limit;
        matching.truncate(filter.limit);
        let next_cursor = matching.last().filter(|_| more).map(|(number, _)| number.to_string());
        Page { refusals: matching.into_iter().map(|(_, refusal)| refusal).collect(), next_cursor }
    }

    /// `GET /refusals`, behind no guard yet.
    pub(crate) fn routes(&self) -> Router {
        Router::new().route("/refusals", get(show)).with_state(self.clone())
    }
}

impl Filter {
    fn parse(query: Option<&str>) -> Result<Self, Rejection> {
        let query = Query::parse(query)?;
        let text = |name: &str| query.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let number = |name: &str, range: std::ops::RangeInclusive<u64>| match text(name) {
            None => Ok(None),
            Some(text) => match text.parse().ok().filter(|number| range.contains(number)) {
                Some(number) => Ok(Some(number)),
                None => {
                    let detail = format!("{name} is not a number that it can be");
                    Err(Rejection::new(RejectionKind::InvalidBody).detail(detail))
                }
            },
        };
        let limit = number("limit", 1..=MAX_LIMIT as u64)?.map_or(DEFAULT_LIMIT, |it| it as usize);
        Ok(Self {
            code: text("code"),
            caller: text("caller"),
            request_id: text("requestId"),
            limit,
            before: number("cursor", 0..=u64::MAX)?.unwrap_or(u64::MAX),
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
        (0..REMEMBERED + 10).for_each(|number| refusals.add(refusal(number)));
        let all: Vec<_> = (10..REMEMBERED + 10).rev().collect();
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
    fn a_page_that_can_not_be_is_refused() {
        for query in ["limit=0", "limit=1001", "limit=x", "cursor=-1", "code=a&code=b"] {
            assert!(Filter::parse(Some(query)).is_err(), "{query}");
        }
    }
}
