use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Buf;
use http::{HeaderMap, Request, Version, header};
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep_until};

/// The most of an unread body that is read and thrown away: 2 MiB.
const MAX_DRAINED_BYTES: u64 = 2 * 1024 * 1024;
/// How long the next part of it may take.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// How long all of it may take.
const MAX_TIME: Duration = Duration::from_secs(5);

/// Whether a request over HTTP/1.x has a body, by its head. A server that is left with an unread one
/// must close the connection, and the client must be told. In HTTP/2 a stream ends by itself.
pub(crate) fn has_body(version: Version, headers: &HeaderMap) -> bool {
    version <= Version::HTTP_11
        && (headers.contains_key(header::TRANSFER_ENCODING)
            || length(headers).is_some_and(|length| length > 0))
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What the head of a request says of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    Readable,
    /// It is not there yet, or too much.
    Unreadable,
}

impl Announced {
    pub(super) fn by(headers: &HeaderMap) -> Self {
        // Who waits for "100 Continue" has not sent it yet.
        let waits = headers.contains_key(header::EXPECT);
        let large = length(headers).is_some_and(|length| length > MAX_DRAINED_BYTES);
        if waits || large { Self::Unreadable } else { Self::Readable }
    }
}

/// What becomes of the body of a refused request.
pub(crate) enum Rest<B> {
    /// There is none, or it was read.
    Nothing,
    /// It stays unread: the connection must be closed.
    Unread,
    /// It is read and thrown away first, so that the client sees the refusal and not a reset.
    Draining(Drain<B>),
}

impl<B: Body> Rest<B> {
    pub(crate) fn of(request: Request<B>) -> Self {
        let (head, body) = request.into_parts();
        Self::of_parts(head.version, &head.headers, body)
    }

    pub(crate) fn of_parts(version: Version, headers: &HeaderMap, body: B) -> Self {
        match has_body(version, headers) {
            true => Self::of_body(Announced::by(headers), body),
            false => Self::Nothing,
        }
    }

    pub(super) fn of_body(announced: Announced, body: B) -> Self {
        if body.is_end_stream() {
            return Self::Nothing;
        }
        let timed = tokio::runtime::Handle::try_current().is_ok();
        match announced {
            Announced::Readable if timed => Self::Draining(Drain::new(body)),
            _ => Self::Unread,
        }
    }

    /// Ready with whether the connection must be closed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match self {
            Self::Nothing => Poll::Ready(false),
            Self::Unread => Poll::Ready(true),
            Self::Draining(drain) => Pin::new(drain).poll(cx).map(|whole| !whole),
        }
    }

    /// The same for those who can wait.
    #[cfg(any(feature = "axum", feature = "idempotency"))]
    pub(crate) async fn closes(mut self) -> bool {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

/// Reads a body and throws it away. Ready with whether it came to its end.
pub(crate) struct Drain<B> {
    body: Pin<Box<B>>,
    left: u64,
    timer: Pin<Box<Sleep>>,
    end: Instant,
}

impl<B: Body> Drain<B> {
    fn new(body: B) -> Self {
        let now = Instant::now();
        Self {
            body: Box::pin(body),
            left: MAX_DRAINED_BYTES,
            timer: Box::pin(sleep_until(now + MAX_PAUSE)),
            end: now + MAX_TIME,
        }
    }
}

impl<B: Body> Future for Drain<B> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match self.body.as_mut().poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(Some(Ok(frame))) => {
                    let read = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                    let Some(left) = self.left.checked_sub(read) else {
                        return Poll::Ready(false);
                    };
                    self.left = left;
                    let next = (Instant::now() + MAX_PAUSE).min(self.end);
                    self.timer.as_mut().reset(next);
                }
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(cx));
                    return Poll::Ready(false);
                }
            }
        }
    }
}
