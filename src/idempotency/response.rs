use crate::{Rejection, RejectionKind, auth::Responder, store::StoredResponse};

/// Tells of an answer that it came from the store. The name is in lower case.
#[cfg(any(feature = "tower", feature = "actix"))]
pub(crate) const REPLAYED: &str = "idempotent-replayed";

/// In a response's extensions: this answer is not stored, as it holds a secret. The key is free
/// again, and a retry runs the handler again, which must make the same answer by itself.
///
/// ```
/// # #[cfg(feature = "axum")]
/// # {
/// use axum::{Extension, response::IntoResponse};
/// use key0_auth::idempotency::NotKept;
///
/// /// Its answer holds a secret, so a retry runs again.
/// async fn rotate() -> impl IntoResponse {
///     (Extension(NotKept), "the new secret")
/// }
/// # let _ = rotate;
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct NotKept;

/// Headers that are about the first exchange alone, in lower case. The length is told anew.
const NOT_KEPT: [&str; 13] = [
    "connection",
    "content-length",
    "date",
    "idempotent-replayed",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// Whether a header of an answer is kept. The name is in lower case.
pub(super) fn is_kept_header(name: &str) -> bool {
    !NOT_KEPT.contains(&name)
}

/// Whether an answer says what came of the request, rather than to try again.
pub(super) fn is_outcome(status: u16, refusal: Option<RejectionKind>) -> bool {
    // A handler whose own rows know the key says so of another request, not of this one.
    let of_the_key = matches!(
        refusal,
        Some(RejectionKind::IdempotencyKeyReused | RejectionKind::IdempotencyInProgress)
    );
    // Refused before anything was done: the mended request may use the same key. Rights are the
    // caller's of now, and not those of the first request.
    let undone = matches!(status, 400 | 401 | 403 | 408 | 413 | 415 | 422 | 425 | 429);
    (200..500).contains(&status) && !undone && !of_the_key
}

/// How many bytes of it are kept.
pub(super) fn size(response: &StoredResponse) -> usize {
    let headers = response.headers.iter().map(|(name, value)| name.len() + value.len());
    headers.sum::<usize>() + response.body.len()
}

/// What retries are told where the answer can't be kept.
pub(super) fn unkept(responder: &Responder) -> StoredResponse {
    let refusal = responder.respond(&Rejection::new(RejectionKind::IdempotencyResponseNotKept));
    let headers = refusal.headers.into_iter();
    StoredResponse {
        status: refusal.status,
        headers: headers.map(|(name, value)| (name.to_owned(), value.into_bytes())).collect(),
        body: refusal.body,
    }
}
