use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::digest::KeyDigest;
use crate::error::{ConfigFault, RandomError};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The longest prefix, in characters.
const MAX_PREFIX: usize = 16;
/// 30 base62 characters carry 178 bits.
const RANDOM_CHARS: usize = 30;
/// CRC-32 in base62.
const CHECKSUM_CHARS: usize = 6;
/// The prefix and the length of keys that were imported from older services.
const LEGACY_PREFIX: &str = "ak_";
const LEGACY_HEX_CHARS: usize = 32;
/// The shortest key of another service, in characters.
const SHORTEST_FOREIGN: usize = 20;
/// The largest multiple of 62 that a byte can hold; bytes from here on are thrown away, so that
/// every character is equally likely.
const UNBIASED: u8 = 248;

/// The shape of API keys: `<prefix>_<30 random characters><6 characters of checksum>`.
///
/// The checksum (CRC-32 over all before it, in base62) tells a mistyped key from a wrong one
/// without any lookup, and lets secret scanners recognise one.
///
/// ```
/// use key0_auth::apikey::KeyFormat;
///
/// let key = KeyFormat::new("shop")?.generate()?;
/// assert!(key.expose().starts_with("shop_"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFormat {
    prefix: Box<str>,
    foreign: bool,
}

/// The plain text of a key, on its only way out.
///
/// Redacted in `Debug`; wiped from memory on drop.
#[derive(Clone)]
pub struct PlainKey(SecretString);

impl Default for KeyFormat {
    /// Keys that begin with `ak_`.
    fn default() -> Self {
        Self { prefix: "ak".into(), foreign: false }
    }
}

impl KeyFormat {
    /// Keys with a prefix of your own: 1 to 16 lower-case letters, digits or underscores,
    /// beginning with a letter.
    ///
    /// # Errors
    ///
    /// [`ConfigFault::Invalid`] for any other prefix.
    pub fn new(prefix: &str) -> Result<Self, ConfigFault> {
        let legal = (1..=MAX_PREFIX).contains(&prefix.len())
            && prefix.starts_with(|first: char| first.is_ascii_lowercase())
            && !prefix.ends_with('_')
            && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if legal {
            Ok(Self { prefix: prefix.into(), foreign: false })
        } else {
            let reason = "it is 1 to 16 of a-z, 0-9 and _, from a letter on, not ending in _";
            Err(ConfigFault::invalid("the API key prefix", reason))
        }
    }

    /// Accepts imported keys of another service, too, whatever their shape. A credential of at
    /// least 20 characters that has no shape of ours is looked up by its digest, before any
    /// fallback is asked. Each such credential costs a lookup, even if nobody knows it.
    #[must_use]
    pub fn allow_foreign(mut self) -> Self {
        self.foreign = true;
        self
    }

    /// Whether keys of another service are taken.
    pub fn allows_foreign(&self) -> bool {
        self.foreign
    }

    /// Whether this can be a key of another service that was imported.
    pub(crate) fn can_be_foreign(&self, credential: &str) -> bool {
        self.foreign
            && credential.len() >= SHORTEST_FOREIGN
            && credential.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// Whether a bearer value claims to be an API key of this shape.
    pub fn is_claimed_by(&self, credential: &str) -> bool {
        credential.strip_prefix(&*self.prefix).is_some_and(|rest| rest.starts_with('_'))
            || is_legacy(credential)
    }

    /// Whether this can be a key that was issued: right shape and right checksum.
    pub fn is_well_formed(&self, credential: &str) -> bool {
        self.has_checksum(credential) || is_legacy(credential)
    }

    /// A new random key.
    ///
    /// # Errors
    ///
    /// Fails when the operating system gives no random bytes.
    pub fn generate(&self) -> Result<PlainKey, RandomError> {
        let mut random = String::with_capacity(RANDOM_CHARS);
        while random.len() < RANDOM_CHARS {
            let mut bytes = [0; 2 * RANDOM_CHARS];
            getrandom::fill(&mut bytes).map_err(RandomError::new)?;
            push_unbiased(&mut random, &bytes);
        }
        Ok(self.assemble(&random))
    }

    /// The key that a stream of pseudo-random bytes stands for. `None` when the stream is too
    /// short, which takes more than 100 rejected bytes of 128.
    pub(super) fn key_from_stream(&self, stream: &[u8; 128]) -> Option<PlainKey> {
        let mut random = String::with_capacity(RANDOM_CHARS);
        push_unbiased(&mut random, stream);
        (random.len() == RANDOM_CHARS).then(|| self.assemble(&random))
    }

    /// The key that this text is, where it has a known shape: for keys that were issued elsewhere.
    pub fn recognise(&self, text: &str) -> Option<PlainKey> {
        (self.is_well_formed(text) || self.can_be_foreign(text)).then(|| PlainKey(text.into()))
    }

    fn assemble(&self, random: &str) -> PlainKey {
        let mut key = format!("{}_{random}", self.prefix);
        let checksum = checksum(&key);
        key.extend(checksum.map(char::from));
        PlainKey(key.into())
    }

    fn has_checksum(&self, credential: &str) -> bool {
        let body = credential.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_prefix('_'));
        body.is_some_and(|body| {
            body.len() == RANDOM_CHARS + CHECKSUM_CHARS
                // Without an early end, so that the compiler takes many bytes at once.
                && body.bytes().fold(true, |all, byte| all & byte.is_ascii_alphanumeric())
                && credential
                    .split_at_checked(credential.len() - CHECKSUM_CHARS)
                    .is_some_and(|(covered, claimed)| checksum(covered) == claimed.as_bytes())
        })
    }
}

