//! The parts of a compact JWS (RFC 7515, section 7.1), read without believing any of them.

use std::sync::LazyLock;

use crate::domain::Credential;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

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
    /// a malformed token is one of ours that somebody has tampered with. Of sloppy readers some skip what
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
