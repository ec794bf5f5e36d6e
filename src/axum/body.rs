use axum::{body::Body, extract::Request, response::Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{
    Rejection, RejectionKind,
    api::{MAX_BODY_BYTES, Reply, broken_off, check_announced},
};

/// The whole body, once its media type and its size are known to be right.
pub(super) async fn read(request: Request) -> Result<Vec<u8>, Rejection> {
    let headers = request.headers();
    let header = |name| headers.get(name).map(|value| value.as_bytes());
    check_announced(header(CONTENT_TYPE), header(CONTENT_LENGTH))?;
    match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(RejectionKind::BodyTooLarge.into()),
        Err(_) => Err(broken_off()),
    }
}

/// The same where a body may be left out: then its media type may be, too.
pub(super) async fn read_if_any(request: Request) -> Result<Vec<u8>, Rejection> {
    if http_body::Body::is_end_stream(request.body()) {
        Ok(Vec::new())
    } else {
        read(request).await
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
