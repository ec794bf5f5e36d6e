use actix_web::{
    HttpMessage,
    body::{BodyStream, to_bytes_limited},
    dev::{Payload, ServiceRequest},
    http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue},
    web::Bytes,
};

use crate::{
    Identity, Rejection, RejectionKind,
    api::{broken_off, check_media_type},
    guard::RefusalForm,
    idempotency::{Begun, Idempotency, IdempotencyKey},
};

/// The values of the key's header, in order.
pub(super) fn keys(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(IdempotencyKey::HEADER).map(HeaderValue::as_bytes)
}

/// Judges a request in the order that callers rely on: media type, size, key, and what is known of
/// the key. The body is the request's again then.
pub(super) async fn begin(
    idempotency: &Idempotency,
    request: &mut ServiceRequest,
) -> Result<Begun, Rejection> {
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let media_type = header(CONTENT_TYPE).map(<[u8]>::to_vec);
    let length = header(CONTENT_LENGTH).map(<[u8]>::to_vec);
    if idempotency.takes_json_alone() {
        check_media_type(media_type.as_deref())?;
    }
    let body = collect(request.take_payload(), length, idempotency.body_limit()).await?;

    let identity = request.extensions().get::<Identity>().cloned();
    let judged = identity.is_some() || request.extensions().get::<RefusalForm>().is_some();
    let of_caller = idempotency.request_at(judged, identity.as_ref(), keys(request.headers()))?;
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let method = request.method().as_str();
    let fingerprint = Idempotency::fingerprint(method, target, media_type.as_deref(), &body);
    let begun = idempotency.begin(&of_caller, fingerprint).await?;
    request.extensions_mut().insert(of_caller);
    request.set_payload(Payload::from(body));
    Ok(begun)
}

async fn collect(
    payload: Payload,
    announced: Option<Vec<u8>>,
    limit: usize,
) -> Result<Bytes, Rejection> {
    let announced = announced.and_then(|length| str::from_utf8(&length).ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > limit as u64) {
        return Err(RejectionKind::BodyTooLarge.into());
    }
    match to_bytes_limited(BodyStream::new(payload), limit).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(broken_off()),
        Err(_) => Err(RejectionKind::BodyTooLarge.into()),
    }
}
