use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CACHE_CONTROL, VARY},
    response::Parts,
};

use super::{body::ResponseBody, request::Route};
use crate::{
    Identity, Rejection, Validator,
    auth::{Caller, Responder},
    guard::{
        BODY_HEADERS, GatewayHeaders, PRIVATE, Provisional, VARY_BY_CREDENTIAL, is_never_kept,
        report, varies_by_credential,
    },
};

/// What a response must be told of the request that it answers.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    uri: Uri,
    credential: Credential,
    method: Method,
    route: Option<Route>,
    caller: Option<Caller>,
    /// Where a credential that is nearly over can be renewed.
    renewal: Option<Box<str>>,
    by_gateway: bool,
}

/// What the answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credential {
    /// It was asked for, and let the request in.
    Identity,
    /// It was asked for, and there was none.
    Optional,
    /// Not on a credential of a buyer or a partner.
    Other,
}

impl Asked {
    /// For a request whose answer depends on no buyer's credential.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self {
            uri: original_uri(request).clone(),
            credential: Credential::Other,
            method: request.method().clone(),
            route: Route::of(request.extensions()),
            caller: None,
            renewal: None,
            by_gateway: match request.extensions().get::<Identity>() {
                Some(identity) => identity.gateway().is_some(),
                None => request.extensions().get::<GatewayHeaders>().is_some(),
            },
        }
    }

    /// For a request to an endpoint behind no guard.
    #[cfg(feature = "axum")]
    pub(crate) fn unguarded<B>(request: &Request<B>, responder: &Responder) -> Self {
        let token = crate::auth::Gateway::TOKEN_HEADER;
        let has_token = request.headers().contains_key(token);
        let asked = Self::of(request);
        let by_gateway = asked.by_gateway || responder.is_proxied(has_token);
        Self { by_gateway, ..asked }
    }

    /// For a request whose caller has proved itself by a `P`.
    pub(super) fn let_in_by<P>(request: &Request<impl Sized>) -> Self
    where
        P: Clone + Into<Caller> + Send + Sync + 'static,
    {
        let caller = request.extensions().get::<P>().cloned().map(Into::into);
        Self { caller, ..Self::of(request) }
    }

    /// For a request that a guard has let in.
    pub(super) fn let_in<B>(request: &Request<B>, validator: &Validator) -> Self {
        let asked = Self::let_in_by::<Identity>(request);
        let identity = request.extensions().get::<Identity>();
        let credential = match identity {
            Some(_) => Credential::Identity,
            None => Credential::Optional,
        };
        let renewal = identity.and_then(|identity| validator.renewal_link(identity));
        Self { credential, renewal, ..asked }
    }

    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    /// The refusal, as it is told to whoever asked.
    fn address(&self, rejection: Rejection) -> Rejection {
        let rejection = rejection.instance(self.path());
        if self.by_gateway { rejection.for_gateway() } else { rejection }
    }
}

/// The path and the query as the client sent them. A router in a router of axum's sees less.
pub(crate) fn original_uri<B>(request: &Request<B>) -> &Uri {
    original_uri_of(request.uri(), request.extensions())
}

/// The same for a request in parts.
pub(crate) fn original_uri_of<'a>(uri: &'a Uri, _extensions: &'a Extensions) -> &'a Uri {
    #[cfg(feature = "axum")]
    let uri = _extensions.get().map_or(uri, |axum::extract::OriginalUri(uri)| uri);
    uri
}

/// The response to a rejection, which travels in its extensions.
pub(crate) fn respond(rejection: Rejection, responder: &Responder) -> Response<Bytes> {
    let (mut parts, ()) = Response::new(()).into_parts();
    let body = write(&mut parts, &rejection, responder);
    parts.extensions.insert(rejection);
    Response::from_parts(parts, body)
}

/// Passes the inner service's response on. A refusal of a handler, which was rendered without
/// knowing how this layer does it, is rendered again.
pub(crate) fn pass_on<B>(
    response: Response<B>,
    responder: &Responder,
    asked: &Asked,
) -> Response<ResponseBody<B>> {
    let (mut parts, body) = response.into_parts();
    // The innermost guard's caller is the one whom the handler saw.
    if let Some(caller) = asked.caller.as_ref()
        && parts.extensions.get::<Caller>().is_none()
    {
        parts.extensions.insert(caller.clone());
        if let Some(link) = asked.renewal.as_ref().filter(|_| parts.status.is_success()) {
            append(&mut parts.headers, vec![("link", link.to_string())]);
        }
    }
    let provisional = parts.extensions.remove::<Provisional>().is_some();
    match parts.extensions.get::<Rejection>().filter(|_| provisional).cloned() {
        Some(rejection) => {
            for name in BODY_HEADERS {
                parts.headers.remove(name);
            }
            let route = || asked.route.as_ref().map(|route| route.pattern().to_owned());
            report(&rejection, asked.caller.as_ref(), asked.method.as_str(), route);
            let rejection = asked.address(rejection);
            let body = write(&mut parts, &rejection, responder);
            parts.extensions.insert(rejection);
            Response::from_parts(parts, ResponseBody::refusal(body))
        }
        None => {
            keep_from_shared_caches(&mut parts.headers, asked);
            Response::from_parts(parts, ResponseBody::inner(body))
        }
    }
}

/// What a credential has bought is for its holder alone, unless the handler says otherwise.
fn keep_from_shared_caches(headers: &mut HeaderMap, asked: &Asked) {
    let credential = asked.credential;
    let kept = headers.get_all(CACHE_CONTROL).into_iter().map(HeaderValue::as_bytes);
    if credential == Credential::Other || is_never_kept(kept) {
        return;
    }
    // What the gateway has paid for looks like a request without a credential to a cache.
    let unpaid = asked.by_gateway || !headers.contains_key(CACHE_CONTROL);
    if credential == Credential::Identity && unpaid {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(PRIVATE));
    }
    let vary = headers.get_all(VARY).into_iter().map(HeaderValue::as_bytes);
    if !varies_by_credential(vary) {
        headers.append(VARY, HeaderValue::from_static(VARY_BY_CREDENTIAL));
    }
}

fn write(parts: &mut Parts, rejection: &Rejection, responder: &Responder) -> Bytes {
    let refusal = responder.respond(rejection);
    parts.status =
        StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    append(&mut parts.headers, refusal.headers);
    refusal.body.into()
}

/// Adds headers. One that HTTP can't carry, as a media type of the application's own may be, is
/// left out.
pub(crate) fn append<N: AsRef<str>>(headers: &mut HeaderMap, added: Vec<(N, String)>) {
    for (name, value) in added {
        let name = HeaderName::try_from(name.as_ref());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
}
