//! The actix-web adapter: its middlewares around a handler, its extractors, its routes.
#![cfg(all(feature = "actix", feature = "tower"))]
mod middleware;
mod refusals;
mod routes;
mod workers;

use std::{rc::Rc, sync::Arc};

use actix_web::{
    App, HttpMessage, HttpRequest, HttpResponse, Route,
    body::{BoxBody, to_bytes},
    dev::ServiceResponse,
    http::{Method, header::HeaderMap},
    test::{TestRequest, call_service, init_service},
    web,
};
use key0_auth::{
    AccessTokens, ApiKeys, Identity, InternalAuth, Rejection, RejectionKind, Validator,
    actix::AuthMiddleware,
    apikey::{BootstrapKeys, Grant, PlainKey},
    auth::{IdentityKind, InternalCaller},
    domain::{
        ChallengeId, Claims, PlanId, RequestId, ResourceId, Role, Secret, SecretSet, Timestamp,
        TxHash,
    },
    token::TokenIssuer,
};

use crate::key_store;
use crate::key_store::TestStore;

const TOKEN_SECRET: &str = "an-access-token-secret-of-the-tests";
const MASTER_KEY: &str = "a-master-key-of-the-tests-32-bytes-";
const INTERNAL_SECRET: &str = "an-internal-secret-of-the-tests-32-";

/// The code of a problem in a form of the application's own.
#[cfg(feature = "idempotency")]
#[derive(Debug)]
struct Code;

#[cfg(feature = "idempotency")]
impl key0_auth::auth::ProblemBody for Code {
    fn render(&self, problem: &key0_auth::auth::Problem<'_>) -> (String, Vec<u8>) {
        ("text/plain".into(), problem.code().into())
    }
}

fn store() -> Arc<TestStore> {
    Arc::new(TestStore::new())
}

fn validator(store: &Arc<TestStore>) -> Validator {
    let master = Secret::new("master", MASTER_KEY).unwrap();
    let keys =
        ApiKeys::new(store.clone()).bootstrap(BootstrapKeys::new().key(Role::Master, master));
    Validator::builder()
        .access_tokens(AccessTokens::hs256(TOKEN_SECRET).unwrap())
        .api_keys(keys)
        .build()
        .unwrap()
}

fn auth() -> AuthMiddleware {
    AuthMiddleware::new(validator(&store()))
}

fn internal() -> InternalAuth {
    let secret = SecretSet::new(Secret::new("internal", INTERNAL_SECRET).unwrap());
    InternalAuth::builder().shared_secret(secret).build().unwrap()
}

fn token(plan: &str) -> String {
    let claims = Claims::new(
        RequestId::new("request-1").unwrap(),
        ChallengeId::new("challenge-1").unwrap(),
        ResourceId::new("photo-1").unwrap(),
        PlanId::new(plan).unwrap(),
        TxHash::new("0xabc").unwrap(),
        Timestamp::from_seconds(4_000_000_000),
    );
    let secret = Secret::new("tokens", TOKEN_SECRET).unwrap();
    TokenIssuer::hs256(&secret).access_token(&claims).unwrap()
}

fn payment_key(store: &TestStore, plan: &str) -> PlainKey {
    let resource_id = ResourceId::new("photo-1").unwrap();
    let plan_id = PlanId::new(plan).unwrap();
    store.add(Grant::Payment { resource_id, plan_id, permissions: None }, |_| ())
}

fn request(headers: &[(&str, &str)]) -> TestRequest {
    let request = TestRequest::with_uri("/photos/1");
    headers.iter().fold(request, |request, header| request.append_header(*header))
}

fn bearer(credential: &str) -> TestRequest {
    request(&[("authorization", &format!("Bearer {credential}"))])
}

fn preflight() -> TestRequest {
    let headers = [("origin", "https://shop.example"), ("access-control-request-method", "GET")];
    request(&headers).method(Method::OPTIONS)
}

/// What the handler saw of a request.
#[derive(Debug)]
struct Seen {
    identity: Option<Identity>,
    caller: Option<InternalCaller>,
    headers: HeaderMap,
    request: String,
}

/// Tells in the response's extensions what it saw.
async fn see(request: HttpRequest) -> HttpResponse {
    let seen = Seen {
        identity: request.extensions().get().cloned(),
        caller: request.extensions().get().copied(),
        headers: request.headers().clone(),
        request: format!("{request:?}"),
    };
    let mut response = HttpResponse::Ok().body("inner");
    response.extensions_mut().insert(Rc::new(seen));
    response
}

/// The answer of a handler for every path and method, with what `wrap` puts around it.
async fn answer(
    wrap: impl FnOnce(Route) -> Route,
    request: TestRequest,
) -> ServiceResponse<BoxBody> {
    let app = init_service(App::new().default_service(wrap(web::to(see)))).await;
    call_service(&app, request.to_request()).await
}

/// What the handler saw, or why it was not asked.
async fn outcome(
    wrap: impl FnOnce(Route) -> Route,
    request: TestRequest,
) -> Result<Rc<Seen>, RejectionKind> {
    let answer = answer(wrap, request).await;
    match kind(&answer) {
        Some(kind) => Err(kind),
        None => Ok(answer.response().extensions().get::<Rc<Seen>>().unwrap().clone()),
    }
}

/// As whom the handler saw the caller behind this middleware, or why it was not asked.
async fn identity(
    auth: &AuthMiddleware,
    request: TestRequest,
) -> Result<Option<IdentityKind>, RejectionKind> {
    let outcome = outcome(|route| route.wrap(auth.clone()), request).await;
    outcome.map(|seen| seen.identity.as_ref().map(Identity::kind))
}

fn kind<B>(answer: &ServiceResponse<B>) -> Option<RejectionKind> {
    answer.response().extensions().get::<Rejection>().map(Rejection::kind)
}

async fn text(answer: ServiceResponse<BoxBody>) -> String {
    let bytes = to_bytes(answer.into_body()).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}
