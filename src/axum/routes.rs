use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::Response,
    routing::{MethodRouter, post},
};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{
    InternalAuth, InternalAuthLayer, Rejection, RejectionKind,
    api::{IssueToken, MAX_BODY_BYTES, PaymentReceived, Reply, broken_off, check_announced},
};

/// The two endpoints that Key0 calls, `/internal/issue-token` and `/internal/payment-received`,
/// behind `auth`. To be merged into a router that ends with
/// [`with_problem_fallbacks`](super::with_problem_fallbacks).
pub fn internal_routes<S>(
    auth: impl Into<Arc<InternalAuth>>,
    issue_token: IssueToken,
    payment_received: PaymentReceived,
) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/internal/issue-token", dangerous_issue_token(issue_token))
        .route("/internal/payment-received", dangerous_payment_received(payment_received))
        .route_layer(InternalAuthLayer::new(auth))
}

/// `POST` to an [`IssueToken`], behind nothing: whoever reaches it gets a key for any payment it
/// makes up. For another guard than [`internal_routes`] has.
pub fn dangerous_issue_token<S>(endpoint: IssueToken) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    post(async move |request: Request| {
        let body = read(request).await?;
        endpoint.handle(&body).await.map(answer)
    })
}

/// `POST` to a [`PaymentReceived`], behind nothing. For another guard than [`internal_routes`]
/// has.
pub fn dangerous_payment_received<S>(endpoint: PaymentReceived) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    post(async move |request: Request| {
        let body = read(request).await?;
        endpoint.handle(&body).await.map(answer)
    })
}

/// The whole body, once its media type and its size are known to be right.
async fn read(request: Request) -> Result<Vec<u8>, Rejection> {
    let headers = request.headers();
    let header = |name| headers.get(name).map(|value| value.as_bytes());
    check_announced(header(CONTENT_TYPE), header(CONTENT_LENGTH))?;
    match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(RejectionKind::BodyTooLarge.into()),
        Err(_) => Err(broken_off()),
    }
}

fn answer(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = http::HeaderValue::try_from(value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
