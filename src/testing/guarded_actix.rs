use actix_web::{
    App, Error,
    body::{MessageBody, to_bytes},
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    http::Method,
    test::{TestRequest, init_service, try_call_service},
};

use super::guarded::{Probe, ProbeAnswer, assert_guarded_by, assert_sold_by};
use crate::Rejection;

/// Proves that no route of an actix-web application was left open by accident. See
/// [`assert_guarded_by`] for what is asked of the `routes`, and of the `open` ones.
///
/// # Panics
///
/// Panics where a route is not as it should be, and says all that is wrong.
///
/// ```
/// # #[actix_web::main]
/// # async fn main() {
/// use actix_web::App;
/// use key0_auth::{Validator, actix::{AuthMiddleware, Routes}, testing::{self, TokenSigner}};
///
/// let tokens = TokenSigner::new().access_tokens();
/// let validator = Validator::builder().access_tokens(tokens).build().expect("tokens");
/// let auth = AuthMiddleware::new(validator.clone());
/// let photo = async || "a photo";
/// let routes = Routes::new().get("/photos/{id}", photo).each(|route| route.wrap(auth.clone()));
/// let app = App::new().configure(routes.with_problem_fallbacks(validator.responder()));
/// testing::assert_actix_guarded(app, &[("GET", "/photos/{id}")], &[]).await;
/// # }
/// ```
pub async fn assert_actix_guarded<T, B>(app: App<T>, routes: &[(&str, &str)], open: &[(&str, &str)])
where
    T: Factory<B>,
    B: MessageBody + 'static,
{
    let app = init_service(app).await;
    assert_guarded_by(
        async |probe| {
            send(probe, async |request| try_call_service(&app, request.to_request()).await).await
        },
        routes,
        open,
    )
    .await;
}

/// Proves that an actix-web application asks on each of these routes for what the credential was
/// bought for. See [`assert_sold_by`] for what is asked of them.
///
/// # Panics
///
/// Panics where a route is not as it should be, and says all that is wrong.
///
/// ```
/// # #[actix_web::main]
/// # async fn main() {
/// use actix_web::App;
/// use key0_auth::{Validator, actix::{AuthMiddleware, Routes}, testing::{self, TokenSigner}};
///
/// let signer = TokenSigner::new();
/// let tokens = signer.access_tokens();
/// let validator = Validator::builder().access_tokens(tokens).build().expect("tokens");
/// let sold = AuthMiddleware::new(validator.clone()).sold("id");
/// let photo = async || "a photo";
/// let routes = Routes::new().get("/photos/{id}", photo).each(|route| route.wrap(sold.clone()));
/// let app = App::new().configure(routes.with_problem_fallbacks(validator.responder()));
/// let credential = |resource: &str| signer.token().resource(resource).sign();
/// testing::assert_actix_sold(app, credential, &[("GET", "/photos/{id}")]).await;
/// # }
/// ```
pub async fn assert_actix_sold<T, B>(
    app: App<T>,
    credential: impl Fn(&str) -> String,
    routes: &[(&str, &str)],
) where
    T: Factory<B>,
    B: MessageBody + 'static,
{
    let app = init_service(app).await;
    assert_sold_by(
        async |probe| {
            send(probe, async |request| try_call_service(&app, request.to_request()).await).await
        },
        credential,
        routes,
    )
    .await;
}

/// What an application is made of.
pub trait Factory<B>:
    ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<B>,
        Error = Error,
        InitError = (),
    > + 'static
{
}

impl<T, B> Factory<B> for T where
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static
{
}

async fn send<B: MessageBody + 'static>(
    probe: Probe,
    call: impl AsyncFnOnce(TestRequest) -> Result<ServiceResponse<B>, Error>,
) -> ProbeAnswer {
    let method = match Method::from_bytes(probe.method.as_bytes()) {
        Ok(method) => method,
        Err(error) => panic!("{} is no method: {error}", probe.method),
    };
    let request = TestRequest::with_uri(&probe.path).method(method);
    let request = probe.headers.into_iter().fold(request, TestRequest::append_header);
    // What fails further inside becomes a response only in the server.
    let response = match call(request).await {
        Ok(response) => response.into_parts().1.map_into_boxed_body(),
        Err(error) => error.error_response(),
    };
    let text = |value: &actix_web::http::header::HeaderValue| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    };
    let answer = ProbeAnswer::new(response.status().as_u16(), []);
    let answer = answer.in_process(response.extensions().get::<Rejection>());
    let headers = response.headers().iter();
    let answer =
        headers.fold(answer, |answer, (name, value)| answer.header(name.as_str(), text(value)));
    match to_bytes(response.into_body()).await {
        Ok(body) => ProbeAnswer { body: body.to_vec(), ..answer },
        Err(_) => panic!("the body broke off"),
    }
}
