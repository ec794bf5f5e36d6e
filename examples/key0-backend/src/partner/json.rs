//! Bodies read strictly: a member that stands twice in one object is a fault, members that nobody
//! knows are passed over, and those that are known have exactly one type.

use std::{collections::BTreeMap, fmt};

use key0_auth::{Rejection, RejectionKind};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// 2⁵³ − 1, the largest integer that every reader of JSON takes for what it is (RFC 8259,
/// section 6).
pub(super) const MAX_INTEGER: i64 = (1 << 53) - 1;

/// The members of an object, each as it was written.
#[derive(Debug)]
pub(super) struct Object(BTreeMap<String, Box<RawValue>>);

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
        let object: Self = serde_json::from_str(whole.get()).map_err(no_json)?;
        for (_, value) in object.0.iter().filter(|(name, _)| *name != apart) {
            serde_json::from_str::<Unambiguous>(value.get()).map_err(no_json)?;
        }
        Ok(object)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.0.remove(name)
    }

    /// An optional member that is `null` is as absent.
    fn take_unless_null(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.take(name).filter(|value| value.get() != "null")
    }

    /// Whether nothing is left that was not taken.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A text that must be there, of 1 to `limit` characters and none of them a control character.
    pub(super) fn text(&mut self, name: &str, limit: usize) -> Result<String, Rejection> {
        let text = self.optional_text(name, limit)?;
        text.ok_or_else(|| invalid(format!("{name} is required")))
    }

    /// The same for one that may be left out.
    pub(super) fn optional_text(
        &mut self,
        name: &str,
        limit: usize,
    ) -> Result<Option<String>, Rejection> {
        let fits = |text: &String| {
            (1..=limit).contains(&text.chars().count()) && !text.chars().any(char::is_control)
        };
        let Some(value) = self.take_unless_null(name) else { return Ok(None) };
        match serde_json::from_str(value.get()).ok().filter(fits) {
            Some(text) => Ok(Some(text)),
            None => Err(invalid(format!("{name} must be a text of 1 to {limit} characters"))),
        }
    }

    /// A text of any characters, up to `limit` of them, that may be left out.
    pub(super) fn optional_prose(
        &mut self,
        name: &str,
        limit: usize,
    ) -> Result<Option<String>, Rejection> {
        let fits = |text: &String| text.chars().count() <= limit;
        let Some(value) = self.take_unless_null(name) else { return Ok(None) };
        match serde_json::from_str(value.get()).ok().filter(fits) {
            Some(text) => Ok(Some(text)),
            None => Err(invalid(format!("{name} must be a text of up to {limit} characters"))),
        }
    }

    /// An integer that must be there, from `least` to 2⁵³ − 1. It must be written as one: `600.0`
    /// and `6e2` are refused.
    pub(super) fn integer(&mut self, name: &str, least: i64) -> Result<i64, Rejection> {
        let value = self.take(name).ok_or_else(|| invalid(format!("{name} is required")))?;
        let digits = value.get().bytes().all(|byte| byte.is_ascii_digit());
        let number = value.get().parse().ok().filter(|_| digits);
        number.filter(|number| (least..=MAX_INTEGER).contains(number)).ok_or_else(|| {
            invalid(format!("{name} must be an integer from {least} to {MAX_INTEGER}"))
        })
    }
}

pub(super) fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Rejection {
    Rejection::new(RejectionKind::InvalidBody).detail(detail)
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if members.insert(name, value).is_some() {
                        return Err(de::Error::custom("duplicate member"));
                    }
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
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
