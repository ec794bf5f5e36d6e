use std::{
    fmt, mem,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::{
    body::{Collected, IdempotencyBody, collect},
    request::{begin, keys},
};
use crate::{
    Rejection, RejectionKind,
    auth::Responder,
    guard::{Provisional, RefusalForm},
    idempotency::{Begun, Idempotency, NotKept, REPLAYED, Run},
    store::StoredResponse,
    tower::{
        ResponseBody,
        refusal::{self, Asked},
    },
};

/// The service that an [`IdempotencyLayer`](crate::IdempotencyLayer) makes.
#[derive(Clone)]
pub struct IdempotencyService<S> {
    inner: S,
    idempotency: Idempotency,
}

impl<S> IdempotencyService<S> {
    pub(super) fn new(inner: S, idempotency: Idempotency) -> Self {
        Self { inner, idempotency }
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for IdempotencyService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ReqB: Body + From<Bytes> + Send + 'static,
    ResB: Body + Send + 'static,
    ResB::Data: From<Bytes> + Send,
    ResB::Error: Send,
{
    type Response = Response<IdempotencyBody<ResB>>;
    type Error = S::Error;
    type Future = IdempotencyFuture<S::Future, ResB, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let has_key = keys(request.headers()).next().is_some();
        let state = if self.idempotency.concerns(request.method().as_str(), has_key) {
            // The one that is ready goes along with the request.
            let spare = self.inner.clone();
            let ready = mem::replace(&mut self.inner, spare);
            let answer = answer(self.idempotency.clone(), ready, request);
            State::Guarded { answer: Box::pin(answer) }
        } else {
            State::Passed { future: self.inner.call(request) }
        };
        IdempotencyFuture { state }
    }
}

async fn answer<S, ReqB, ResB>(
    idempotency: Idempotency,
    mut ready: S,
    request: Request<ReqB>,
) -> Answer<ResB, S::Error>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ReqB: Body + From<Bytes>,
    ResB: Body + Send + 'static,
    ResB::Data: From<Bytes> + Send,
    ResB::Error: Send,
{
    let asked = Asked::of(&request);
    let (mut parts, body) = request.into_parts();
    let (run, body) = match begin(&idempotency, &mut parts, body).await {
        Ok((Begun::Start(run), body)) => (run, body),
        Ok((Begun::Replay(response), _)) => return Ok(replayed(response)),
        Err(rejection) => return Ok(refused(rejection)),
    };
    let form = parts.extensions.get::<RefusalForm>().cloned();
    let handling = ready.call(Request::from_parts(parts, ReqB::from(body)));
    let work = carry_out(idempotency, run, form, asked, handling);
    #[cfg(feature = "tracing")]
    let work = tracing::Instrument::in_current_span(work);
    // A client that hangs up does not stop it: its retry is to find the answer.
    match tokio::spawn(work).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is being shut down.
            Err(_) => Ok(refused(RejectionKind::Internal.into())),
        },
    }
}

/// Has the handler answer, and ends the run by what it answers.
async fn carry_out<F, B, E>(
    idempotency: Idempotency,
    run: Run,
    form: Option<RefusalForm>,
    asked: Asked,
    handling: F,
) -> Answer<B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    B::Data: From<Bytes>,
{
    let responder = form.as_ref().map(RefusalForm::responder);
    let limit = idempotency.response_limit();
    let answered = run
        .guard(async {
            let response = handling.await?;
            // In its last form already, as that is what a retry must get.
            let response = match responder {
                Some(responder) => refusal::pass_on(response, responder, &asked),
                None => response.map(ResponseBody::inner),
            };
            let refusal = response.extensions().get::<Rejection>().map(Rejection::kind);
            if response.extensions().get::<NotKept>().is_some()
                || !idempotency.keeps(response.status().as_u16(), refusal)
            {
                return Ok((None, response.map(IdempotencyBody::plain)));
            }
            let (parts, body) = response.into_parts();
            let (collected, body) = collect(body, limit).await;
            Ok((Some(collected), Response::from_parts(parts, body)))
        })
        .await;
    let (collected, response) = match answered {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => {
            run.release().await;
            return Err(error);
        }
        Err(rejection) => {
            run.release().await;
            return Ok(refused(rejection));
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
    Ok(response)
}

fn stored<B>(response: &Response<B>, body: Bytes) -> StoredResponse {
    let headers = response.headers().iter();
    StoredResponse {
        status: response.status().as_u16(),
        headers: headers
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        body: body.into(),
    }
}

fn replayed<B: Body>(stored: StoredResponse) -> Response<IdempotencyBody<B>> {
    let mut response = Response::new(IdempotencyBody::whole(stored.body.into()));
    *response.status_mut() =
        StatusCode::from_u16(stored.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in stored.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
        .headers_mut()
        .insert(HeaderName::from_static(REPLAYED), HeaderValue::from_static("true"));
    response
}

/// In the form of the layer around this one.
fn refused<B: Body>(rejection: Rejection) -> Response<IdempotencyBody<B>> {
    let mut response = refusal::respond(rejection, &Responder::default());
    response.extensions_mut().insert(Provisional);
    response.map(IdempotencyBody::whole)
}

type Answer<B, E> = Result<Response<IdempotencyBody<B>>, E>;

pin_project! {
    /// The response of an [`IdempotencyService`].
    pub struct IdempotencyFuture<F, B: Body, E> {
        #[pin]
        state: State<F, B, E>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, B: Body, E> {
        Passed { #[pin] future: F },
        Guarded { answer: Pin<Box<dyn Future<Output = Answer<B, E>> + Send>> },
    }
}

impl<F, B, E> Future for IdempotencyFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Answer<B, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Passed { future } => {
                let response = ready!(future.poll(cx))?;
                let plain = |body| IdempotencyBody::plain(ResponseBody::inner(body));
                Poll::Ready(Ok(response.map(plain)))
            }
            StateProjection::Guarded { answer } => answer.as_mut().poll(cx),
        }
    }
}

impl<S> fmt::Debug for IdempotencyService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyService")
            .field("idempotency", &self.idempotency)
            .finish_non_exhaustive()
    }
}

impl<F, B: Body, E> fmt::Debug for IdempotencyFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyFuture").finish_non_exhaustive()
    }
}
