//! The layers over plain tower services, whatever the bodies are.
#![cfg(feature = "tower")]

use std::{
    convert::Infallible,
    future::{Ready, pending, ready},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, request::Parts,
};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use key0_auth::{
    AccessTokens, ApiKeys, AuthLayer, Identity, InternalAuth, InternalAuthLayer, Policy, Rejection,
    RejectionKind, Validator,
    apikey::{BootstrapKeys, Grant, PlainKey},
    auth::{
        Fallback, FallbackError, FallbackGrant, IdentityKind, InternalCaller, InternalStrategy,
        Problem, ProblemBody, Source,
    },
    domain::{
        Action, ChallengeId, Claims, Credential, PlanId, RequestId, ResourceId, Role, Secret,
        SecretSet, Timestamp, TxHash,
    },
    token::TokenIssuer,
};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::key_store::TestStore;

const TOKEN_SECRET: &str = "an-access-token-secret-of-the-tests";
const MASTER_KEY: &str = "a-master-key-of-the-tests-32-bytes-";
const INTERNAL_SECRET: &str = "an-internal-secret-of-the-tests-32-";

/// What the inner service saw of a request.
#[derive(Debug)]
struct Seen {
    identity: Option<Identity>,
    caller: Option<InternalCaller>,
    headers: HeaderMap,
}

type Answer<B = String> = Result<Response<B>, Infallible>;

