use std::{fmt, pin::Pin, rc::Rc, sync::Arc};

use actix_web::{
    Error, HttpRequest,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, forward_ready},
};

use super::refusal::{self, Asked};
use crate::{
    InternalAuth,
    auth::{InternalCaller, Responder},
    guard::{Guard, Outcome, Refused, admit_internal},
};

/// A response on its way. Boxed, as every route's is by actix-web itself.
type ResponseFuture<B> =
    Pin<Box<dyn Future<Output = Result<ServiceResponse<EitherBody<B>>, Error>>>>;

/// The service that an [`AuthMiddleware`](super::AuthMiddleware) makes.
pub struct AuthService<S> {
    inner: Rc<S>,
    guard: Arc<Guard<HttpRequest>>,
}

impl<S> AuthService<S> {
    pub(super) fn new(inner: S, guard: Arc<Guard<HttpRequest>>) -> Self {
        Self { inner: Rc::new(inner), guard }
    }
}

impl<S, B> Service<ServiceRequest> for AuthService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = ResponseFuture<B>;

    forward_ready!(inner);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let guard = Arc::clone(&self.guard);
        let lookup = match guard.validate(&mut request) {
            Outcome::Pass => {
                let asked = Asked::let_in(&request, guard.validator());
                let answer = self.inner.call(request);
                return Box::pin(async move { finish(answer.await, guard.responder(), asked) });
            }
            Outcome::Refuse(refused) => {
                return Box::pin(async move { Ok(refuse(request, refused, guard.responder())) });
            }
            Outcome::LookUp(lookup) => lookup,
        };
        let inner = Rc::clone(&self.inner);
        Box::pin(async move {
            let validated = guard.validator().look_up(lookup).await;
            match guard.admit(&mut request, validated) {
                Ok(()) => {
                    let asked = Asked::let_in(&request, guard.validator());
                    finish(inner.call(request).await, guard.responder(), asked)
                }
                Err(refused) => Ok(refuse(request, refused, guard.responder())),
            }
        })
    }
}

/// The service that an [`InternalAuthMiddleware`](super::InternalAuthMiddleware) makes.
pub struct InternalAuthService<S> {
    inner: S,
    internal: Arc<InternalAuth>,
}

impl<S> InternalAuthService<S> {
    pub(super) fn new(inner: S, internal: Arc<InternalAuth>) -> Self {
        Self { inner, internal }
    }
}

impl<S, B> Service<ServiceRequest> for InternalAuthService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = ResponseFuture<B>;

    forward_ready!(inner);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let internal = Arc::clone(&self.internal);
        match admit_internal(&internal, &mut request) {
            Ok(()) => {
                let asked = Asked::let_in_by::<InternalCaller>(&request);
                let answer = self.inner.call(request);
                Box::pin(async move { finish(answer.await, internal.responder(), asked) })
            }
            Err(refused) => {
                Box::pin(async move { Ok(refuse(request, refused, internal.responder())) })
            }
        }
    }
}

/// A refusal is a response and no error, so that what is outside still sees it.
fn refuse<B>(
    request: ServiceRequest,
    refused: Refused,
    responder: &Responder,
) -> ServiceResponse<EitherBody<B>> {
    let mut response = refusal::rendered(refused.rejection, responder);
    if let Some(caller) = refused.caller {
        response.extensions_mut().insert(caller);
    }
    request.into_response(response).map_into_right_body()
}

/// What comes from further inside, with a refusal in the middleware's own form.
pub(super) fn finish<B: MessageBody + 'static>(
    answer: Result<ServiceResponse<B>, Error>,
    responder: &Responder,
    asked: Asked,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    match answer {
        Ok(response) => {
            let (request, response) = response.into_parts();
            let route = || request.match_pattern();
            let response = refusal::pass_on(response, responder, &asked, route);
            Ok(ServiceResponse::new(request, response))
        }
        // A middleware in between may fail with a rejection; actix-web renders it outside of us.
        Err(mut error) => {
            let responder = responder.clone();
            error.add_response_mapper(move |response| {
                refusal::pass_on(response, &responder, &asked, || None).map_into_boxed_body()
            });
            Err(error)
        }
    }
}

impl<S> fmt::Debug for AuthService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthService").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for InternalAuthService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InternalAuthService")
            .field("internal", &self.internal)
            .finish_non_exhaustive()
    }
}
