//! Which part of a list is asked for.

use std::collections::BTreeMap;

use key0_auth::Rejection;
use serde::Serialize;
use serde_json::value::RawValue;

use super::json::invalid;

/// The most lines of one page, and as many as there are where nothing is said.
const MAX_PAGE: u32 = 10_000;
/// The most that the lines of one page may take, in bytes; it ends early where more would be needed.
pub(super) const MAX_PAGE_BYTES: usize = 256 * 1024;

/// The parameters of a request, decoded.
pub(crate) struct Query(BTreeMap<String, String>);

/// A part of a list, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(super) limit: u32,
    /// Only what arrived before this.
    pub(super) before: i64,
}

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Rejection> {
        let mut parameters = BTreeMap::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (Some(name), Some(value)) = (decode(name), decode(value)) else {
                return Err(invalid("The query is no text"));
            };
            if parameters.insert(name, value).is_some() {
                return Err(invalid("The query names a parameter twice"));
            }
        }
        Ok(Self(parameters))
    }

    /// An empty value counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn page(&self) -> Result<Page, Rejection> {
        let limit = match self.get("limit") {
            None => MAX_PAGE,
            Some(text) => number(text)
                .and_then(|limit| u32::try_from(limit).ok())
                .filter(|limit| (1..=MAX_PAGE).contains(limit))
                .ok_or_else(|| invalid(format!("limit must be a number from 1 to {MAX_PAGE}")))?,
        };
        let before = match self.get("cursor") {
            None => i64::MAX,
            Some(text) => {
                number(text).ok_or_else(|| invalid("cursor is not one of this listing"))?
            }
        };
        Ok(Page { limit, before })
    }
}

impl Page {
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

/// Undoes the escapes of a query (application/x-www-form-urlencoded).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn parameters_are_decoded_and_stand_once() {
        let query = Query::parse(Some("walletId=a%2Bb+c&&limit=7&cursor=9&more")).unwrap();
        assert_eq!(query.get("walletId"), Some("a+b c"));
        assert_eq!(query.page().unwrap(), Page { limit: 7, before: 9 });
        let whole = Page { limit: MAX_PAGE, before: i64::MAX };
        assert_eq!(Query::parse(None).unwrap().page().unwrap(), whole);
        let empty = Query::parse(Some("limit=&cursor=&walletId=")).unwrap();
        assert_eq!((empty.page().unwrap(), empty.get("walletId")), (whole, None));
        for bad in ["a=1&a=1", "a=%ff", "a=%", "a=%1", "a=%zz"] {
            assert!(Query::parse(Some(bad)).is_err(), "{bad}");
        }
        for bad in ["limit=0", "limit=10001", "limit=+1", "cursor=x", "cursor=-1"] {
            assert!(Query::parse(Some(bad)).unwrap().page().is_err(), "{bad}");
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
