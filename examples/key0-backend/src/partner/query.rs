//! Which part of a list is asked for.

use key0_auth::Rejection;
use serde::Serialize;
use serde_json::value::RawValue;

use super::json::invalid;
use crate::query::Query;

/// The most lines of one page, and as many as there are where nothing is said.
const MAX_PAGE: u32 = 10_000;
/// The most that the lines of one page may take, in bytes; it ends early where more would be needed.
pub(super) const MAX_PAGE_BYTES: usize = 256 * 1024;

/// A part of a list, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(super) limit: u32,
    /// Only what arrived before this.
    pub(super) before: i64,
}

impl Page {
    pub(super) fn of(query: &Query<'_>) -> Result<Self, Rejection> {
        let limit = query.number("limit", 1..=MAX_PAGE.into())?;
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(MAX_PAGE);
        let before = match query.get("cursor")? {
            None => i64::MAX,
            Some(text) => {
                number(&text).ok_or_else(|| invalid("cursor is not one of this listing"))?
            }
        };
        Ok(Self { limit, before })
    }

    /// A list's lines as JSON, as far as they fit, and the cursor of the page after this one;
    /// none where this is the last.
    pub(super) fn lines<T: Serialize>(
        self,
        lines: &[T],
        arrival: impl Fn(&T) -> i64,
    ) -> (Vec<Box<RawValue>>, Option<String>) {
        let (mut told, mut bytes) = (Vec::new(), 0);
        for line in lines {
            let Ok(json) = serde_json::value::to_raw_value(line) else { continue };
            bytes += json.get().len() + 1;
            if bytes > MAX_PAGE_BYTES && !told.is_empty() {
                break;
            }
            told.push(json);
        }
        let is_full = told.len() < lines.len() || lines.len() == self.limit as usize;
        let last = told.len().checked_sub(1).and_then(|last| lines.get(last));
        let next = last.filter(|_| is_full).map(|line| arrival(line).to_string());
        (told, next)
    }
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_page_is_what_is_asked_for_or_the_whole() {
        let page = |query| Page::of(&Query::new(Some(query)));
        assert_eq!(page("walletId=a&limit=7&cursor=9").unwrap(), Page { limit: 7, before: 9 });
        let whole = Page { limit: MAX_PAGE, before: i64::MAX };
        assert_eq!(page("").unwrap(), whole);
        assert_eq!(page("limit=&cursor=").unwrap(), whole);
        for bad in ["limit=0", "limit=10001", "limit=+1", "cursor=x", "cursor=-1"] {
            assert!(page(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_full_page_has_a_next_one() {
        let page = Page { limit: 2, before: i64::MAX };
        let next = |lines: &[i64]| page.lines(lines, |line| *line).1;
        assert_eq!(next(&[7, 5]).as_deref(), Some("5"));
        assert_eq!(next(&[5]), None);
        assert_eq!(next(&[]), None);
    }

    #[test]
    fn a_page_ends_where_its_bytes_do() {
        let page = Page { limit: 10_000, before: i64::MAX };
        let text = "x".repeat(MAX_PAGE_BYTES / 4);
        let lines: Vec<_> = (0..10).rev().map(|n| (n, &text)).collect();
        let (told, next) = page.lines(&lines, |line| line.0);
        assert_eq!((told.len(), next.as_deref()), (3, Some("7")));
        // One that is too large alone is told all the same: else no page would lead past it.
        let large = [(3, text.repeat(8)), (2, String::new())];
        assert_eq!(page.lines(&large, |line| line.0).1.as_deref(), Some("3"));
    }
}
