//! What the commands print.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use key0_auth::domain::disturbs;

/// Prints a line. A reader who has seen enough, as `head` has, does not end the command.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = crate::output::print(&(format!($($text)*) + "\n"));
    }};
}

pub(crate) use say;

/// Prints a text to standard output. Whoever stops reading, as `head` does, has what they wanted:
/// that is no error.
///
/// # Errors
///
/// Fails where the text can't be written for another reason, as to a full disk.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// JSON that can't steer the terminal it is shown on, nor hide a part of itself: such characters, which
/// can only stand in its texts, are escaped there. It is the same JSON.
pub(crate) fn harmless_json(json: &str) -> Cow<'_, str> {
    let disturbs = |c: char| c != '\n' && disturbs(c);
    if !json.contains(disturbs) {
        return Cow::Borrowed(json);
    }
    let mut harmless = String::with_capacity(json.len());
    for character in json.chars() {
        if disturbs(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                harmless.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            harmless.push(character);
        }
    }
    harmless.into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn json_stays_the_same_and_steers_no_terminal() {
        let text = "a\u{202e}b\u{200b}c\u{61c}d\u{9b}e\u{7f}\u{e0041}\u{feff}\n\"\\Zoë 🦀";
        let value = json!({ text: [text] });
        let told = format!("{value}\n");
        let told = harmless_json(&told);
        assert!(!told.trim_end().contains(disturbs), "{told:?}");
        assert!(
            told.contains("Zoë 🦀") && told.contains(r"\u202e") && told.contains(r"\udb40\udc41")
        );
        assert_eq!(serde_json::from_str::<Value>(&told).ok(), Some(value));
        assert!(matches!(harmless_json("{\"a\":1}\n"), Cow::Borrowed(_)));
    }
}
