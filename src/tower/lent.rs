use std::{
    any::Any,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Where a body comes back to that was not read to its end.
#[derive(Clone, Default)]
pub(crate) struct Left(Arc<Mutex<Option<Body>>>);

impl Left {
    pub(super) fn take(&self) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The same body, which comes back when whoever reads it is done with it. Nothing comes back from a
/// body of another type than axum's.
pub(super) fn lend<B: 'static>(body: B) -> (B, Option<Left>) {
    let mut slot = Some(body);
    let mut left = None;
    if let Some(slot) = (&mut slot as &mut dyn Any).downcast_mut::<Option<Body>>() {
        let back = left.insert(Left::default());
        *slot = slot.take().map(|body| Body::new(Lent { body: Some(body), left: back.clone() }));
    }
    match slot {
        Some(body) => (body, left),
        None => unreachable!("a body was put in the place of the one that was taken"),
    }
}

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
            *self.left.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
