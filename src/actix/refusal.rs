use actix_web::{
    HttpMessage, HttpRequest, HttpResponse, ResponseError,
    body::{BoxBody, EitherBody, MessageBody},
    dev::ServiceRequest,
    http::{
        Method, StatusCode, Uri,
        header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, LINK, VARY},
    },
};

use crate::{
    Identity, Rejection, Validator,
    auth::{Caller, Gateway, Responder},
    guard::{
        BODY_HEADERS, GatewayHeaders, NotBehind, PRIVATE, Provisional, VARY_BY_CREDENTIAL,
        is_never_kept, report, varies_by_credential,
    },
};

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        status(Responder::default().respond(self).status)
    }

    /// The refusal with the default realm and body. Behind one of our middlewares it takes that
    /// middleware's form on the way out.
    fn error_response(&self) -> HttpResponse {
        if let Some(fault) = NotBehind::of(self) {
            fault.log();
        }
        let mut response = rendered(self.clone(), &Responder::default());
        response.extensions_mut().insert(Provisional);
        response
    }
}

impl actix_web::Responder for Rejection {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.error_response()
    }
}

/// The response to a rejection in its final form. The rejection travels in its extensions.
pub(super) fn rendered(rejection: Rejection, responder: &Responder) -> HttpResponse {
    let mut response = write(HttpResponse::Ok().finish().drop_body(), &rejection, responder);
    response.extensions_mut().insert(rejection);
    response
}

/// What a response must be told of the request that it answers.
#[derive(Clone)]
pub(super) struct Asked {
    uri: Uri,
    credential: Credential,
    method: Method,
    caller: Option<Caller>,
    /// Where a credential that is nearly over can be renewed.
    renewal: Option<Box<str>>,
    by_gateway: bool,
    /// Whether the log is told of a refusal here.
    reports: bool,
}

/// What the answer depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
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
    pub(super) fn of(request: &ServiceRequest) -> Self {
        let extensions = request.extensions();
        let by_gateway = match extensions.get::<Identity>() {
            Some(identity) => identity.gateway().is_some(),
            None => extensions.get::<GatewayHeaders>().is_some(),
        };
        Self {
            uri: request.uri().clone(),
            credential: Credential::Other,
            method: request.method().clone(),
            caller: None,
            renewal: None,
            by_gateway,
            reports: true,
        }
    }

    /// For a request to an endpoint behind no guard.
    pub(super) fn unguarded(request: &ServiceRequest, responder: &Responder) -> Self {
        let has_token = request.headers().contains_key(Gateway::TOKEN_HEADER);
        let asked = Self::of(request);
        Self { by_gateway: asked.by_gateway || responder.is_proxied(has_token), ..asked }
    }

    /// For a request whose caller has proved itself by a `P`.
    pub(super) fn let_in_by<P: Clone + Into<Caller> + 'static>(request: &ServiceRequest) -> Self {
        let caller = request.extensions().get::<P>().cloned().map(Into::into);
        Self { caller, ..Self::of(request) }
    }

    /// For a request that a guard has let in.
    pub(super) fn let_in(request: &ServiceRequest, validator: &Validator) -> Self {
        let asked = Self::let_in_by::<Identity>(request);
        let extensions = request.extensions();
        let identity = extensions.get::<Identity>();
        let credential = match identity {
            Some(_) => Credential::Identity,
            None => Credential::Optional,
        };
        let renewal = identity.and_then(|identity| validator.renewal_link(identity));
        Self { credential, renewal, ..asked }
    }
}

impl Asked {
    /// The same where a guard outside tells the log.
    #[cfg(feature = "idempotency")]
    pub(super) fn without_report(self) -> Self {
        Self { reports: false, ..self }
    }

    /// The refusal, as it is told to whoever asked.
    fn address(&self, rejection: Rejection) -> Rejection {
        let rejection = rejection.instance(self.uri.path());
        if self.by_gateway { rejection.for_gateway() } else { rejection }
    }
}

/// What a credential has bought is for its holder alone, unless the handler says otherwise.
fn keep_from_shared_caches(headers: &mut HeaderMap, asked: &Asked) {
    let credential = asked.credential;
    let kept = headers.get_all(CACHE_CONTROL).map(HeaderValue::as_bytes);
    if credential == Credential::Other || is_never_kept(kept) {
        return;
    }
    // What the gateway has paid for looks like a request without a credential to a cache.
    let unpaid = asked.by_gateway || !headers.contains_key(CACHE_CONTROL);
    if credential == Credential::Identity && unpaid {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(PRIVATE));
    }
    if !varies_by_credential(headers.get_all(VARY).map(HeaderValue::as_bytes)) {
        headers.append(VARY, HeaderValue::from_static(VARY_BY_CREDENTIAL));
    }
}

/// Passes a response from further inside on. A refusal of a handler, which was rendered without
/// knowing how this middleware does it, is rendered again.
pub(super) fn pass_on<B: MessageBody>(
    mut response: HttpResponse<B>,
    responder: &Responder,
    asked: &Asked,
    route: impl FnOnce() -> Option<String>,
) -> HttpResponse<EitherBody<B>> {
    // The innermost middleware's caller is the one whom the handler saw.
    if let Some(caller) = &asked.caller
        && response.extensions().get::<Caller>().is_none()
    {
        response.extensions_mut().insert(caller.clone());
        if let Some(link) = asked.renewal.as_ref().filter(|_| response.status().is_success())
            && let Ok(link) = HeaderValue::try_from(&**link)
        {
            response.headers_mut().append(LINK, link);
        }
    }
    let provisional = response.extensions_mut().remove::<Provisional>().is_some();
    let rejection = response.extensions().get::<Rejection>().filter(|_| provisional).cloned();
    match rejection {
        Some(rejection) => {
            for name in BODY_HEADERS {
                response.headers_mut().remove(name);
            }
            if asked.reports {
                report(&rejection, asked.caller.as_ref(), asked.method.as_str(), route);
            }
            let rejection = asked.address(rejection);
            response.extensions_mut().insert(rejection.clone());
            write(response.drop_body(), &rejection, responder).map_into_right_body()
        }
        None => {
            keep_from_shared_caches(response.headers_mut(), asked);
            response.map_into_left_body()
        }
    }
}

fn write(
    mut response: HttpResponse<()>,
    rejection: &Rejection,
    responder: &Responder,
) -> HttpResponse {
    let refusal = responder.respond(rejection);
    *response.status_mut() = status(refusal.status);
    answer(response, refusal.headers, refusal.body)
}

/// Adds headers and a body. A header that HTTP can't carry, as a media type of the application's
/// own may be, is left out.
pub(super) fn answer<N: AsRef<str>>(
    mut response: HttpResponse<()>,
    headers: Vec<(N, String)>,
    body: Vec<u8>,
) -> HttpResponse {
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_ref());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.set_body(BoxBody::new(body))
}

pub(super) fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
