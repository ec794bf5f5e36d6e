use std::panic::{AssertUnwindSafe, catch_unwind};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    middleware::Next,
};

use crate::guard::RequestId;

const REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);

/// Gives every response an `X-Request-Id`: the caller's own where it is up to 128 visible ASCII
/// characters, else a new one. For [`from_fn`](actix_web::middleware::from_fn), around all routes.
///
/// ```
/// use actix_web::{App, middleware::from_fn};
/// use key0_auth::actix::{Routes, request_ids};
/// use key0_auth::auth::Responder;
///
/// let routes = Routes::new().get("/health", async || "fine");
/// let routes = routes.with_problem_fallbacks(&Responder::default());
/// let app = App::new().configure(routes).wrap(from_fn(request_ids));
/// # let _ = app;
/// ```
pub async fn request_ids(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let sent = request.headers().get(&REQUEST_ID).map(HeaderValue::as_bytes);
    let id = HeaderValue::try_from(RequestId::of(sent).to_string());
    let id = id.unwrap_or(HeaderValue::from_static("-"));
    // actix-web panics where a middleware outside holds the request. Then handlers don't see the id.
    let _ = catch_unwind(AssertUnwindSafe(|| request.headers_mut().insert(REQUEST_ID, id.clone())));
    match next.call(request).await {
        Ok(mut response) => {
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(response)
        }
        Err(mut error) => {
            error.add_response_mapper(move |mut response| {
                response.headers_mut().insert(REQUEST_ID, id.clone());
                response
            });
            Err(error)
        }
    }
}
