//! What is around all routes: a limit on time, an answer to panics, a request id, a line in the log.
//!
//! One service around the router does it all. As layers of the router, each of them would box every
//! request's future and copy the services inside of it, for more than all their work costs.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    BoxError, Router,
    body::{Body, Bytes, HttpBody, to_bytes},
    response::{IntoResponse, Response},
    routing::future::RouteFuture,
};
use http::{
    HeaderName, HeaderValue, Method, Request, Uri,
    header::{CONNECTION, EXPECT},
};
use key0_auth::{Rejection, RejectionKind, domain::MIN_SECRET_BYTES};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::Service;

use super::{connections::Connections, request_id::RequestIds};
use crate::logging::Chain;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long a request may take as a whole.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A router with all that is around it.
#[derive(Debug, Clone)]
pub(crate) struct RequestService {
    routes: Router,
    ids: RequestIds,
    connections: Option<Connections>,
}

/// Marks the answer to a path that leads nowhere.
#[derive(Debug, Clone, Copy)]
struct Nowhere;

impl RequestService {
    /// Takes the place of the router's fallback, so that the log knows of paths that lead nowhere.
    pub(crate) fn new(routes: Router) -> Self {
        let nowhere = async |request: Request<Body>| {
            let rejection = Rejection::new(RejectionKind::NotFound).instance(request.uri().path());
            let mut response = rejection.into_response();
            response.extensions_mut().insert(Nowhere);
            if !is_read_off(request).await {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        };
        // With its state, the router makes its services now and not for every request.
        let routes = routes.fallback(nowhere).with_state(());
        Self { routes, ids: RequestIds::default(), connections: None }
    }

    /// Tells clients to close their connections where these are many.
    pub(crate) fn over(self, connections: Connections) -> Self {
        Self { connections: Some(connections), ..self }
    }
}

/// The most of an unread body that is read and thrown away, and for how long.
const READ_OFF: (usize, Duration) = (2 * 1024 * 1024, Duration::from_secs(1));

/// Throws the body of a refused request away, so that its client sees the refusal and not a reset.
/// `false` where that is too much; then the connection must be closed.
async fn is_read_off(request: Request<Body>) -> bool {
    let (bytes, time) = READ_OFF;
    // Who waits for "100 Continue" has not sent it yet.
    let waits = request.headers().contains_key(EXPECT);
    if request.body().is_end_stream() {
        return true;
    }
    let reading = to_bytes(request.into_body(), bytes);
    !waits && matches!(tokio::time::timeout(time, reading).await, Ok(Ok(_)))
}

impl<B> Service<Request<B>> for RequestService
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let id = request.headers().get(REQUEST_ID).filter(|sent| is_sane(sent)).cloned();
        let id = id.unwrap_or_else(|| self.ids.next());
        let logged = tracing::enabled!(tracing::Level::ERROR).then(|| Logged {
            started: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
        });
        let uri = request.uri().clone();
        let closes = self.connections.as_ref().is_some_and(Connections::are_many);
        let seen = Some(Seen { id, logged, closes });
        Answer { inner: self.routes.call(request), limit: None, uri, seen }
    }
}

/// The caller's own id is taken where it is harmless.
fn is_sane(id: &HeaderValue) -> bool {
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

pin_project! {
    /// The answer of an [`RequestService`].
    pub(crate) struct Answer {
        #[pin]
        inner: RouteFuture<Infallible>,
        // Most answers are there at once; for them no timer is set.
        limit: Option<Pin<Box<Sleep>>>,
        uri: Uri,
        seen: Option<Seen>,
    }
}

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match catch_unwind(AssertUnwindSafe(|| this.inner.poll(cx))) {
            Ok(Poll::Ready(Ok(response))) => response,
            Ok(Poll::Pending) => {
                let limit = || Box::pin(tokio::time::sleep(REQUEST_TIMEOUT));
                ready!(this.limit.get_or_insert_with(limit).as_mut().poll(cx));
                let rejection = Rejection::new(RejectionKind::Timeout);
                rejection.instance(this.uri.path()).into_response()
            }
            // The panic's own words are in the log, by the panic hook; the caller gets none of them.
            Err(_) => {
                let rejection = Rejection::new(RejectionKind::Internal);
                rejection.instance(this.uri.path()).into_response()
            }
        };
        match this.seen.take() {
            Some(seen) => Poll::Ready(Ok(seen.finish(response))),
            None => panic!("a response future was polled after it was done"),
        }
    }
}

/// What is kept of a request for its answer.
struct Seen {
    id: HeaderValue,
    logged: Option<Logged>,
    /// Whether the connection is needed for others.
    closes: bool,
}

/// What the log says of a request, where there is a log.
struct Logged {
    started: Instant,
    method: Method,
    uri: Uri,
}

impl Seen {
    fn finish(self, mut response: Response) -> Response {
        if let Some(logged) = &self.logged {
            logged.log(&self.id, &response);
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, self.id);
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Logged {
    fn log(&self, id: &HeaderValue, response: &Response) {
        let leads_somewhere = response.extensions().get::<Nowhere>().is_none();
        let path = told(self.uri.path(), leads_somewhere);
        let method = &self.method;
        let status = response.status().as_u16();
        let request_id = id.to_str().unwrap_or_default();
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        match response.extensions().get::<Rejection>() {
            Some(rejection) if status >= 500 => {
                let cause = Chain(rejection).to_string();
                tracing::error!(%method, path, status, micros, request_id, cause, "request failed");
            }
            Some(rejection) => {
                let cause = Chain(rejection).to_string();
                tracing::info!(%method, path, status, micros, request_id, cause, "request refused");
            }
            None => tracing::info!(%method, path, status, micros, request_id, "request"),
        }
    }
}

/// The path for the log. Whoever takes a credential for an id must not find it there: every
/// credential is longer than what is shown of a part, and of a path that leads nowhere, which may
/// be one with slashes in it, the first part alone is shown.
fn told(path: &str, leads_somewhere: bool) -> String {
    let told = |part: &str| part.len() < MIN_SECRET_BYTES || uuid::Uuid::try_parse(part).is_ok();
    let mut parts = path.split('/').map(|part| if told(part) { part } else { "…" });
    if leads_somewhere {
        return parts.collect::<Vec<_>>().join("/");
    }
    let first = [parts.next(), parts.next()].into_iter().flatten().collect::<Vec<_>>().join("/");
    if parts.next().is_some() { first + "/…" } else { first }
}