/// Tells in the response's extensions what it saw.
fn see<B>(mut request: Request<B>) -> Ready<Answer> {
    let extensions = request.extensions_mut();
    let seen = Seen {
        identity: extensions.remove(),
        caller: extensions.remove(),
        headers: request.headers().clone(),
    };
    let mut response = Response::new("inner".to_owned());
    response.extensions_mut().insert(Arc::new(seen));
    ready(Ok(response))
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

fn layer() -> AuthLayer {
    AuthLayer::new(validator(&store()))
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

fn request(headers: &[(&str, &str)]) -> Request<String> {
    let mut request = Request::builder().uri("/photos/1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(String::new()).unwrap()
}

fn bearer(credential: &str) -> Request<String> {
    request(&[("authorization", &format!("Bearer {credential}"))])
}

fn preflight() -> Request<String> {
    let mut request =
        request(&[("origin", "https://shop.example"), ("access-control-request-method", "GET")]);
    *request.method_mut() = Method::OPTIONS;
    request
}

/// What the inner service saw, or why it was not asked.
async fn outcome<L, S, B>(layer: L, request: Request<String>) -> Result<Arc<Seen>, RejectionKind>
where
    L: Layer<tower::util::ServiceFn<fn(Request<String>) -> Ready<Answer>>, Service = S>,
    S: Service<Request<String>, Response = Response<B>, Error = Infallible>,
{
    let inner = service_fn(see as fn(Request<String>) -> Ready<Answer>);
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    match response.extensions().get::<Rejection>() {
        Some(rejection) => Err(rejection.kind()),
        None => Ok(response.extensions().get::<Arc<Seen>>().unwrap().clone()),
    }
}

fn kind(outcome: Result<Arc<Seen>, RejectionKind>) -> Result<Option<IdentityKind>, RejectionKind> {
    outcome.map(|seen| seen.identity.as_ref().map(Identity::kind))
}

#[tokio::test]
async fn the_identity_is_handed_on() {
    let store = store();
    let layer = AuthLayer::new(validator(&store));
    let key = payment_key(&store, "basic");
    for (request, wanted) in [
        (bearer(&token("basic")), Ok(Some(IdentityKind::AccessToken))),
        (bearer(key.expose()), Ok(Some(IdentityKind::PaymentKey))),
        (request(&[("x-api-key", key.expose())]), Ok(Some(IdentityKind::PaymentKey))),
        (request(&[("x-api-key", MASTER_KEY)]), Ok(Some(IdentityKind::BootstrapKey))),
        (request(&[]), Err(RejectionKind::MissingCredential)),
        (bearer("a.b.c"), Err(RejectionKind::InvalidToken)),
        (
            request(&[("x-api-key", "a"), ("x-api-key", "a")]),
            Err(RejectionKind::MalformedCredential),
        ),
    ] {
        assert_eq!(kind(outcome(layer.clone(), request).await), wanted);
    }
}

/// Panics when it is looked at, or when anything is asked of it.
#[derive(Debug)]
struct Untouchable;

impl Body for Untouchable {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("the body was read");
    }

    fn is_end_stream(&self) -> bool {
        panic!("the body was asked");
    }

    fn size_hint(&self) -> http_body::SizeHint {
        panic!("the body was asked");
    }
}

#[tokio::test]
async fn a_refusal_reads_no_body_and_asks_nobody() {
    let store = store();
    let inner = service_fn(async |_: Request<Untouchable>| -> Answer { panic!("asked") });
    let service = AuthLayer::new(validator(&store)).policy(Policy::plan("gold")).layer(inner);
    let key = payment_key(&store, "basic");
    for (request, status) in [
        (request(&[]), 401),
        (bearer("a.b.c"), 401),
        (bearer(key.expose()), 403),
        (bearer(store.add_unreachable().expose()), 503),
    ] {
        let response = service.clone().oneshot(request.map(|_| Untouchable)).await.unwrap();
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn a_request_body_of_any_kind_reaches_the_inner_service_as_it_was() {
    let inner = service_fn(async |request: Request<Full<Bytes>>| -> Answer<Full<Bytes>> {
        Ok(Response::new(request.into_body()))
    });
    let request = bearer(&token("basic")).map(|_| Full::from("as it was"));
    let response = layer().layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "as it was");
}

#[tokio::test]
async fn a_response_body_of_any_kind_comes_out_as_it_was() {
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    let sent = trailers.clone();
    let inner = service_fn(move |_: Request<String>| {
        let trailers = sent.clone();
        let body = Full::new(Bytes::from("inner")).with_trailers(async { Some(Ok(trailers)) });
        ready(Ok::<_, Infallible>(Response::new(body)))
    });
    let response = layer().layer(inner).oneshot(bearer(&token("basic"))).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(collected.to_bytes(), "inner");

    let inner = service_fn(async |_: Request<String>| -> Answer<Empty<Bytes>> {
        Ok(Response::new(Empty::new()))
    });
    let response = layer().layer(inner).oneshot(bearer(&token("basic"))).await.unwrap();
    assert!(response.body().is_end_stream());
    assert_eq!(response.body().size_hint().exact(), Some(0));
}

#[tokio::test]
async fn a_refusal_is_a_whole_response() {
    let response = layer().layer(service_fn(see)).oneshot(request(&[])).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
    assert_eq!(challenges, ["Bearer realm=\"api\"", "ApiKey realm=\"api\""]);

    let mut body = response.into_body();
    let told = body.size_hint().exact();
    assert!(!body.is_end_stream());
    let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(told, Some(bytes.len() as u64));
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn an_error_of_the_inner_service_stays_its_own() {
    let inner = service_fn(async |_: Request<String>| Err::<Response<String>, _>("inner error"));
    let service = layer().layer(inner);
    let told = service.clone().oneshot(bearer(&token("basic"))).await.unwrap_err();
    assert_eq!(told, "inner error");
    assert!(service.oneshot(request(&[])).await.is_ok());
}

/// Panics when it is called without having been ready; a clone has to get ready anew.
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<Request<String>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        see(request)
    }
}

#[tokio::test]
async fn only_a_service_that_is_ready_is_called() {
    let store = store();
    let key = payment_key(&store, "basic");
    let mut service = AuthLayer::new(validator(&store)).layer(Strict { ready: false });
    for _ in 0..2 {
        for credential in [token("basic"), key.expose().to_owned()] {
            let response = service.ready().await.unwrap().call(bearer(&credential)).await.unwrap();
            assert_eq!(response.status(), 200);
        }
        let response = service.ready().await.unwrap().call(request(&[])).await.unwrap();
        assert_eq!(response.status(), 401);
    }
    // Several at a time, as over one connection.
    store.hold();
    let first = service.ready().await.unwrap().call(bearer(key.expose()));
    let second = service.ready().await.unwrap().call(bearer(&token("basic")));
    assert_eq!(second.await.unwrap().status(), 200);
    store.release();
    assert_eq!(first.await.unwrap().status(), 200);
}

/// Of a body that can't be watched over, nobody knows whether the handler has read it.
#[tokio::test]
async fn a_body_that_may_be_unread_closes_the_connection() {
    for (method, status, length, version, closes) in [
        (Method::POST, 200, "7", Version::HTTP_11, false),
        (Method::POST, 422, "7", Version::HTTP_11, true),
        (Method::POST, 303, "7", Version::HTTP_10, true),
        (Method::GET, 200, "7", Version::HTTP_11, true),
        (Method::GET, 404, "0", Version::HTTP_11, false),
        (Method::POST, 422, "7", Version::HTTP_2, false),
    ] {
        let answer = move |_| {
            let response = Response::builder().status(status).body(String::new());
            ready(Ok::<_, Infallible>(response.unwrap()))
        };
        let case = format!("{method} {status} {length} {version:?}");
        let mut asked = bearer(&token("basic"));
        asked.headers_mut().insert("content-length", HeaderValue::from_static(length));
        (*asked.method_mut(), *asked.version_mut()) = (method, version);
        let service = AuthLayer::new(validator(&store())).layer(service_fn(answer));
        let response = service.oneshot(asked).await.unwrap();
        assert_eq!(response.status(), status, "{case}");
        assert_eq!(response.headers().contains_key("connection"), closes, "{case}");
    }
}

#[tokio::test]
async fn a_token_is_validated_at_once_and_a_key_when_the_store_answers() {
    let store = store();
    let key = payment_key(&store, "basic");
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<String>| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        see(request)
    });
    let called = || calls.load(std::sync::atomic::Ordering::SeqCst);
    let mut service = AuthLayer::new(validator(&store)).layer(inner);
    store.hold();

    let waker = std::task::Waker::noop();
    let mut cx = Context::from_waker(waker);
    let mut by_token = std::pin::pin!(service.call(bearer(&token("basic"))));
    assert!(by_token.as_mut().poll(&mut cx).is_ready());
    assert_eq!(called(), 1);

    let mut by_key = std::pin::pin!(service.call(bearer(key.expose())));
    for _ in 0..2 {
        assert!(by_key.as_mut().poll(&mut cx).is_pending());
        assert_eq!(called(), 1);
    }
    store.release();
    assert_eq!(by_key.await.unwrap().status(), 200);
    assert_eq!(called(), 2);
}

