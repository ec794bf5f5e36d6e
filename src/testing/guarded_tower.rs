use std::{fmt::Debug, future::poll_fn, pin::pin};

use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::guarded::{Probe, ProbeAnswer, assert_guarded_by, assert_sold_by};
use crate::Rejection;

/// Proves that no route of a tower stack was left open by accident, an axum `Router` among them.
/// See [`assert_guarded_by`] for what is asked of the `routes`, and of the `open` ones.
///
/// The requests have a `String` as their body, an empty one. A service that takes another body
/// gets it with tower's `map_request`.
///
/// # Panics
///
/// Panics where a route is not as it should be, and says all that is wrong. Also where the service
/// itself fails.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use http::{Request, Response};
/// use key0_auth::{AuthLayer, Validator, testing::{self, TokenSigner}};
/// use tower::{Layer, service_fn};
///
/// let tokens = TokenSigner::new().access_tokens();
/// let validator = Validator::builder().access_tokens(tokens).build().expect("tokens");
/// let handler = service_fn(async |_: Request<String>| {
///     Ok::<_, std::convert::Infallible>(Response::new("a photo".to_owned()))
/// });
/// let app = AuthLayer::new(validator).layer(handler);
/// testing::assert_guarded(app, &[("GET", "/photos/{id}"), ("POST", "/photos")], &[]).await;
/// # }
/// ```
pub async fn assert_guarded<S, B>(app: S, routes: &[(&str, &str)], open: &[(&str, &str)])
where
    S: Service<Request<String>, Response = Response<B>> + Clone,
    S::Error: Debug,
    B: Body,
    B::Error: Debug,
{
    assert_guarded_by(async |probe| send(app.clone(), probe).await, routes, open).await;
}

/// Proves that a tower stack, or an axum `Router`, asks on each of these routes for what the
/// credential was bought for. See [`assert_sold_by`] for what is asked of them.
///
/// # Panics
///
/// Panics where a route is not as it should be, and says all that is wrong. Also where the service
/// itself fails.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use http::{Request, Response, request::Parts};
/// use key0_auth::{AuthLayer, Policy, Validator, testing::{self, TokenSigner}};
/// use tower::{Layer, service_fn};
///
/// let signer = TokenSigner::new();
/// let tokens = signer.access_tokens();
/// let validator = Validator::builder().access_tokens(tokens).build().expect("tokens");
/// let handler = service_fn(async |_: Request<String>| {
///     Ok::<_, std::convert::Infallible>(Response::new("a photo".to_owned()))
/// });
/// // In an axum router this is `sold("id")`.
/// let auth = AuthLayer::new(validator).policy_fn(|request: &Parts| {
///     Policy::resource(request.uri.path().trim_start_matches("/photos/"))
/// });
/// let credential = |resource: &str| signer.token().resource(resource).sign();
/// testing::assert_sold(auth.layer(handler), credential, &[("GET", "/photos/{id}")]).await;
/// # }
/// ```
pub async fn assert_sold<S, B>(app: S, credential: impl Fn(&str) -> String, routes: &[(&str, &str)])
where
    S: Service<Request<String>, Response = Response<B>> + Clone,
    S::Error: Debug,
    B: Body,
    B::Error: Debug,
{
    assert_sold_by(async |probe| send(app.clone(), probe).await, credential, routes).await;
}

async fn send<S, B>(mut app: S, probe: Probe) -> ProbeAnswer
where
    S: Service<Request<String>, Response = Response<B>>,
    S::Error: Debug,
    B: Body,
    B::Error: Debug,
{
    let mut request = Request::builder().method(&*probe.method).uri(&probe.path);
    for (name, value) in &probe.headers {
        request = request.header(*name, value);
    }
    let request = match request.body(String::new()) {
        Ok(request) => request,
        Err(error) => panic!("{} {} is no request: {error}", probe.method, probe.path),
    };
    if let Err(error) = poll_fn(|cx| app.poll_ready(cx)).await {
        panic!("the service is not ready: {error:?}");
    }
    let (parts, body) = match app.call(request).await {
        Ok(response) => response.into_parts(),
        Err(error) => panic!("the service failed: {error:?}"),
    };
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let answer = ProbeAnswer::new(parts.status.as_u16(), read(body).await);
    let answer = answer.in_process(parts.extensions.get::<Rejection>());
    let headers = parts.headers.iter();
    headers.fold(answer, |answer, (name, value)| answer.header(name.as_str(), text(value)))
}

async fn read<B>(body: B) -> Vec<u8>
where
    B: Body,
    B::Error: Debug,
{
    let mut body = pin!(body);
    let mut whole = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(mut data)) => {
                let length = data.remaining();
                whole.extend_from_slice(&data.copy_to_bytes(length));
            }
            // Trailers.
            Ok(Err(_)) => {}
            Err(error) => panic!("the body broke off: {error:?}"),
        }
    }
    whole
}
