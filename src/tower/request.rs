use std::mem;

use http::{
    Extensions, HeaderMap, HeaderName, Request, Version, header::AUTHORIZATION, request::Parts,
};
use http_body::Body;

use super::refusal::original_uri;
use crate::{
    Rejection,
    guard::{HeaderTreatment, IncomingRequest, PathParameter, RemovedHeaders, X_API_KEY},
};

/// Made once: a text would be parsed again for every request.
static API_KEY: HeaderName = HeaderName::from_static(X_API_KEY);

/// Looks at every name, which takes less than to hash the one that is wanted.
fn values<'a>(
    headers: &'a HeaderMap,
    wanted: &'static HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| value.as_bytes())
}

impl<B: Body> IncomingRequest for Request<B> {
    type Head = Parts;

    /// Puts the head together for as long as it is looked at: to take every request apart would
    /// move all of it twice.
    fn with_head<T>(&mut self, look: impl FnOnce(&Parts) -> T) -> T {
        let (mut head, ()) = Request::new(()).into_parts();
        swap_head(self, &mut head);
        let seen = look(&head);
        swap_head(self, &mut head);
        seen
    }

    fn method(&self) -> &str {
        self.method().as_str()
    }

    fn path(&self) -> &str {
        original_uri(self).path()
    }

    fn route(&self) -> Option<String> {
        Route::of(self.extensions()).map(|route| route.pattern().to_owned())
    }

    #[cfg(feature = "axum")]
    fn path_parameter(&mut self, name: &str) -> PathParameter {
        use axum::extract::{
            FromRequestParts, RawPathParams, rejection::RawPathParamsRejection as Unreadable,
        };
        let (mut head, ()) = Request::new(()).into_parts();
        mem::swap(self.extensions_mut(), &mut head.extensions);
        let read = ready_now(RawPathParams::from_request_parts(&mut head, &()));
        mem::swap(self.extensions_mut(), &mut head.extensions);
        match read {
            Some(Ok(all)) => {
                let named = all.iter().filter(|(known, _)| *known == name);
                PathParameter::one_of(named.map(|(_, text)| text.to_owned()))
            }
            Some(Err(Unreadable::InvalidUtf8InPathParam(_))) => PathParameter::NoText,
            _ => PathParameter::Missing,
        }
    }

    #[cfg(not(feature = "axum"))]
    fn path_parameter(&mut self, _: &str) -> PathParameter {
        PathParameter::Missing
    }

    fn authorization(&self) -> impl Iterator<Item = &[u8]> {
        values(self.headers(), &AUTHORIZATION)
    }

    fn api_key(&self) -> impl Iterator<Item = &[u8]> {
        values(self.headers(), &API_KEY)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers().get_all(name).into_iter().map(|value| value.as_bytes())
    }

    fn has_untold_body(&mut self) -> bool {
        let body = self.body();
        self.version() >= Version::HTTP_2
            && !body.is_end_stream()
            && body.size_hint().exact() != Some(0)
    }

    fn treat_headers(
        &mut self,
        treatment: impl Fn(&str) -> HeaderTreatment,
    ) -> Result<RemovedHeaders, Rejection> {
        let (mut names, mut removed) = (Vec::new(), Vec::new());
        for (name, value) in self.headers_mut() {
            match treatment(name.as_str()) {
                HeaderTreatment::Keep => {}
                HeaderTreatment::Hide => value.set_sensitive(true),
                HeaderTreatment::Remove => {
                    removed.push((name.as_str().into(), value.as_bytes().to_vec()));
                    names.push(name.clone());
                }
            }
        }
        for name in names {
            self.headers_mut().remove(name);
        }
        Ok(removed)
    }

    fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.extensions().get().cloned()
    }

    fn insert<T: Clone + Send + Sync + 'static>(&mut self, proof: T) {
        self.extensions_mut().insert(proof);
    }

    fn remove<T: Clone + Send + Sync + 'static>(&mut self) {
        self.extensions_mut().remove::<T>();
    }
}

fn swap_head<B>(request: &mut Request<B>, head: &mut Parts) {
    mem::swap(request.method_mut(), &mut head.method);
    mem::swap(request.uri_mut(), &mut head.uri);
    mem::swap(request.version_mut(), &mut head.version);
    mem::swap(request.headers_mut(), &mut head.headers);
    mem::swap(request.extensions_mut(), &mut head.extensions);
}

/// The route that axum found. No other router tells.
#[derive(Debug, Clone)]
pub(super) struct Route(
    #[cfg(feature = "axum")] axum::extract::MatchedPath,
    #[cfg(not(feature = "axum"))] std::convert::Infallible,
);

impl Route {
    #[cfg(feature = "axum")]
    pub(super) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().cloned().map(Self)
    }

    #[cfg(not(feature = "axum"))]
    pub(super) fn of(_: &Extensions) -> Option<Self> {
        None
    }

    #[cfg(feature = "axum")]
    pub(super) fn pattern(&self) -> &str {
        self.0.as_str()
    }

    #[cfg(not(feature = "axum"))]
    pub(super) fn pattern(&self) -> &str {
        match self.0 {}
    }
}

/// What a future gives that has nothing to wait for.
#[cfg(feature = "axum")]
fn ready_now<F: Future>(future: F) -> Option<F::Output> {
    use std::task::{Context, Poll, Waker};
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
