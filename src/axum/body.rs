use axum::{body::Body, extract::Request, response::Response};
use http::{
    Extensions, HeaderMap, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{
    Rejection, RejectionKind,
    api::{
        Introspect, MAX_BODY_BYTES, Reply, broken_off, check_content_encoding, check_length,
        check_media_type, check_transfer_encoding, empty_or_checked,
    },
    auth::{Gateway, InternalCaller},
    guard::GatewayHeaders,
    tower::refusal::append,
};

/// The whole body, once its media type and its size are known to be right. What is left of another
/// one the layer around reads.
pub(super) async fn read(request: Request) -> Result<Vec<u8>, Rejection> {
    check_media_type(media_type(request.headers()))?;
    check_encoding(request.headers())?;
    collect(request).await
}

/// The same for a form.
pub(super) async fn read_form(request: Request) -> Result<Vec<u8>, Rejection> {
    Introspect::check_media_type(media_type(request.headers()))?;
    check_encoding(request.headers())?;
    collect(request).await
}

/// The same where a body may be left out: then its media type may be, too.
pub(super) async fn read_if_any(request: Request) -> Result<Vec<u8>, Rejection> {
    check_encoding(request.headers())?;
    let checked = check_media_type(media_type(request.headers()));
    empty_or_checked(checked, collect(request).await)
}

fn media_type(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes)
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Rejection> {
    let values = |name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    check_content_encoding(values(CONTENT_ENCODING))?;
    check_transfer_encoding(values(TRANSFER_ENCODING))
}

async fn collect(request: Request) -> Result<Vec<u8>, Rejection> {
    check_length(request.headers().get(CONTENT_LENGTH).map(HeaderValue::as_bytes))?;
    match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(read) => Ok(read.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(RejectionKind::BodyTooLarge.into()),
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
