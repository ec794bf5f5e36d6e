//! Requests that Key0's gateway proxies: the six rules, in both frameworks, over sockets.
#![cfg(all(feature = "axum", feature = "actix"))]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{App, HttpRequest, HttpServer};
use axum::{Router, routing::any};
use bytes::Bytes;
use http::{HeaderMap, Request};
use key0_auth::{
    AccessTokens, ApiKeys, AuthLayer, Identity, InternalAuth, MemoryStore, Policy, Rejection,
    Validator,
    actix::{self as on_actix, AuthMiddleware, Routes},
    api::{IssueToken, KeysApi, PaymentReceived},
    apikey::{BootstrapKeys, IssuanceSecrets},
    auth::{Gateway, GatewayBuilder, Responder},
    axum as on_axum,
    domain::{Claims, Clock, Role, Secret, SecretSet, SystemClock},
    token::TokenIssuer,
};
use serde_json::{Value, json};

use crate::http1;

const TOKENS: &str = "the access token secret of these tests";
const TOKEN: &str = "the secret of Key0's gateway, in these tests";
const PREVIOUS: &str = "the secret of Key0's gateway, before these tests";
const INTERNAL: &str = "the internal secret of the gateway's tests";
const MASTER: &str = "the-master-key-of-the-gateway-s-tests";

/// What the guarded routes are.
const GUARDED: [(&str, &str); 7] = [
    ("GET", "/api/photos/{id}"),
    ("GET", "/api/data/{id}"),
    ("POST", "/api/data/{id}"),
    ("GET", "/credential"),
    ("GET", "/purchases"),
    ("GET", "/audit"),
    ("GET", "/v1/orders"),
];

/// One backend, checked and unchecked.
#[derive(Clone)]
struct Shop {
    validator: Validator,
    internal: Arc<InternalAuth>,
    /// Lets everybody in.
    open: Arc<InternalAuth>,
    keys: KeysApi,
    issue_token: IssueToken,
    payments: PaymentReceived,
    checks: bool,
}

fn secret(text: &str) -> Secret {
    Secret::new("a test's secret", text).unwrap()
}

fn gateway() -> GatewayBuilder {
    Gateway::builder(SecretSet::new(secret(TOKEN)).previous(secret(PREVIOUS)))
        .route("photo", "GET /api/photos/{id}")
        .route("data", "POST /api/data/{id}")
        // Whatever is declared, they stay closed.
        .route("any", "* /{all}")
        .route("two", "* /{all}/{id}")
}

