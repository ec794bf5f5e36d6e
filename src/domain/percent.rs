//! What is escaped by a percent sign (RFC 3986, section 2.1).

use std::borrow::Cow;

/// The text that another stands for. None where an escape is none, or where the bytes are no text.
pub(crate) fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => digit(rest.next()?)? * 16 + digit(rest.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// The same for a text that somebody else reads: an escape that is none stands for itself, as most
/// readers have it (URL Standard, "percent-decode").
pub(crate) fn percent_decode_leniently(text: &str) -> Vec<u8> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let escaped = match (first, behind) {
            (b'%', [high, low, after @ ..]) => digit(high).zip(digit(low)).zip(Some(after)),
            _ => None,
        };
        let (byte, after) = match escaped {
            Some(((high, low), after)) => (high * 16 + low, after),
            None => (*first, behind),
        };
        bytes.push(byte);
        rest = after;
    }
    bytes
}
