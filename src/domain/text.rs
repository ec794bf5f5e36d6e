use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrayvec::ArrayString;

/// The longest text that is kept in its place, in bytes: `0x` and 64 digits, as a hash on a chain.
const MAX_SHORT_BYTES: usize = 66;

/// A text that needs no memory of its own where it is as short as ids are. Cheap to clone.
#[derive(Clone)]
pub(crate) enum ShortText {
    Short(ArrayString<MAX_SHORT_BYTES>),
    Long(Arc<str>),
}

impl ShortText {
    pub(crate) const EMPTY: Self = Self::Short(ArrayString::new_const());

    pub(crate) fn new(text: &str) -> Self {
        let mut short = Self::EMPTY;
        short.set(text);
        short
    }

    /// Writes a text where it is to stay. One that is moved right after it was written makes the
    /// processor wait for the writing.
    pub(crate) fn set(&mut self, text: &str) {
        match self {
            Self::Short(short) if text.len() <= MAX_SHORT_BYTES => {
                short.clear();
                short.push_str(text);
            }
            _ => *self = Self::Long(text.into()),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Short(text) => text,
            Self::Long(text) => text,
        }
    }
}

impl PartialEq for ShortText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for ShortText {}

impl PartialOrd for ShortText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ShortText {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for ShortText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_in_place_and_longer_ones_are_alike() {
        for length in [0, 1, MAX_SHORT_BYTES - 1, MAX_SHORT_BYTES, MAX_SHORT_BYTES + 1, 256] {
            let text = "a".repeat(length);
            let short = ShortText::new(&text);
            assert_eq!(short.as_str(), text);
            assert_eq!(short.clone(), short);
            assert_eq!(matches!(short, ShortText::Short(_)), length <= "0x".len() + 64, "{length}");
        }
    }

    #[test]
    fn a_text_takes_the_place_of_another() {
        let long = "b".repeat(100);
        for (first, second) in [("aaa", "b"), ("a", &*long), (&long, "a")] {
            let mut text = ShortText::new(first);
            text.set(second);
            assert_eq!(text, ShortText::new(second));
        }
    }
}
