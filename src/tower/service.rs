use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, request::Parts};
use tower::Service;

use super::{body::ResponseBody, future::ResponseFuture};
use crate::gate::{Gate, Verdict};

/// The service that an [`AuthLayer`](crate::AuthLayer) makes. Cheap to clone where the inner one
/// is.
#[derive(Clone)]
pub struct AuthService<S> {
    inner: S,
    gate: Arc<Gate<Parts>>,
}

impl<S> AuthService<S> {
    pub(super) fn new(inner: S, gate: Arc<Gate<Parts>>) -> Self {
        Self { inner, gate }
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for AuthService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let gate = Arc::clone(&self.gate);
        match gate.judge(&mut request) {
            Verdict::Pass => ResponseFuture::inner(self.inner.call(request), gate),
            Verdict::Refuse(rejection) => ResponseFuture::refused(rejection, gate),
            Verdict::LookUp(lookup) => {
                // The one that is ready goes along with the request.
                let spare = self.inner.clone();
                let ready = mem::replace(&mut self.inner, spare);
                ResponseFuture::looking_up(lookup, ready, request, gate)
            }
        }
    }
}

impl<S> fmt::Debug for AuthService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthService").field("gate", &self.gate).finish_non_exhaustive()
    }
}
