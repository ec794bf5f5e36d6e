//! The query of a URL.

use std::{borrow::Cow, ops::RangeInclusive};

use key0_auth::{Rejection, RejectionKind};

/// The parameters of a request. One without a value counts as absent, and one that nobody asks for is
/// ignored, whatever it is.
#[derive(Debug)]
pub(crate) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(crate) fn new(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// The value of a parameter that must not stand there twice.
    pub(crate) fn get(&self, name: &str) -> Result<Option<String>, Rejection> {
        let mut found = None;
        for part in self.0.split('&') {
            let (known, value) = part.split_once('=').unwrap_or((part, ""));
            if value.is_empty() || decode(known).as_deref() != Some(name) {
                continue;
            }
            let value = decode(value).ok_or_else(|| invalid(format!("{name} can't be read")))?;
            if found.replace(value).is_some() {
                return Err(invalid(format!("{name} stands twice in the query")));
            }
        }
        Ok(found)
    }

    /// A whole number within bounds, in decimal digits alone.
    pub(crate) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Rejection> {
        let Some(text) = self.get(name)? else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && range.contains(number));
        let (start, end) = (range.start(), range.end());
        let wrong = || invalid(format!("{name} must be a number from {start} to {end}"));
        number.map(Some).ok_or_else(wrong)
    }
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

fn invalid(detail: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection::new(RejectionKind::InvalidBody).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_stand_once() {
        let query = Query::new(Some("wallet%49d=a%2Bb+c&&limit=7&more&cursor=&limit="));
        let get = |name| query.get(name).expect("legal");
        assert_eq!(
            (get("walletId").as_deref(), get("limit").as_deref()),
            (Some("a+b c"), Some("7"))
        );
        assert_eq!((get("more"), get("cursor"), get("x")), (None, None, None));
        for bad in ["n=0", "n=8", "n=+1", "n=-1", "n=x", "n=99999999999999999999"] {
            assert!(Query::new(Some(bad)).number("n", 1..=7).is_err(), "{bad}");
        }
        for bad in ["a=1&a=1", "a=%ff", "a=%", "a=%1", "a=%zz"] {
            let query = format!("b=2&{bad}");
            let query = Query::new(Some(&query));
            assert!(query.get("a").is_err(), "{bad}");
            // Who does not ask for it has nothing to do with it.
            assert_eq!(query.get("b").expect("legal").as_deref(), Some("2"), "{bad}");
        }
    }
}
