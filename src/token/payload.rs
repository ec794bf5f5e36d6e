//! The parts of a compact JWS (RFC 7515, section 7.1), read without believing any of them.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use base64::{
    Engine, alphabet,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD,
    },
};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::domain::{Timestamp, json};

/// Header members that change how a token is to be read or bring a key of their own.
const REFUSED_MEMBERS: [&str; 7] = ["crit", "zip", "b64", "jwk", "jku", "x5u", "x5c"];

/// Decodes as sloppily as any reader might; see [`Token::signatures_as_anyone_reads_them`].
const SLOPPY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether a bearer value has the shape of an access token: three parts between dots.
pub(crate) fn is_compact_jws(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The three encoded parts.
pub(super) struct Token<'a> {
    signing_input: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Token<'a> {
    pub(super) fn split(text: &'a str) -> Option<Self> {
        let (signing_input, signature) = text.rsplit_once('.')?;
        let (header, payload) = signing_input.split_once('.')?;
        (!payload.contains('.')).then_some(Self { signing_input, header, payload, signature })
    }

    /// As readers split that take what follows a third dot for part of the signature, or pass it
    /// over.
    pub(super) fn split_sloppily(text: &'a str) -> Option<Self> {
        let (header, rest) = text.split_once('.')?;
        let (payload, signature) = rest.split_once('.')?;
        let signing_input = &text[..header.len() + 1 + payload.len()];
        Some(Self { signing_input, header, payload, signature })
    }

    pub(super) fn signing_input(&self) -> &'a [u8] {
        self.signing_input.as_bytes()
    }

    pub(super) fn decode_header(&self) -> Option<Vec<u8>> {
        decode(self.header)
    }

    pub(super) fn decode_payload(&self) -> Option<Vec<u8>> {
        decode(self.payload)
    }

    pub(super) fn decode_signature(&self) -> Option<Vec<u8>> {
        decode(self.signature)
    }

    /// The signature with padding, stray bits and the other alphabet forgiven, which tells whether
    /// a malformed token is one of ours that somebody has bent. Of sloppy readers some skip what
    /// is not base64 and some stop there: both readings are given where they differ.
    pub(super) fn signatures_as_anyone_reads_them(&self) -> impl Iterator<Item = Vec<u8>> {
        let url_safe = self.signature.replace('+', "-").replace('/', "_");
        let foreign = |c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_';
        let stopped = url_safe.split(foreign).next().unwrap_or_default().to_owned();
        let skipped = url_safe.replace(foreign, "");
        let stopped = (stopped != skipped).then_some(stopped);
        [Some(skipped), stopped].into_iter().flatten().filter_map(|text| SLOPPY.decode(text).ok())
    }
}

/// Canonical base64url alone: no padding, no stray bits (RFC 7515, section 2).
fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// What the header says of the algorithm and the key.
pub(super) struct Header<'a> {
    algorithm: Cow<'a, str>,
    kid: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    /// `None` for anything but a JSON object whose every member is known to be harmless.
    pub(super) fn parse(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    pub(super) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
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
        // A set, since whoever sends the token decides how many members there are.
        let mut others: BTreeSet<Cow<'de, str>> = BTreeSet::new();
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "alg" => set_once(&mut algorithm, map.next_value::<Text<'de>>()?.0)?,
                "kid" => set_once(&mut kid, map.next_value::<Text<'de>>()?.0)?,
                "typ" => set_once(&mut typ, map.next_value::<Text<'de>>()?.0)?,
                refused if REFUSED_MEMBERS.contains(&refused) => {
                    return Err(de::Error::custom("refused member"));
                }
                _ => {
                    map.next_value::<json::Strict>()?;
                    if !others.insert(name) {
                        return Err(de::Error::custom("duplicate member"));
                    }
                }
            }
        }
        let algorithm = algorithm.ok_or_else(|| de::Error::missing_field("alg"))?;
        Ok(Header { algorithm, kid })
    }
}

/// The claims as they stand: each may be absent or of the wrong type.
#[derive(Default)]
pub(super) struct RawClaims<'a> {
    pub(super) sub: Option<Loose<'a>>,
    pub(super) jti: Option<Loose<'a>>,
    pub(super) resource_id: Option<Loose<'a>>,
    pub(super) plan_id: Option<Loose<'a>>,
    pub(super) tier_id: Option<Loose<'a>>,
    pub(super) tx_hash: Option<Loose<'a>>,
    pub(super) iat: Option<Loose<'a>>,
    pub(super) exp: Option<Loose<'a>>,
    pub(super) nbf: Option<Loose<'a>>,
    pub(super) iss: Option<Loose<'a>>,
    pub(super) aud: Option<Loose<'a>>,
    pub(super) cnf: Option<()>,
    pub(super) extra: Map<String, Value>,
}

/// A claim's value, sorted by what this crate can do with it.
pub(super) enum Loose<'a> {
    Text(Cow<'a, str>),
    Time(Timestamp),
    Texts(Vec<Cow<'a, str>>),
    Other,
}

impl<'a> RawClaims<'a> {
    /// `None` for anything but a JSON object without duplicate members.
    pub(super) fn parse(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

impl<'de> Deserialize<'de> for RawClaims<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ClaimsVisitor)
    }
}

struct ClaimsVisitor;

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = RawClaims<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a claims object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawClaims<'de>, A::Error> {
        let mut claims = RawClaims::default();
        while let Some(Text(name)) = map.next_key()? {
            let slot = match &*name {
                "sub" => &mut claims.sub,
                "jti" => &mut claims.jti,
                "resourceId" => &mut claims.resource_id,
                "planId" => &mut claims.plan_id,
                "tierId" => &mut claims.tier_id,
                "txHash" => &mut claims.tx_hash,
                "iat" => &mut claims.iat,
                "exp" => &mut claims.exp,
                "nbf" => &mut claims.nbf,
                "iss" => &mut claims.iss,
                "aud" => &mut claims.aud,
                "cnf" => {
                    map.next_value::<json::Strict>()?;
                    set_once(&mut claims.cnf, ())?;
                    continue;
                }
                _ => {
                    let json::Strict(value) = map.next_value()?;
                    json::insert_once(&mut claims.extra, name.into_owned(), value)?;
                    continue;
                }
            };
            set_once(slot, map.next_value()?)?;
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
