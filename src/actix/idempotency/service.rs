use std::{fmt, panic::resume_unwind, pin::Pin, rc::Rc};

use actix_web::{
    Error, HttpMessage, HttpResponse, ResponseError,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, forward_ready},
    http::header::{HeaderName, HeaderValue},
    rt,
    web::Bytes,
};

use super::{
    body::{Collected, collect},
    request::{begin, keys},
};
use crate::{
    Rejection, RejectionKind,
    actix::refusal::{self, Asked},
    guard::RefusalForm,
    idempotency::{Begun, Idempotency, NotKept, REPLAYED, Run},
    store::StoredResponse,
};

/// The service that an [`IdempotencyMiddleware`](super::super::IdempotencyMiddleware) makes.
pub struct IdempotencyService<S> {
    inner: Rc<S>,
    idempotency: Idempotency,
}

type Answer<B> = Result<ServiceResponse<B>, Error>;

impl<S> IdempotencyService<S> {
    pub(super) fn new(inner: S, idempotency: Idempotency) -> Self {
        Self { inner: Rc::new(inner), idempotency }
    }
}

impl<S, B> Service<ServiceRequest> for IdempotencyService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Answer<EitherBody<B>>>>>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let has_key = keys(request.headers()).next().is_some();
        if !self.idempotency.concerns(request.method().as_str(), has_key) {
            let answer = self.inner.call(request);
            return Box::pin(async move { answer.await.map(ServiceResponse::map_into_left_body) });
        }
        let answer = answer(self.idempotency.clone(), self.inner.clone(), request);
        Box::pin(async move { answer.await.map(ServiceResponse::map_into_right_body) })
    }
}

async fn answer<S, B>(
    idempotency: Idempotency,
    inner: Rc<S>,
    mut request: ServiceRequest,
) -> Answer<BoxBody>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    let run = match begin(&idempotency, &mut request).await {
        Ok(Begun::Start(run)) => run,
        Ok(Begun::Replay(response)) => return Ok(request.into_response(replayed(response))),
        Err(rejection) => return Ok(request.into_response(rejection.error_response())),
    };
    let form = request.extensions().get::<RefusalForm>().cloned();
    let asked = Asked::of(&request);
    let work = async move {
        let handling = inner.call(request);
        carry_out(idempotency, run, form, asked, handling).await
    };
    #[cfg(feature = "tracing")]
    let work = tracing::Instrument::in_current_span(work);
    // A client that hangs up does not stop it: its retry is to find the answer.
    match rt::spawn(work).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is being shut down.
            Err(_) => Err(Rejection::from(RejectionKind::Internal).into()),
        },
    }
}

/// Has the handler answer, and ends the run by what it answers.
async fn carry_out<B: MessageBody + 'static>(
    idempotency: Idempotency,
    run: Run,
    form: Option<RefusalForm>,
    asked: Asked,
    handling: impl Future<Output = Answer<B>>,
) -> Answer<BoxBody> {
    let responder = form.as_ref().map(RefusalForm::responder);
    let limit = idempotency.response_limit();
    let answered = run
        .guard(async {
            let (handled, response, asked) = match handling.await {
                Ok(response) => {
                    let (request, response) = response.into_parts();
                    (Ok(request), response.map_into_boxed_body(), asked)
                }
                // Of a middleware in between. It stays one, but what it says is an answer, too; the
                // guard outside makes one of it again.
                Err(error) => {
                    let response = error.error_response();
                    (Err(error), response, asked.without_report())
                }
            };
            // In its last form already, as that is what a retry must get.
            let response = match responder {
                Some(responder) => {
                    let request = handled.as_ref().ok();
                    let route = || request.and_then(actix_web::HttpRequest::match_pattern);
                    refusal::pass_on(response, responder, &asked, route).map_into_boxed_body()
                }
                None => response,
            };
            if !is_kept(&idempotency, &response) {
                return (None, handled, response);
            }
            let (response, body) = response.into_parts();
            let (collected, body) = collect(body, limit).await;
            (Some(collected), handled, response.set_body(body))
        })
        .await;
    let (collected, handled, response) = match answered {
        Ok(answered) => answered,
        // An error, as the request is gone with the handler.
        Err(rejection) => {
            run.release().await;
            return Err(rejection.into());
        }
    };
    let responder = responder.cloned().unwrap_or_default();
    match collected {
        Some(Collected::Whole(body)) => {
            run.complete(stored(&response, body), &responder).await;
        }
        // The handler has run, so a retry must not.
        Some(Collected::TooLarge | Collected::Broken) => run.complete_unkept(&responder).await,
        None => run.release().await,
    }
    handled.map(|request| ServiceResponse::new(request, response))
}

fn is_kept(idempotency: &Idempotency, response: &HttpResponse) -> bool {
    let extensions = response.extensions();
    let refusal = extensions.get::<Rejection>().map(Rejection::kind);
    extensions.get::<NotKept>().is_none() && idempotency.keeps(response.status().as_u16(), refusal)
}

fn stored(response: &HttpResponse, body: Bytes) -> StoredResponse {
    let headers = response.headers().iter();
    StoredResponse {
        status: response.status().as_u16(),
        headers: headers
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        body: body.into(),
    }
}

fn replayed(stored: StoredResponse) -> HttpResponse {
    let mut response = HttpResponse::new(refusal::status(stored.status));
    for (name, value) in stored.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
        .headers_mut()
        .insert(HeaderName::from_static(REPLAYED), HeaderValue::from_static("true"));
    response.set_body(BoxBody::new(stored.body))
}

impl<S> fmt::Debug for IdempotencyService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyService")
            .field("idempotency", &self.idempotency)
            .finish_non_exhaustive()
    }
}
