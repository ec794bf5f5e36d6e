//! What an axum router adds to the layers: extractors, handlers' refusals, 404 and 405.
#![cfg(feature = "axum")]
use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use key0_auth::{
    AccessTokens, ApiKeys, AuthLayer, Identity, InternalAuth, InternalAuthLayer, Policy, Rejection,
    RejectionKind, Validator,
    apikey::BootstrapKeys,
    auth::{InternalCaller, InternalStrategy, Problem, ProblemBody, Responder},
    axum::with_problem_fallbacks,
    domain::{
        ChallengeId, Claims, PlanId, RequestId, ResourceId, Role, Secret, SecretSet, Timestamp,
        TxHash,
    },
    token::TokenIssuer,
};
use std::sync::Arc;
use tower::ServiceExt;

use crate::{key_store, pool};

const TOKEN_SECRET: &str = "an-access-token-secret-of-the-tests";
const MASTER_KEY: &str = "a-master-key-of-the-tests-32-bytes-";
const INTERNAL_SECRET: &str = "an-internal-secret-of-the-tests-32-";

/// The code of a problem in a form of the application's own.
#[derive(Debug)]
struct Code;

impl ProblemBody for Code {
    fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
        ("text/plain".into(), problem.code().into())
    }
}

fn validator() -> Validator {
    let master = Secret::new("master", MASTER_KEY).unwrap();
    let keys = ApiKeys::new(Arc::new(key_store::TestStore::new()))
        .bootstrap(BootstrapKeys::new().key(Role::Master, master));
    Validator::builder()
        .access_tokens(AccessTokens::hs256(TOKEN_SECRET).unwrap())
        .api_keys(keys)
        .realm("photos")
        .problem_body(Code)
        .build()
        .unwrap()
}

fn internal() -> InternalAuth {
    let secret = SecretSet::new(Secret::new("internal", INTERNAL_SECRET).unwrap());
    InternalAuth::builder().shared_secret(secret).problem_body(Code).build().unwrap()
}

fn token() -> String {
    let claims = Claims::new(
        RequestId::new("request-1").unwrap(),
        ChallengeId::new("challenge-1").unwrap(),
        ResourceId::new("photo-1").unwrap(),
        PlanId::new("basic").unwrap(),
        TxHash::new("0xabc").unwrap(),
        Timestamp::from_seconds(4_000_000_000),
    );
    let secret = Secret::new("tokens", TOKEN_SECRET).unwrap();
    TokenIssuer::hs256(&secret).access_token(&claims).unwrap()
}

