use std::pin::Pin;

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    body::{BodyStream, to_bytes_limited},
    dev::Payload,
    http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue},
    web::Bytes,
};

use super::refusal::{answer, status};
use crate::{
    Rejection, RejectionKind,
    api::{MAX_BODY_BYTES, Reply, broken_off, check_length, check_media_type},
};

type BodyFuture<T> = Pin<Box<dyn Future<Output = Result<T, Rejection>>>>;

/// The whole body, once its media type and its size are known to be right.
pub(super) struct JsonBody(pub(super) Bytes);

impl FromRequest for JsonBody {
    type Error = Rejection;
    type Future = BodyFuture<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let judged = check_media_type(header(request, CONTENT_TYPE));
        let body = collect(request, payload);
        Box::pin(async move {
            judged?;
            body.await.map(Self)
        })
    }
}

/// The same where a body may be left out: then its media type may be, too.
pub(super) struct JsonBodyIfAny(pub(super) Bytes);

impl FromRequest for JsonBodyIfAny {
    type Error = Rejection;
    type Future = BodyFuture<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let judged = check_media_type(header(request, CONTENT_TYPE));
        let body = collect(request, payload);
        Box::pin(async move {
            match body.await {
                Ok(body) if body.is_empty() => Ok(Self(body)),
                read => judged.and(read).map(Self),
            }
        })
    }
}

fn header(request: &HttpRequest, name: HeaderName) -> Option<&[u8]> {
    request.headers().get(name).map(HeaderValue::as_bytes)
}

/// The whole body. Nothing of it is read before the future is polled, and none of the request is
/// held meanwhile.
fn collect(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<Bytes, Rejection>> + use<> {
    let judged = check_length(header(request, CONTENT_LENGTH));
    let body = BodyStream::new(payload.take());
    async move {
        judged?;
        match to_bytes_limited(body, MAX_BODY_BYTES).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(_)) => Err(broken_off()),
            Err(_) => Err(RejectionKind::BodyTooLarge.into()),
        }
    }
}

pub(super) fn reply(reply: Reply) -> HttpResponse {
    let response = HttpResponse::new(status(reply.status)).drop_body();
    answer(response, reply.headers, reply.body)
}
