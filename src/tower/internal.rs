use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower::{Layer, Service};

use super::{
    body::ResponseBody, future::InternalResponseFuture, handed_on::HandedOn, refusal::Asked,
};
use crate::{InternalAuth, auth::InternalCaller, guard::admit_internal};

/// Lets requests through whose caller an [`InternalAuth`] lets in, and answers all others itself.
///
/// The [`InternalCaller`](crate::auth::InternalCaller) is in the request's extensions.
///
/// ```
/// use key0_auth::{InternalAuth, InternalAuthLayer, domain::{Secret, SecretSet}};
///
/// let secret = Secret::new("INTERNAL_AUTH_SECRET", "a secret for Key0's own calls alone")?;
/// let internal = InternalAuth::builder().shared_secret(SecretSet::new(secret)).build()?;
/// let layer = InternalAuthLayer::new(internal);
/// # let _ = layer;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct InternalAuthLayer {
    internal: Arc<InternalAuth>,
}

impl InternalAuthLayer {
    /// Asks every request for one of these strategies.
    pub fn new(internal: impl Into<Arc<InternalAuth>>) -> Self {
        Self { internal: internal.into() }
    }
}

impl<S> Layer<S> for InternalAuthLayer {
    type Service = InternalAuthService<S>;

    fn layer(&self, inner: S) -> InternalAuthService<S> {
        InternalAuthService { inner, internal: Arc::clone(&self.internal) }
    }
}

/// The service that an [`InternalAuthLayer`] makes.
#[derive(Debug, Clone)]
pub struct InternalAuthService<S> {
    inner: S,
    internal: Arc<InternalAuth>,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for InternalAuthService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ReqB: Body + 'static,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = InternalResponseFuture<S::Future, ReqB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let internal = Arc::clone(&self.internal);
        match admit_internal(&internal, &mut request) {
            Ok(()) => {
                let asked = Asked::let_in_by::<InternalCaller>(&request);
                let (request, body) = HandedOn::of(request);
                InternalResponseFuture::inner(self.inner.call(request), internal, asked, body)
            }
            Err(refused) => InternalResponseFuture::refused(refused, &internal, request),
        }
    }
}
