//! What the commands print.

use std::io::{self, Write};

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
