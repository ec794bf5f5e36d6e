use std::future::poll_fn;

use axum::{extract::Request, middleware::Next, response::Response};

use crate::tower::handed_on::{HandedOn, close};

/// Reads what a handler has left unread of a request's body, or says `Connection: close` where that is
/// too much. For [`from_fn`](axum::middleware::from_fn), around routes that are behind none of this
/// crate's layers.
///
/// Otherwise the server closes the connection without a word: a client that keeps it would lose its
/// next request or, with a large body, the answer itself.
///
/// ```
/// use axum::{Router, http::StatusCode, middleware::from_fn, routing::post};
/// use key0_auth::axum::drain_unread;
///
/// let router = Router::new().route("/orders", post(async || StatusCode::FORBIDDEN));
/// let router: Router = router.layer(from_fn(drain_unread));
/// # let _ = router;
/// ```
pub async fn drain_unread(request: Request, next: Next) -> Response {
    let (request, mut body) = HandedOn::of(request);
    let mut response = next.run(request).await;
    body.answered(&response);
    if poll_fn(|cx| body.poll_closes(cx)).await {
        close(&mut response);
    }
    response
}
