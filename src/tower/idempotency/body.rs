use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::tower::ResponseBody;

pin_project! {
    /// The body of a response: the inner service's own, one that is replayed, or that of a
    /// refusal.
    pub struct IdempotencyBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B: Body> {
        Plain { #[pin] body: ResponseBody<B> },
        Resumed { read: Option<Bytes>, pending: Option<Pending<B>>, rest: Pin<Box<ResponseBody<B>>> },
    }
}

/// What ended the reading.
type Pending<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

/// How far a body could be read.
pub(super) enum Collected {
    /// To its end.
    Whole(Bytes),
    /// To the limit.
    TooLarge,
    /// To an error.
    Broken,
}

impl<B: Body> IdempotencyBody<B> {
    pub(super) fn plain(body: ResponseBody<B>) -> Self {
        Self { kind: Kind::Plain { body } }
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::plain(ResponseBody::refusal(bytes))
    }
}

/// Reads a body up to a limit, and makes another one that says all the same.
pub(super) async fn collect<B>(
    body: ResponseBody<B>,
    limit: usize,
) -> (Collected, IdempotencyBody<B>)
where
    B: Body,
    B::Data: From<Bytes>,
{
    let mut rest = Box::pin(body);
    let mut read = BytesMut::new();
    let (how, pending) = loop {
        if rest.size_hint().lower() > limit.saturating_sub(read.len()) as u64 {
            break (How::TooLarge, None);
        }
        match poll_fn(|cx| rest.as_mut().poll_frame(cx)).await {
            None => {
                let bytes = read.freeze();
                return (Collected::Whole(bytes.clone()), IdempotencyBody::whole(bytes));
            }
            Some(Err(error)) => break (How::Broken, Some(Err(error))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => {
                    read.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                    if read.len() > limit {
                        break (How::TooLarge, None);
                    }
                }
                // Nothing but more of them can follow.
                Err(trailers) => break (How::Whole, Some(Ok(trailers))),
            },
        }
    };
    let read = read.freeze();
    let collected = match how {
        How::Whole => Collected::Whole(read.clone()),
        How::TooLarge => Collected::TooLarge,
        How::Broken => Collected::Broken,
    };
    let read = Some(read).filter(|read| !read.is_empty());
    (collected, IdempotencyBody { kind: Kind::Resumed { read, pending, rest } })
}

enum How {
    Whole,
    TooLarge,
    Broken,
}

impl<B> Body for IdempotencyBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Plain { body } => body.poll_frame(cx),
            KindProjection::Resumed { read, pending, rest } => {
                match (read.take(), pending.take()) {
                    (Some(bytes), held) => {
                        *pending = held;
                        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
                    }
                    (None, Some(held)) => Poll::Ready(Some(held)),
                    (None, None) => rest.as_mut().poll_frame(cx),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Plain { body } => body.is_end_stream(),
            Kind::Resumed { read, pending, rest } => {
                read.is_none() && pending.is_none() && rest.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Plain { body } => body.size_hint(),
            Kind::Resumed { read, rest, .. } => {
                let read = read.as_ref().map_or(0, |read| read.len() as u64);
                let rest = rest.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(read));
                if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
                    hint.set_upper(upper);
                }
                hint
            }
        }
    }
}

/// As the inner service's, for the layers outside that make responses of their own.
impl<B: Body + Default> Default for IdempotencyBody<B> {
    fn default() -> Self {
        Self::plain(ResponseBody::default())
    }
}

impl<B: Body> fmt::Debug for IdempotencyBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyBody").finish_non_exhaustive()
    }
}
