use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    web::{Bytes, BytesMut},
};

/// How far a body could be read.
pub(super) enum Collected {
    /// To its end.
    Whole(Bytes),
    /// To the limit.
    TooLarge,
    /// To an error.
    Broken,
}

/// Reads a body up to a limit, and makes another one that says all the same.
pub(super) async fn collect<B: MessageBody + 'static>(
    body: B,
    limit: usize,
) -> (Collected, BoxBody) {
    let size = body.size();
    let mut rest = Box::pin(body);
    let mut read = BytesMut::new();
    let (collected, failure) = loop {
        if matches!(size, BodySize::Sized(size) if size > limit as u64) {
            break (Collected::TooLarge, None);
        }
        match poll_fn(|cx| rest.as_mut().poll_next(cx)).await {
            None => {
                let bytes = read.freeze();
                // A body that is none at all is told from one that is empty.
                let same = match size {
                    BodySize::None => BoxBody::new(actix_web::body::None::new()),
                    _ => BoxBody::new(bytes.clone()),
                };
                return (Collected::Whole(bytes), same);
            }
            Some(Err(error)) => break (Collected::Broken, Some(error)),
            Some(Ok(bytes)) => {
                read.extend_from_slice(&bytes);
                if read.len() > limit {
                    break (Collected::TooLarge, None);
                }
            }
        }
    };
    let read = Some(read.freeze()).filter(|read| !read.is_empty());
    (collected, BoxBody::new(Resumed { size, read, failure, rest }))
}

/// A body of which a part was read.
struct Resumed<B: MessageBody> {
    size: BodySize,
    read: Option<Bytes>,
    failure: Option<B::Error>,
    rest: Pin<Box<B>>,
}

impl<B: MessageBody> Unpin for Resumed<B> {}

impl<B: MessageBody> MessageBody for Resumed<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, B::Error>>> {
        if let Some(read) = self.read.take() {
            return Poll::Ready(Some(Ok(read)));
        }
        match self.failure.take() {
            Some(failure) => Poll::Ready(Some(Err(failure))),
            None => self.rest.as_mut().poll_next(cx),
        }
    }
}
