use std::{
    future::{Ready, ready},
    pin::Pin,
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest, HttpResponse,
    body::{BodyStream, to_bytes_limited},
    dev::Payload,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
    web::Bytes,
};

use super::refusal::{answer, status};
use crate::{
    Rejection, RejectionKind,
    api::{
        Introspect, MAX_BODY_BYTES, Reply, broken_off, check_content_encoding, check_length,
        check_media_type, check_transfer_encoding, empty_or_checked,
    },
    auth::{Gateway, InternalCaller},
    guard::GatewayHeaders,
};

type BodyFuture<T> = Pin<Box<dyn Future<Output = Result<T, Rejection>>>>;

/// The whole body, once its media type and its size are known to be right.
pub(super) struct JsonBody(pub(super) Bytes);

impl FromRequest for JsonBody {
    type Error = Rejection;
    type Future = BodyFuture<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let media_type = check_media_type(header(request, &CONTENT_TYPE));
        let (media_type, length) = announced(request, media_type);
        let payload = payload.take();
        Box::pin(async move {
            media_type.and(length)?;
            read(payload).await.map(Self)
        })
    }
}

/// The same for a form.
pub(super) struct FormBody(pub(super) Bytes);

impl FromRequest for FormBody {
    type Error = Rejection;
    type Future = BodyFuture<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let media_type = Introspect::check_media_type(header(request, &CONTENT_TYPE));
        let (media_type, length) = announced(request, media_type);
        let payload = payload.take();
        Box::pin(async move {
            media_type.and(length)?;
            read(payload).await.map(Self)
        })
    }
}

/// The same where a body may be left out: then its media type may be, too.
pub(super) struct JsonBodyIfAny(pub(super) Bytes);

impl FromRequest for JsonBodyIfAny {
    type Error = Rejection;
    type Future = BodyFuture<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let media_type = check_media_type(header(request, &CONTENT_TYPE));
        let (media_type, length) = announced(request, media_type);
        let payload = payload.take();
        Box::pin(async move {
            let body = match length {
                Ok(()) => read(payload).await,
                Err(rejection) => Err(rejection),
            };
            empty_or_checked(media_type, body).map(Self)
        })
    }
}

/// A request to an endpoint behind nothing that does not come through Key0's gateway. Asked for before
/// the body, as it says so first.
pub(super) struct Direct;

impl FromRequest for Direct {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(check_direct(request).map(|()| Self))
    }
}

/// Checks that a request to an endpoint behind nothing does not come from a buyer through Key0's
/// gateway.
fn check_direct(request: &HttpRequest) -> Result<(), Rejection> {
    // A guard outside has removed the header. One that let Key0 itself in has seen to it.
    let extensions = request.extensions();
    if extensions.get::<GatewayHeaders>().is_some() && extensions.get::<InternalCaller>().is_none()
    {
        return Err(Gateway::not_direct());
    }
    Gateway::check_direct(
        request.headers().get_all(Gateway::TOKEN_HEADER).map(|value| value.as_bytes()),
    )
}

/// What the head of a request says of its body: its coding beside the media type, and the length.
fn announced(
    request: &HttpRequest,
    media_type: Result<(), Rejection>,
) -> (Result<(), Rejection>, Result<(), Rejection>) {
    let values = |name| request.headers().get_all(name).map(|value| value.as_bytes());
    let media_type = media_type
        .and_then(|()| check_content_encoding(values(CONTENT_ENCODING)))
        .and_then(|()| check_transfer_encoding(values(TRANSFER_ENCODING)));
    (media_type, check_length(header(request, &CONTENT_LENGTH)))
}

fn header<'a>(
    request: &'a HttpRequest,
    name: &actix_web::http::header::HeaderName,
) -> Option<&'a [u8]> {
    request.headers().get(name).map(|value| value.as_bytes())
}

async fn read(payload: Payload) -> Result<Bytes, Rejection> {
    match to_bytes_limited(BodyStream::new(payload), MAX_BODY_BYTES).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(broken_off()),
        Err(_) => Err(RejectionKind::BodyTooLarge.into()),
    }
}

pub(super) fn reply(reply: Reply) -> HttpResponse {
    let response = HttpResponse::new(status(reply.status)).drop_body();
    answer(response, reply.headers, reply.body)
}
