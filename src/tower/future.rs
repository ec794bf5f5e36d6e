use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, request::Parts};
use pin_project_lite::pin_project;
use tower::Service;

use super::{body::ResponseBody, refusal};
use crate::{
    Identity, InternalAuth, Rejection,
    auth::{Lookup, Responder},
    guard::Guard,
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
        Answering { #[pin] answer: Answer<S::Future, Guard<Parts>> },
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
{
    pub(super) fn inner(future: S::Future, guard: Arc<Guard<Parts>>) -> Self {
        Self { state: State::Answering { answer: Answer::Inner { future, judge: guard } } }
    }

    pub(super) fn refused(rejection: Rejection, guard: Arc<Guard<Parts>>) -> Self {
        Self { state: State::Answering { answer: Answer::refusal(rejection, guard) } }
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
{
    type Output = Result<Response<ResponseBody<ResB>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let answer = match state.as_mut().project() {
                StateProjection::Answering { answer } => return answer.poll(cx),
                StateProjection::LookingUp { lookup, waiting, guard } => {
                    let judged = ready!(lookup.as_mut().poll(cx));
                    let guard = Arc::clone(guard);
                    match waiting.take() {
                        Some(waiting) => {
                            let Waiting { mut ready, mut request } = *waiting;
                            match guard.admit(&mut request, judged) {
                                Ok(()) => {
                                    Answer::Inner { future: ready.call(request), judge: guard }
                                }
                                Err(rejection) => Answer::refusal(rejection, guard),
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
    /// answers with the future `F`.
    pub struct InternalResponseFuture<F> {
        #[pin]
        answer: Answer<F, InternalAuth>,
    }
}

impl<F> InternalResponseFuture<F> {
    pub(super) fn inner(future: F, judge: Arc<InternalAuth>) -> Self {
        Self { answer: Answer::Inner { future, judge } }
    }

    pub(super) fn refused(rejection: Rejection, judge: Arc<InternalAuth>) -> Self {
        Self { answer: Answer::refusal(rejection, judge) }
    }
}

impl<F, B, E> Future for InternalResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().answer.poll(cx)
    }
}

pin_project! {
    /// Who answers a request once it is judged.
    #[project = AnswerProjection]
    enum Answer<F, J> {
        Inner { #[pin] future: F, judge: Arc<J> },
        Refusal { response: Option<Response<bytes::Bytes>> },
    }
}

/// Who judged, and so knows how a refusal is answered.
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

impl<F, J: HasResponder> Answer<F, J> {
    fn refusal(rejection: Rejection, judge: Arc<J>) -> Self {
        let response = refusal::respond(rejection, judge.responder());
        Self::Refusal { response: Some(response) }
    }
}

impl<F, J, B, E> Future for Answer<F, J>
where
    F: Future<Output = Result<Response<B>, E>>,
    J: HasResponder,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnswerProjection::Inner { future, judge } => {
                let response = ready!(future.poll(cx))?;
                Poll::Ready(Ok(refusal::pass_on(response, judge.responder())))
            }
            AnswerProjection::Refusal { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::refusal))),
                None => panic!("a response future was polled after it was done"),
            },
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

impl<F> fmt::Debug for InternalResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InternalResponseFuture").finish_non_exhaustive()
    }
}
