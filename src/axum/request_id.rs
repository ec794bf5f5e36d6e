use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue};

use crate::guard::RequestId;

const REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);

/// Gives every response an `X-Request-Id`: the caller's own where it is up to 128 visible ASCII
/// characters, else a new one. For [`from_fn`](axum::middleware::from_fn), around all routes.
///
/// ```
/// use axum::{Router, middleware::from_fn, routing::get};
/// use key0_auth::axum::request_ids;
///
/// let router = Router::new().route("/health", get(async || "fine"));
/// let router: Router = router.layer(from_fn(request_ids));
/// # let _ = router;
/// ```
pub async fn request_ids(mut request: Request, next: Next) -> Response {
    let sent = request.headers().get(REQUEST_ID).map(HeaderValue::as_bytes);
    let id = HeaderValue::try_from(RequestId::of(sent).to_string());
    let id = id.unwrap_or(HeaderValue::from_static("-"));
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}