impl PlainKey {
    /// The key itself. Every call of this is a place to look at in a review.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The digest under which it is stored.
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(self.expose())
    }

    /// What may be shown of it: the prefix and four characters, as `ak_1a2B…`.
    pub fn masked(&self) -> String {
        mask(self.expose())
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainKey(..)")
    }
}

/// The prefix and four characters of a key of the known shapes, four characters of any other.
fn mask(key: &str) -> String {
    let prefix = key.rfind('_').filter(|_| looks_issued(key));
    let secret_from = prefix.map_or(0, |at| at + 1);
    let shown = key.get(..secret_from + 4).unwrap_or("");
    format!("{shown}…")
}

/// Whether a text has the shape of an issued key, whatever its prefix.
fn looks_issued(text: &str) -> bool {
    let covered = text.len().checked_sub(CHECKSUM_CHARS).and_then(|at| text.split_at_checked(at));
    let has_checksum = covered.is_some_and(|(covered, claimed)| {
        let random = covered.rsplit_once('_').map_or(0, |(_, random)| random.len());
        random == RANDOM_CHARS && checksum(covered) == claimed.as_bytes()
    });
    has_checksum || is_legacy(text)
}

/// Whether a text holds an issued key, whatever its prefix, and whatever stands before or behind it.
pub(crate) fn holds_issued(text: &str) -> bool {
    text.match_indices('_').any(|(line, _)| {
        let behind = &text.as_bytes()[line + 1..];
        let run = behind.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let legacy = (line + 1)
            .checked_sub(LEGACY_PREFIX.len())
            .zip(text.get(..line + 1 + LEGACY_HEX_CHARS));
        if legacy.is_some_and(|(start, head)| head.get(start..).is_some_and(is_legacy)) {
            return true;
        }
        if run < RANDOM_CHARS + CHECKSUM_CHARS {
            return false;
        }
        let end = line + 1 + RANDOM_CHARS + CHECKSUM_CHARS;
        let starts = line.saturating_sub(MAX_PREFIX)..line;
        let mut keys = starts.filter_map(|start| text.get(start..end));
        keys.any(|key| {
            key.starts_with(|first: char| first.is_ascii_lowercase()) && looks_issued(key)
        })
    })
}

fn is_legacy(credential: &str) -> bool {
    credential.strip_prefix(LEGACY_PREFIX).is_some_and(|hex| {
        hex.len() == LEGACY_HEX_CHARS && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn push_unbiased(random: &mut String, bytes: &[u8]) {
    let unbiased = bytes.iter().filter(|byte| **byte < UNBIASED);
    let wanted = RANDOM_CHARS - random.len();
    random.extend(unbiased.take(wanted).map(|byte| char::from(BASE62[usize::from(byte % 62)])));
}

fn checksum(covered: &str) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(covered.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[rest % 62];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_well_formed_and_none_of_its_typos_is() {
        let format = KeyFormat::default();
        let key = format.generate().expect("random bytes");
        let text = key.expose();
        assert_eq!(text.len(), 3 + 36);
        assert!(format.is_well_formed(text));
        for at in 3..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
            let typo = String::from_utf8(bytes).expect("ascii");
            assert!(!format.is_well_formed(&typo), "position {at}");
        }
        for malformed in
            [&text[..text.len() - 1], &format!("{text}a"), &text[1..], &text.to_uppercase()]
        {
            assert!(!format.is_well_formed(malformed));
        }
    }

    #[test]
    fn keys_differ_and_use_the_whole_alphabet() {
        let format = KeyFormat::default();
        let mut seen = std::collections::BTreeSet::new();
        let mut letters = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let key = format.generate().expect("random bytes");
            letters.extend(key.expose()[3..33].bytes());
            assert!(seen.insert(key.expose().to_owned()));
        }
        assert_eq!(letters.len(), 62);
    }

    #[test]
    fn the_older_shape_is_known() {
        let format = KeyFormat::new("shop").expect("legal");
        let legacy = "ak_0123456789abcdef0123456789abcdef";
        assert!(format.is_claimed_by(legacy) && format.is_well_formed(legacy));
        assert!(!format.is_well_formed("ak_0123456789abcdef0123456789abcdeg"));
        assert!(!format.is_well_formed("ak_0123456789abcdef0123456789abcde"));
        assert!(format.is_claimed_by("shop_x") && !format.is_well_formed("shop_x"));
        assert!(!format.is_claimed_by("shopx"));
    }

    #[test]
    fn keys_of_another_service_are_taken_where_that_is_allowed() {
        let theirs = "sk_live_51H8xyz_QmFzZTY0";
        let strict = KeyFormat::default();
        assert!(strict.recognise(theirs).is_none() && !strict.can_be_foreign(theirs));
        let open = KeyFormat::default().allow_foreign();
        let key = open.recognise(theirs).expect("it may be theirs");
        assert_eq!((key.masked().as_str(), key.expose()), ("sk_l…", theirs));
        for bad in ["sk_live_51H8xyz_Qmf", "sk live 51H8xyz QmFzZTY0", "sk_live_51H8xyz_QmFzZTYé"]
        {
            assert!(open.recognise(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn prefixes() {
        for good in ["ak", "a", "my_shop", "k0"] {
            assert!(KeyFormat::new(good).is_ok(), "{good}");
        }
        for bad in ["", "0k", "_a", "a_", "Ak", "a-b", "abcdefghijklmnopq", "é"] {
            assert!(KeyFormat::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_prefix_and_four_characters_are_shown() {
        let key = KeyFormat::default().generate().expect("random bytes");
        assert_eq!(key.masked(), format!("{}…", &key.expose()[..7]));
        assert_eq!(format!("{key:?}"), "PlainKey(..)");
    }
}
