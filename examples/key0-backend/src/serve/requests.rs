//! What is around all routes: a limit on time, an answer to panics, a request id, a line in the log.
//!
//! One service around the router does it all. As layers of the router, each of them would box every
//! request's future and copy the services inside of it, for more than all their work costs.

use std::{
    convert::Infallible,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    BoxError, Router,
    body::{Bytes, HttpBody},
    response::{IntoResponse, Response},
    routing::future::RouteFuture,
};
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header::CONNECTION};
use key0_auth::{Rejection, RejectionKind, auth::Gateway};
use pin_project_lite::pin_project;
use tokio::{sync::watch, time::Sleep};
use tower::Service;

use super::{
    access_log::{NoteRoute, Record, Untold},
    awaited::Awaited,
    connections::{Activity, Connections},
    host,
    ready::Ready,
    refusals::Refusals,
    request_id::RequestIds,
};
use crate::{confidential::Confidential, config::Serving};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How long a request may take as a whole.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest path that is told as the one that was meant.
const MAX_MEANT: usize = 256;

/// A router with all that is around it.
#[derive(Debug, Clone)]
pub(crate) struct RequestService {
    routes: Router,
    confidential: Confidential,
    /// The newest of both. They may take the place of those above between two requests.
    latest: watch::Receiver<(Router, Confidential)>,
    newer: Arc<watch::Sender<(Router, Confidential)>>,
    ids: RequestIds,
    listener: Option<Arc<Listener>>,
    peer: Option<IpAddr>,
    activity: Option<Activity>,
}

/// What the requests of one listener have in common.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) name: &'static str,
    pub(crate) connections: Connections,
    pub(crate) serving: Serving,
    pub(crate) ready: Ready,
    pub(crate) refusals: Refusals,
}

impl RequestService {
    pub(crate) fn new(routes: Router, confidential: Confidential) -> Self {
        // With its state, the router makes its services now and not for every request.
        let routes = routes.layer(NoteRoute).with_state(());
        let (newer, latest) = watch::channel((routes.clone(), confidential.clone()));
        let (newer, ids) = (Arc::new(newer), RequestIds::default());
        Self {
            routes,
            confidential,
            latest,
            newer,
            ids,
            listener: None,
            peer: None,
            activity: None,
        }
    }

    /// Answers requests from now on, over connections that are open too, as another service does.
    pub(crate) fn replace(&self, by: &Self) {
        drop(self.newer.send_replace((by.routes.clone(), by.confidential.clone())));
    }

    /// The same for the requests of a listener.
    pub(crate) fn of(self, listener: Arc<Listener>) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// The same for the requests of one peer's connection.
    pub(crate) fn from(&self, peer: IpAddr, activity: Activity) -> Self {
        Self { peer: Some(peer), activity: Some(activity), ..self.clone() }
    }
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
        Service::<Request<Awaited<B>>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Answer {
        if self.latest.has_changed().unwrap_or(false) {
            (self.routes, self.confidential) = self.latest.borrow_and_update().clone();
        }
        let is_taken = |sent: &&HeaderValue| is_sane(sent, &self.confidential);
        let id = request.headers().get(REQUEST_ID).filter(is_taken).cloned();
        let id = id.unwrap_or_else(|| self.ids.next());
        let listener = self.listener.clone();
        let record = listener.as_ref().map(|listener| {
            let proxies = &listener.serving.proxies;
            Record::begin(&mut request, self.peer, proxies, &self.confidential)
        });
        let proxied = request.headers().contains_key(Gateway::TOKEN_HEADER);
        let has_body = !request.body().is_end_stream();
        let asked = Asked { uri: request.uri().clone(), proxied, has_body };
        let seen = Some(Seen { id, record, listener });
        let refused = match host::check(&request) {
            Err(rejection) => Some(asked.refuse(rejection)),
            Ok(()) => request.uri().path().contains("//").then(|| asked.tell_what_is_meant()),
        };
        let activity = if has_body { self.activity.clone() } else { None };
        let awaited = |body| Awaited::new(body, activity);
        let inner = refused.is_none().then(|| self.routes.call(request.map(awaited)));
        Answer { inner, refused, limit: None, asked, seen }
    }
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// The caller's own id is taken where it is harmless: the log and the answer show it, so what can be
/// a credential is none.
fn is_sane(id: &HeaderValue, confidential: &Confidential) -> bool {
    let is_text = |id: &&str| id.bytes().all(|byte| byte.is_ascii_graphic());
    let id = id.to_str().ok().filter(is_text);
    id.is_some_and(|id| (1..=128).contains(&id.len()) && !confidential.may_stand_in(id))
}

pin_project! {
    /// The answer of an [`RequestService`].
    pub(crate) struct Answer {
        #[pin]
        inner: Option<RouteFuture<Infallible>>,
        // What needs no route.
        refused: Option<Response>,
        // Most answers are there at once; for them no timer is set.
        limit: Option<Pin<Box<Sleep>>>,
        asked: Asked,
        seen: Option<Seen>,
    }
}

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let refused = this.refused.take();
        let answered = || match (refused, this.inner.as_pin_mut()) {
            (None, Some(inner)) => inner.poll(cx),
            (Some(refused), _) => Poll::Ready(Ok(refused)),
            (None, None) => panic!("a response future was polled after it was done"),
        };
        let response = match catch_unwind(AssertUnwindSafe(answered)) {
            Ok(Poll::Ready(Ok(response))) => response,
            Ok(Poll::Pending) => {
                let limit = || Box::pin(tokio::time::sleep(REQUEST_TIMEOUT));
                ready!(this.limit.get_or_insert_with(limit).as_mut().poll(cx));
                this.asked.refuse(RejectionKind::Timeout.into())
            }
            // The panic's own words are in the log, by the panic hook; the caller gets none of them.
            Err(_) => this.asked.refuse(RejectionKind::Internal.into()),
        };
        match this.seen.take() {
            Some(seen) if seen.leads_nowhere(&response) && this.asked.has_slash_at_its_end() => {
                let mut told = this.asked.tell_what_is_meant();
                told.headers_mut().remove(CONNECTION);
                if let Some(connection) = response.headers().get(CONNECTION) {
                    told.headers_mut().insert(CONNECTION, connection.clone());
                }
                Poll::Ready(Ok(seen.finish(told)))
            }
            Some(seen) => Poll::Ready(Ok(seen.finish(response))),
            None => panic!("a response future was polled after it was done"),
        }
    }
}

