//! The query of a URL.

use std::{borrow::Cow, collections::BTreeMap, ops::RangeInclusive};

use key0_auth::{Rejection, RejectionKind};

/// The parameters of a request, decoded.
pub(crate) struct Query(BTreeMap<String, String>);

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

    /// A whole number within bounds, in decimal digits alone.
    pub(crate) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Rejection> {
        let Some(text) = self.get(name) else { return Ok(None) };
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
        let query = Query::parse(Some("walletId=a%2Bb+c&&limit=7&more&cursor=")).expect("legal");
        assert_eq!(query.get("walletId"), Some("a+b c"));
        assert_eq!(query.get("limit"), Some("7"));
        assert_eq!((query.get("more"), query.get("cursor"), query.get("x")), (None, None, None));
        for bad in ["n=0", "n=8", "n=+1", "n=-1", "n=x", "n=99999999999999999999"] {
            assert!(Query::parse(Some(bad)).expect("legal").number("n", 1..=7).is_err(), "{bad}");
        }
        for bad in ["a=1&a=1", "a=%ff", "a=%", "a=%1", "a=%zz"] {
            assert!(Query::parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
