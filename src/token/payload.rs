//! The parts of a compact JWS (RFC 7515, section 7.1), read without believing any of them.

use std::{borrow::Cow, collections::BTreeSet, fmt, sync::LazyLock};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::flat::{self, NotRead};
use crate::domain::{Credential, json};

/// Header members that change how a token is to be read or bring a key of their own.
const REFUSED_MEMBERS: [&str; 7] = ["crit", "zip", "b64", "jwk", "jku", "x5u", "x5c"];

/// Decodes as sloppily as any reader might; see [`CompactJws::signatures_as_anyone_reads_them`].
const SLOPPY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The three encoded parts of a token, between two dots.
#[derive(Clone, Copy)]
pub(crate) struct CompactJws<'a> {
    text: &'a str,
    signing_input: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> CompactJws<'a> {
    /// `None` for a credential that does not have the shape of an access token.
    pub(crate) fn split(credential: Credential<'a>) -> Option<Self> {
        let token = Self::split_sloppily(credential.expose())?;
        memchr::memchr(b'.', token.signature.as_bytes()).is_none().then_some(token)
    }

    /// As readers split that take what follows a third dot for part of the signature, or pass it
    /// over.
    pub(super) fn split_sloppily(text: &'a str) -> Option<Self> {
        let (header, rest) = split_at_dot(text)?;
        let (payload, signature) = split_at_dot(rest)?;
        let signing_input = &text[..header.len() + 1 + payload.len()];
        Some(Self { text, signing_input, header, payload, signature })
    }

    /// All of it, as it was received.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn signing_input(&self) -> &'a [u8] {
        self.signing_input.as_bytes()
    }

    pub(super) fn header(&self) -> &'a str {
        self.header
    }

    pub(super) fn payload(&self) -> &'a str {
        self.payload
    }

    pub(super) fn signature(&self) -> &'a str {
        self.signature
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

fn split_at_dot(text: &str) -> Option<(&str, &str)> {
    let dot = memchr::memchr(b'.', text.as_bytes())?;
    let (before, after) = text.split_at_checked(dot)?;
    Some((before, &after[1..]))
}

/// Decodes many bytes at once where the machine can.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
static URL_SAFE: LazyLock<base64::engine::Simd> =
    LazyLock::new(|| base64::engine::Simd::url_safe(base64::engine::general_purpose::NO_PAD));
#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon"))))]
static URL_SAFE: GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Room for one decoded part: on the stack where it is of the usual length, `USUAL` bytes at most.
pub(super) struct Room<const USUAL: usize> {
    usual: [u8; USUAL],
    unusual: Vec<u8>,
}

impl<const USUAL: usize> Room<USUAL> {
    pub(super) fn new() -> Self {
        Self { usual: [0; USUAL], unusual: Vec::new() }
    }

    /// Canonical base64url alone: no padding, no stray bits (RFC 7515, section 2).
    pub(super) fn decode(&mut self, part: &str) -> Option<&[u8]> {
        let at_most = base64::decoded_len_estimate(part.len());
        let room = if at_most <= USUAL {
            &mut self.usual[..]
        } else {
            self.unusual.resize(at_most, 0);
            &mut self.unusual[..]
        };
        let length = URL_SAFE.decode_slice(part, room).ok()?;
        Some(&room[..length])
    }
}

/// What the header says of the algorithm and the key.
pub(super) struct Header<'a> {
    pub(super) algorithm: Cow<'a, str>,
    pub(super) kid: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    /// The header that Key0 writes, told by its encoded form.
    pub(super) fn known(encoded: &str) -> Option<Self> {
        let algorithm = match encoded {
            // {"alg":"HS256"}
            "eyJhbGciOiJIUzI1NiJ9" => "HS256",
            // {"alg":"RS256"}
            "eyJhbGciOiJSUzI1NiJ9" => "RS256",
            _ => return None,
        };
        Some(Self { algorithm: Cow::Borrowed(algorithm), kid: None })
    }

    /// `None` for anything but a JSON object whose every member is known to be harmless.
    pub(super) fn parse(json: &'a [u8]) -> Option<Self> {
        match flat::read_header(json) {
            Ok(header) => Some(header),
            Err(NotRead::Illegal) => None,
            Err(NotRead::Unusual) => serde_json::from_slice(json).ok(),
        }
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

/// A text that borrows from the input where nothing in it is escaped.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

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

pub(super) fn set_once<T, E: de::Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom("duplicate member")),
    }
}