/// What a refusal must know of the request.
struct Asked {
    uri: Uri,
    /// It may come through Key0's gateway.
    proxied: bool,
    has_body: bool,
}

impl Asked {
    /// Made outside the routes, where nobody knows what was read of the body.
    fn refuse(&self, rejection: Rejection) -> Response {
        let rejection = rejection.instance(self.uri.path());
        let rejection = if self.proxied { rejection.for_gateway() } else { rejection };
        let mut response = rejection.into_response();
        if self.has_body {
            response.headers_mut().insert(CONNECTION, CLOSE);
        }
        response
    }

    fn has_slash_at_its_end(&self) -> bool {
        let path = self.uri.path();
        path.len() > 1 && path.ends_with('/')
    }

    /// The refusal of a path with an empty part.
    fn tell_what_is_meant(&self) -> Response {
        const EMPTY_PART: &str = "A part of this path is empty";
        let rejection = Rejection::new(RejectionKind::NotFound);
        let path = self.uri.path();
        let rejection = if path.len() > MAX_MEANT {
            rejection.detail(EMPTY_PART)
        } else {
            let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
            let meant = parts.join("/");
            rejection.detail(format!("{EMPTY_PART}; /{meant} may be meant"))
        };
        let mut response = self.refuse(rejection);
        // A part may be of a credential.
        response.extensions_mut().insert(Untold(EMPTY_PART));
        response
    }
}

/// What is kept of a request for its answer.
struct Seen {
    id: HeaderValue,
    record: Option<Record>,
    listener: Option<Arc<Listener>>,
}

impl Seen {
    /// Whether there is no route to answer it.
    fn leads_nowhere(&self, response: &Response) -> bool {
        response.status() == StatusCode::NOT_FOUND
            && self.record.as_ref().is_some_and(Record::is_lost)
    }

    fn finish(self, mut response: Response) -> Response {
        if let Some(listener) = self.listener {
            let kind = response.extensions().get::<Rejection>().map(Rejection::kind);
            if kind == Some(RejectionKind::StoreUnavailable) {
                listener.ready.store_failed();
            }
            if let Some(record) = self.record {
                let (name, which) = (listener.name, listener.serving.access_log);
                record.end(&self.id, name, which, &listener.refusals, &response);
            }
            if listener.connections.are_many() {
                response.headers_mut().insert(CONNECTION, CLOSE);
            }
        }
        response.headers_mut().insert(REQUEST_ID, self.id);
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::{body::Body, routing::any};
    use http::header::HOST;
    use tower::ServiceExt;

    use super::*;

    /// What the routes did with the body is not known, so the connection ends.
    #[tokio::test(start_paused = true)]
    async fn what_is_answered_outside_the_routes_ends_a_connection_with_a_body() {
        let panics = async || -> () { panic!("of the test") };
        let routes = Router::new()
            .route("/hangs", any(std::future::pending::<()>))
            .route("/panics", any(panics));
        let service = RequestService::new(routes, Confidential::default());
        for (path, status) in [("/hangs", 408), ("/panics", 500), ("//", 404)] {
            for (body, closes) in [("", false), ("a body", true)] {
                let request = Request::builder().uri(path).header(HOST, "a");
                let request = request.body(Body::from(body)).unwrap();
                let response = service.clone().oneshot(request).await.unwrap();
                assert_eq!(response.status(), status, "{path}");
                let told = response.headers().get(CONNECTION) == Some(&CLOSE);
                assert_eq!(told, closes, "{path} {body}");
            }
        }
    }
}
