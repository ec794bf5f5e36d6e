//! A guard around one handler does what the layer around its route does.
#![cfg(all(feature = "axum", feature = "testing"))]

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Path, Request, State},
    response::Response,
    routing::{get, post},
};
use http_body_util::BodyExt;
use key0_auth::{
    ApiKeys, AuthLayer, Identity, KeyStore, MemoryStore, Policy, Rejection, RejectionKind,
    Validator,
    apikey::{Grant, KeyFormat, KeyRecord},
    auth::{Caller, Problem, ProblemBody},
    axum::with_problem_fallbacks,
    domain::{Action, Actor, KeyId, Role, Timestamp},
    testing::{TokenSigner, assert_guarded, assert_sold},
};
use tower::ServiceExt;

use crate::pool::Pool;

/// The code of a problem in a form of the application's own.
#[derive(Debug)]
struct Code;

impl ProblemBody for Code {
    fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
        ("text/plain".into(), problem.code().into())
    }
}

fn validator(store: &Arc<MemoryStore>) -> Validator {
    Validator::builder()
        .access_tokens(TokenSigner::new().access_tokens())
        .api_keys(ApiKeys::new(store.clone()))
        .realm("photos")
        .problem_body(Code)
        .build()
        .unwrap()
}

/// A key that the store knows, for all photos.
async fn key(store: &MemoryStore) -> String {
    let key = KeyFormat::default().generate().unwrap();
    let grant = Grant::Integrator { role: Role::Read, permissions: None };
    let record = KeyRecord::new(KeyId::generate(), &key, grant, Timestamp::from_seconds(0));
    store.insert(&record, &Actor::host()).await.unwrap();
    key.expose().to_owned()
}

/// All that it sees of a request.
async fn show(State(state): State<&'static str>, request: Request) -> String {
    let mut headers: Vec<_> =
        request.headers().iter().map(|header| format!("{header:?}")).collect();
    headers.sort_unstable();
    let extensions = request.extensions();
    let who = extensions.get::<Identity>().map(|identity| identity.subject().to_owned());
    let route = extensions.get::<MatchedPath>().map(|route| route.as_str().to_owned());
    format!("{state} {who:?} {route:?} {} {headers:?}", request.uri())
}

async fn refuse() -> Result<(), Rejection> {
    Err(Rejection::new(RejectionKind::NotFound))
}

/// All that is told by a response, whoever looks at it.
async fn told(router: &Router, request: Request) -> String {
    let response: Response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let mut headers: Vec<_> = parts.headers.iter().map(|header| format!("{header:?}")).collect();
    headers.sort_unstable();
    let rejection = parts.extensions.get::<Rejection>().map(|rejection| {
        (rejection.kind(), rejection.to_string(), format!("{:?}", rejection.retry()))
    });
    let caller = parts.extensions.get::<Caller>().map(|caller| format!("{caller:?}"));
    let body = body.collect().await.unwrap().to_bytes();
    format!("{} {headers:?} {rejection:?} {caller:?} {body:?}", parts.status)
}

type Change = fn(AuthLayer) -> AuthLayer;

#[tokio::test]
async fn a_guard_around_a_handler_answers_as_the_layer_does() {
    let changes: [(&str, Change); 6] = [
        ("any", |auth| auth),
        ("sold", |auth| auth.sold("id")),
        ("optional", AuthLayer::optional),
        ("plan", |auth| auth.plan("gold")),
        ("permission", |auth| auth.permission("photos", Action::Read)),
        ("wording", |auth| auth.wording(|_| Some("in words of its own")).allow_preflight()),
    ];
    let store = Arc::new(MemoryStore::new());
    let (key, signer) = (key(&store).await, TokenSigner::new());
    let sent = |text: &str| ("authorization", format!("Bearer {text}"));
    let headers = [
        vec![],
        vec![sent(&signer.token().resource("photo-1").plan("gold").sign())],
        vec![sent(&signer.token().resource("photo-2").plan("basic").sign())],
        vec![sent(&signer.token().resource("photo-1").expired().sign())],
        vec![sent("nobody-knows-this")],
        vec![sent(&key)],
        vec![("x-api-key", key.clone()), ("x-key0-plan-id", "gold".into())],
        vec![("x-api-key", format!("{key}x"))],
        vec![("x-api-key", key.clone()), sent(&key)],
        vec![
            ("origin", "https://a.example".into()),
            ("access-control-request-method", "GET".into()),
        ],
        vec![sent(&key), ("content-length", "5".into()), ("expect", "100-continue".into())],
    ];
    let mut statuses = std::collections::BTreeSet::new();
    for (name, change) in changes {
        // Each looks keys up, and then knows them.
        let auth = || change(AuthLayer::new(validator(&store)));
        let by_layer = Router::new()
            .route("/photos/{id}", get(show).post(refuse).options(show))
            .route_layer(auth())
            .with_state("state");
        let by_layer = with_problem_fallbacks(by_layer, validator(&store).responder());
        let guard = auth();
        let methods = get(guard.guard(show)).post(guard.guard(refuse)).options(guard.guard(show));
        let by_guard = Router::new().route("/photos/{id}", methods).with_state("state");
        let by_guard = with_problem_fallbacks(by_guard, validator(&store).responder());
        for headers in &headers {
            for (method, path) in [
                ("GET", "/photos/photo-1?a=b"),
                ("GET", "/photos/photo%2D1"),
                ("HEAD", "/photos/photo-1"),
                ("POST", "/photos/photo-1"),
                ("OPTIONS", "/photos/photo-1"),
                ("DELETE", "/photos/photo-1"),
                ("GET", "/photos"),
            ] {
                let request = || {
                    let request = Request::builder().method(method).uri(path);
                    let add = |request: http::request::Builder, (name, value): &(&str, String)| {
                        request.header(*name, value)
                    };
                    headers.iter().fold(request, add).body(Body::from("hello")).unwrap()
                };
                let wanted = told(&by_layer, request()).await;
                let found = told(&by_guard, request()).await;
                assert_eq!(found, wanted, "{name}: {method} {path} {headers:?}");
                statuses.insert(wanted[..3].to_owned());
            }
        }
    }
    assert_eq!(Vec::from_iter(statuses), ["200", "401", "403", "404", "405"]);
}

