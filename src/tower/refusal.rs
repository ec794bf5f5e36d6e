use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, response::Parts};

use super::body::ResponseBody;
use crate::{
    Rejection,
    auth::Responder,
    guard::{BODY_HEADERS, Provisional},
};

/// The response to a rejection, which travels in its extensions.
pub(crate) fn respond(rejection: Rejection, responder: &Responder) -> Response<Bytes> {
    let (mut parts, ()) = Response::new(()).into_parts();
    let body = write(&mut parts, &rejection, responder);
    parts.extensions.insert(rejection);
    Response::from_parts(parts, body)
}

/// Passes the inner service's response on. A refusal of a handler, which was rendered without
/// knowing how this layer does it, is rendered again.
pub(super) fn pass_on<B>(
    response: Response<B>,
    responder: &Responder,
) -> Response<ResponseBody<B>> {
    let (mut parts, body) = response.into_parts();
    let provisional = parts.extensions.remove::<Provisional>().is_some();
    match parts.extensions.get::<Rejection>().filter(|_| provisional).cloned() {
        Some(rejection) => {
            for name in BODY_HEADERS {
                parts.headers.remove(name);
            }
            let body = write(&mut parts, &rejection, responder);
            Response::from_parts(parts, ResponseBody::refusal(body))
        }
        None => Response::from_parts(parts, ResponseBody::inner(body)),
    }
}

fn write(parts: &mut Parts, rejection: &Rejection, responder: &Responder) -> Bytes {
    let refusal = responder.respond(rejection);
    parts.status =
        StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    append(&mut parts.headers, refusal.headers);
    refusal.body.into()
}

/// Adds headers. One that HTTP can't carry, as a media type of the application's own may be, is
/// left out.
fn append(headers: &mut HeaderMap, added: Vec<(&'static str, String)>) {
    for (name, value) in added {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
}
