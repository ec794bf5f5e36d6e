//! What the routes have in common: reading a request, and answering it.

use axum::{
    body::Body,
    extract::{Path, Request, rejection::PathRejection},
    response::Response,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use key0_auth::{
    Rejection, RejectionKind,
    api::{check_content_encoding, check_media_type},
    idempotency::{Idempotency, IdempotentRequest},
};

use super::{
    Partner,
    json::invalid,
    store::{Answer, Asked},
};

/// The id in a path, which may be escaped bytes that are no text.
pub(super) type IdPath = Result<Path<String>, PathRejection>;

/// A request whose head was found right, and its body.
pub(super) struct Sent {
    /// Who sent it under which idempotency key, where there is one.
    pub(super) asked: Option<Asked>,
    pub(super) body: Vec<u8>,
}

/// The id, where it can be that of something.
pub(super) fn known_id(id: IdPath) -> Option<String> {
    id.ok().map(|Path(id)| id).filter(|id| is_id(id))
}

/// 1 to 256 visible ASCII characters.
pub(super) fn is_id(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// An answer that no cache keeps.
pub(super) fn json(status: u16, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer that says so where it is that of an earlier request.
pub(super) fn answer(status: u16, answer: Answer) -> Response {
    let mut response = json(status, answer.body);
    if answer.replayed {
        let name = HeaderName::from_static("idempotent-replayed");
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    response
}

impl Partner {
    /// Reads a request: its media type first, then its size, then its body.
    pub(super) async fn read(&self, request: Request, limit: usize) -> Result<Sent, Rejection> {
        let (parts, body) = request.into_parts();
        check_media_type(parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes))?;
        check_content_encoding(
            parts.headers.get_all(CONTENT_ENCODING).into_iter().map(HeaderValue::as_bytes),
        )?;
        let body = collect(&parts.headers, body, limit).await?;
        let media_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        // The layer around the handler put it there.
        let asked = parts.extensions.get::<IdempotentRequest>().map(|request| Asked {
            caller: request.caller().to_owned(),
            key: request.key().to_owned(),
            fingerprint: *Idempotency::fingerprint(
                parts.method.as_str(),
                target,
                media_type,
                &body,
            )
            .as_bytes(),
            never_over: !self.clock.was_believed(),
        });
        Ok(Sent { asked, body })
    }

    /// What was read of a body, or its refusal. A key that had an effect for another request, whose
    /// answer a crash kept from being stored, is refused first: else this refusal would be stored
    /// in its place, and that request could never be tried again.
    pub(super) async fn read_or_refuse<T>(
        &self,
        asked: Option<&Asked>,
        read: Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        if let (Some(asked), true) = (asked, read.is_err()) {
            self.store.check_key(asked.clone(), self.now()).await?;
        }
        read
    }
}

async fn collect(headers: &HeaderMap, body: Body, limit: usize) -> Result<Vec<u8>, Rejection> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > limit) {
        return Err(RejectionKind::BodyTooLarge.into());
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(RejectionKind::BodyTooLarge.into()),
        Err(_) => Err(invalid("The request body could not be read to its end")),
    }
}
