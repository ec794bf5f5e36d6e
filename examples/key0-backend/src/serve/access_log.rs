//! One line in the log for each request. Whatever of it a client chose is bounded and escaped.

use std::{
    borrow::Cow,
    error::Error,
    net::IpAddr,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Instant,
};

use axum::{extract::MatchedPath, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use key0_auth::{
    Rejection, Retry,
    api::ClientAddress,
    auth::Caller,
    domain::{Clock, SystemClock},
};
use tower::{Layer, Service};

use super::{
    metrics,
    refusals::{Refusal, Refusals, Who, kept},
    told,
};
use crate::{
    confidential::Confidential,
    config::{AccessLog, Proxies},
    logging::Chain,
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The most of a text that is logged, in bytes.
const MAX_TEXT: usize = 2 * 1024;

/// What the log says of a request, kept until its answer is there.
pub(crate) struct Record {
    started: Instant,
    method: &'static str,
    uri: Uri,
    client: Option<IpAddr>,
    trace_id: Option<String>,
    route: Route,
    /// How long the shortest credential is.
    shortest: usize,
}

impl Record {
    /// Notes what is known of a request before it is answered. `peer` is who sent it.
    pub(crate) fn begin<B>(
        request: &mut Request<B>,
        peer: Option<IpAddr>,
        proxies: &Proxies,
        confidential: &Confidential,
    ) -> Self {
        let route = Route::default();
        let forwarded = request.headers().get_all(FORWARDED_FOR);
        let forwarded: Vec<_> =
            forwarded.iter().map(|value| value.to_str().unwrap_or_default()).collect();
        let client = peer.map(|peer| proxies.client(peer, forwarded.into_iter()));
        let trace_id = trace_id(request.headers()).filter(|id| !confidential.is_one(id));
        request.extensions_mut().insert(route.clone());
        if let Some(client) = client {
            request.extensions_mut().insert(ClientAddress(client));
        }
        Self {
            started: Instant::now(),
            method: registered(request.method()),
            uri: request.uri().clone(),
            client,
            trace_id,
            route,
            shortest: confidential.shortest(),
        }
    }

    /// Whether the path leads nowhere. To be asked once the request is answered.
    pub(crate) fn is_lost(&self) -> bool {
        self.route.0.get().is_none()
    }

    /// Counts the request, remembers it where it was refused, and writes the line, where there is to
    /// be one.
    pub(crate) fn end(
        self,
        request_id: &HeaderValue,
        listener: &'static str,
        which: AccessLog,
        refusals: &Refusals,
        response: &Response,
    ) {
        let status = response.status().as_u16();
        let rejection = response.extensions().get::<Rejection>();
        let code = rejection.map(|rejection| rejection.kind().code());
        let route = self.route.0.get().map(MatchedPath::as_str);
        let took = self.started.elapsed();
        metrics::request(listener, self.method, route, status, code, took);
        let is_logged = match which {
            AccessLog::All => true,
            AccessLog::Refused => status >= 400,
            AccessLog::Off => status == 500,
        } && tracing::enabled!(tracing::Level::ERROR);
        if !is_logged && rejection.is_none() {
            return;
        }
        let method = self.method;
        let path = told::path(self.uri.path(), route, self.shortest);
        let path = clean(&path);
        let path = path.as_ref();
        let retry = rejection.map(|rejection| retry(rejection.retry()));
        let scope = rejection.and_then(Rejection::missing_scope).map(clean);
        let scope = scope.as_deref();
        let resource = route.is_some_and(|route| route.starts_with("/api/"));
        let wanted = path.rsplit('/').next().filter(|_| status == 403 && resource);
        let caller = response.extensions().get::<Caller>();
        let caller_kind = caller.map(Caller::kind);
        let caller_id = caller.map(|caller| clean(caller.id()));
        let caller_id = caller_id.as_deref();
        let key_display = caller.and_then(Caller::display).map(clean);
        let key_display = key_display.as_deref();
        let held = caller.filter(|_| rejection.is_some()).and_then(held);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let request_id = request_id.to_str().unwrap_or_default();
        let client_ip = self.client.map(tracing::field::display);
        let trace_id = self.trace_id.as_deref();
        let untold = response.extensions().get::<Untold>();
        let detail = rejection.map(|rejection| match untold {
            Some(Untold(without)) => (*without).to_owned(),
            None => clean(rejection.message()).into_owned(),
        });
        if let (Some(code), Some(retry)) = (code, retry) {
            let who = caller_kind.zip(caller_id).map(|(kind, id)| Who {
                kind,
                id: kept(id),
                display: key_display.map(kept),
            });
            refusals.add(Refusal {
                at: SystemClock.now(),
                request_id: kept(request_id),
                listener,
                method,
                route: route.map(kept),
                status,
                code,
                retry,
                detail: kept(detail.as_deref().unwrap_or_default()),
                caller: who,
                wanted: scope.or(wanted).map(kept),
                held: held.as_deref().map(kept),
            });
        }
        if !is_logged {
            return;
        }
        // The cause would name the caller once more.
        let error = rejection.filter(|rejection| Caller::of_refused(rejection).is_none());
        let error = error.and_then(Error::source).map(|cause| Chain(cause).to_string());
        let error = error.as_deref().map(clean);
        let (detail, error) = (detail.as_deref(), error.as_deref());
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    method,
                    route,
                    path,
                    status,
                    code,
                    retry,
                    micros,
                    request_id,
                    client_ip,
                    listener,
                    caller_kind,
                    caller_id,
                    key_display,
                    wanted,
                    held,
                    scope,
                    trace_id,
                    detail,
                    error,
                    $text
                )
            };
        }
        match rejection {
            _ if matches!(route, Some("/health" | "/ready")) => line!(debug, "probe"),
            Some(_) if status >= 500 => line!(error, "request failed"),
            Some(_) => line!(info, "request refused"),
            None => line!(info, "request"),
        }
    }
}

