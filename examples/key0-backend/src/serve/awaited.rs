//! A body whose connection knows while more of it is waited for.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use super::connections::Activity;

pin_project! {
    /// A request's body.
    #[derive(Debug)]
    pub(super) struct Awaited<B> {
        #[pin]
        body: B,
        activity: Option<Activity>,
    }

    impl<B> PinnedDrop for Awaited<B> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(activity) = this.project().activity {
                activity.needs_no_body();
            }
        }
    }
}

impl<B> Awaited<B> {
    pub(super) fn new(body: B, activity: Option<Activity>) -> Self {
        Self { body, activity }
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for Awaited<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = this.body.as_mut().poll_frame(cx);
        if let Some(activity) = this.activity {
            match &frame {
                Poll::Pending => activity.waits_for_body(),
                // The next byte may take as long as this one did.
                Poll::Ready(Some(Ok(_))) if !this.body.is_end_stream() => {}
                Poll::Ready(_) => activity.needs_no_body(),
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