impl Shop {
    fn new(gateway: Option<Gateway>) -> Self {
        let master = BootstrapKeys::new().key(Role::Master, secret(MASTER));
        let store = Arc::new(MemoryStore::new());
        let keys = Arc::new(ApiKeys::new(store.clone()).bootstrap(master));
        let mut builder = Validator::builder()
            .access_tokens(AccessTokens::hs256(TOKENS).unwrap())
            .api_keys(keys.clone());
        if let Some(gateway) = gateway {
            builder = builder.gateway(gateway);
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let internal = SecretSet::new(secret(INTERNAL));
        let issuance = IssuanceSecrets::new(&internal);
        let internal = InternalAuth::builder().shared_secret(internal).build().unwrap();
        Self {
            validator: builder.build().unwrap(),
            internal: Arc::new(internal),
            open: Arc::new(InternalAuth::builder().dangerous_allow_anyone().build().unwrap()),
            keys: KeysApi::new(store.clone(), keys.clone()),
            issue_token: IssueToken::new(store.clone(), keys, issuance),
            payments: PaymentReceived::new(store, clock),
            checks: true,
        }
    }

    fn without_checks(mut self) -> Self {
        self.checks = false;
        self
    }

    fn axum(&self) -> Router {
        let auth = AuthLayer::new(self.validator.clone());
        let router = GUARDED.iter().fold(Router::new(), |router, (method, path)| {
            let method: http::Method = method.parse().unwrap();
            let filter = axum::routing::MethodFilter::try_from(method).unwrap();
            router.route(path, axum::routing::on(filter, axum_handler))
        });
        let router = router.route_layer(auth).route("/open", any(async || "open"));
        let (issue, payments) = (self.issue_token.clone(), self.payments.clone());
        let router = match self.checks {
            true => router
                .merge(on_axum::internal_routes(self.internal.clone(), issue, payments))
                .merge(on_axum::keys_routes(self.validator.clone(), self.keys.clone())),
            false => router
                .merge(on_axum::internal_routes(self.open.clone(), issue.clone(), payments))
                .route("/issue", on_axum::dangerous_issue_token(issue))
                .merge(on_axum::dangerous_keys_routes(self.keys.clone())),
        };
        on_axum::with_problem_fallbacks(router, self.validator.responder())
    }

    fn actix(&self) -> Routes {
        let auth = AuthMiddleware::new(self.validator.clone());
        let routes = GUARDED.iter().fold(Routes::new(), |routes, (method, path)| {
            routes.route(path, method.parse().unwrap(), actix_web::web::to(actix_handler))
        });
        let routes = routes.each(|route| route.wrap(auth.clone()));
        let routes = routes.get("/open", async || "open");
        let (issue, payments) = (self.issue_token.clone(), self.payments.clone());
        match self.checks {
            true => routes
                .merge(on_actix::internal_routes(self.internal.clone(), issue, payments))
                .merge(on_actix::keys_routes(self.validator.clone(), self.keys.clone())),
            false => routes
                .merge(on_actix::internal_routes(self.open.clone(), issue.clone(), payments))
                .route(
                    "/issue",
                    actix_web::http::Method::POST,
                    on_actix::dangerous_issue_token(issue),
                )
                .merge(on_actix::dangerous_keys_routes(self.keys.clone())),
        }
    }

    /// Both, each behind a socket.
    async fn serve(&self) -> [SocketAddr; 2] {
        let shop = self.clone();
        serve_both(self.axum(), move || shop.actix(), self.validator.responder()).await
    }
}

async fn axum_handler(
    identity: Identity,
    request: axum::extract::Request,
) -> Result<String, Rejection> {
    echo(&identity, request.uri().path(), request.headers().keys().map(|name| name.as_str()))
}

async fn actix_handler(identity: Identity, request: HttpRequest) -> Result<String, Rejection> {
    echo(&identity, request.path(), request.headers().keys().map(|name| name.as_str()))
}

/// What a handler sees. A path that ends with `not-paid` asks for a plan that nobody has.
fn echo<'a>(
    identity: &Identity,
    path: &str,
    headers: impl Iterator<Item = &'a str>,
) -> Result<String, Rejection> {
    if path.ends_with("not-paid") {
        Policy::plan("gold").check(identity)?;
    }
    Policy::resource("whatever-the-route-is-about").check(identity)?;
    let watched = |name: &&str| {
        name.starts_with("x-key0-")
            || ["authorization", "x-api-key", "cookie", "payment-signature"].contains(name)
    };
    let mut seen: Vec<_> = headers.filter(watched).collect();
    seen.sort_unstable();
    let call = identity.gateway();
    let payment = call.and_then(|call| call.claimed_payment()).map(|payment| {
        json!([payment.plan_id(), payment.tx_hash(), payment.amount(), payment.payer()])
    });
    let route = call.map(|call| call.route_id());
    Ok(json!({
        "kind": format!("{:?}", identity.kind()),
        "route": route,
        "payment": payment,
        "seen": seen,
    })
    .to_string())
}