async fn send(router: &Router, method: &str, path: &str, credential: Option<&str>) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(credential) = credential {
        request = request.header("authorization", format!("Bearer {credential}"));
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn kind(response: &Response) -> Option<RejectionKind> {
    response.extensions().get::<Rejection>().map(Rejection::kind)
}

#[tokio::test]
async fn extractors_hand_out_what_the_layers_proved() {
    let router = Router::new()
        .route("/identity", get(async |identity: Identity| identity.subject().to_owned()))
        .route("/claims", get(async |claims: Claims| claims.tx_hash().to_string()))
        .route_layer(AuthLayer::new(validator()))
        .merge(
            Router::new()
                .route("/maybe", get(async |who: Option<Identity>| format!("{}", who.is_some())))
                .route_layer(AuthLayer::new(validator()).optional()),
        )
        .merge(
            Router::new()
                .route(
                    "/internal",
                    get(async |caller: InternalCaller| {
                        assert_eq!(caller.strategy(), InternalStrategy::SharedSecret);
                    }),
                )
                .route_layer(InternalAuthLayer::new(internal())),
        );
    let token = token();
    for (path, credential, body) in [
        ("/identity", Some(&*token), "request-1"),
        ("/identity", Some(MASTER_KEY), "bootstrap-master-0bd4454a"),
        ("/claims", Some(&token), "0xabc"),
        ("/maybe", Some(&token), "true"),
        ("/maybe", None, "false"),
        ("/internal", Some(INTERNAL_SECRET), ""),
    ] {
        let response = send(&router, "GET", path, credential).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(text(response).await, body, "{path}");
    }
    let no_token = send(&router, "GET", "/claims", Some(MASTER_KEY)).await;
    assert_eq!(no_token.status(), 403);
    assert_eq!(kind(&no_token), Some(RejectionKind::InsufficientPermissions));
}

/// A route that was left out of the layer is the program's fault, not the caller's.
#[tokio::test]
async fn without_a_layer_it_is_our_own_fault() {
    // Where nobody listens to the log, a debug build says it in the body.
    let log = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
    let _listening = tracing::subscriber::set_default(log);
    let router = Router::new()
        .route("/identity", get(async |_: Identity| ()))
        .route("/claims", get(async |_: Claims| ()))
        .route("/internal", get(async |_: InternalCaller| ()))
        .route("/maybe", get(async |who: Option<Identity>| format!("{}", who.is_some())));
    let token = token();
    for path in ["/identity", "/claims", "/internal"] {
        for credential in [None, Some(&*token), Some("a.b.c")] {
            let response = send(&router, "GET", path, credential).await;
            assert_eq!(response.status(), 500, "{path}");
            assert!(!response.headers().contains_key("www-authenticate"));
            assert_eq!(kind(&response), Some(RejectionKind::Internal));
            let body = text(response).await;
            assert!(body.contains(r#""code":"internal_error""#), "{body}");
            assert!(!body.contains("ayer"), "{body}");
        }
    }
    assert_eq!(text(send(&router, "GET", "/maybe", Some(&token)).await).await, "false");
}

/// As a handler would refuse, with a header of its own.
async fn refuse() -> Response {
    let rejection = Rejection::new(RejectionKind::InsufficientPermissions).scope("dpp:read");
    let own = [
        ("x-own", "kept"),
        ("allow", "GET"),
        ("content-encoding", "identity"),
        ("content-length", "999"),
    ];
    (own, rejection).into_response()
}

#[tokio::test]
async fn a_handler_s_refusal_looks_like_the_layer_s() {
    let default = Responder::default();
    let bare = Router::new().route("/", get(refuse));
    let response = send(&bare, "GET", "/", None).await;
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let rejection = response.extensions().get::<Rejection>().unwrap().clone();
    let body = String::from_utf8(default.respond(&rejection).body).unwrap();
    assert_eq!(text(response).await, body);

    let one = bare.clone().route_layer(AuthLayer::new(validator()));
    let nested = one.clone().route_layer(AuthLayer::new(
        Validator::builder()
            .access_tokens(AccessTokens::hs256(TOKEN_SECRET).unwrap())
            .build()
            .unwrap(),
    ));
    for router in [one, nested] {
        let token = token();
        let response = send(&router, "GET", "/", Some(&token)).await;
        assert_eq!(response.status(), 403);
        assert_eq!(kind(&response), Some(RejectionKind::InsufficientPermissions));
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/plain");
        assert_eq!(headers["x-own"], "kept");
        assert_eq!(headers["allow"], "GET");
        assert_eq!(headers["content-length"], "24");
        assert!(!headers.contains_key("content-encoding"));
        for (name, values) in [("www-authenticate", 1), ("cache-control", 1), ("content-type", 1)] {
            assert_eq!(headers.get_all(name).iter().count(), values, "{name}");
        }
        assert_eq!(
            headers["www-authenticate"],
            "Bearer realm=\"photos\", error=\"insufficient_scope\", scope=\"dpp:read\""
        );
        assert_eq!(text(response).await, "insufficient_permissions");
    }

    let by_internal = bare.route_layer(InternalAuthLayer::new(internal()));
    let response = send(&by_internal, "GET", "/", Some(INTERNAL_SECRET)).await;
    assert_eq!(text(response).await, "insufficient_permissions");
}

/// Only refusals of ours are rendered again, whatever a response's extensions hold.
#[tokio::test]
async fn another_response_of_a_handler_stays_as_it_is() {
    let handler = get(async || {
        let mut response = (StatusCode::IM_A_TEAPOT, "short and stout").into_response();
        response.extensions_mut().insert(Rejection::from(RejectionKind::Timeout));
        response
    });
    let router = Router::new().route("/", handler).route_layer(AuthLayer::new(validator()));
    let response = send(&router, "GET", "/", Some(&token())).await;
    assert_eq!(response.status(), 418);
    assert_eq!(text(response).await, "short and stout");
}

#[tokio::test]
async fn path_then_method_then_credential() {
    let sold = Router::new()
        .route("/photos/{id}", get(async |_: Identity| "photo").patch(async |_: Identity| ""))
        .route_layer(AuthLayer::new(validator()));
    let inner = Router::new()
        .route("/issue", axum::routing::post(async |_: InternalCaller| ()))
        .route_layer(InternalAuthLayer::new(internal()));
    let router = Router::new().merge(sold.clone()).nest("/internal", inner).nest("/v1", sold);
    let router = with_problem_fallbacks(router, &Responder::default());
    let token = token();
    for (method, path, credential, status, allow) in [
        ("GET", "/nowhere", None, 404, None),
        ("GET", "/", Some("a.b.c"), 404, None),
        ("DELETE", "/internal/nowhere", None, 404, None),
        ("DELETE", "/photos/1", None, 405, Some("GET,HEAD,PATCH")),
        ("DELETE", "/photos/1", Some("a.b.c"), 405, Some("GET,HEAD,PATCH")),
        ("DELETE", "/photos/1", Some(&*token), 405, Some("GET,HEAD,PATCH")),
        ("OPTIONS", "/v1/photos/1", None, 405, Some("GET,HEAD,PATCH")),
        ("GET", "/internal/issue", None, 405, Some("POST")),
        ("HEAD", "/internal/issue", None, 405, Some("POST")),
        ("GET", "/photos/1", None, 401, None),
        ("HEAD", "/v1/photos/1", None, 401, None),
        ("POST", "/internal/issue", None, 401, None),
        ("GET", "/v1/photos/1", Some(&token), 200, None),
        ("HEAD", "/photos/1", Some(&token), 200, None),
    ] {
        let response = send(&router, method, path, credential).await;
        let case = format!("{method} {path} {credential:?}");
        assert_eq!(response.status(), status, "{case}");
        let headers = response.headers();
        let told = headers.get("allow").map(|value| value.to_str().unwrap());
        assert_eq!(told, allow, "{case}");
        let code = match status {
            404 => Some("not_found"),
            405 => Some("method_not_allowed"),
            _ => None,
        };
        let Some(code) = code else { continue };
        assert_eq!(headers["content-type"], "application/problem+json", "{case}");
        assert_eq!(headers["cache-control"], "no-store", "{case}");
        assert!(!headers.contains_key("www-authenticate"), "{case}");
        assert!(kind(&response).is_some(), "{case}");
        let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
        let body = text(response).await;
        if method == "HEAD" {
            assert_eq!((body.len(), length > 100), (0, true), "{case}");
        } else {
            assert_eq!(body.len(), length, "{case}");
            assert!(body.contains(&format!(r#""code":"{code}""#)), "{case}: {body}");
        }
    }
}

/// What the module page says of the order in which a router is built.
#[tokio::test]
async fn the_order_of_building_matters() {
    let routes = || Router::new().route("/photos/{id}", get(async || "photo"));
    let layer = || AuthLayer::new(validator());
    let responder = Responder::default();

    let too_early = with_problem_fallbacks(routes(), &responder).route_layer(layer());
    assert_eq!(send(&too_early, "PUT", "/photos/1", None).await.status(), 401);
    let too_wide = with_problem_fallbacks(routes(), &responder).layer(layer());
    assert_eq!(send(&too_wide, "GET", "/nowhere", None).await.status(), 401);

    let own = routes().route("/own", get(async || "").fallback(async || StatusCode::IM_A_TEAPOT));
    let router = with_problem_fallbacks(own, validator().responder());
    assert_eq!(send(&router, "PUT", "/own", None).await.status(), 418);
    let response = send(&router, "PUT", "/photos/1", None).await;
    assert_eq!(response.headers()["content-type"], "text/plain");
    assert_eq!(text(response).await, "method_not_allowed");
}

#[tokio::test]
async fn a_policy_in_a_handler_checks_the_decoded_id() {
    let photo = async |axum::extract::Path(id): axum::extract::Path<String>, who: Identity| {
        Policy::resource(&*id).check(&who).map(|()| id)
    };
    let router = Router::new().route("/{id}", get(photo)).route_layer(AuthLayer::new(validator()));
    let token = token();
    for (path, status) in [("/photo-1", 200), ("/photo%2D1", 200), ("/photo-2", 403)] {
        assert_eq!(send(&router, "GET", path, Some(&token)).await.status(), status, "{path}");
    }
    assert_eq!(send(&router, "GET", "/photo-1", Some(MASTER_KEY)).await.status(), 403);
}

/// Over a real server: a refusal that leaves a body unread says that the connection is closed, and
/// none is lost.
#[tokio::test]
async fn no_request_of_a_kept_connection_is_lost() {
    let photo = async |axum::extract::Path(id): axum::extract::Path<String>, who: Identity| {
        Policy::resource(&*id).check(&who).map(|()| id)
    };
    let sold = Router::new()
        .route("/photos/{id}", get(photo).post(photo))
        .route_layer(AuthLayer::new(validator()));
    let gold = Router::new()
        .route("/gold", get(async || "").post(async || ""))
        .route_layer(AuthLayer::new(validator()).policy(Policy::plan("gold")));
    let store = Arc::new(key0_auth::MemoryStore::new());
    let payments =
        key0_auth::api::PaymentReceived::new(store, Arc::new(key0_auth::domain::SystemClock));
    let called = Router::new()
        .route("/paid", key0_auth::axum::dangerous_payment_received(payments))
        .route_layer(InternalAuthLayer::new(internal()));
    let app = with_problem_fallbacks(sold.merge(gold).merge(called), validator().responder());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut pool = pool::Pool::new(listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());

    let good = format!("authorization: Bearer {}\r\n", token());
    let called = format!("x-internal-auth: {INTERNAL_SECRET}\r\n");
    let text = format!("{called}content-type: text/plain\r\n");
    let json = format!("{called}content-type: application/json\r\n");
    let gzip = format!("{json}content-encoding: gzip\r\n");
    for (line, headers, status, least) in [
        ("POST /photos/photo-1", "", 401, 0),
        ("POST /photos/photo-1", "authorization: Bearer a.b.c\r\n", 401, 0),
        ("POST /gold", &good, 403, 0),
        ("POST /nowhere", &good, 404, 0),
        ("PUT /gold", "", 405, 0),
        ("POST /paid", "", 401, 0),
        ("POST /paid", &text, 415, 0),
        ("POST /paid", &gzip, 415, 0),
        ("POST /paid", &json, 413, 100_000),
        ("GET /nowhere", "", 404, 0),
        ("GET /gold", &good, 403, 0),
    ] {
        for length in [200, 20_000, 100_000, 1_000_000] {
            if length < least {
                continue;
            }
            let body = vec![b'x'; length];
            for number in 0..5 {
                let head = format!("{line} HTTP/1.1\r\n{headers}");
                let answer = pool.send(&head, &body).await;
                let case = format!("{line} {length} {number}");
                assert_eq!(
                    answer.unwrap_or_else(|error| panic!("{case}: {error}")),
                    status,
                    "{case}"
                );
            }
        }
    }
}

/// What a handler leaves unread is read, whatever it answers; what it has read closes no connection.
#[tokio::test]
async fn a_handlers_unread_body_costs_no_request() {
    use axum::{body::Bytes, extract::Path};
    let unread = async |Path(status): Path<u16>| StatusCode::from_u16(status).unwrap();
    let read = async |Path(status): Path<u16>, _: Bytes| StatusCode::from_u16(status).unwrap();
    let limit = axum::extract::DefaultBodyLimit::disable();
    let guarded = Router::new()
        .route("/unread/{status}", any(unread))
        .route("/read/{status}", any(read).layer(limit))
        .route_layer(AuthLayer::new(validator()));
    let internal = Router::new()
        .route("/internal/{status}", any(unread))
        .route_layer(InternalAuthLayer::new(internal()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut pool = pool::Pool::new(listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, guarded.merge(internal)).into_future());
    let headers =
        format!("authorization: Bearer {}\r\nx-internal-auth: {INTERNAL_SECRET}\r\n", token());
    for status in [200, 201, 303, 400, 402, 403, 404, 409, 413, 422, 500, 503] {
        for path in ["unread", "read", "internal"] {
            for (method, length) in [("POST", 200), ("PUT", 100_000), ("GET", 20_000)] {
                let head = format!("{method} /{path}/{status} HTTP/1.1\r\n{headers}");
                for _ in 0..3 {
                    let case = format!("{method} {path} {status} {length}");
                    let answer = pool.send(&head, &vec![b'x'; length]).await;
                    assert_eq!(answer.unwrap_or_else(|error| panic!("{case}: {error}")), status);
                    assert!(pool.is_kept(), "{case}");
                }
            }
        }
    }
    // More than anybody reads for nothing.
    let head = format!("POST /unread/200 HTTP/1.1\r\n{headers}");
    assert_eq!(pool.send(&head, &vec![b'x'; 3_000_000]).await.unwrap(), 200);
    assert!(!pool.is_kept());
}

#[tokio::test]
async fn what_a_credential_opens_is_kept_from_shared_caches() {
    let own =
        async || ([("cache-control", "max-age=60"), ("vary", "x-api-key, Authorization")], "");
    let router = Router::new()
        .route("/plain", get(async || ""))
        .route("/own", get(own))
        .route_layer(AuthLayer::new(validator()))
        .merge(
            Router::new()
                .route("/maybe", get(async || ""))
                .route_layer(AuthLayer::new(validator()).optional()),
        );
    let token = token();
    let header = |response: &Response, name: &str| {
        let values = response.headers().get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (path, credential, cache, vary) in [
        ("/plain", Some(&*token), Some("private"), "Authorization, X-Api-Key"),
        ("/own", Some(&*token), Some("max-age=60"), "x-api-key, Authorization"),
        ("/maybe", Some(&*token), Some("private"), "Authorization, X-Api-Key"),
        ("/maybe", None, None, "Authorization, X-Api-Key"),
        ("/plain", Some("a.b.c"), Some("no-store"), ""),
    ] {
        let response = send(&router, "GET", path, credential).await;
        let told = header(&response, "cache-control");
        assert_eq!(told, Vec::from_iter(cache), "{path} {credential:?}");
        assert_eq!(header(&response, "vary").join("; "), vary, "{path} {credential:?}");
    }
}

#[tokio::test]
async fn refusals_name_their_cure() {
    let shop = "https://shop.example.com/";
    let validator = Validator::builder()
        .access_tokens(AccessTokens::hs256(TOKEN_SECRET).unwrap())
        .seller(key0_auth::auth::Seller::at(shop).unwrap())
        .build()
        .unwrap();
    let auth = || AuthLayer::new(validator.clone());
    let photo = async |axum::extract::Path(id): axum::extract::Path<String>, who: Identity| {
        Policy::resource(&*id).check(&who).map(|()| id)
    };
    let policy = Policy::plan("gold").and(Policy::resource("a").or(Policy::resource("b")));
    let of = |policy: Policy| {
        Router::new().route("/{id}", get(photo)).route_layer(auth().policy(policy))
    };
    let app = Router::new()
        .route("/photos/{id}", get(photo))
        .route_layer(auth())
        .nest("/gold", of(policy))
        .nest("/staff", of(Policy::role(Role::Master)));
    let app = with_problem_fallbacks(app, validator.responder());
    let request = |plan: Option<&str>, resource: Option<&str>| {
        let mut offer = serde_json::Map::new();
        for (name, value) in [("planId", plan), ("resourceId", resource)] {
            if let Some(value) = value {
                offer.insert(name.to_owned(), value.into());
            }
        }
        let url = "https://shop.example.com/x402/access";
        let request = serde_json::json!({"method": "POST", "url": url, "body": offer});
        offer.insert("request".to_owned(), request);
        serde_json::Value::from(offer)
    };
    let both = [request(Some("gold"), Some("a")), request(Some("gold"), Some("b"))];
    let token = token();
    for (path, credential, retry, offers) in [
        (
            "/photos/photo-2?size=4k",
            Some(&*token),
            "purchase",
            vec![request(None, Some("photo-2"))],
        ),
        ("/photos/photo-2", None, "purchase", vec![]),
        ("/gold/a%20b", None, "purchase", both.to_vec()),
        ("/gold/a", Some(&token), "purchase", both.to_vec()),
        ("/gold/a", Some("a.b.c"), "new_credential", vec![]),
        ("/staff/a", None, "new_credential", vec![]),
        ("/staff/a", Some(&token), "new_credential", vec![]),
        ("/nowhere/at/all", None, "never", vec![]),
    ] {
        let response = send(&app, "GET", path, credential).await;
        let link = response.headers().get("link").map(|value| value.to_str().unwrap().to_owned());
        let wanted = "<https://shop.example.com/discover>; rel=\"payment\"".to_owned();
        assert_eq!(link, (retry == "purchase").then_some(wanted), "{path} {credential:?}");
        let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["retry"], retry, "{path} {credential:?}");
        assert_eq!(body["instance"], path.split('?').next().unwrap(), "{path}");
        let told = body.get("offers").cloned().unwrap_or_else(|| serde_json::json!([]));
        assert_eq!(told, serde_json::Value::from(offers), "{path} {credential:?}");
    }
    for bad in
        ["", "shop.example.com", "ftp://a", "https://", "https://a b", "https://a>b", "https://a?b"]
    {
        assert!(key0_auth::auth::Seller::at(bad).is_err(), "{bad}");
    }
}

#[cfg(feature = "idempotency")]
#[tokio::test]
async fn key0_s_retries_get_the_first_answer_in_the_same_form() {
    use key0_auth::{IdempotencyLayer, MemoryStore, idempotency::Idempotency};

    let refuse = async || Err::<&str, _>(Rejection::from(RejectionKind::RequestConflict));
    let router = Router::new()
        .route("/", axum::routing::post(refuse))
        .route_layer(IdempotencyLayer::new(Idempotency::new(Arc::new(MemoryStore::new()))))
        .route_layer(InternalAuthLayer::new(internal()));
    for replayed in [false, true] {
        let request = Request::post("/").header("x-internal-auth", INTERNAL_SECRET);
        let request = request.header("idempotency-key", "k").body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 409);
        assert_eq!(response.headers().contains_key("idempotent-replayed"), replayed);
        assert_eq!(response.headers()["content-type"], "text/plain");
        assert_eq!(text(response).await, "request_conflict");
    }
}
