use std::{pin::Pin, sync::Arc};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse, Route,
    body::{BodyStream, to_bytes_limited},
    dev::Payload,
    http::{
        Method,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
    },
    web::{self, Bytes},
};

use super::{
    InternalAuthMiddleware, Routes,
    refusal::{answer, status},
};
use crate::{
    InternalAuth, Rejection, RejectionKind,
    api::{IssueToken, MAX_BODY_BYTES, PaymentReceived, Reply, broken_off, check_announced},
};

/// The two endpoints that Key0 calls, `/internal/issue-token` and `/internal/payment-received`,
/// behind `auth`. To be merged into [`Routes`] that end with
/// [`with_problem_fallbacks`](Routes::with_problem_fallbacks).
pub fn internal_routes(
    auth: impl Into<Arc<InternalAuth>>,
    issue_token: IssueToken,
    payment_received: PaymentReceived,
) -> Routes {
    let auth = InternalAuthMiddleware::new(auth);
    let issue_token = dangerous_issue_token(issue_token);
    let payment_received = dangerous_payment_received(payment_received);
    Routes::new()
        .route("/internal/issue-token", Method::POST, issue_token)
        .route("/internal/payment-received", Method::POST, payment_received)
        .each(|route| route.wrap(auth.clone()))
}

/// `POST` to an [`IssueToken`], behind nothing: whoever reaches it gets a key for any payment it
/// makes up. For another guard than [`internal_routes`] has.
pub fn dangerous_issue_token(endpoint: IssueToken) -> Route {
    web::post().to(move |JsonBody(body)| {
        let endpoint = endpoint.clone();
        async move { endpoint.handle(&body).await.map(reply) }
    })
}

/// `POST` to a [`PaymentReceived`], behind nothing. For another guard than [`internal_routes`]
/// has.
pub fn dangerous_payment_received(endpoint: PaymentReceived) -> Route {
    web::post().to(move |JsonBody(body)| {
        let endpoint = endpoint.clone();
        async move { endpoint.handle(&body).await.map(reply) }
    })
}

/// The whole body, once its media type and its size are known to be right.
struct JsonBody(Bytes);

impl FromRequest for JsonBody {
    type Error = Rejection;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Rejection>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let header = |name| request.headers().get(name).map(|value| value.as_bytes());
        let announced = check_announced(header(CONTENT_TYPE), header(CONTENT_LENGTH));
        let body = BodyStream::new(payload.take());
        Box::pin(async move {
            announced?;
            match to_bytes_limited(body, MAX_BODY_BYTES).await {
                Ok(Ok(body)) => Ok(Self(body)),
                Ok(Err(_)) => Err(broken_off()),
                Err(_) => Err(RejectionKind::BodyTooLarge.into()),
            }
        })
    }
}

fn reply(reply: Reply) -> HttpResponse {
    let response = HttpResponse::new(status(reply.status)).drop_body();
    answer(response, reply.headers, reply.body)
}
