use std::fmt;

use crate::{Rejection, RejectionKind};

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// A caller's name for one request: 1 to 255 visible ASCII characters.
///
/// ```
/// use key0_auth::idempotency::IdempotencyKey;
///
/// let key = IdempotencyKey::read([&br#""order-1""#[..]])?.expect("one was sent");
/// assert_eq!(key.as_str(), "order-1");
/// # Ok::<(), key0_auth::Rejection>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Box<str>);

impl IdempotencyKey {
    /// The name of its header, in lower case.
    pub const HEADER: &str = "idempotency-key";

    /// Reads the key out of the values of its header; none where there is no such header.
    ///
    /// A value in quotes is a string of RFC 9651, section 3.3.3, and the same key as the bare one.
    ///
    /// # Errors
    ///
    /// [`InvalidIdempotencyKey`](RejectionKind::InvalidIdempotencyKey) where it can't be read, and
    /// where the header was sent twice.
    pub fn read<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Self>, Rejection> {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match parse(value.trim_ascii()) {
                Some(key) => Ok(Some(Self(key.into()))),
                None => Err(RejectionKind::InvalidIdempotencyKey.into()),
            },
            (Some(_), Some(_)) => Err(Rejection::new(RejectionKind::InvalidIdempotencyKey)
                .detail("The Idempotency-Key header was sent twice")),
        }
    }

    /// The key, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse(value: &[u8]) -> Option<String> {
    let key = match value.split_first() {
        Some((b'"', quoted)) => unquote(quoted)?,
        _ => value.to_vec(),
    };
    let legal = (1..=MAX_KEY_BYTES).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    if legal { String::from_utf8(key).ok() } else { None }
}

/// What stands before the closing quote, which must be the last byte.
fn unquote(quoted: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    loop {
        match bytes.next()? {
            b'"' => return bytes.as_slice().is_empty().then_some(key),
            b'\\' => key.push(*bytes.next().filter(|byte| matches!(byte, b'"' | b'\\'))?),
            byte => key.push(*byte),
        }
    }
}

/// Whose request it is, and under which key: what two requests have in common that are one.
///
/// The middlewares put it into the extensions of a request that runs under a key, so that the
/// handler can write it into rows of its own.
///
/// ```
/// use key0_auth::idempotency::{IdempotencyKey, IdempotentRequest};
///
/// let key = IdempotencyKey::read([&b"order-1"[..]])?.expect("one was sent");
/// let request = IdempotentRequest::new("acme", key);
/// assert_eq!((request.caller(), request.key()), ("acme", "order-1"));
/// # Ok::<(), key0_auth::Rejection>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotentRequest {
    caller: String,
    key: IdempotencyKey,
}

impl IdempotentRequest {
    /// A request of this caller; for one that was validated its
    /// [`lasting_id`](crate::Identity::lasting_id).
    pub fn new(caller: impl Into<String>, key: IdempotencyKey) -> Self {
        Self { caller: caller.into(), key }
    }

    /// The caller: the same one over restarts, and another one for everybody else. Not to be
    /// shown.
    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// The key that the caller chose.
    pub fn key(&self) -> &str {
        self.key.as_str()
    }
}

impl fmt::Debug for IdempotentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentRequest").field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &[u8]) -> Option<String> {
        let key = IdempotencyKey::read([value]).ok()??;
        Some(key.as_str().to_owned())
    }

    #[test]
    fn quoted_and_bare_are_the_same_key() {
        for (value, key) in [
            ("k", "k"),
            ("\"k\"", "k"),
            (" \"k\"\t", "k"),
            (r#"a"b"#, r#"a"b"#),
            (r#""a\"b""#, r#"a"b"#),
            (r#""a\\b""#, r"a\b"),
            (r"a\b", r"a\b"),
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ] {
            assert_eq!(read(value.as_bytes()).as_deref(), Some(key), "{value}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_refused() {
        let quoted = [r#"""#, r#""""#, r#""k"#, r#""k"k"#, r#""k";a"#, r#""a", "b""#, r#""\k""#];
        for value in quoted.into_iter().chain(["", " ", "a b", "a\tb", "ü", r#""a b""#, r#""k\"#])
        {
            assert_eq!(read(value.as_bytes()), None, "{value}");
        }
        assert_eq!(read(b"k\xff"), None);
        assert_eq!(read(b"k\x7f"), None);
    }

    #[test]
    fn the_length_is_that_of_the_key() {
        let longest = "k".repeat(255);
        assert_eq!(read(longest.as_bytes()), Some(longest.clone()));
        assert_eq!(read(format!("\"{longest}\"").as_bytes()), Some(longest.clone()));
        assert_eq!(read(format!("{longest}k").as_bytes()), None);
        assert_eq!(read(format!("\"{longest}k\"").as_bytes()), None);
        let escaped = format!("\"{}\"", r"\\".repeat(255));
        assert_eq!(read(escaped.as_bytes()), Some(r"\".repeat(255)));
    }

    #[test]
    fn none_is_none_and_two_are_refused() {
        assert!(matches!(IdempotencyKey::read([]), Ok(None)));
        assert!(IdempotencyKey::read([&b"k"[..], b"k"]).is_err());
    }
}
