use std::task::{Context, Poll};

use http::{HeaderValue, Method, Request, Response, header::CONNECTION};

use super::drain::has_body;
#[cfg(feature = "axum")]
use super::{
    drain::{Announced, Rest},
    lent::{Left, lend},
};

/// The body of a request that was handed on, for whoever must know what was left of it.
pub(crate) enum HandedOn {
    /// There was none.
    Nothing,
    /// Nobody can say whether it was read. Handlers leave bodies of such methods unread, and those of
    /// requests that they refuse.
    Unseen {
        takes_no_body: bool,
    },
    /// It comes back where it is not read to its end.
    #[cfg(feature = "axum")]
    Lent {
        left: Left,
        announced: Announced,
    },
    Unread,
    #[cfg(feature = "axum")]
    Back(Rest<axum::body::Body>),
}

impl HandedOn {
    /// The same request. Its body can be watched over where it is one of axum's.
    pub(crate) fn of<B: 'static>(request: Request<B>) -> (Request<B>, Self) {
        if !has_body(request.version(), request.headers()) {
            return (request, Self::Nothing);
        }
        #[cfg(feature = "axum")]
        let request = {
            let announced = Announced::by(request.headers());
            let (head, body) = request.into_parts();
            let (body, left) = lend(body);
            let request = Request::from_parts(head, body);
            if let Some(left) = left {
                return (request, Self::Lent { left, announced });
            }
            request
        };
        let takes_no_body = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE
        );
        (request, Self::Unseen { takes_no_body })
    }

    /// Notes what this response leaves of it.
    pub(crate) fn answered<B>(&mut self, response: &Response<B>) {
        let closes = response.headers().get(CONNECTION) == Some(&CLOSE);
        *self = match self {
            // Somebody has looked after it already.
            _ if closes => Self::Nothing,
            Self::Unseen { takes_no_body } if *takes_no_body || !response.status().is_success() => {
                Self::Unread
            }
            #[cfg(feature = "axum")]
            Self::Lent { left, announced } => match left.take() {
                Some(body) => Self::Back(Rest::of_body(*announced, body)),
                // It was read, or still is.
                None => Self::Nothing,
            },
            _ => Self::Nothing,
        }
    }

    /// Ready with whether the connection must be closed, after the rest was read as far as that goes.
    pub(crate) fn poll_closes(&mut self, _cx: &mut Context<'_>) -> Poll<bool> {
        match self {
            Self::Unread => Poll::Ready(true),
            #[cfg(feature = "axum")]
            Self::Back(rest) => rest.poll(_cx),
            _ => Poll::Ready(false),
        }
    }
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Tells the client not to use the connection again (RFC 9112, section 9.6).
pub(crate) fn close<B>(response: &mut Response<B>) {
    response.headers_mut().insert(CONNECTION, CLOSE);
}
