use crate::{Rejection, RejectionKind, domain::percent_decode};

/// Checks that a body is announced as a form.
pub(super) fn check_media_type(content_type: Option<&[u8]>) -> Result<(), Rejection> {
    let essence = content_type.and_then(|value| value.split(|byte| *byte == b';').next());
    let essence = essence.map(<[u8]>::trim_ascii);
    let form = b"application/x-www-form-urlencoded";
    match essence.is_some_and(|essence| essence.eq_ignore_ascii_case(form)) {
        true => Ok(()),
        false => Err(RejectionKind::UnsupportedMediaType.into()),
    }
}

/// The pairs of a query, or of a form. None where an escape is none, or where something is no text.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let decode = |text: &str| Some(percent_decode(&text.replace('+', " "))?.into_owned());
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(name)?, decode(value)?))
    };
    pairs.map(read).collect()
}
