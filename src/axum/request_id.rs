use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id of a caller that is told again, in bytes.
const MAX_BYTES: usize = 128;

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
    let sane = |id: &&HeaderValue| {
        (1..=MAX_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let id = match request.headers().get(REQUEST_ID).filter(sane) {
        Some(id) => id.clone(),
        None => HeaderValue::try_from(uuid::Uuid::now_v7().to_string())
            .unwrap_or(HeaderValue::from_static("-")),
    };
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}