/// A request, and what it must be answered: a status, and the route of a success or the code of a
/// refusal.
type Row = (&'static str, &'static [(&'static str, &'static str)], u16, &'static str);

const GATE: (&str, &str) = ("x-key0-internal-token", TOKEN);
const BAD: (&str, &str) = ("x-key0-internal-token", "a secret that nobody has, of good length");
const EMPTY: (&str, &str) = ("x-key0-internal-token", "");
const BUYER: (&str, &str) = ("authorization", "Bearer a.b.c");
const KEY: (&str, &str) = ("x-api-key", MASTER);
const BY_INTERNAL: (&str, &str) = ("x-internal-auth", INTERNAL);
const DENIED: &str = "insufficient_permissions";
const WRONG: &str = "invalid_internal_auth";

async fn run(shop: &Shop, rows: &[Row]) {
    for address in shop.serve().await {
        for (line, headers, status, told) in rows {
            let (method, path) = line.split_once(' ').unwrap();
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Bytes::new()).unwrap();
            let response = http1::send(address, request).await;
            let case = format!("{line} {headers:?} at {address}");
            assert_eq!(response.status(), *status, "{case}: {:?}", response.body());
            let proxied = headers.iter().any(|(name, _)| *name == GATE.0);
            let body: Value = match serde_json::from_slice(response.body()) {
                Ok(body) => body,
                Err(_) if method == "HEAD" => continue,
                Err(_) => panic!("{case}: {:?}", response.body()),
            };
            if *status == 200 {
                assert_eq!(
                    (&body["route"], &body["kind"]),
                    (&json!(told), &json!("Gateway")),
                    "{case}"
                );
                assert_eq!(body["seen"], json!([]), "{case}");
            } else {
                assert_eq!(body["code"], *told, "{case}");
                assert_eq!(media_type(response.headers()), media_type_for(proxied), "{case}");
            }
        }
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    headers["content-type"].to_str().unwrap()
}

fn media_type_for(proxied: bool) -> &'static str {
    if proxied { "application/json" } else { "application/problem+json" }
}

#[tokio::test]
async fn a_good_token_opens_what_is_declared_and_nothing_else() {
    let rows: &[Row] = &[
        // 1: the secret, the current one or a previous one, exactly once.
        ("GET /api/photos/1", &[GATE], 200, "photo"),
        ("GET /api/photos/1", &[(GATE.0, PREVIOUS)], 200, "photo"),
        ("GET /api/photos/1", &[BAD], 401, WRONG),
        ("GET /api/photos/1", &[EMPTY], 401, WRONG),
        ("GET /api/photos/1", &[GATE, GATE], 401, WRONG),
        ("GET /api/photos/1", &[GATE, BAD], 401, WRONG),
        ("GET /api/photos/1", &[(GATE.0, INTERNAL)], 401, WRONG),
        ("GET /api/photos/1", &[], 401, "missing_credential"),
        // 2: declared routes alone.
        ("HEAD /api/photos/1", &[GATE], 200, "photo"),
        ("POST /api/data/1", &[GATE], 200, "data"),
        ("GET /api/data/1", &[GATE], 403, DENIED),
        ("GET /api/photos/%31", &[GATE], 200, "photo"),
        ("GET /api/photos/a%2Fb", &[GATE], 200, "photo"),
        ("GET /api/photos/%2e%2e", &[GATE], 403, DENIED),
        ("GET /api/photos/%00", &[GATE], 403, DENIED),
        ("GET /credential", &[GATE], 403, DENIED),
        ("GET /purchases", &[GATE], 403, DENIED),
        ("GET /audit", &[GATE], 403, DENIED),
        ("GET /v1/orders", &[GATE], 403, DENIED),
        ("GET /keys", &[GATE], 403, DENIED),
        ("GET /keys", &[GATE, KEY], 403, DENIED),
        ("GET /keys", &[BAD, KEY], 401, WRONG),
        ("POST /internal/issue-token", &[GATE], 401, WRONG),
        ("POST /internal/issue-token", &[("x-internal-auth", TOKEN)], 401, WRONG),
        ("POST /internal/payment-received", &[GATE], 401, WRONG),
        // 3: what is said of the payment is ignored.
        ("GET /api/photos/1", &[GATE, ("x-key0-plan-id", "data")], 200, "photo"),
        (
            "GET /api/photos/1",
            &[GATE, ("x-key0-plan-id", ""), ("x-key0-plan-id", "x")],
            200,
            "photo",
        ),
        // 4 and 5: other credentials are not looked at, and nothing of them reaches a handler.
        ("GET /api/photos/1", &[GATE, BUYER, KEY], 200, "photo"),
        ("GET /api/photos/1", &[GATE, BUYER, BUYER, ("x-api-key", "a b")], 200, "photo"),
        (
            "GET /api/photos/1",
            &[GATE, ("cookie", "a=b"), ("payment-signature", "x"), ("x-key0-payer", "x")],
            200,
            "photo",
        ),
        ("GET /api/photos/1", &[BAD, KEY], 401, WRONG),
        ("GET /v1/orders", &[KEY, ("x-key0-payer", "x"), ("x-key0-plan-id", "photo")], 403, DENIED),
        // 6: refusals as JSON, whoever makes them: the guard, the handler, the router.
        ("GET /api/photos/not-paid", &[GATE], 403, DENIED),
        ("GET /nowhere", &[GATE], 404, "not_found"),
        ("GET /nowhere", &[], 404, "not_found"),
        ("DELETE /api/photos/1", &[GATE], 405, "method_not_allowed"),
        ("DELETE /api/photos/1", &[], 405, "method_not_allowed"),
        ("GET /api/photos/not-paid", &[BUYER], 401, "invalid_token"),
    ];
    let shop = Shop::new(Some(gateway().build().unwrap()));
    run(&shop, rows).await;
    // Key0 itself opens the internal endpoints, by a secret of its own.
    for address in shop.serve().await {
        let request = Request::post("/internal/issue-token").header(GATE.0, GATE.1);
        let request = request.header(BY_INTERNAL.0, BY_INTERNAL.1).body(Bytes::new()).unwrap();
        assert_eq!(http1::send(address, request).await.status(), 415);
    }
}

