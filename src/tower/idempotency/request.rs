use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use http_body::Body;

use crate::{
    Identity, Rejection, RejectionKind,
    api::{broken_off, check_content_encoding, check_media_type, check_transfer_encoding},
    auth::InternalCaller,
    guard::RefusalForm,
    idempotency::{Begun, Caller, Idempotency, IdempotencyKey},
    tower::{drain::Rest, refusal::original_uri_of},
};

/// The values of the key's header, in order.
pub(super) fn keys(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(IdempotencyKey::HEADER).into_iter().map(HeaderValue::as_bytes)
}

/// Validates a request in the order that callers rely on: media type, size, key, and what is known of
/// the key. Hands the body back.
pub(super) async fn begin<B: Body>(
    idempotency: &Idempotency,
    parts: &mut Parts,
    body: B,
) -> Result<(Begun, Bytes), Rejection> {
    let media_type = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let values = |name| parts.headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    if idempotency.takes_json_alone()
        && let Err(rejection) = check_media_type(media_type)
            .and_then(|()| check_content_encoding(values(header::CONTENT_ENCODING)))
            .and_then(|()| check_transfer_encoding(values(header::TRANSFER_ENCODING)))
    {
        // The layer around closes the connection where this is too much to read.
        Rest::of_parts(parts.version, &parts.headers, body).closes().await;
        return Err(rejection);
    }
    let mut body = Box::pin(body);
    let body = match collect(body.as_mut(), idempotency.body_limit()).await {
        Ok(body) => body,
        Err(rejection) => {
            Rest::of_parts(parts.version, &parts.headers, body).closes().await;
            return Err(rejection);
        }
    };
    let caller = Caller {
        identity: parts.extensions.get::<Identity>(),
        internal: parts.extensions.get::<InternalCaller>().is_some(),
        guarded: parts.extensions.get::<RefusalForm>().is_some(),
    };
    let request = idempotency.request(&caller, keys(&parts.headers))?;
    let target = original_uri_of(&parts.uri, &parts.extensions)
        .path_and_query()
        .map_or("", http::uri::PathAndQuery::as_str);
    let fingerprint = Idempotency::fingerprint(parts.method.as_str(), target, media_type, &body);
    let begun = idempotency.begin(&request, fingerprint).await?;
    parts.extensions.insert(request);
    Ok((begun, body))
}

async fn collect<B: Body>(mut body: Pin<&mut B>, limit: usize) -> Result<Bytes, Rejection> {
    let too_large = || Rejection::from(RejectionKind::BodyTooLarge);
    let mut collected = BytesMut::new();
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
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
