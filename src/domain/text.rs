use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrayvec::ArrayString;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// The longest text that is kept in its place, in bytes: `0x` and 64 digits, as a hash on a chain.
const MAX_SHORT_BYTES: usize = 66;

/// Whether a character moves, turns or breaks the text around it, or can't be seen itself. These
/// are Unicode's controls, format characters and line separators, and the characters with its
/// property `Default_Ignorable_Code_Point`.
///
/// ```
/// use key0_auth::domain::disturbs;
///
/// assert!("key\u{202e}yek".chars().any(disturbs));
/// assert!(!"Zoë's key, 鍵".chars().any(disturbs));
/// ```
pub fn disturbs(character: char) -> bool {
    use GeneralCategory as Category;
    let moves = matches!(
        character.general_category(),
        Category::Control
            | Category::Format
            | Category::LineSeparator
            | Category::ParagraphSeparator
    );
    moves || is_ignorable(character)
}

/// The characters of `Default_Ignorable_Code_Point` that are letters, marks or not yet assigned, as
/// Unicode defines it: `Other_Default_Ignorable_Code_Point` and `Variation_Selector`. Those of Unicode
/// 17.0, with which a test compares them: the crates that know the property would add a dozen to a
/// user's tree, and Unicode has set aside whole ranges for what may come.
fn is_ignorable(character: char) -> bool {
    matches!(
        character,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2065}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// A text that needs no memory of its own where it is as short as ids are. Cheap to clone.
#[derive(Clone)]
pub(crate) enum ShortText {
    Short(ArrayString<MAX_SHORT_BYTES>),
    Long(Arc<str>),
}

impl ShortText {
    pub(crate) fn new(text: &str) -> Self {
        if text.len() > MAX_SHORT_BYTES {
            return Self::Long(text.into());
        }
        // Not by `ArrayString::from`, whose result is moved: 4 ns more for each text.
        let mut short = ArrayString::new();
        short.push_str(text);
        Self::Short(short)
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

/// Why a secret is most likely not what its author meant, by the characters at its ends: white space
/// and what can't be seen get lost on the way, quotes were meant to be around it.
///
/// ```
/// use key0_auth::domain::flaw_at_ends;
///
/// assert!(flaw_at_ends("\"a secret\"").is_some());
/// assert!(flaw_at_ends("a \"secret\" 1").is_none());
/// ```
pub fn flaw_at_ends(text: &str) -> Option<&'static str> {
    let ends = || [text.chars().next(), text.chars().next_back()].into_iter().flatten();
    if ends().any(char::is_whitespace) {
        Some("it begins or ends with white space")
    } else if ends().any(disturbs) {
        Some("it begins or ends with an invisible character")
    } else if ends().any(|end| matches!(end, '"' | '\'' | '`' | '\u{2018}'..='\u{201f}')) {
        // As container tools hand on those around a value.
        Some("it begins or ends with a quote, which would be a part of it")
    } else {
        None
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

    /// By the data of Unicode, of which another crate of the tests has the whole.
    #[test]
    fn the_property_is_unicodes() {
        use icu_properties::{CodePointSetData, props::DefaultIgnorableCodePoint};

        let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
        let mut count = 0;
        for character in '\0'..=char::MAX {
            let has_it = ignorable.contains(character);
            assert!(disturbs(character) || !has_it, "{character:?} is missing");
            assert!(has_it || !is_ignorable(character), "{character:?} is too many");
            count += u32::from(has_it);
        }
        assert!(count > 4_000, "the test shows nothing");
    }

    #[test]
    fn what_turns_or_hides_text_is_known() {
        for bad in "\0\n\u{7f}\u{85}\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{180e}\u{200b}\u{200d}\
                    \u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{206f}\
                    \u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{e0001}\u{e0041}\u{e01ef}".chars() {
            assert!(disturbs(bad), "{bad:?}");
        }
        for good in "aZ9 ~-é\u{301}ß\u{a0}\u{3000}Жعش鍵한ก\u{e01}\u{93e}\u{1f511}".chars()
        {
            assert!(!disturbs(good), "{good:?}");
        }
    }
}
