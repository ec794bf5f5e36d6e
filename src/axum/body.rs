use axum::{body::Body, extract::Request, response::Response};
use http::{
    Extensions, HeaderMap, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{
    Rejection, RejectionKind,
    api::{
        Introspect, MAX_BODY_BYTES, Reply, broken_off, check_content_encoding, check_length,
        check_media_type, empty_or_checked,
    },
    auth::{Gateway, InternalCaller},
    guard::GatewayHeaders,
    tower::{drain::Rest, refusal::append},
};

/// The whole body, once its media type and its size are known to be right.
pub(super) async fn read(request: Request) -> Result<Vec<u8>, Rejection> {
    match check_media_type(media_type(request.headers()))
        .and_then(|()| check_encoding(request.headers()))
    {
        Ok(()) => collect(request).await,
        Err(rejection) => refuse(rejection, request).await,
    }
}

/// The same for a form.
pub(super) async fn read_form(request: Request) -> Result<Vec<u8>, Rejection> {
    let media_type = Introspect::check_media_type(media_type(request.headers()));
    match media_type.and_then(|()| check_encoding(request.headers())) {
        Ok(()) => collect(request).await,
        Err(rejection) => refuse(rejection, request).await,
    }
}

/// The same where a body may be left out: then its media type may be, too.
pub(super) async fn read_if_any(request: Request) -> Result<Vec<u8>, Rejection> {
    if let Err(rejection) = check_encoding(request.headers()) {
        return refuse(rejection, request).await;
    }
    let checked = check_media_type(media_type(request.headers()));
    empty_or_checked(checked, collect(request).await)
}

fn media_type(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes)
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Rejection> {
    let values = headers.get_all(CONTENT_ENCODING).into_iter();
    check_content_encoding(values.map(HeaderValue::as_bytes))
}

/// Throws the body away first, so that the client sees the refusal. The layer around closes the
/// connection where that is too much.
async fn refuse<T>(rejection: Rejection, request: Request) -> Result<T, Rejection> {
    Rest::of(request).closes().await;
    Err(rejection)
}

async fn collect(request: Request) -> Result<Vec<u8>, Rejection> {
    let length = request.headers().get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    if let Err(rejection) = check_length(length) {
        return refuse(rejection, request).await;
    }
    let (head, mut body) = request.into_parts();
    match Limited::new(&mut body, MAX_BODY_BYTES).collect().await {
        Ok(read) => Ok(read.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => {
            let request = Request::from_parts(head, body);
            refuse(RejectionKind::BodyTooLarge.into(), request).await
        }
        Err(_) => Err(broken_off()),
    }
}

/// Checks that a request to an endpoint behind nothing does not come from a buyer through Key0's
/// gateway.
pub(super) fn check_direct(headers: &HeaderMap, extensions: &Extensions) -> Result<(), Rejection> {
    // A guard outside has removed the header. One that let Key0 itself in has seen to it.
    if extensions.get::<GatewayHeaders>().is_some() && extensions.get::<InternalCaller>().is_none()
    {
        return Err(Gateway::not_direct());
    }
    Gateway::check_direct(
        headers.get_all(Gateway::TOKEN_HEADER).into_iter().map(HeaderValue::as_bytes),
    )
}

pub(super) fn answer(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    append(response.headers_mut(), reply.headers);
    response
}
