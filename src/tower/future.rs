use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, request::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::{
    body::ResponseBody,
    drain::Rest,
    handed_on::{HandedOn, close},
    refusal::{self, Asked},
};
use crate::{
    Identity, InternalAuth, Rejection,
    auth::{Lookup, Responder},
    guard::{Guard, Refused},
};

/// A boxed future only here: access tokens and remembered keys never get to it.
type LookupFuture = Pin<Box<dyn Future<Output = Result<Identity, Rejection>> + Send>>;

pin_project! {
    /// The response of an [`AuthService`](super::AuthService).
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        LookingUp {
            lookup: LookupFuture,
            waiting: Option<Box<Waiting<S, B>>>,
            guard: Arc<Guard<Parts>>,
        },
        Answering { #[pin] answer: Answer<S::Future, Guard<Parts>, B> },
    }
}

/// A request that is held back, and the service that is ready for it. In a box, as those that go
/// on at once would have its size as well.
struct Waiting<S, B> {
    ready: S,
    request: Request<B>,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
    B: Body,
{
    pub(super) fn inner(
        future: S::Future,
        guard: Arc<Guard<Parts>>,
        asked: Asked,
        body: HandedOn,
    ) -> Self {
        Self { state: State::Answering { answer: Answer::inner(future, guard, asked, body) } }
    }

    pub(super) fn refused(refused: Refused, guard: &Guard<Parts>, request: Request<B>) -> Self {
        Self { state: State::Answering { answer: Answer::refusal(refused, guard, request) } }
    }

    pub(super) fn looking_up(
        lookup: Lookup,
        ready: S,
        request: Request<B>,
        guard: Arc<Guard<Parts>>,
    ) -> Self {
        let validator = guard.validator().clone();
        let lookup = Box::pin(async move { validator.look_up(lookup).await });
        let waiting = Some(Box::new(Waiting { ready, request }));
        Self { state: State::LookingUp { lookup, waiting, guard } }
    }
}

impl<S, ReqB, ResB> Future for ResponseFuture<S, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ReqB: Body + 'static,
{
    type Output = Result<Response<ResponseBody<ResB>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let answer = match state.as_mut().project() {
                StateProjection::Answering { answer } => return answer.poll(cx),
                StateProjection::LookingUp { lookup, waiting, guard } => {
                    let validated = ready!(lookup.as_mut().poll(cx));
                    let guard = Arc::clone(guard);
                    match waiting.take() {
                        Some(waiting) => {
                            let Waiting { mut ready, mut request } = *waiting;
                            match guard.admit(&mut request, validated) {
                                Ok(()) => {
                                    let asked = Asked::let_in(&request, guard.validator());
                                    let (request, body) = HandedOn::of(request);
                                    Answer::inner(ready.call(request), guard, asked, body)
                                }
                                Err(refused) => Answer::refusal(refused, &*guard, request),
                            }
                        }
                        // It is taken only here, where the state is left.
                        None => unreachable!("a request is held until its lookup is over"),
                    }
                }
            };
            state.set(State::Answering { answer });
        }
    }
}

pin_project! {
    /// The response of an [`InternalAuthService`](super::InternalAuthService), whose inner service
    /// answers with the future `F` to a request with the body `B`.
    pub struct InternalResponseFuture<F, B>
    where
        F: Future,
    {
        #[pin]
        answer: Answer<F, InternalAuth, B>,
    }
}

impl<F: Future, B: Body> InternalResponseFuture<F, B> {
    pub(super) fn inner(future: F, form: Arc<InternalAuth>, asked: Asked, body: HandedOn) -> Self {
        Self { answer: Answer::inner(future, form, asked, body) }
    }

    pub(super) fn refused(refused: Refused, form: &InternalAuth, request: Request<B>) -> Self {
        Self { answer: Answer::refusal(refused, form, request) }
    }
}

impl<F, ReqB, B, E> Future for InternalResponseFuture<F, ReqB>
where
    F: Future<Output = Result<Response<B>, E>>,
    ReqB: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().answer.poll(cx)
    }
}

pin_project! {
    /// Who answers a request once it is validated.
    #[project = AnswerProjection]
    enum Answer<F, R, B>
    where
        F: Future,
    {
        Inner {
            #[pin] future: F,
            form: Arc<R>,
            asked: Asked,
            // What it has answered, while the rest of the body is read.
            answered: Option<F::Output>,
            body: HandedOn,
        },
        Refusal { response: Option<Response<bytes::Bytes>>, rest: Rest<B> },
    }
}

/// Who knows how a refusal is answered.
trait HasResponder {
    fn responder(&self) -> &Responder;
}

impl HasResponder for Guard<Parts> {
    fn responder(&self) -> &Responder {
        self.responder()
    }
}

impl HasResponder for InternalAuth {
    fn responder(&self) -> &Responder {
        self.responder()
    }
}

impl<F: Future, R: HasResponder, B: Body> Answer<F, R, B> {
    fn inner(future: F, form: Arc<R>, asked: Asked, body: HandedOn) -> Self {
        Self::Inner { future, form, asked, answered: None, body }
    }

    fn refusal(refused: Refused, form: &R, request: Request<B>) -> Self {
        let mut response = refusal::respond(refused.rejection, form.responder());
        if let Some(caller) = refused.caller {
            response.extensions_mut().insert(caller);
        }
        Self::Refusal { response: Some(response), rest: Rest::of(request) }
    }
}

impl<F, R, ReqB, B, E> Future for Answer<F, R, ReqB>
where
    F: Future<Output = Result<Response<B>, E>>,
    R: HasResponder,
    ReqB: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnswerProjection::Inner { future, form, asked, answered, body } => {
                let mut response = match answered.take() {
                    Some(answered) => answered?,
                    None => ready!(future.poll(cx)).inspect(|response| body.answered(response))?,
                };
                match body.poll_closes(cx) {
                    Poll::Ready(true) => close(&mut response),
                    Poll::Ready(false) => {}
                    Poll::Pending => {
                        *answered = Some(Ok(response));
                        return Poll::Pending;
                    }
                }
                Poll::Ready(Ok(refusal::pass_on(response, form.responder(), asked)))
            }
            AnswerProjection::Refusal { response, rest } => {
                let closes = ready!(rest.poll(cx));
                let Some(mut response) = response.take() else {
                    panic!("a response future was polled after it was done");
                };
                if closes {
                    close(&mut response);
                }
                Poll::Ready(Ok(response.map(ResponseBody::refusal)))
            }
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F: Future, B> fmt::Debug for InternalResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InternalResponseFuture").finish_non_exhaustive()
    }
}
