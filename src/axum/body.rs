use axum::{body::Body, extract::Request, response::Response};
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{
    Rejection, RejectionKind,
    api::{MAX_BODY_BYTES, Reply, broken_off, check_length, check_media_type, empty_or_judged},
};

/// The whole body, once its media type and its size are known to be right.
pub(super) async fn read(request: Request) -> Result<Vec<u8>, Rejection> {
    check_media_type(media_type(request.headers()))?;
    collect(request).await
}

/// The same where a body may be left out: then its media type may be, too.
pub(super) async fn read_if_any(request: Request) -> Result<Vec<u8>, Rejection> {
    let judged = check_media_type(media_type(request.headers()));
    empty_or_judged(judged, collect(request).await)
}

fn media_type(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes)
}

async fn collect(request: Request) -> Result<Vec<u8>, Rejection> {
    check_length(request.headers().get(CONTENT_LENGTH).map(HeaderValue::as_bytes))?;
    match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(RejectionKind::BodyTooLarge.into()),
        Err(_) => Err(broken_off()),
    }
}

pub(super) fn answer(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = http::HeaderValue::try_from(value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
