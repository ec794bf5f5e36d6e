//! Headers and claims as the JSON parser reads them, where the shortcut of `flat` does not.

use std::{borrow::Cow, fmt, mem};

use arrayvec::ArrayVec;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    flat::{self, NotRead},
    raw::{Claim, Header, NAMES, Name, RawClaims},
};
use crate::domain::{Timestamp, bytes::Visible, json};

/// Header members that change how a token is to be read or bring a key of their own.
const REFUSED_MEMBERS: [&str; 7] = ["crit", "zip", "b64", "jwk", "jku", "x5u", "x5c"];
/// The most members that a header has, at any depth, and the most values. Nobody has signed it yet,
/// so that whoever sends it decides what it costs to read.
const MAX_HEADER_MEMBERS: usize = 32;
const MAX_HEADER_VALUES: usize = 256;

/// Reads a header. `None` for anything but a JSON object whose every member is known to be
/// harmless.
pub(super) fn header(json: &[u8]) -> Option<Header<'_>> {
    match flat::read_header(json) {
        Ok(header) => Some(header),
        Err(NotRead::Illegal) => None,
        Err(NotRead::Unusual) => serde_json::from_slice(json).ok(),
    }
}

/// Reads the claims. What has to be unescaped is put into `parsed`, which they borrow from.
/// `None` for anything but a JSON object without duplicate members.
pub(super) fn claims<'a>(
    json: &'a [u8],
    parsed: &'a mut Option<ParsedClaims<'a>>,
) -> Option<RawClaims<'a>> {
    match flat::read_claims(json) {
        Ok(claims) => Some(claims),
        Err(NotRead::Illegal) => None,
        Err(NotRead::Unusual) => Some(parsed.insert(serde_json::from_slice(json).ok()?).lend()),
    }
}

impl<'de> Deserialize<'de> for Header<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JOSE header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header<'de>, A::Error> {
        let (mut algorithm, mut kid, mut typ) = (None, None, None);
        let mut others = Names::new();
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "alg" => set_once(&mut algorithm, map.next_value::<Text<'de>>()?.0)?,
                "kid" => set_once(&mut kid, map.next_value::<Text<'de>>()?.0)?,
                "typ" => set_once(&mut typ, map.next_value::<Text<'de>>()?.0)?,
                refused if REFUSED_MEMBERS.contains(&refused) => {
                    return Err(de::Error::custom("refused member"));
                }
                _ => {
                    others.add(name, 0)?;
                    map.next_value_seed(Skipped { names: &mut others })?;
                }
            }
        }
        let algorithm = algorithm.ok_or_else(|| de::Error::missing_field("alg"))?;
        Ok(Header { algorithm, kid, typ })
    }
}

/// The names of the objects that are open, the innermost last.
struct Names<'de> {
    open: ArrayVec<Cow<'de, str>, MAX_HEADER_MEMBERS>,
    members: usize,
    values: usize,
}

impl<'de> Names<'de> {
    fn new() -> Self {
        Self { open: ArrayVec::new(), members: 0, values: 0 }
    }

    /// Adds a name to the object whose names stand from `from` on.
    fn add<E: de::Error>(&mut self, name: Cow<'de, str>, from: usize) -> Result<(), E> {
        self.members += 1;
        if self.open[from..].contains(&name) {
            return Err(E::custom("duplicate member"));
        }
        if self.members > MAX_HEADER_MEMBERS || self.open.try_push(name).is_err() {
            return Err(E::custom("too many members"));
        }
        Ok(())
    }
}

/// A value that is passed over: nothing is built of it, and no name may stand twice in it.
struct Skipped<'a, 'de> {
    names: &'a mut Names<'de>,
}

impl<'de> DeserializeSeed<'de> for Skipped<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.names.values += 1;
        if self.names.values > MAX_HEADER_VALUES {
            return Err(de::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skipped<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Skipped { names: &mut *self.names })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let from = self.names.open.len();
        while let Some(Text(name)) = map.next_key()? {
            self.names.add(name, from)?;
            map.next_value_seed(Skipped { names: &mut *self.names })?;
        }
        self.names.open.truncate(from);
        Ok(())
    }
}

/// A text that borrows from the input where nothing in it is escaped.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

fn set_once<T, E: de::Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom("duplicate member")),
    }
}

/// Claims as the JSON parser reads them.
#[derive(Default)]
pub(super) struct ParsedClaims<'a> {
    values: [Option<Loose<'a>>; NAMES],
    cnf: Option<()>,
    extra: Map<String, Value>,
}

/// A claim's value, whose texts borrow from the payload where nothing in them is escaped.
enum Loose<'a> {
    Text(Cow<'a, str>),
    Time(Timestamp),
    Texts(Vec<Cow<'a, str>>),
    Other,
}

impl ParsedClaims<'_> {
    /// The claims; those without a meaning can be had once.
    pub(super) fn lend(&mut self) -> RawClaims<'_> {
        let extra = mem::take(&mut self.extra);
        let values = self.values.each_ref().map(|value| value.as_ref().map(Loose::lend));
        RawClaims { values, is_constrained: self.cnf.is_some(), extra }
    }
}

impl Loose<'_> {
    fn lend(&self) -> Claim<'_> {
        match self {
            Self::Text(text) => Visible::new(text).map_or(Claim::Text(text), Claim::Visible),
            Self::Time(time) => Claim::Time(*time),
            Self::Texts(texts) => Claim::Texts(texts),
            Self::Other => Claim::Other,
        }
    }
}

impl<'de> Deserialize<'de> for ParsedClaims<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ClaimsVisitor)
    }
}

struct ClaimsVisitor;

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = ParsedClaims<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claims object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ParsedClaims<'de>, A::Error> {
        let mut claims = ParsedClaims::default();
        while let Some(Text(name)) = map.next_key()? {
            if let Some(known) = Name::of(&name) {
                set_once(&mut claims.values[known as usize], map.next_value()?)?;
                continue;
            }
            let json::Strict(value) = map.next_value()?;
            if name == "cnf" {
                set_once(&mut claims.cnf, ())?;
            } else {
                json::insert_once(&mut claims.extra, name.into_owned(), value)?;
            }
        }
        Ok(claims)
    }
}

impl<'de> Deserialize<'de> for Loose<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claim")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, seconds: i64) -> Result<Loose<'de>, E> {
        Ok(Loose::Time(Timestamp::from_seconds(seconds)))
    }

    fn visit_u64<E>(self, seconds: u64) -> Result<Loose<'de>, E> {
        Ok(Loose::Time(Timestamp::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))))
    }

    fn visit_f64<E>(self, seconds: f64) -> Result<Loose<'de>, E> {
        Ok(Loose::Time(Timestamp::from_seconds_f64(seconds)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Loose<'de>, E> {
        Ok(Loose::Other)
    }

    fn visit_unit<E>(self) -> Result<Loose<'de>, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose<'de>, A::Error> {
        let mut texts = Vec::new();
        while let Some(element) = seq.next_element()? {
            match element {
                Loose::Text(text) => texts.push(text),
                _ => {
                    while seq.next_element::<json::Strict>()?.is_some() {}
                    return Ok(Loose::Other);
                }
            }
        }
        Ok(Loose::Texts(texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Loose<'de>, A::Error> {
        Ok(match json::StrictVisitor.visit_map(map)?.as_f64() {
            Some(seconds) => Loose::Time(Timestamp::from_seconds_f64(seconds)),
            None => Loose::Other,
        })
    }
}
