//! Of all texts, one good token alone passes: no tampered form of it does.
#![no_main]

use std::sync::LazyLock;

use key0_auth::AccessTokens;
use key0_auth_fuzz::{HEADER, PAYLOAD, access_tokens, validate, signed};
use libfuzzer_sys::fuzz_target;

static TOKENS: LazyLock<AccessTokens> = LazyLock::new(access_tokens);
static GOOD: LazyLock<String> = LazyLock::new(|| signed(HEADER.as_bytes(), PAYLOAD.as_bytes()));

/// What is put in: the alphabet of base64url, and what sloppy readers forgive besides.
const CHARACTERS: &[u8] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/. \n\0";

/// Either the text as it is, or, after a `!`, the good token tampered: each three bytes replace,
/// insert or remove one character, its place counted from the end.
fn text(data: &[u8]) -> Option<String> {
    let Some(bends) = data.strip_prefix(b"!") else {
        return std::str::from_utf8(data).ok().map(str::to_owned);
    };
    let mut token = GOOD.clone().into_bytes();
    for [what, place, character] in bends.as_chunks().0 {
        let from_end = usize::from(*place) % (token.len() + 1);
        let at = token.len() - from_end;
        let character = CHARACTERS[usize::from(*character) % CHARACTERS.len()];
        match what % 3 {
            0 => token.insert(at, character),
            _ if at == token.len() => {}
            1 => token[at] = character,
            _ => drop(token.remove(at)),
        }
    }
    String::from_utf8(token).ok()
}

fuzz_target!(|data: &[u8]| {
    assert!(validate(&TOKENS, &GOOD).is_ok(), "the good token passes");
    if let Some(text) = text(data) {
        assert_eq!(validate(&TOKENS, &text).is_ok(), text == *GOOD, "{text}");
    }
});
