//! JSON read strictly: a member that stands twice in one object, at any depth, is a fault.
//!
//! Two readers of an object with duplicate members may see two different values (RFC 8259,
//! section 4), and a guard must never see another one than the handler behind it.

use std::{fmt, sync::LazyLock};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Any JSON value without duplicate members.
pub(crate) struct Strict(pub(crate) Value);

/// Reads an object; an error tells what is wrong with the text, never what stands in it.
pub(crate) fn object(text: &[u8]) -> Result<Map<String, Value>, ObjectFault> {
    match serde_json::from_slice::<Strict>(text) {
        Ok(Strict(Value::Object(object))) => Ok(object),
        Ok(_) => Err(ObjectFault::NotAnObject),
        Err(_) => Err(ObjectFault::NotJson),
    }
}

/// Whether a value has at most so many levels, one for a plain value. What is nested deeper than
/// readers go could be kept and never be read again.
pub(crate) fn is_at_most_deep(value: &Value, levels: usize) -> bool {
    let deeper = |value: &Value| levels > 1 && is_at_most_deep(value, levels - 1);
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(deeper),
        Value::Object(members) => levels > 0 && members.values().all(deeper),
        _ => levels > 0,
    }
}

/// Why a text is not a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectFault {
    NotJson,
    NotAnObject,
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

pub(crate) struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let Strict(value) = map.next_value()?;
            insert_once(&mut object, name, value)?;
        }
        if object.len() == 1
            && let Some(Value::String(digits)) = object.get(NUMBER_MEMBER)
            && *NUMBERS_COME_AS_MAPS
        {
            let number = digits.parse().ok().and_then(Number::from_f64);
            return number.map(Value::Number).ok_or_else(|| de::Error::custom("not a number"));
        }
        Ok(Value::Object(object))
    }
}

/// Whether `serde_json` was built with `arbitrary_precision`, which any crate of the same build can
/// turn on. It then hands over fractions as an object of one member, the digits.
static NUMBERS_COME_AS_MAPS: LazyLock<bool> =
    LazyLock::new(|| serde_json::from_str::<Value>("1e999").is_ok());
const NUMBER_MEMBER: &str = "$serde_json::private::Number";

/// Adds a member that must not be there yet.
pub(crate) fn insert_once<E: de::Error>(
    object: &mut Map<String, Value>,
    name: String,
    value: Value,
) -> Result<(), E> {
    match object.insert(name, value) {
        None => Ok(()),
        Some(_) => Err(E::custom("duplicate member")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_refused_at_any_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
        ] {
            assert_eq!(object(text.as_bytes()), Err(ObjectFault::NotJson), "{text}");
        }
        assert!(object(br#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#).is_ok());
    }

    #[test]
    fn fractions_are_numbers_however_serde_json_was_built() {
        let read = object(br#"{"half":0.5,"big":1e20}"#).expect("an object");
        assert_eq!(read["half"].as_f64(), Some(0.5));
        assert_eq!(read["big"].as_f64(), Some(1e20));
        assert_eq!(object(br#"{"a":1e999}"#), Err(ObjectFault::NotJson));
        let disguised = object(br#"{"a":{"$serde_json::private::Number":"0.5"}}"#).expect("ok");
        assert_eq!(disguised["a"].is_object(), !*NUMBERS_COME_AS_MAPS);
    }

    #[test]
    fn depth_is_counted_in_levels() {
        for (text, levels) in [
            ("1", 1),
            ("[]", 1),
            ("{}", 1),
            ("[1]", 2),
            (r#"{"a":[]}"#, 2),
            (r#"[1,{"a":[1]}]"#, 4),
        ] {
            let value: Value = serde_json::from_str(text).expect("legal");
            assert!(is_at_most_deep(&value, levels), "{text}");
            assert!(!is_at_most_deep(&value, levels - 1), "{text}");
        }
    }

    #[test]
    fn only_an_object_is_an_object() {
        for text in ["[]", "1", "null", "\"x\""] {
            assert_eq!(object(text.as_bytes()), Err(ObjectFault::NotAnObject), "{text}");
        }
        for text in ["", "{", "{}x", "{\"a\":NaN}", "\u{feff}{}"] {
            assert_eq!(object(text.as_bytes()), Err(ObjectFault::NotJson), "{text}");
        }
        let deep = "[".repeat(5_000);
        assert_eq!(object(deep.as_bytes()), Err(ObjectFault::NotJson));
    }
}
