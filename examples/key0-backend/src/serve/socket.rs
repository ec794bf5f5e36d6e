//! A connection that does not wait for ever for a client that stopped reading, and that gives one
//! which is still sending the time to read its answer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

use super::connections::Activity;

/// How long a client may leave its answer unread.
const STALL: Duration = Duration::from_secs(15);
/// How long the rest of a refused request is taken in and thrown away, as long as a whole request may
/// take. Closing at once would reset the connection, and the client could lose the refusal.
const LINGER: Duration = Duration::from_secs(30);
/// The same of a client that sends nothing in the meantime.
const QUIET: Duration = Duration::from_secs(5);
/// The most that is thrown away, in bytes.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;

pub(crate) struct Socket {
    stream: TcpStream,
    activity: Activity,
    stalled: Option<Pin<Box<Sleep>>>,
    closing: Option<Closing>,
}

struct Closing {
    end: Instant,
    quiet: Pin<Box<Sleep>>,
    discarded: usize,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, activity: Activity) -> Self {
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        Self { stream, activity, stalled: None, closing: None }
    }

    /// An error when writing has made no progress for too long.
    fn watch_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.activity.is_unsent(written.is_pending());
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, activity, closing, .. } = &mut *self;
        if closing.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        let closing = closing.get_or_insert_with(|| {
            activity.is_over();
            let end = Instant::now() + LINGER;
            Closing { end, quiet: Box::pin(sleep(QUIET)), discarded: 0 }
        });
        let before = closing.discarded;
        while closing.discarded < MAX_DISCARDED && Instant::now() < closing.end {
            let mut bytes = [0; 16 * 1024];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    closing.discarded += buffer.filled().len();
                }
                // The client has closed its side, too.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    if closing.discarded > before {
                        let until = closing.end.min(Instant::now() + QUIET);
                        closing.quiet.as_mut().reset(until);
                    }
                    return closing.quiet.as_mut().poll(cx).map(Ok);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
