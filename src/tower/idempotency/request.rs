use std::pin::pin;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use http_body::Body;

use crate::{
    Identity, Rejection, RejectionKind,
    api::{broken_off, check_media_type},
    guard::RefusalForm,
    idempotency::{Begun, Idempotency, IdempotencyKey},
};

/// The values of the key's header, in order.
pub(super) fn keys(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(IdempotencyKey::HEADER).into_iter().map(HeaderValue::as_bytes)
}

/// Judges a request in the order that callers rely on: media type, size, key, and what is known of
/// the key. Hands the body back.
pub(super) async fn begin<B: Body>(
    idempotency: &Idempotency,
    parts: &mut Parts,
    body: B,
) -> Result<(Begun, Bytes), Rejection> {
    let media_type = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if idempotency.takes_json_alone() {
        check_media_type(media_type)?;
    }
    let body = collect(body, idempotency.body_limit()).await?;
    let identity = parts.extensions.get::<Identity>();
    let judged = identity.is_some() || parts.extensions.get::<RefusalForm>().is_some();
    let request = idempotency.request_at(judged, identity, keys(&parts.headers))?;
    let fingerprint =
        Idempotency::fingerprint(parts.method.as_str(), target(parts), media_type, &body);
    let begun = idempotency.begin(&request, fingerprint).await?;
    parts.extensions.insert(request);
    Ok((begun, body))
}

/// The path and the query as the client sent them. A router in a router of axum's sees less.
fn target(parts: &Parts) -> &str {
    let uri = &parts.uri;
    #[cfg(feature = "axum")]
    let uri = parts.extensions.get().map_or(uri, |axum::extract::OriginalUri(uri)| uri);
    uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str)
}

async fn collect<B: Body>(body: B, limit: usize) -> Result<Bytes, Rejection> {
    let too_large = || Rejection::from(RejectionKind::BodyTooLarge);
    let mut collected = BytesMut::new();
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut body = pin!(body);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(mut data) = frame.map_err(|_| broken_off())?.into_data() else { continue };
        if data.remaining() > limit - collected.len() {
            return Err(too_large());
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            let length = chunk.len();
            collected.extend_from_slice(chunk);
            data.advance(length);
        }
    }
    Ok(collected.freeze())
}
