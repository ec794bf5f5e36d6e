use std::{future::ready, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse, Route,
    http::{
        Method,
        header::{ALLOW, HeaderValue},
    },
    web,
};

use super::refusal::rendered;
use crate::{
    Rejection, RejectionKind,
    auth::{Gateway, Responder},
};

/// For paths that nothing is at.
pub(super) fn not_found(responder: Arc<Responder>) -> Route {
    web::to(move |request: HttpRequest| {
        ready(refused(RejectionKind::NotFound, &request, &responder))
    })
}

/// For the methods that a path does not have, with those that it has in `Allow`.
pub(super) fn method_not_allowed(methods: &[Method], responder: Arc<Responder>) -> Route {
    let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
    // The names of methods are tokens, so this always is a value.
    let allow = HeaderValue::try_from(methods.join(",")).ok();
    web::to(move |request: HttpRequest| {
        let mut response = refused(RejectionKind::MethodNotAllowed, &request, &responder);
        if let Some(allow) = &allow {
            response.headers_mut().insert(ALLOW, allow.clone());
        }
        ready(response)
    })
}

fn refused(kind: RejectionKind, request: &HttpRequest, responder: &Responder) -> HttpResponse {
    let rejection = Rejection::new(kind).instance(request.uri().path());
    let proxied = request.headers().contains_key(Gateway::TOKEN_HEADER);
    rendered(responder.address(rejection, proxied), responder)
}