#[tokio::test]
async fn a_trusted_payment_must_name_the_route_that_was_paid_for() {
    const PHOTO: (&str, &str) = ("x-key0-plan-id", "photo");
    const DATA: (&str, &str) = ("x-key0-plan-id", "data");
    let rows: &[Row] = &[
        ("GET /api/photos/1", &[GATE, PHOTO], 200, "photo"),
        ("POST /api/data/1", &[GATE, DATA], 200, "data"),
        ("POST /api/data/1", &[GATE, PHOTO], 403, DENIED),
        ("GET /api/photos/1", &[GATE, DATA], 403, DENIED),
        ("GET /api/photos/1", &[GATE], 403, DENIED),
        ("GET /api/photos/1", &[GATE, ("x-key0-plan-id", "")], 403, DENIED),
        ("GET /api/photos/1", &[GATE, ("x-key0-plan-id", "Photo")], 403, DENIED),
        ("GET /api/photos/1", &[GATE, ("x-key0-plan-id", "unknown")], 403, DENIED),
        ("GET /api/photos/1", &[GATE, PHOTO, PHOTO], 403, DENIED),
        ("GET /api/photos/1", &[GATE, DATA, PHOTO], 403, DENIED),
        ("GET /api/photos/1", &[GATE, PHOTO, ("x-key0-tx-hash", "a b")], 403, DENIED),
        (
            "GET /api/photos/1",
            &[GATE, PHOTO, ("x-key0-tx-hash", "0x1"), ("x-key0-tx-hash", "0x2")],
            403,
            DENIED,
        ),
        ("GET /api/photos/1", &[BAD, PHOTO], 401, WRONG),
        ("GET /keys", &[GATE, ("x-key0-plan-id", "any")], 403, DENIED),
    ];
    let shop = Shop::new(Some(gateway().trust_payment_headers().build().unwrap()));
    run(&shop, rows).await;
    for address in shop.serve().await {
        let request = Request::get("/api/photos/1")
            .header(GATE.0, GATE.1)
            .header("x-key0-plan-id", "photo")
            .header("x-key0-tx-hash", "0xabab")
            .header("x-key0-amount", "0.10 USDC")
            .header("x-key0-payer", "0xcdcd");
        let response = http1::send(address, request.body(Bytes::new()).unwrap()).await;
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["payment"], json!(["photo", "0xabab", "0.10 USDC", "0xcdcd"]));
    }
}

/// Where nothing is checked, the gateway's buyers stay outside all the same.
#[tokio::test]
async fn endpoints_behind_nothing_stay_closed_to_the_gateway() {
    let rows: &[Row] = &[
        ("GET /keys", &[GATE], 403, DENIED),
        ("POST /keys", &[BAD], 403, DENIED),
        ("POST /internal/issue-token", &[GATE], 401, WRONG),
        ("POST /internal/payment-received", &[GATE], 401, WRONG),
    ];
    let shop = Shop::new(Some(gateway().build().unwrap())).without_checks();
    run(&shop, rows).await;
    for address in shop.serve().await {
        for (token, status) in [(Some(GATE), 403), (None, 400)] {
            let mut request = Request::post("/issue").header("content-type", "application/json");
            if let Some((name, value)) = token {
                request = request.header(name, value);
            }
            let request = request.body(Bytes::from_static(b"{}")).unwrap();
            assert_eq!(http1::send(address, request).await.status(), status, "{address}");
        }
        let listed = http1::send(address, Request::get("/keys").body(Bytes::new()).unwrap()).await;
        assert_eq!(listed.status(), 200);
    }
}