#[tokio::test]
async fn in_an_outage_keys_get_503_and_tokens_pass() {
    let store = store();
    let key = payment_key(&store, "basic");
    let layer = AuthLayer::new(validator(&store)).optional();
    store.set_down(true);
    let service = layer.layer(service_fn(see));
    let response = service.oneshot(bearer(key.expose())).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert!(!response.headers().contains_key("www-authenticate"));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(!String::from_utf8_lossy(&body).contains("cable"), "{body:?}");

    for (request, wanted) in [
        (bearer(&token("basic")), Ok(Some(IdentityKind::AccessToken))),
        (request(&[("x-api-key", MASTER_KEY)]), Ok(Some(IdentityKind::BootstrapKey))),
        (bearer("ak_mistyped"), Err(RejectionKind::InvalidApiKey)),
        (request(&[]), Ok(None)),
    ] {
        assert_eq!(kind(outcome(layer.clone(), request).await), wanted);
    }
    store.set_down(false);
    assert_eq!(
        kind(outcome(layer, bearer(key.expose())).await),
        Ok(Some(IdentityKind::PaymentKey))
    );
}

/// Knows `known`, fails on `fail`, hangs on `hang`, and has never heard of anything else.
#[derive(Debug)]
struct Moody;

#[async_trait::async_trait]
impl Fallback for Moody {
    async fn validate(
        &self,
        credential: Credential<'_>,
    ) -> Result<Option<FallbackGrant>, FallbackError> {
        match credential.expose() {
            "known" => Ok(Some(FallbackGrant::new("someone"))),
            "fail" => Err("the fallback's own words".into()),
            "hang" => pending().await,
            _ => Ok(None),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_decides_or_fails_and_when_it_hangs_it_hangs_alone() {
    let tokens = AccessTokens::hs256(TOKEN_SECRET).unwrap();
    let validator = Validator::builder().access_tokens(tokens).fallback(Moody).build().unwrap();
    let layer = AuthLayer::new(validator);
    for (credential, wanted) in [
        ("known", Ok(Some(IdentityKind::Fallback))),
        ("fail", Err(RejectionKind::StoreUnavailable)),
        ("unheard-of", Err(RejectionKind::InvalidToken)),
    ] {
        assert_eq!(kind(outcome(layer.clone(), bearer(credential)).await), wanted);
    }
    let hanging = tokio::spawn(outcome(layer.clone(), bearer("hang")));
    tokio::time::sleep(Duration::from_secs(60)).await;
    // Whatever becomes of it, it was not let in, and others are.
    let still = kind(outcome(layer, bearer(&token("basic"))).await);
    assert_eq!(still, Ok(Some(IdentityKind::AccessToken)));
    if hanging.is_finished() {
        assert_eq!(kind(hanging.await.unwrap()), Err(RejectionKind::StoreUnavailable));
    } else {
        hanging.abort();
    }
}

#[tokio::test]
async fn gateway_headers_never_get_through() {
    let secret = SecretSet::new(Secret::new("internal", INTERNAL_SECRET).unwrap());
    let internal = InternalAuth::builder().shared_secret(secret).build().unwrap();
    let bearer_token = format!("Bearer {}", token("basic"));
    let store = store();
    let key = payment_key(&store, "basic");
    let with = |headers: &[(&str, &str)], mut request: Request<String>| {
        for (name, value) in headers.iter().chain(&[
            ("X-Key0-Internal-Token", "forged"),
            ("x-key0-tx-hash", "0x1"),
            ("X-KEY0-PLAN-ID", "gold"),
            ("x-key0-plan-id", "gold too"),
            ("x-key0-", "nothing"),
            ("x-key0", "no gateway's"),
            ("x-request-id", "kept"),
        ]) {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        request
    };
    let layer = AuthLayer::new(validator(&store));
    let required = outcome(layer.clone(), with(&[("authorization", &bearer_token)], request(&[])));
    let looked_up = outcome(layer.clone(), with(&[("x-api-key", key.expose())], request(&[])));
    let anonymous = outcome(layer.clone().optional(), with(&[], request(&[])));
    let preflight = outcome(layer.allow_preflight(), with(&[], preflight()));
    let internal = outcome(
        InternalAuthLayer::new(internal),
        with(&[("x-internal-auth", INTERNAL_SECRET)], request(&[])),
    );
    for (way, seen) in [
        ("required", required.await),
        ("looked up", looked_up.await),
        ("anonymous", anonymous.await),
        ("preflight", preflight.await),
        ("internal", internal.await),
    ] {
        let headers = &seen.unwrap().headers;
        let gateway: Vec<_> =
            headers.keys().filter(|name| name.as_str().starts_with("x-key0-")).collect();
        assert!(gateway.is_empty(), "{way}: {gateway:?}");
        assert_eq!(headers["x-request-id"], "kept", "{way}");
        assert_eq!(headers["x-key0"], "no gateway's", "{way}");
    }
}

#[tokio::test]
async fn credentials_are_marked_as_sensitive() {
    let bearer_token = format!("Bearer {}", token("basic"));
    let headers = [("authorization", &*bearer_token), ("x-other", "shown")];
    let seen = outcome(layer(), request(&headers)).await.unwrap();
    assert!(seen.headers["authorization"].is_sensitive());
    assert!(!seen.headers["x-other"].is_sensitive());
    let seen = outcome(layer(), request(&[("x-api-key", MASTER_KEY)])).await.unwrap();
    assert!(!format!("{:?}", seen.headers).contains(MASTER_KEY));
}

#[tokio::test]
async fn optional_lets_nobody_in_with_a_bad_credential() {
    let layer = layer().optional();
    let gold_only_here = layer.clone().policy_fn(|parts: &Parts| {
        parts.uri.path().starts_with("/photos/").then(|| Policy::plan("gold"))
    });
    let elsewhere = Request::builder().uri("/open").body(String::new()).unwrap();
    for (layer, request, wanted) in [
        (&layer, request(&[]), Ok(None)),
        (&layer, request(&[("authorization", "Basic dTpw")]), Ok(None)),
        (&layer, bearer(&token("basic")), Ok(Some(IdentityKind::AccessToken))),
        (&layer, bearer("a.b.c"), Err(RejectionKind::InvalidToken)),
        (&layer, request(&[("x-api-key", "ak_no")]), Err(RejectionKind::InvalidApiKey)),
        (&layer, bearer("a b"), Err(RejectionKind::MalformedCredential)),
        (
            &layer.clone().policy(Policy::plan("gold")),
            request(&[]),
            Err(RejectionKind::MissingCredential),
        ),
        (&gold_only_here, request(&[]), Err(RejectionKind::MissingCredential)),
        (&gold_only_here, bearer(&token("gold")), Ok(Some(IdentityKind::AccessToken))),
        (&gold_only_here, elsewhere, Ok(None)),
    ] {
        assert_eq!(kind(outcome(layer.clone(), request).await), wanted, "{layer:?}");
    }
}

#[tokio::test]
async fn only_a_preflight_is_a_preflight() {
    let without = |name: &str| {
        let mut request = preflight();
        request.headers_mut().remove(name);
        request
    };
    let mut get = preflight();
    *get.method_mut() = Method::GET;
    let mut with_token = preflight();
    let value = format!("Bearer {}", token("basic")).parse().unwrap();
    with_token.headers_mut().insert("authorization", value);
    let mut with_nonsense = preflight();
    with_nonsense.headers_mut().insert("authorization", "Bearer a.b.c".parse().unwrap());

    let missing = Err(RejectionKind::MissingCredential);
    assert_eq!(kind(outcome(layer(), preflight()).await), missing);
    let mut empty_origin = preflight();
    empty_origin.headers_mut().insert("origin", HeaderValue::from_static(""));
    let mut empty_method = preflight();
    empty_method
        .headers_mut()
        .insert("access-control-request-method", HeaderValue::from_static(" "));
    let mut with_body = preflight();
    with_body.headers_mut().insert("content-length", HeaderValue::from_static("1"));
    // Over HTTP/2 a body needs no header.
    let mut untold = preflight();
    *untold.version_mut() = Version::HTTP_2;
    assert_eq!(kind(outcome(layer().allow_preflight(), untold).await), Ok(None));
    let mut untold = preflight();
    *untold.version_mut() = Version::HTTP_2;
    "a body".clone_into(untold.body_mut());
    for request in [empty_origin, empty_method, with_body, untold] {
        assert_eq!(kind(outcome(layer().allow_preflight(), request).await), missing);
    }
    let mut with_key = preflight();
    with_key.headers_mut().insert("x-api-key", HeaderValue::from_static("a key"));
    with_key.headers_mut().insert("authorization", HeaderValue::from_static("Bearer a"));
    let seen = outcome(layer().allow_preflight(), with_key).await.unwrap();
    assert!(!seen.headers.contains_key("x-api-key"), "no credential reaches the handler");
    assert!(!seen.headers.contains_key("authorization"), "no credential reaches the handler");
    let layer = layer().policy(Policy::plan("gold")).allow_preflight();
    for (request, wanted) in [
        (preflight(), Ok(None)),
        (with_token, Ok(None)),
        (with_nonsense, Ok(None)),
        (without("origin"), missing),
        (without("access-control-request-method"), missing),
        (get, missing),
    ] {
        assert_eq!(kind(outcome(layer.clone(), request).await), wanted);
    }
}

#[tokio::test]
async fn every_policy_must_hold_on_both_ways() {
    let store = store();
    let layer = AuthLayer::new(validator(&store))
        .policy(Policy::plan("gold"))
        .policy_fn(|parts: &Parts| Policy::resource(parts.uri.path().trim_start_matches('/')));
    let [basic, gold] = ["basic", "gold"].map(|plan| payment_key(&store, plan));
    let at = |path: &str, credential: &str| {
        let mut request = bearer(credential);
        *request.uri_mut() = path.parse().unwrap();
        request
    };
    let forbidden = Err(RejectionKind::InsufficientPermissions);
    for (credential, path, wanted) in [
        (&*token("gold"), "/photo-1", Ok(Some(IdentityKind::AccessToken))),
        (&token("gold"), "/photo-2", forbidden),
        (&token("basic"), "/photo-1", forbidden),
        (gold.expose(), "/photo-1", Ok(Some(IdentityKind::PaymentKey))),
        (gold.expose(), "/photo-2", forbidden),
        (basic.expose(), "/photo-1", forbidden),
        (MASTER_KEY, "/photo-1", forbidden),
    ] {
        assert_eq!(kind(outcome(layer.clone(), at(path, credential)).await), wanted, "{path}");
    }
}

#[tokio::test]
async fn a_request_that_a_policy_looked_at_arrives_whole() {
    let store = store();
    let layer = AuthLayer::new(validator(&store)).policy_fn(|head: &Parts| {
        assert_eq!(head.headers["x-other"], "kept");
        assert_eq!(head.extensions.get(), Some(&7_u8));
        Policy::resource(head.uri.path().trim_start_matches("/photos/"))
    });
    let arrived = Arc::new(Mutex::new(None));
    let inner = service_fn(|request: Request<String>| {
        *arrived.lock().unwrap() = Some(request);
        ready(Answer::Ok(Response::new(String::new())))
    });
    // One that is validated at once, and one that waits for the store.
    for credential in [token("gold"), payment_key(&store, "gold").expose().to_owned()] {
        let mut request = bearer(&credential).map(|_| "the body".to_owned());
        *request.method_mut() = Method::PUT;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = "/photos/photo-1?size=4k".parse().unwrap();
        request.headers_mut().insert("x-other", HeaderValue::from_static("kept"));
        request.extensions_mut().insert(7_u8);
        let headers = request.headers().clone();

        layer.layer(inner).oneshot(request).await.unwrap();
        let (head, body) = arrived.lock().unwrap().take().unwrap().into_parts();
        assert_eq!((head.method, head.version, &*body), (Method::PUT, Version::HTTP_2, "the body"));
        assert_eq!(head.uri, "/photos/photo-1?size=4k");
        assert_eq!(head.headers, headers);
        assert_eq!(head.extensions.get(), Some(&7_u8));
        assert!(head.extensions.get::<Identity>().is_some());
    }
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let layer = layer().policy(Policy::permission("dpp", Action::Create));
    let response = layer.layer(service_fn(see)).oneshot(bearer(&token("basic"))).await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(
        response.headers()["www-authenticate"],
        "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"dpp:create\""
    );
}

#[tokio::test]
async fn the_innermost_layer_s_identity_is_the_handler_s() {
    let store = store();
    let all = AuthLayer::new(validator(&store));
    let keys_alone = Validator::builder()
        .api_keys(ApiKeys::new(store.clone()))
        .sources([Source::ApiKeyHeader])
        .build()
        .unwrap();
    let keys_alone = AuthLayer::new(keys_alone).optional();
    let key = payment_key(&store, "basic");
    let by_token = || bearer(&token("basic"));

    // The outer layer was content, the inner one saw no credential of its own.
    let nested = tower::layer::layer_fn(|inner| all.layer(keys_alone.layer(inner)));
    assert_eq!(kind(outcome(nested, by_token()).await), Ok(None));
    // The other way round the inner one has validated itself.
    let nested = tower::layer::layer_fn(|inner| keys_alone.layer(all.layer(inner)));
    assert_eq!(kind(outcome(nested, by_token()).await), Ok(Some(IdentityKind::AccessToken)));
    let nested = tower::layer::layer_fn(|inner| all.layer(keys_alone.layer(inner)));
    let by_key = request(&[("x-api-key", key.expose())]);
    assert_eq!(kind(outcome(nested, by_key).await), Ok(Some(IdentityKind::PaymentKey)));
}

#[tokio::test]
async fn an_identity_that_was_there_before_is_gone() {
    let seen = outcome(layer(), bearer(&token("gold"))).await.unwrap();
    let stale = || seen.identity.clone().unwrap();
    let with = |mut request: Request<String>| {
        request.extensions_mut().insert(stale());
        request
    };
    let optional = layer().optional().allow_preflight();
    assert_eq!(kind(outcome(optional.clone(), with(request(&[]))).await), Ok(None));
    assert_eq!(kind(outcome(optional, with(preflight())).await), Ok(None));
    let seen = outcome(layer(), with(request(&[("x-api-key", MASTER_KEY)]))).await;
    assert_eq!(kind(seen), Ok(Some(IdentityKind::BootstrapKey)));
}

#[tokio::test]
async fn an_internal_caller_is_validated_before_the_body_is_read() {
    let secret = SecretSet::new(Secret::new("internal", INTERNAL_SECRET).unwrap());
    let builder = InternalAuth::builder().shared_secret(secret).header("X-Key0-Secret");
    let layer = InternalAuthLayer::new(Arc::new(builder.build().unwrap()));
    let good = request(&[("x-key0-secret", INTERNAL_SECRET)]);
    let seen = outcome(layer.clone(), good).await.unwrap();
    let strategy = seen.caller.as_ref().map(InternalCaller::strategy);
    assert_eq!(strategy, Some(InternalStrategy::SharedSecret));
    assert!(seen.identity.is_none());
    assert!(!seen.headers.contains_key("x-key0-secret"));
    let seen = outcome(layer.clone(), bearer(INTERNAL_SECRET)).await.unwrap();
    assert!(seen.caller.is_some() && seen.headers["authorization"].is_sensitive());

    let inner = service_fn(async |_: Request<Untouchable>| -> Answer { panic!("asked") });
    let service = layer.layer(inner);
    for headers in [
        &[][..],
        &[("x-key0-secret", "")],
        &[("x-key0-secret", "wrong")],
        &[("x-key0-secret", INTERNAL_SECRET), ("x-key0-secret", INTERNAL_SECRET)],
    ] {
        let request = request(headers).map(|_| Untouchable);
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"internal\"");
    }
}

/// A body of the application's own, of a media type that it may choose badly.
#[derive(Debug)]
struct Plain(&'static str);

impl ProblemBody for Plain {
    fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
        (self.0.into(), problem.detail().into())
    }
}

#[tokio::test]
async fn realm_words_and_body_are_the_application_s() {
    for (media_type, shown) in [("text/plain", Some("text/plain")), ("text\n/plain", None)] {
        let validator = Validator::builder()
            .access_tokens(AccessTokens::hs256(TOKEN_SECRET).unwrap())
            .realm("photos")
            .problem_body(Plain(media_type))
            .build()
            .unwrap();
        let layer = AuthLayer::new(validator).wording(|kind| match kind {
            RejectionKind::InvalidToken => Some("Go and buy one"),
            _ => None,
        });
        let service = layer.layer(service_fn(see));
        let response = service.clone().oneshot(bearer("a.b.c")).await.unwrap();
        assert_eq!(response.status(), 401);
        let content_type = response.headers().get("content-type");
        assert_eq!(content_type.map(|value| value.to_str().unwrap()), shown);
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer realm=\"photos\", error=\"invalid_token\", error_description=\"Go and buy one\""
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "Go and buy one");
        let response = service.oneshot(request(&[])).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "No credential was sent");
    }
}

/// A browser shows a refusal to a script only with CORS headers, so CORS goes outside.
#[tokio::test]
async fn a_refusal_has_cors_headers_when_cors_is_outside() {
    use tower_http::cors::CorsLayer;
    let cross_origin = || request(&[("origin", "https://shop.example")]);
    let cors = CorsLayer::new().allow_origin(["https://shop.example".parse().unwrap()]);
    let name = "access-control-allow-origin";

    let inner = service_fn(see);
    let response = cors.layer(layer().layer(inner)).oneshot(cross_origin()).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()[name], "https://shop.example");
    // There preflights are answered before we see them.
    let response = cors.layer(layer().layer(service_fn(see))).oneshot(preflight()).await.unwrap();
    assert_eq!(response.status(), 200);

    let inside = layer().layer(cors.layer(service_fn(see)));
    let response = inside.clone().oneshot(cross_origin()).await.unwrap();
    assert!(!response.headers().contains_key(name));
    assert_eq!(inside.oneshot(preflight()).await.unwrap().status(), 401);
    let inside = layer().allow_preflight().layer(cors.layer(service_fn(see)));
    let response = inside.oneshot(preflight()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().contains_key(name)), (200, true));
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let secret = SecretSet::new(Secret::new("internal", INTERNAL_SECRET).unwrap());
    let internal = InternalAuth::builder().shared_secret(secret).build().unwrap();
    let internal = InternalAuthLayer::new(internal);
    let store = store();
    let key = payment_key(&store, "basic");
    let layer = AuthLayer::new(validator(&store)).policy_fn(|_: &Parts| Policy::plan("gold"));
    let mut service = layer.layer(service_fn(see::<String>));
    let future = service.call(bearer(key.expose()));
    let text = format!("{layer:?} {service:?} {future:?} {internal:?}");
    for secret in [TOKEN_SECRET, MASTER_KEY, INTERNAL_SECRET, key.expose()] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("Fn(&Parts)"), "{text}");
    drop(future);
}
