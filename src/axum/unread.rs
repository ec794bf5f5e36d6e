use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::tower::{
    drain::{Rest, has_body},
    refusal::close,
};

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
    if !has_body(request.version(), request.headers()) {
        return next.run(request).await;
    }
    let (version, headers) = (request.version(), request.headers().clone());
    let left = Left::default();
    let lent = |body| Body::new(Lent { body: Some(body), left: Arc::clone(&left) });
    let mut response = next.run(request.map(lent)).await;
    let unread = left.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(body) = unread
        && Rest::of_parts(version, &headers, body).closes().await
    {
        close(&mut response);
    }
    response
}

/// A body that came back before its end.
type Left = Arc<Mutex<Option<Body>>>;

/// A body that comes back when whoever reads it is done with it.
struct Lent {
    body: Option<Body>,
    left: Left,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
