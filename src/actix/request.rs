use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use actix_web::{
    HttpMessage, HttpRequest,
    dev::{Payload, ServiceRequest},
    error::PayloadError,
    http::{
        Version,
        header::{AUTHORIZATION, HeaderName},
    },
    web::Bytes,
};
use futures_core::Stream;

use crate::{
    Rejection, RejectionKind,
    guard::{HeaderTreatment, IncomingRequest, PathParameter, RemovedHeaders, X_API_KEY},
};

/// Made once: a text would be parsed again for every request.
static API_KEY: HeaderName = HeaderName::from_static(X_API_KEY);

/// A middleware outside holds a clone of the request.
#[derive(Debug, thiserror::Error)]
#[error("a middleware outside holds an HttpRequest, so its headers can't be changed")]
struct Held;

/// A body of which the first part was read.
struct Peeked {
    first: Option<Result<Bytes, PayloadError>>,
    payload: Payload,
}

impl Stream for Peeked {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, PayloadError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.payload).poll_next(context),
        }
    }
}

impl IncomingRequest for ServiceRequest {
    type Head = HttpRequest;

    fn with_head<T>(&mut self, look: impl FnOnce(&HttpRequest) -> T) -> T {
        look(self.request())
    }

    fn method(&self) -> &str {
        self.request().method().as_str()
    }

    fn path(&self) -> &str {
        self.uri().path()
    }

    fn route(&self) -> Option<String> {
        self.match_pattern()
    }

    fn path_parameter(&mut self, name: &str) -> PathParameter {
        // Decodes each parameter just as `web::Path` does.
        let texts = self.match_info().load::<Vec<String>>().unwrap_or_default();
        let all = self.match_info().iter().zip(texts);
        let named = all.filter(|((known, _), _)| *known == name).map(|(_, text)| text);
        match PathParameter::one_of(named) {
            // What actix-web puts in the place of escaped bytes that are no text.
            PathParameter::Text(text) if text.contains(char::REPLACEMENT_CHARACTER) => {
                PathParameter::NoText
            }
            parameter => parameter,
        }
    }

    fn authorization(&self) -> impl Iterator<Item = &[u8]> {
        self.headers().get_all(AUTHORIZATION).map(|value| value.as_bytes())
    }

    fn api_key(&self) -> impl Iterator<Item = &[u8]> {
        self.headers().get_all(&API_KEY).map(|value| value.as_bytes())
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers().get_all(name).map(|value| value.as_bytes())
    }

    fn has_untold_body(&mut self) -> bool {
        if self.request().version() < Version::HTTP_2 {
            return false;
        }
        let mut payload = self.take_payload();
        // Whoever reads it later is woken.
        match Pin::new(&mut payload).poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(None) => false,
            Poll::Ready(first) => {
                let payload: Pin<Box<dyn Stream<Item = _>>> = Box::pin(Peeked { first, payload });
                self.set_payload(Payload::Stream { payload });
                true
            }
            Poll::Pending => {
                self.set_payload(payload);
                true
            }
        }
    }

    fn treat_headers(
        &mut self,
        treatment: impl Fn(&str) -> HeaderTreatment,
    ) -> Result<RemovedHeaders, Rejection> {
        let mut removed = Vec::new();
        let (mut hides, mut removes) = (false, false);
        for name in self.headers().keys() {
            match treatment(name.as_str()) {
                HeaderTreatment::Keep => {}
                HeaderTreatment::Hide => hides = true,
                HeaderTreatment::Remove => removes = true,
            }
        }
        if !hides && !removes {
            return Ok(removed);
        }
        // actix-web panics where somebody else holds the request, and tells nobody in advance.
        let changed = catch_unwind(AssertUnwindSafe(|| {
            self.headers_mut().retain(|name, value| match treatment(name.as_str()) {
                HeaderTreatment::Keep => true,
                HeaderTreatment::Hide => {
                    value.set_sensitive(true);
                    true
                }
                HeaderTreatment::Remove => {
                    removed.push((name.as_str().into(), value.as_bytes().to_vec()));
                    false
                }
            });
        }));
        // Not to be marked as sensitive is no harm; to keep what must go is one.
        match changed {
            Err(_) if removes => Err(Rejection::new(RejectionKind::Internal).cause(Held)),
            _ => Ok(removed),
        }
    }

    fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.extensions().get::<T>().cloned()
    }

    fn insert<T: Clone + Send + Sync + 'static>(&mut self, proof: T) {
        self.extensions_mut().insert(proof);
    }

    fn remove<T: Clone + Send + Sync + 'static>(&mut self) {
        self.extensions_mut().remove::<T>();
    }
}
