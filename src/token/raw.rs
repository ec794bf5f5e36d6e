//! The claims of a token as they stand, before any rule: each may be absent or of the wrong type.

use std::{borrow::Cow, fmt, mem};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{
    flat::{self, NotRead},
    payload::{Text, set_once},
};
use crate::domain::{Timestamp, bytes::Visible, json};

macro_rules! names {
    ($($name:ident => $text:literal,)+) => {
        /// The claims that this crate gives a meaning to and that may be of any type.
        #[derive(Debug, Clone, Copy)]
        pub(super) enum Name {
            $($name,)+
        }

        /// How many names there are.
        const NAMES: usize = [$($text),+].len();

        impl Name {
            pub(super) fn of(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)+
                    _ => None,
                }
            }

            #[cfg(test)]
            pub(super) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            // What a caller is told. Ready, as a refusal is to cost no more than to accept.

            pub(super) const fn is_missing(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("The claim ", $text, " is missing"),)+
                }
            }

            pub(super) const fn is_not_valid(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("The claim ", $text, " is not valid"),)+
                }
            }
        }
    };
}

names! {
    Sub => "sub",
    Jti => "jti",
    ResourceId => "resourceId",
    PlanId => "planId",
    TierId => "tierId",
    TxHash => "txHash",
    Iat => "iat",
    Exp => "exp",
    Nbf => "nbf",
    Iss => "iss",
    Aud => "aud",
}

/// Claims whose texts stand elsewhere: in the decoded payload, or in [`ParsedClaims`].
#[derive(Default)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct RawClaims<'a> {
    values: [Option<Claim<'a>>; NAMES],
    /// Whether the token has a claim `cnf`.
    pub(super) is_constrained: bool,
    /// The claims that this crate gives no meaning.
    pub(super) extra: Map<String, Value>,
}

/// A claim's value, sorted by what this crate can do with it.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Claim<'a> {
    Visible(Visible<'a>),
    /// A text with other characters than visible ones, which no id has.
    Text(&'a str),
    Time(Timestamp),
    Texts(&'a [Cow<'a, str>]),
    Other,
}

impl<'a> RawClaims<'a> {
    /// Reads the claims. What has to be unescaped is put into `parsed`, which they borrow from.
    /// `None` for anything but a JSON object without duplicate members.
    pub(super) fn read(json: &'a [u8], parsed: &'a mut Option<ParsedClaims<'a>>) -> Option<Self> {
        match flat::read_claims(json) {
            Ok(claims) => Some(claims),
            Err(NotRead::Illegal) => None,
            Err(NotRead::Unusual) => Some(parsed.insert(serde_json::from_slice(json).ok()?).lend()),
        }
    }

    pub(super) fn get(&self, name: Name) -> Option<Claim<'a>> {
        self.values[name as usize]
    }

    /// Where the claim of this name belongs.
    pub(super) fn slot(&mut self, name: Name) -> &mut Option<Claim<'a>> {
        &mut self.values[name as usize]
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
