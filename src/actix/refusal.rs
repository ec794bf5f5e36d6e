use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    body::{BoxBody, EitherBody, MessageBody},
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
};

use crate::{
    Rejection,
    auth::Responder,
    guard::{BODY_HEADERS, Provisional},
};

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        status(Responder::default().respond(self).status)
    }

    /// The refusal with the default realm and body. Behind one of our middlewares it takes that
    /// middleware's form on the way out.
    fn error_response(&self) -> HttpResponse {
        #[cfg(feature = "tracing")]
        super::extract::log_fault(self);
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

/// Passes a response from further inside on. A refusal of a handler, which was rendered without
/// knowing how this middleware does it, is rendered again.
pub(super) fn pass_on<B: MessageBody>(
    mut response: HttpResponse<B>,
    responder: &Responder,
) -> HttpResponse<EitherBody<B>> {
    let provisional = response.extensions_mut().remove::<Provisional>().is_some();
    let rejection = response.extensions().get::<Rejection>().filter(|_| provisional).cloned();
    match rejection {
        Some(rejection) => {
            for name in BODY_HEADERS {
                response.headers_mut().remove(name);
            }
            write(response.drop_body(), &rejection, responder).map_into_right_body()
        }
        None => response.map_into_left_body(),
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
pub(super) fn answer(
    mut response: HttpResponse<()>,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
) -> HttpResponse {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response.set_body(BoxBody::new(body))
}

pub(super) fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
