//! What looks like a credential, whoever issued it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::apikey;

/// The base64url text of the shortest signature that is in use, in characters.
const SHORTEST_SIGNATURE: usize = 43;

/// Whether a text is an access token or an API key of the known shapes, or holds one, as `Bearer …`
/// or a URL does.
pub(super) fn shows_in(text: &str) -> bool {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let words = text.split(|c: char| !is_base64(c) && c != '.');
    words.into_iter().any(is_token) || text.split(|c| !is_base64(c)).any(apikey::looks_issued)
}

/// Three parts or more of base64url, of which the first is a JSON object or the last can be a
/// signature. The name of a host has three parts as well.
fn is_token(word: &str) -> bool {
    let Some((header, rest)) = word.split_once('.') else { return false };
    let Some((_, signature)) = rest.rsplit_once('.') else { return false };
    let is_object = |part| URL_SAFE_NO_PAD.decode(part).is_ok_and(|json| json.starts_with(b"{"));
    is_object(header) || signature.len() >= SHORTEST_SIGNATURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apikey::KeyFormat;

    #[test]
    fn tokens_and_keys_are_seen_wherever_they_stand() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyIn0.c2lnbmF0dXJl";
        let opaque = format!("aGVhZGVy.cGF5bG9hZA.{}", "s".repeat(43));
        let key = KeyFormat::new("my_shop").expect("legal").generate().expect("random bytes");
        let older = "ak_0123456789abcdef0123456789abcdef";
        for credential in [token, &opaque, key.expose(), older] {
            for text in [
                credential.to_owned(),
                format!("Bearer {credential}"),
                format!("https://api.example.com/photos?key={credential}&size=4"),
            ] {
                assert!(shows_in(&text), "{text}");
            }
        }
    }

    #[test]
    fn whatever_else_is_sent_stays() {
        let hash = format!("0x{}", "ab".repeat(32));
        for text in [
            "",
            "...",
            "1.2.3",
            "api.example.com",
            "https://backend.example.com/api/photo-1",
            "eip155:84532",
            "ak_",
            "the key is ak_short",
            "0198c0de-0000-7000-8000-000000000001",
            &hash,
            &format!("https://sepolia.basescan.org/tx/{hash}"),
        ] {
            assert!(!shows_in(text), "{text}");
        }
    }
}
