//! What looks like a credential, whoever issued it.

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use serde_json::{Map, Value};

use crate::{apikey, domain::percent_decode_leniently};

/// The base64url text of the shortest signature that is in use, in characters.
const SHORTEST_SIGNATURE: usize = 43;
/// The shortest text in base64 that can hold a key.
const SHORTEST_ENCODED: usize = 47;
/// How many encodings are undone, one in another, as a URL within a URL has them.
const MAX_ENCODINGS: usize = 3;
/// What the header of a token begins with in base64: a brace and a quote.
const OBJECT: &str = "eyJ";
/// The longest header of a token that is looked for, in characters, and at how many places in a part of a
/// word it may begin. They bound what a long word costs.
const LONGEST_HEADER: usize = 2_048;
const MOST_STARTS: usize = 8;

/// Of either alphabet, once the letters of one are those of the other; nobody counts the bits at the
/// end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether a text is an access token or an API key of the known shapes, or holds one, as `Bearer …`,
/// `Basic …` or a URL does.
pub(super) fn shows_in(text: &str) -> bool {
    is_in(text, &|word| is_jwt(word) || is_signed(word), MAX_ENCODINGS)
}

/// The same for a text that is an id, most likely: three words of which the last is a hash are one.
pub(super) fn is_no_id(text: &str) -> bool {
    is_in(text, &is_jwt, MAX_ENCODINGS)
}

fn is_in(text: &str, is_token: &dyn Fn(&str) -> bool, encodings: usize) -> bool {
    let mut words = text.split(|c: char| !is_base64(c) && c != '.');
    if words.any(is_token) || apikey::holds_issued(text) {
        return true;
    }
    let Some(fewer) = encodings.checked_sub(1) else { return false };
    let within =
        |inner: &[u8]| str::from_utf8(inner).is_ok_and(|inner| is_in(inner, is_token, fewer));
    if text.contains('%') && within(&percent_decode_leniently(text)) {
        return true;
    }
    let mut encoded = text.split(|c: char| !is_base64(c) && !matches!(c, '+' | '/'));
    encoded.any(|word| {
        word.len() >= SHORTEST_ENCODED
            && BASE64
                .decode(word.replace('+', "-").replace('/', "_"))
                .is_ok_and(|inner| within(&inner))
    })
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

/// Three parts or more of base64url, of which one with two behind it ends in the header of a token: an
/// object with an algorithm (RFC 7515, section 4.1.1). Many a name begins with what could be a brace,
/// such as `example`.
fn is_jwt(word: &str) -> bool {
    let dots = word.bytes().filter(|byte| *byte == b'.').count();
    word.split('.').take(dots.saturating_sub(1)).any(ends_in_header)
}

fn ends_in_header(part: &str) -> bool {
    let is_header = |at: usize| {
        let text = part.get(at..).filter(|text| text.len() <= LONGEST_HEADER);
        let json = text.and_then(|text| BASE64.decode(text).ok());
        json.and_then(|json| serde_json::from_slice::<Map<String, Value>>(&json).ok())
            .is_some_and(|members| members.contains_key("alg"))
    };
    let mut starts = part.rmatch_indices(OBJECT).map(|(at, _)| at).take(MOST_STARTS);
    is_header(0) || starts.any(is_header)
}

/// The same, of which the last can be a signature. The name of a host has three parts as well.
fn is_signed(word: &str) -> bool {
    let rest = word.split_once('.').and_then(|(_, rest)| rest.rsplit_once('.'));
    rest.is_some_and(|(_, signature)| signature.len() >= SHORTEST_SIGNATURE)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::apikey::KeyFormat;

    #[test]
    fn tokens_and_keys_are_seen_wherever_they_stand() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyIn0.c2lnbmF0dXJl";
        let opaque = format!("aGVhZGVy.cGF5bG9hZA.{}", "s".repeat(43));
        let key = KeyFormat::new("my_shop").expect("legal").generate().expect("random bytes");
        let ours = KeyFormat::default().generate().expect("random bytes");
        let older = "ak_0123456789abcdef0123456789abcdef";
        for credential in [token, &opaque, key.expose(), ours.expose(), older] {
            let escaped = |text: &str, from, to| text.replace(from, to);
            for text in [
                credential.to_owned(),
                format!("Bearer {credential}"),
                format!("https://api.example.com/photos?key={credential}&size=4"),
                format!("https://s/x?next=https%3A%2F%2Fb%2Fapi%3Ftoken%3D{credential}"),
                format!("next=https%253A%252F%252Fb%252F%253Ftoken%253D{credential}%2526"),
                escaped(&escaped(credential, ".", "%2E"), "_", "%5f"),
                format!("token_{credential}"),
                format!("{credential}-1"),
                format!("{credential}x"),
                format!("x{credential}"),
                format!("x.{credential}"),
                format!("{{\"a\":\"{credential}\"}}"),
                STANDARD.encode(credential),
                format!("Basic {}", STANDARD.encode(format!("u:{credential}"))),
                format!("u%3A{}", BASE64.encode(format!("a=?~{credential}"))),
            ] {
                assert!(shows_in(&text), "{text}");
            }
            assert_eq!(is_no_id(credential), credential != opaque, "{credential}");
        }
    }

    #[test]
    fn whatever_else_is_sent_stays() {
        let hash = format!("0x{}", "ab".repeat(32));
        for text in [
            "",
            "...",
            "1.2.3",
            "100%",
            "%e9%zz%",
            "api.example.com",
            "example.com.photo-1",
            "express.shop.42",
            "e-1_.premium.monthly",
            "exchange.rates.v1",
            "https://example.co.uk/photos",
            "https://explorer.example.com/tx/1",
            "https://backend.example.com/api/photo-1",
            "https://backend.example.com/api/photo%201?next=https%3A%2F%2Fshop.example.com%2F",
            "eip155:84532",
            "ak_",
            "the key is ak_short",
            "my_long_words_that_stand_with_underscores_and_nothing_else_between_them_",
            "0198c0de-0000-7000-8000-000000000001",
            &hash,
            &STANDARD.encode(&hash),
            &"c2lnbmF0dXJl".repeat(100),
            &format!("https://sepolia.basescan.org/tx/{hash}"),
        ] {
            assert!(!shows_in(text) && !is_no_id(text), "{text}");
        }
        // A hash is signature enough where it is not the end of an id.
        let id = format!("shop.photo.{hash}");
        assert!(shows_in(&id) && !is_no_id(&id));
    }
}
