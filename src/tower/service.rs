use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, request::Parts};
use http_body::Body;
use tower::Service;

use super::{body::ResponseBody, future::ResponseFuture, handed_on::HandedOn, refusal::Asked};
use crate::guard::{Guard, Outcome};

/// The service that an [`AuthLayer`](crate::AuthLayer) makes. Cheap to clone where the inner one
/// is.
#[derive(Clone)]
pub struct AuthService<S> {
    inner: S,
    guard: Arc<Guard<Parts>>,
}

impl<S> AuthService<S> {
    pub(super) fn new(inner: S, guard: Arc<Guard<Parts>>) -> Self {
        Self { inner, guard }
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for AuthService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    ReqB: Body + 'static,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        answer(&mut self.inner, Arc::clone(&self.guard), request)
    }
}

/// What a guard makes of a request to the service behind it, which is ready.
pub(crate) fn answer<S, ReqB, ResB>(
    inner: &mut S,
    guard: Arc<Guard<Parts>>,
    mut request: Request<ReqB>,
) -> ResponseFuture<S, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    ReqB: Body + 'static,
{
    match guard.validate(&mut request) {
        Outcome::Pass => {
            let asked = Asked::let_in(&request, guard.validator());
            let (request, body) = HandedOn::of(request);
            ResponseFuture::inner(inner.call(request), guard, asked, body)
        }
        Outcome::Refuse(refused) => ResponseFuture::refused(refused, &guard, request),
        Outcome::LookUp(lookup) => {
            // The one that is ready goes along with the request.
            let spare = inner.clone();
            let ready = mem::replace(inner, spare);
            ResponseFuture::looking_up(lookup, ready, request, guard)
        }
    }
}

impl<S> fmt::Debug for AuthService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthService").field("guard", &self.guard).finish_non_exhaustive()
    }
}