/// Without a gateway its token is one header among others, which no handler sees.
#[tokio::test]
async fn without_a_gateway_its_token_means_nothing() {
    for address in Shop::new(None).serve().await {
        let sent = |headers: &[(&str, &str)]| {
            let mut request = Request::get("/api/photos/1");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.body(Bytes::new()).unwrap()
        };
        let response = http1::send(address, sent(&[GATE])).await;
        assert_eq!(response.status(), 401);
        assert_eq!(media_type(response.headers()), media_type_for(false));
        // A master key buys nothing, so the handler's own check refuses it.
        let response = http1::send(address, sent(&[GATE, KEY])).await;
        assert_eq!(response.status(), 403);
    }
}

/// The first guard removes what the second one asks for.
#[tokio::test]
async fn a_request_passes_one_guard_after_the_other() {
    let shop = Shop::new(Some(gateway().build().unwrap()));
    let without = Shop::new(None);
    let other =
        Gateway::builder(SecretSet::new(secret("the secret of another gateway, of theirs")));
    let other = Shop::new(Some(other.route("photo", "GET /api/photos/{id}").build().unwrap()));
    let trusting = Shop::new(Some(gateway().trust_payment_headers().build().unwrap()));
    const PATH: &str = "/api/photos/{id}";
    const PHOTO: (&str, &str) = ("x-key0-plan-id", "photo");
    const DATA: (&str, &str) = ("x-key0-plan-id", "data");
    type Row<'a> = (&'a Shop, &'a [(&'a str, &'a str)], u16, &'a str);
    let rows: &[Row<'_>] = &[
        (&shop, &[GATE], 200, "photo"),
        (&shop, &[GATE, BUYER, KEY], 200, "photo"),
        (&shop, &[BAD], 401, WRONG),
        (&shop, &[GATE, GATE], 401, WRONG),
        // Each guard by its own rules.
        (&trusting, &[GATE, PHOTO], 200, "photo"),
        (&trusting, &[GATE, DATA], 403, DENIED),
        (&trusting, &[GATE], 403, DENIED),
        (&other, &[GATE], 401, WRONG),
        (&without, &[GATE, KEY], 401, "missing_credential"),
    ];
    for (inner, headers, status, told) in rows {
        let [inside, outside] = [inner, &shop].map(|shop| AuthLayer::new(shop.validator.clone()));
        let router = Router::new()
            .route(PATH, axum::routing::get(axum_handler))
            .route_layer(inside)
            .layer(outside);
        let [inside, outside] =
            [inner, &shop].map(|shop| AuthMiddleware::new(shop.validator.clone()));
        let routes = move || {
            let routes = Routes::new().get(PATH, actix_handler);
            let (inside, outside) = (inside.clone(), outside.clone());
            routes.each(move |route| route.wrap(inside.clone()).wrap(outside.clone()))
        };
        for address in serve_both(router, routes, &Responder::default()).await {
            let request = headers.iter().fold(Request::get("/api/photos/1"), |request, header| {
                request.header(header.0, header.1)
            });
            let response = http1::send(address, request.body(Bytes::new()).unwrap()).await;
            let case = format!("{headers:?} at {address}: {:?}", response.body());
            assert_eq!(response.status(), *status, "{case}");
            assert_eq!(media_type(response.headers()), media_type_of(*status), "{case}");
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            let field = if *status == 200 { "route" } else { "code" };
            assert_eq!(body[field], *told, "{case}");
            assert!(*status != 200 || body["seen"] == json!([]), "{case}");
        }
    }
}

fn media_type_of(status: u16) -> &'static str {
    if status == 200 { "text/plain; charset=utf-8" } else { "application/json" }
}

