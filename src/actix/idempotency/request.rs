use actix_web::{
    HttpMessage,
    body::{BodyStream, to_bytes_limited},
    dev::{Payload, ServiceRequest},
    http::header::{
        CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING,
    },
    web::Bytes,
};

use crate::{
    Identity, Rejection, RejectionKind,
    api::{broken_off, check_content_encoding, check_media_type, check_transfer_encoding},
    auth::InternalCaller,
    guard::RefusalForm,
    idempotency::{Begun, Caller, Idempotency, IdempotencyKey},
};

/// The values of the key's header, in order.
pub(super) fn keys(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(IdempotencyKey::HEADER).map(HeaderValue::as_bytes)
}

/// Validates a request in the order that callers rely on: media type, size, key, and what is known of
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
        let values = |name| request.headers().get_all(name).map(HeaderValue::as_bytes);
        check_content_encoding(values(CONTENT_ENCODING))?;
        check_transfer_encoding(values(TRANSFER_ENCODING))?;
    }
    let body = collect(request.take_payload(), length, idempotency.body_limit()).await?;

    let of_caller = {
        let extensions = request.extensions();
        let caller = Caller {
            identity: extensions.get::<Identity>(),
            internal: extensions.get::<InternalCaller>().is_some(),
            guarded: extensions.get::<RefusalForm>().is_some(),
        };
        idempotency.request(&caller, keys(request.headers()))?
    };
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
