//! Bodies read strictly: no object has a member twice, every member is known, and each has exactly
//! one type. Whatever is wrong with the members is told at once.

use std::{collections::BTreeMap, fmt};

use key0_auth::{Rejection, RejectionKind, domain::disturbs, error::FieldError};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// 2⁵³ − 1, the largest integer that every reader of JSON takes for what it is (RFC 8259,
/// section 6).
pub(super) const MAX_INTEGER: i64 = (1 << 53) - 1;

/// The most unknown members that are told of.
const MAX_UNKNOWN: usize = 100;

/// The members of an object, each as it was written, and what is wrong with those that were read.
#[derive(Debug)]
pub(super) struct Object {
    members: Members,
    errors: Vec<FieldError>,
}

type Members = BTreeMap<String, Box<RawValue>>;

impl Object {
    /// Reads an object without duplicate members, at any depth.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Rejection> {
        Self::parse_around(text, "")
    }

    /// The same, without looking into the member `apart`.
    pub(super) fn parse_around(text: &[u8], apart: &str) -> Result<Self, Rejection> {
        let no_json = |_| invalid("Invalid JSON body");
        let whole: &RawValue = serde_json::from_slice(text).map_err(no_json)?;
        if !whole.get().starts_with('{') {
            return Err(invalid("Expected JSON object"));
        }
        let Distinct(members) = serde_json::from_str(whole.get()).map_err(no_json)?;
        for (_, value) in members.iter().filter(|(name, _)| *name != apart) {
            serde_json::from_str::<Unambiguous>(value.get()).map_err(no_json)?;
        }
        Ok(Self { members, errors: Vec::new() })
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.members.remove(name)
    }

    /// An optional member that is `null` is as absent.
    pub(super) fn take_unless_null(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.take(name).filter(|value| value.get() != "null")
    }

    /// Keeps what is wrong with a member.
    pub(super) fn add_errors(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        self.errors.extend(errors);
    }

    /// What was read of the object, when nothing was wrong and nothing is left over.
    pub(super) fn close<T>(mut self, read: Option<T>) -> Result<T, Vec<FieldError>> {
        let left_over = self.members.into_keys().take(MAX_UNKNOWN);
        self.errors.extend(left_over.map(FieldError::unknown));
        match read {
            Some(read) if self.errors.is_empty() => Ok(read),
            _ => Err(self.errors),
        }
    }

    /// The same for a whole body.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, Rejection> {
        let refused = |errors| Rejection::new(RejectionKind::ValidationFailed).errors(errors);
        self.close(read).map_err(refused)
    }

    /// A text that must be there, of 1 to `limit` characters. None of them steers a terminal or can't be
    /// seen.
    pub(super) fn text(&mut self, name: &'static str, limit: usize) -> Option<String> {
        self.required(name);
        self.optional_text(name, limit)
    }

    /// The same for one that may be left out.
    pub(super) fn optional_text(&mut self, name: &'static str, limit: usize) -> Option<String> {
        let fits =
            |text: &str| (1..=limit).contains(&text.chars().count()) && !text.chars().any(disturbs);
        self.fitting(name, fits, || format!("{name} must be a text of 1 to {limit} characters"))
    }

    /// A text of any characters, up to `limit` of them, that may be left out.
    pub(super) fn optional_prose(&mut self, name: &'static str, limit: usize) -> Option<String> {
        let fits = |text: &str| text.chars().count() <= limit;
        self.fitting(name, fits, || format!("{name} must be a text of up to {limit} characters"))
    }

    /// One of some words, which must be there.
    pub(super) fn word(&mut self, name: &'static str, words: &[&str]) -> Option<String> {
        self.required(name);
        self.optional_word(name, words)
    }

    /// The same where it may be left out.
    pub(super) fn optional_word(&mut self, name: &'static str, words: &[&str]) -> Option<String> {
        let fits = |text: &str| words.contains(&text);
        self.fitting(name, fits, || format!("{name} must be one of {}", words.join(", ")))
    }

    /// An integer that must be there, from `least` to 2⁵³ − 1. It must be written as one: `600.0`
    /// and `6e2` are refused.
    pub(super) fn integer(&mut self, name: &'static str, least: i64) -> Option<i64> {
        self.required(name);
        let value = self.take_unless_null(name)?;
        let digits = value.get().bytes().all(|byte| byte.is_ascii_digit());
        let number = value.get().parse().ok().filter(|_| digits);
        let number = number.filter(|number| (least..=MAX_INTEGER).contains(number));
        if number.is_none() {
            let wrong = format!("{name} must be an integer from {least} to {MAX_INTEGER}");
            self.errors.push(FieldError::invalid(name, wrong));
        }
        number
    }

    fn required(&mut self, name: &'static str) {
        if self.members.get(name).is_none_or(|value| value.get() == "null") {
            self.errors.push(FieldError::required(name));
        }
    }

    fn fitting(
        &mut self,
        name: &'static str,
        fits: impl FnOnce(&str) -> bool,
        wrong: impl FnOnce() -> String,
    ) -> Option<String> {
        let value = self.take_unless_null(name)?;
        let text = serde_json::from_str(value.get()).ok().filter(|text: &String| fits(text));
        if text.is_none() {
            self.errors.push(FieldError::invalid(name, wrong()));
        }
        text
    }
}

pub(super) fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Rejection {
    Rejection::new(RejectionKind::InvalidBody).detail(detail)
}

/// The members of an object that has none twice.
struct Distinct(Members);

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Distinct;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Distinct, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(de::Error::custom("duplicate member"));
                    }
                }
                Ok(Distinct(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Any value in which no object has a member twice.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = std::collections::BTreeSet::new();
        while let Some((name, Self)) = map.next_entry::<String, Self>()? {
            if !names.insert(name) {
                return Err(de::Error::custom("duplicate member"));
            }
        }
        Ok(self)
    }
}