/// Both, each behind a socket.
async fn serve_both(
    router: Router,
    routes: impl Fn() -> Routes + Clone + Send + 'static,
    responder: &Responder,
) -> [SocketAddr; 2] {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let by_axum = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let responder = responder.clone();
    let server =
        HttpServer::new(move || App::new().configure(routes().with_problem_fallbacks(&responder)));
    let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let by_actix = server.addrs()[0];
    tokio::spawn(server.run());
    [by_axum, by_actix]
}

/// An endpoint that is closed to the gateway is so behind a guard as well, which removes the token.
#[tokio::test]
async fn behind_a_guard_the_gateway_is_still_known() {
    let shop = Shop::new(Some(
        gateway()
            .route("issue", "POST /sell/issue")
            .route("paid", "POST /sell/paid")
            .build()
            .unwrap(),
    ));
    let auth = AuthLayer::new(shop.validator.clone());
    let open = key0_auth::InternalAuthLayer::new(shop.open.clone());
    let paid = on_axum::dangerous_payment_received(shop.payments.clone());
    let router = Router::new()
        .route("/sell/issue", on_axum::dangerous_issue_token(shop.issue_token.clone()))
        .route("/sell/paid", paid.route_layer(open))
        .layer(auth);
    let routes = move || {
        let post = actix_web::http::Method::POST;
        let auth = AuthMiddleware::new(shop.validator.clone());
        let open = on_actix::InternalAuthMiddleware::new(shop.open.clone());
        let paid = on_actix::dangerous_payment_received(shop.payments.clone()).wrap(open);
        let issue = on_actix::dangerous_issue_token(shop.issue_token.clone());
        Routes::new()
            .route("/sell/issue", post.clone(), issue)
            .route("/sell/paid", post, paid)
            .each(move |route| route.wrap(auth.clone()))
    };
    for address in serve_both(router, routes, &Responder::default()).await {
        for (path, status, code) in [("/sell/issue", 403, DENIED), ("/sell/paid", 401, WRONG)] {
            let request = Request::post(path).header(GATE.0, GATE.1);
            let request = request.header("content-type", "application/json");
            let response = http1::send(address, request.body("{}".into()).unwrap()).await;
            let case = format!("{path} at {address}: {:?}", response.body());
            assert_eq!(response.status(), status, "{case}");
            assert_eq!(media_type(response.headers()), "application/json", "{case}");
            assert!(String::from_utf8_lossy(response.body()).contains(code), "{case}");
        }
    }
}

/// A path that matches a declared route and leads to another one is not what was declared.
#[tokio::test]
async fn what_is_sold_is_the_route_and_not_its_text() {
    let gateway = Gateway::builder(SecretSet::new(secret(TOKEN)));
    let gateway = gateway.route("photo", "GET /api/photos/{id}").route("one", "GET /books/one");
    let gateway = gateway.route("two", "* /{all}/{id}");
    let shop = Shop::new(Some(gateway.build().unwrap()));
    const PATHS: [&str; 5] = [
        "/api/photos/stats",
        "/api/photos/{id}",
        "/{section}/photos/{id}",
        "/books/{id}",
        "/{section}/{id}",
    ];
    let auth = AuthLayer::new(shop.validator.clone());
    let router = PATHS
        .iter()
        .fold(Router::new(), |router, path| router.route(path, axum::routing::get(axum_handler)));
    let router = router.route_layer(auth);
    let auth = AuthMiddleware::new(shop.validator.clone());
    let routes = move || {
        let routes =
            PATHS.iter().fold(Routes::new(), |routes, path| routes.get(path, actix_handler));
        let auth = auth.clone();
        routes.each(move |route| route.wrap(auth.clone()))
    };
    let [by_axum, by_actix] = serve_both(router, routes, &Responder::default()).await;
    for (path, on_axum, on_actix) in [
        ("/api/photos/1", 200, 200),
        ("/api/photos/1;size=4", 200, 200),
        ("/api/photos/a%2Fb", 200, 200),
        ("/api/photos/a%252Fb", 200, 200),
        ("/api/photos/1/", 404, 404),
        ("/api/photos/stats", 403, 403),
        // actix-web decodes the written-out parts of a path, so that this leads to the same route.
        ("/api/photos/st%61ts", 200, 403),
        ("/%61pi/photos/1", 403, 200),
        ("/other/photos/1", 403, 403),
        ("/api;x/photos/1", 403, 403),
        ("/books/one", 200, 200),
        ("/books/%6Fne", 403, 403),
        ("/books/two", 403, 403),
        // Whatever is declared, some stay closed.
        ("/shop/x", 200, 200),
        ("/v1/x", 403, 403),
        ("/Internal/x", 403, 403),
        ("/%6Beys/x", 403, 403),
    ] {
        for (address, status) in [(by_axum, on_axum), (by_actix, on_actix)] {
            let request = Request::get(path).header(GATE.0, GATE.1).body(Bytes::new()).unwrap();
            let response = http1::send(address, request).await;
            assert_eq!(response.status(), status, "{path} at {address}: {:?}", response.body());
        }
    }
}

