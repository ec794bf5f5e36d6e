//! What an axum router adds to the layers: extractors, handlers' refusals, 404 and 405.
#![cfg(feature = "axum")]
use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::get,
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

use crate::key_store;

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
        ("/identity", Some(MASTER_KEY), "bootstrap-master-1"),
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
async fn a_policy_in_a_handler_judges_the_decoded_id() {
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
