//! What no log may show, so that a text of a caller can be compared with it.

use std::{collections::HashSet, fmt, sync::Arc};

use key0_auth::domain::{MIN_SECRET_BYTES, Secret};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The shortest key of another service, in bytes.
const SHORTEST_FOREIGN: usize = 20;
/// What credentials begin with, those of the older shape and malformed ones among them.
const BEGINNINGS: [&str; 2] = ["ak_", "eyJ"];

/// The secrets of the configuration, by their digests. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Confidential {
    digests: Arc<HashSet<[u8; 32]>>,
    /// Whether keys of any shape open.
    foreign: bool,
}

impl Confidential {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>, foreign: bool) -> Self {
        let digest = |secret: &Secret| Sha256::digest(secret.expose_bytes()).into();
        let digests = secrets.into_iter().map(digest).collect::<HashSet<_>>();
        Self { digests: digests.into(), foreign }
    }

    /// How long the shortest credential is, in bytes.
    pub(crate) fn shortest(&self) -> usize {
        if self.foreign { SHORTEST_FOREIGN } else { MIN_SECRET_BYTES }
    }

    /// Whether a text can be a credential, or one with a little around it, as quotes.
    pub(crate) fn may_stand_in(&self, text: &str) -> bool {
        if BEGINNINGS.iter().any(|beginning| text.contains(beginning)) {
            return true;
        }
        if self.foreign && text.len() >= SHORTEST_FOREIGN && !is_own_id(text) {
            return true;
        }
        if text.len() < MIN_SECRET_BYTES {
            return false;
        }
        let around = |c: char| "\"'`<>()[]{},;:|&".contains(c);
        let value = text.split_once(['=', ':']).map_or("", |(_, value)| value);
        // A secret may hold such characters itself.
        let inner = text.strip_prefix(around).unwrap_or(text);
        let inner = [inner, inner.strip_suffix(around).unwrap_or(inner)];
        let trimmed = [text, value].map(|it| it.trim_matches(around));
        let mut pieces = text.split(around).chain(inner).chain(trimmed);
        [text, value].into_iter().any(|it| self.is_one(it))
            || pieces.any(|it| it.len() < text.len() && self.is_one(it))
    }

    /// Whether a text is a secret of the configuration.
    pub(crate) fn is_one(&self, text: &str) -> bool {
        let digest = || -> [u8; 32] { Sha256::digest(text).into() };
        text.len() >= MIN_SECRET_BYTES && self.digests.contains(&digest())
    }
}

/// Whether a text has the form of the ids that are made here: a UUID of version 7 with its hyphens.
pub(crate) fn is_own_id(text: &str) -> bool {
    let is_hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
    is_hyphenated && Uuid::try_parse(text).is_ok_and(|id| id.get_version_num() == 7)
}

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confidential(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 3] = [
        "q3Jx0mZ8vT4bN6wY1kLsDf/7hGu2RcPe9AiXoQzBtE+=",
        "0123456789abcdef0123456789abcdef",
        "(a-key){of}[all],sorts;of:characters&\"",
    ];

    #[test]
    fn a_secret_is_seen_in_what_tools_put_around_it() {
        let secrets = KEYS.map(|key| Secret::new("TEST", key).expect("long enough"));
        let confidential = Confidential::new(&secrets, false);
        for key in KEYS {
            for text in [
                key.to_owned(),
                format!("\"{key}\""),
                format!("'{key}"),
                format!("id={key}"),
                format!("key:{key}"),
            ] {
                assert!(confidential.may_stand_in(&text), "{text}");
            }
        }
        for text in ["\"ak_0123456789abcdef", "x-ak_1", "id=eyJhbGciOiJIUzI1NiJ9"] {
            assert!(confidential.may_stand_in(text), "{text}");
        }
        for text in [
            "7",
            "!~:/\"",
            &"x".repeat(128),
            "550e8400-e29b-41d4-a716-446655440000",
            "8f14e45fceea167a5a36dedd4bea2543",
        ] {
            assert!(!confidential.may_stand_in(text), "{text}");
        }
    }

    #[test]
    fn where_keys_of_any_shape_open_a_long_id_may_be_one() {
        let foreign = Confidential::new([], true);
        for text in ["sk_live_9fK2mQ7xZ1pL4vB8", "550e8400-e29b-41d4-a716-446655440000"] {
            assert!(foreign.may_stand_in(text) && !Confidential::default().may_stand_in(text));
        }
        for text in ["conformance-7", "01a22919-069a-7507-bc5c-d4c013fee99f"] {
            assert!(!foreign.may_stand_in(text));
        }
    }
}