#[test]
fn the_routes_of_a_gateway_are_checked() {
    let secrets = || SecretSet::new(secret(TOKEN));
    let fault =
        |id: &str, template: &str| Gateway::builder(secrets()).route(id, template).build().is_err();
    assert!(Gateway::builder(secrets()).build().is_err());
    for bad in ["", "GET", "/api/{id}", "GET api", "GET /a//b", "GET /keys/{id}", "* /Internal/x"] {
        assert!(fault("a", bad), "{bad:?}");
    }
    for closed in ["internal", "keys", "purchases", "v1", "credential"] {
        assert!(fault("a", &format!("GET /{closed}")), "{closed}");
        assert!(fault("a", &format!("GET /{closed}/{{id}}")), "{closed}");
    }
    assert!(fault("", "GET /a") && fault("a b", "GET /a"));
    assert!(!fault("a", "GET /keysmith/{id}"));
    let twice = Gateway::builder(secrets()).route("a", "GET /a").route("a", "GET /b");
    assert_eq!(twice.build().unwrap_err().faults().len(), 1);
}

/// A buyer who comes by himself may send what he likes: no handler takes it for the gateway's.
#[tokio::test]
async fn no_handler_sees_what_buyers_call_the_gateway_s() {
    let now = SystemClock.now();
    let claims = Claims::new(
        "request-1".parse().unwrap(),
        "challenge-1".parse().unwrap(),
        "default".parse().unwrap(),
        "basic".parse().unwrap(),
        "0x1".parse().unwrap(),
        now.plus(Duration::from_secs(600)),
    );
    let token = TokenIssuer::hs256(&secret(TOKENS)).access_token(&claims).unwrap();
    for trusts in [false, true] {
        let gateway = if trusts { gateway().trust_payment_headers() } else { gateway() };
        for address in Shop::new(Some(gateway.build().unwrap())).serve().await {
            let request = ["plan-id", "tx-hash", "amount", "payer", "and-whatever"].iter().fold(
                Request::get("/api/photos/1").header("authorization", format!("Bearer {token}")),
                |request, name| request.header(format!("x-key0-{name}"), "photo"),
            );
            let response = http1::send(address, request.body(Bytes::new()).unwrap()).await;
            assert_eq!(response.status(), 200, "{address}: {:?}", response.body());
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            let seen = json!({
                "kind": "AccessToken", "route": null, "payment": null, "seen": ["authorization"],
            });
            assert_eq!(body, seen, "{address}");
        }
    }
}

/// Each call is a purchase of its own: no buyer gets what another buyer's request was answered.
#[tokio::test]
async fn two_calls_share_no_lasting_id() {
    use tower::{Layer, ServiceExt, service_fn};

    let shop = Shop::new(Some(gateway().build().unwrap()));
    let handler = service_fn(async |request: Request<String>| {
        let identity = request.extensions().get::<Identity>().unwrap();
        Ok::<_, std::convert::Infallible>(http::Response::new(identity.lasting_id()))
    });
    let service = AuthLayer::new(shop.validator).layer(handler);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let request = Request::get("/api/photos/1").header(GATE.0, GATE.1);
        let response = service.clone().oneshot(request.body(String::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
        ids.push(body.to_bytes());
    }
    assert_ne!(ids[0], ids[1]);
}