/// In a response: the caller alone is told the whole detail, as it holds what the caller chose. The
/// log has this in place of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Untold(pub(super) &'static str);

/// The template of the route that a request came to; nothing where it came to none.
#[derive(Debug, Clone, Default)]
struct Route(Arc<OnceLock<MatchedPath>>);

/// Notes the template of each route for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoteRoute;

/// The service of [`NoteRoute`].
#[derive(Debug, Clone)]
pub(crate) struct RouteNoted<S>(S);

impl<S> Layer<S> for NoteRoute {
    type Service = RouteNoted<S>;

    fn layer(&self, inner: S) -> RouteNoted<S> {
        RouteNoted(inner)
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for RouteNoted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let extensions = request.extensions();
        if let (Some(route), Some(path)) =
            (extensions.get::<Route>(), extensions.get::<MatchedPath>())
        {
            let _ = route.0.set(path.clone());
        }
        self.0.call(request)
    }
}

/// A method that HTTP knows; others may be as long as a head, and hold anything.
fn registered(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}

/// What a caller has bought, for the log.
fn held(caller: &Caller) -> Option<String> {
    let (resource, plan) = (caller.resource_id()?, caller.plan_id()?);
    Some(format!("{resource} ({plan})"))
}

fn retry(retry: Retry) -> &'static str {
    match retry {
        Retry::After => "after",
        Retry::NewCredential => "new_credential",
        Retry::Purchase => "purchase",
        _ => "never",
    }
}

/// The trace that a request is part of (W3C Trace Context, section 3.2).
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let mut parts = headers.get(TRACEPARENT)?.to_str().ok()?.split('-');
    let (version, id, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let lengths = (version.len(), id.len(), parent.len()) == (2, 32, 16);
    let zero = id.bytes().all(|byte| byte == b'0');
    (lengths && hex(version) && hex(id) && hex(parent) && !zero).then(|| id.to_owned())
}

/// The beginning of a text. Its characters are visible ASCII, spaces, or our own ellipsis; others are
/// escaped.
fn clean(text: &str) -> Cow<'_, str> {
    let text = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
    let is_clean = |char: char| matches!(char, ' '..='~' | '…');
    if text.chars().all(is_clean) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().fold(String::with_capacity(text.len()), |mut escaped, char| {
        if is_clean(char) {
            escaped.push(char);
        } else {
            escaped.extend(char.escape_unicode());
        }
        escaped
    });
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_change_the_log_is_escaped() {
        assert_eq!(clean("/a/…"), "/a/…");
        assert_eq!(clean(&"é".repeat(MAX_TEXT)).len(), r"\u{e9}".len() * MAX_TEXT / 2);
        assert_eq!(clean("a\n\u{1b}[31m\u{202e}é"), r"a\u{a}\u{1b}[31m\u{202e}\u{e9}");
    }

    #[test]
    fn a_trace_id_is_read_where_it_is_one() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_static(value));
            trace_id(&headers)
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let whole = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(whole).as_deref(), Some(id));
        for bad in [
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "hush-a-key",
            "",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
