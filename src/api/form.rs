use super::body::{MAX_BODY_BYTES, invalid};
use crate::{Rejection, RejectionKind, domain::percent_decode};

/// Checks that a body is announced as a form.
pub(super) fn check_media_type(content_type: Option<&[u8]>) -> Result<(), Rejection> {
    let essence = content_type.and_then(|value| value.split(|byte| *byte == b';').next());
    let essence = essence.map(<[u8]>::trim_ascii);
    let form = b"application/x-www-form-urlencoded";
    match essence.is_some_and(|essence| essence.eq_ignore_ascii_case(form)) {
        true => Ok(()),
        false => Err(Rejection::new(RejectionKind::UnsupportedMediaType)
            .detail("The request body must be application/x-www-form-urlencoded")),
    }
}

/// The one `token` of a form.
pub(super) fn token(body: &[u8]) -> Result<String, Rejection> {
    if body.len() > MAX_BODY_BYTES {
        return Err(RejectionKind::BodyTooLarge.into());
    }
    let pairs = str::from_utf8(body).ok().and_then(pairs);
    let pairs = pairs.ok_or_else(|| invalid("The form can't be read"))?;
    let mut tokens = pairs.into_iter().filter(|(name, _)| name == "token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) if !token.is_empty() => Ok(token),
        (Some(_), None) => Err(invalid("The token is empty")),
        _ => Err(invalid("The form needs exactly one token")),
    }
}

/// A name or a value of a query, or of a form. None where an escape is none, or where it is no text.
pub(super) fn decoded(text: &str) -> Option<String> {
    Some(percent_decode(&text.replace('+', " "))?.into_owned())
}

/// The pairs of a query, or of a form. None where an escape is none, or where something is no text.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(value)?))
    };
    pairs.map(read).collect()
}
