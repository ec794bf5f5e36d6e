use std::error::Error;

/// An error and its causes on one line, for a log. A cause whose text is there already is left out,
/// as some errors tell their own cause; and of a cause that tells it again, as some do behind a code,
/// the rest is told.
///
/// ```
/// use key0_auth::error::{StoreError, chain};
///
/// let refused = std::io::Error::other("connection refused");
/// let error = StoreError::unavailable(refused);
/// assert_eq!(chain(&error), "the store is unavailable: connection refused");
/// ```
pub fn chain(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.contains(&text) {
            let new = text.split_once(": ").filter(|(_, again)| told.contains(again));
            told += ": ";
            told += new.map_or(&*text, |(new, _)| new);
        }
        next = cause.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<dyn Error + 'static>>);

    #[test]
    fn each_text_is_told_once() {
        for (texts, told) in [
            (&["alone"][..], "alone"),
            (&["outer", "inner", "innermost"], "outer: inner: innermost"),
            // An error that tells its cause, or is nothing but its cause.
            (&["outer: inner", "inner", "innermost"], "outer: inner: innermost"),
            (&["outer (inner) of it", "inner"], "outer (inner) of it"),
            (&["same", "same", "same"], "same"),
            // A cause that tells what it is the cause of.
            (&["malformed", "Error code 11: malformed"], "malformed: Error code 11"),
            (&["outer", "no file: a", "code 14: no file"], "outer: no file: a: code 14"),
            (&["outer", "inner: innermost", "innermost"], "outer: inner: innermost"),
        ] {
            let layered = texts.iter().rev().fold(None, |cause, text| {
                Some(Box::new(Layer(text, cause)) as Box<dyn Error + 'static>)
            });
            assert_eq!(layered.map(|error| chain(&*error)).as_deref(), Some(told));
        }
    }
}
