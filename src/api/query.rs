use super::{body::invalid, form::decoded};
use crate::Rejection;

/// The parameters of a URL's query, as HTML forms write them. One without a value counts as
/// absent, and one that nobody asks for is ignored.
#[derive(Debug)]
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(super) fn new(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or_default())
    }

    /// The value of a parameter that must not stand there twice.
    pub(super) fn get(&self, name: &str) -> Result<Option<String>, Rejection> {
        let mut found = None;
        for pair in self.0.split('&') {
            let (known, value) = pair.split_once('=').unwrap_or((pair, ""));
            if known != name || value.is_empty() {
                continue;
            }
            let value = decoded(value).ok_or_else(|| invalid(format!("{name} can't be read")))?;
            if found.replace(value).is_some() {
                return Err(invalid(format!("{name} stands twice in the query")));
            }
        }
        Ok(found)
    }

    /// A parameter that must be something where it is there.
    pub(super) fn parsed<T, E>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Rejection> {
        let value = self.get(name)?;
        let read = value.map(|value| read(&value));
        read.transpose().map_err(|_| invalid(format!("{name} can't be read")))
    }

    /// A whole number within bounds, in decimal digits alone.
    pub(super) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<Option<u32>, Rejection> {
        let Some(text) = self.get(name)? else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && range.contains(number));
        let (start, end) = (range.start(), range.end());
        let fault = || invalid(format!("{name} must be a number from {start} to {end}"));
        number.map(Some).ok_or_else(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_forms_write_them() {
        let query =
            Query::new(Some("a=1&b=caf%C3%A9+au%20lait&empty=&bare&twice=1&twice=2&bad=%zz"));
        assert_eq!(query.get("a").expect("legal").as_deref(), Some("1"));
        assert_eq!(query.get("b").expect("legal").as_deref(), Some("café au lait"));
        for absent in ["empty", "bare", "c"] {
            assert_eq!(query.get(absent).expect("legal"), None, "{absent}");
        }
        assert!(query.get("twice").is_err() && query.get("bad").is_err());
        assert_eq!(Query::new(None).get("a").expect("legal"), None);
    }

    #[test]
    fn numbers_are_digits_within_bounds() {
        let limit = |text: &str| Query::new(Some(&format!("n={text}"))).number("n", 1..=1000);
        for good in ["1", "1000", "007"] {
            assert!(limit(good).is_ok_and(|number| number.is_some()), "{good}");
        }
        for bad in ["0", "1001", "%2B1", "-1", "1.0", "99999999999", "x"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