/// By requests that are proved before their handlers are called.
#[tokio::test]
async fn whoever_is_refused_reaches_no_handler() {
    let store = Arc::new(MemoryStore::new());
    let auth = AuthLayer::new(validator(&store));
    let reached = async || -> () { panic!("it was reached") };
    let router: Router = Router::new().route("/", get(auth.guard(reached)));
    for credential in ["a.b.c", "nobody-knows-this", &TokenSigner::new().token().expired().sign()] {
        let bearer = format!("Bearer {credential}");
        let request =
            Request::get("/").header("authorization", bearer).body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), 401);
    }
}

const ROUTES: [(&str, &str); 3] =
    [("GET", "/photos"), ("GET", "/photos/{id}"), ("POST", "/orders")];

/// Nothing is forgotten, or one of the guards.
fn shop(forgotten: Option<&str>) -> Router {
    let auth = AuthLayer::new(validator(&Arc::new(MemoryStore::new())));
    let sold = auth.clone().sold("id");
    let (photos, order) = (async || "photos", async || "an order");
    let photo = async |Path(id): Path<String>| format!("photo {id}");
    let list = if forgotten == Some("/photos") { get(photos) } else { get(auth.guard(photos)) };
    let show = match forgotten {
        Some("/photos/{id}") => get(auth.guard(photo)),
        _ => get(sold.guard(photo)),
    };
    let order = post(auth.policy(Policy::plan("gold")).guard(order));
    Router::new().route("/photos", list).route("/photos/{id}", show).route("/orders", order)
}

/// What a proof says where it fails.
fn said<F: Future<Output = ()>>(proof: impl FnOnce() -> F + Send + 'static) -> String {
    let proving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(proof());
    });
    *proving.join().unwrap_err().downcast::<String>().unwrap()
}

fn bought(resource: &str) -> String {
    TokenSigner::new().token().resource(resource).sign()
}

#[tokio::test]
async fn the_proofs_of_guarded_routes_see_a_guard_around_a_handler() {
    assert_guarded(shop(None), &ROUTES, &[]).await;
    assert_sold(shop(None), bought, &ROUTES[1..2]).await;

    let open = said(|| assert_guarded(shop(Some("/photos")), &ROUTES, &[]));
    assert!(open.contains("GET /photos without a credential: answered 200"), "{open}");
    let unsold = said(|| assert_sold(shop(Some("/photos/{id}")), bought, &ROUTES[1..2]));
    assert!(unsold.contains("GET /photos/{id} with a credential for another"), "{unsold}");
}

/// What a handler leaves unread of a body is read, so that a kept connection stays in step.
#[tokio::test]
async fn a_body_that_is_left_unread_costs_no_request() {
    let auth = AuthLayer::new(validator(&Arc::new(MemoryStore::new())));
    let router: Router = Router::new().route("/", post(auth.guard(async || "unread")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    let mut pool = Pool::new(address);
    let good = TokenSigner::new().token().sign();
    for (credential, status) in [(&*good, 200), ("a.b.c", 401)].repeat(3) {
        let head = format!("POST / HTTP/1.1\r\nauthorization: Bearer {credential}\r\n");
        assert_eq!(pool.send(&head, &vec![b'x'; 100_000]).await.unwrap(), status);
        assert!(pool.is_kept());
    }
}
