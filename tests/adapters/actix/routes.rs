//! Extractors, and routes whose callers are told of the path, the method and the credential in
//! this order.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    App,
    dev::{Payload, ServiceRequest},
    error::PayloadError,
    http::Method,
    middleware::{Next, from_fn},
    test::{TestRequest, call_service, init_service},
    web::{self, Path},
};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyDataStream;
use key0_auth::{
    ApiKeys, Identity, MemoryStore, Policy, RejectionKind,
    actix::{
        InternalAuthMiddleware, Routes, dangerous_issue_token, dangerous_keys_routes,
        dangerous_payment_received, internal_routes, keys_routes,
    },
    api::{IssueToken, KeysApi, PaymentReceived},
    apikey::IssuanceSecrets,
    auth::{InternalCaller, InternalStrategy, Responder},
    domain::{Claims, Secret, SecretSet, SystemClock},
};

use crate::actix::{
    INTERNAL_SECRET, MASTER_KEY, auth, bearer, internal, kind, store as store_of_tests, text,
    token, validator,
};

fn at(method: &str, path: &str, credential: Option<&str>) -> TestRequest {
    let request = match credential {
        Some(credential) => bearer(credential),
        None => TestRequest::default(),
    };
    request.uri(path).method(method.parse::<Method>().unwrap())
}

#[actix_web::test]
async fn extractors_hand_out_what_the_middlewares_proved() {
    let app = App::new()
        .route(
            "/identity",
            web::get().to(async |who: Identity| who.subject().to_owned()).wrap(auth()),
        )
        .route(
            "/claims",
            web::get().to(async |claims: Claims| claims.tx_hash().to_string()).wrap(auth()),
        )
        .route(
            "/maybe",
            web::get()
                .to(async |who: Option<Identity>| who.is_some().to_string())
                .wrap(auth().optional()),
        )
        .route(
            "/internal",
            web::get()
                .to(async |caller: InternalCaller| {
                    assert_eq!(caller.strategy(), InternalStrategy::SharedSecret);
                    ""
                })
                .wrap(InternalAuthMiddleware::new(internal())),
        );
    let app = init_service(app).await;
    let token = token("basic");
    for (path, credential, body) in [
        ("/identity", Some(&*token), "request-1"),
        ("/identity", Some(MASTER_KEY), "bootstrap-master-0bd4454a"),
        ("/claims", Some(&token), "0xabc"),
        ("/maybe", Some(&token), "true"),
        ("/maybe", None, "false"),
        ("/internal", Some(INTERNAL_SECRET), ""),
    ] {
        let response = call_service(&app, at("GET", path, credential).to_request()).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(text(response).await, body, "{path}");
    }
    let no_token = call_service(&app, at("GET", "/claims", Some(MASTER_KEY)).to_request()).await;
    assert_eq!(no_token.status(), 403);
    assert_eq!(kind(&no_token), Some(RejectionKind::InsufficientPermissions));
}

/// A route that was left out of the middleware is the program's fault, not the caller's.
#[actix_web::test]
async fn without_a_middleware_it_is_our_own_fault() {
    // Where nobody listens to the log, a debug build says it in the body.
    let log = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
    let _listening = tracing::subscriber::set_default(log);
    let app = App::new()
        .route("/identity", web::get().to(async |_: Identity| ""))
        .route("/claims", web::get().to(async |_: Claims| ""))
        .route("/internal", web::get().to(async |_: InternalCaller| ""))
        .route("/maybe", web::get().to(async |who: Option<Identity>| who.is_some().to_string()));
    let app = init_service(app).await;
    let token = token("basic");
    for path in ["/identity", "/claims", "/internal"] {
        for credential in [None, Some(&*token), Some("a.b.c")] {
            let response = call_service(&app, at("GET", path, credential).to_request()).await;
            assert_eq!(response.status(), 500, "{path}");
            assert!(!response.headers().contains_key("www-authenticate"));
            assert_eq!(kind(&response), Some(RejectionKind::Internal));
            let body = text(response).await;
            assert!(body.contains(r#""code":"internal_error""#), "{body}");
            assert!(!body.contains("iddleware") && !body.contains(path), "{body}");
        }
    }
    let maybe = call_service(&app, at("GET", "/maybe", Some(&token)).to_request()).await;
    assert_eq!(text(maybe).await, "false");
}

/// The fault is logged where it becomes an answer, and only there: an `Option` is no fault.
#[cfg(feature = "tracing")]
#[actix_web::test]
async fn a_route_without_a_middleware_is_told_of_in_the_log() {
    use std::{io, sync::Mutex};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = App::new()
        .route("/photos/{id}", web::get().to(async |_: Identity| ""))
        .route("/maybe", web::get().to(async |who: Option<Identity>| who.is_some().to_string()));
    let app = init_service(app).await;
    call_service(&app, at("GET", "/maybe", None).to_request()).await;
    assert!(log.0.lock().unwrap().is_empty());
    call_service(&app, at("GET", "/photos/1", Some(&token("basic"))).to_request()).await;
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("GET /photos/{id} is not behind an AuthMiddleware"), "{logged}");
    assert_eq!(logged.lines().count(), 1, "{logged}");
}

fn sold() -> Routes {
    let auth = auth();
    Routes::new()
        .get("/photos/{id}", async |_: Identity| "photo")
        .route("/photos/{id}", Method::PATCH, web::to(async |_: Identity| ""))
        .each(move |route| route.wrap(auth.clone()))
}

#[actix_web::test]
async fn path_then_method_then_credential() {
    let inner = Routes::new()
        .post("/issue", async |_: InternalCaller| "")
        .each(|route| route.wrap(InternalAuthMiddleware::new(internal())));
    let responder = Responder::default();
    let app = App::new()
        .service(web::scope("/internal").configure(inner.with_problem_fallbacks(&responder)))
        .service(web::scope("/v1").configure(sold().with_problem_fallbacks(&responder)))
        .configure(sold().with_problem_fallbacks(&responder));
    let app = init_service(app).await;
    let token = token("basic");
    for (method, path, credential, status, allow) in [
        ("GET", "/nowhere", None, 404, None),
        ("GET", "/", Some("a.b.c"), 404, None),
        ("DELETE", "/internal/nowhere", None, 404, None),
        ("GET", "/v1/nowhere", None, 404, None),
        ("DELETE", "/photos/1", None, 405, Some("GET,HEAD,PATCH")),
        ("DELETE", "/photos/1", Some("a.b.c"), 405, Some("GET,HEAD,PATCH")),
        ("DELETE", "/photos/1", Some(&*token), 405, Some("GET,HEAD,PATCH")),
        ("OPTIONS", "/v1/photos/1", None, 405, Some("GET,HEAD,PATCH")),
        ("GET", "/internal/issue", None, 405, Some("POST")),
        ("HEAD", "/internal/issue", None, 405, Some("POST")),
        ("GET", "/photos/1", None, 401, None),
        ("HEAD", "/v1/photos/1", None, 401, None),
        ("PATCH", "/photos/1", None, 401, None),
        ("POST", "/internal/issue", None, 401, None),
        ("GET", "/v1/photos/1", Some(&token), 200, None),
        ("HEAD", "/photos/1", Some(&token), 200, None),
    ] {
        let response = call_service(&app, at(method, path, credential).to_request()).await;
        let case = format!("{method} {path} {credential:?}");
        assert_eq!(response.status(), status, "{case}");
        let headers = response.headers();
        let told = headers.get("allow").map(|value| value.to_str().unwrap());
        assert_eq!(told, allow, "{case}");
        let code = match status {
            404 => "not_found",
            405 => "method_not_allowed",
            _ => continue,
        };
        assert_eq!(headers.get("content-type").unwrap(), "application/problem+json", "{case}");
        assert_eq!(headers.get("cache-control").unwrap(), "no-store", "{case}");
        assert!(!headers.contains_key("www-authenticate"), "{case}");
        assert!(kind(&response).is_some(), "{case}");
        let body = text(response).await;
        assert!(body.contains(&format!(r#""code":"{code}""#)), "{case}: {body}");
    }
}

/// What comes later is not wrapped, paths that stand twice are one, and the first handler wins.
#[actix_web::test]
async fn the_order_of_building_matters() {
    let auth = auth();
    let later = Routes::new()
        .get("/photos", async || "later")
        .delete("/photos", async || "deleted")
        .get("/open", async || "open");
    let routes = Routes::new()
        .post("/photos", async || "posted")
        .get("/photos", async || "first")
        .each(|route| route.wrap(auth.clone()))
        .merge(later);
    assert!(format!("{routes:?}").contains("/photos"));
    let routes = routes.with_problem_fallbacks(&Responder::default());
    let app = init_service(App::new().configure(routes)).await;
    let token = token("basic");
    for (method, path, credential, status, body) in [
        ("GET", "/photos", Some(&*token), 200, "first"),
        ("POST", "/photos", Some(&token), 200, "posted"),
        ("GET", "/photos", None, 401, "missing_credential"),
        ("POST", "/photos", None, 401, "missing_credential"),
        ("DELETE", "/photos", None, 200, "deleted"),
        ("GET", "/open", None, 200, "open"),
    ] {
        let response = call_service(&app, at(method, path, credential).to_request()).await;
        assert_eq!(response.status(), status, "{method} {path}");
        let told = text(response).await;
        assert!(told.contains(body), "{method} {path}: {told}");
    }
    let response = call_service(&app, at("PUT", "/photos", None).to_request()).await;
    assert_eq!(response.headers().get("allow").unwrap(), "POST,GET,HEAD,DELETE");
}

#[actix_web::test]
async fn a_policy_in_a_handler_checks_the_decoded_id() {
    let auth = auth();
    let photo = async |id: Path<String>, who: Identity| {
        Policy::resource(id.as_str()).check(&who).map(|()| id.into_inner())
    };
    let routes = Routes::new().get("/{id}", photo).each(|route| route.wrap(auth.clone()));
    let routes = routes.with_problem_fallbacks(&Responder::default());
    let app = init_service(App::new().configure(routes)).await;
    let token = token("basic");
    for (path, credential, status) in [
        ("/photo-1", &*token, 200),
        ("/photo%2D1", &token, 200),
        ("/photo-2", &token, 403),
        ("/photo-1", MASTER_KEY, 403),
    ] {
        let response = call_service(&app, at("GET", path, Some(credential)).to_request()).await;
        assert_eq!(response.status(), status, "{path}");
    }
}

/// A body of 8 KiB at a time that has no end. Nobody may want to see it.
struct Endless(usize);

impl Body for Endless {
    type Data = Bytes;
    type Error = PayloadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PayloadError>>> {
        self.0 += 1;
        assert!(self.0 < 64, "half a MiB was read");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 8 * 1024])))))
    }
}

/// Whatever is announced, no more is read than an endpoint takes.
#[actix_web::test]
async fn a_body_without_an_end_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let received = PaymentReceived::new(store.clone(), Arc::new(SystemClock));
    let keys = KeysApi::new(store.clone(), ApiKeys::new(store));
    let routes = dangerous_keys_routes(keys)
        .route("/paid", Method::POST, dangerous_payment_received(received))
        .with_problem_fallbacks(&Responder::default());
    let endless = from_fn(|mut request: ServiceRequest, next: Next<_>| {
        let payload = Box::pin(BodyDataStream::new(Endless(0)));
        request.set_payload(Payload::Stream { payload });
        next.call(request)
    });
    let app = init_service(App::new().configure(routes).wrap(endless)).await;
    for path in ["/paid", "/keys", "/keys/some-id/rotate"] {
        let request = at("POST", path, None).insert_header(("content-type", "application/json"));
        let response = call_service(&app, request.to_request()).await;
        assert_eq!(kind(&response), Some(RejectionKind::BodyTooLarge), "{path}");
    }
}

/// The keys API is for masters, unless it is said otherwise.
#[actix_web::test]
async fn keys_are_managed_by_masters_alone_unless_it_is_said_otherwise() {
    let store = Arc::new(MemoryStore::new());
    let keys = KeysApi::new(store.clone(), ApiKeys::new(store));
    let guarded = keys_routes(validator(&store_of_tests()), keys.clone());
    let responder = Responder::default();
    let app = App::new().configure(guarded.with_problem_fallbacks(&responder)).service(
        web::scope("/open")
            .configure(dangerous_keys_routes(keys).with_problem_fallbacks(&responder)),
    );
    let app = init_service(app).await;
    let new = serde_json::json!({"role": "read"});
    for (path, credential, status) in [
        ("/keys", None, 401),
        ("/keys", Some(&*token("basic")), 403),
        ("/keys", Some(MASTER_KEY), 201),
        ("/open/keys", None, 201),
        ("/open/keys", Some("a.b.c"), 201),
    ] {
        let request = at("POST", path, credential).set_json(&new).to_request();
        assert_eq!(call_service(&app, request).await.status(), status, "{path} {credential:?}");
    }
    for (path, credential, status) in
        [("/keys", None, 401), ("/keys", Some(MASTER_KEY), 200), ("/open/keys", None, 200)]
    {
        let response = call_service(&app, at("GET", path, credential).to_request()).await;
        assert_eq!(response.status(), status, "{path}");
        let listed: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(listed["keys"].as_array().map(Vec::len), (status == 200).then_some(3));
    }
}

/// The endpoints behind what is given, and behind nothing where that is asked for.
#[actix_web::test]
async fn the_internal_endpoints_are_guarded_unless_it_is_said_otherwise() {
    let payments = Arc::new(MemoryStore::new());
    let secret = SecretSet::new(Secret::new("issuance", INTERNAL_SECRET).unwrap());
    let keys = ApiKeys::new(payments.clone());
    let issue = IssueToken::new(payments.clone(), keys, IssuanceSecrets::new(&secret));
    let received = PaymentReceived::new(payments, Arc::new(SystemClock));
    let responder = Responder::default();
    let guarded = internal_routes(internal(), issue.clone(), received.clone());
    let open = Routes::new()
        .route("/open/issue-token", Method::POST, dangerous_issue_token(issue.clone()))
        .route("/open/payment-received", Method::POST, dangerous_payment_received(received));
    let app = App::new()
        .configure(guarded.merge(open).with_problem_fallbacks(&responder))
        .route("/plain", dangerous_issue_token(issue));
    let app = init_service(app).await;
    let order = serde_json::json!({
        "requestId": "request-1",
        "challengeId": "challenge-1",
        "resourceId": "photo-1",
        "planId": "basic",
        "txHash": "0x1",
    });
    let post = |path: &str, credential| at("POST", path, credential).set_json(&order).to_request();
    for endpoint in ["issue-token", "payment-received"] {
        let path = format!("/internal/{endpoint}");
        let refused = call_service(&app, post(&path, None)).await;
        assert_eq!(kind(&refused), Some(RejectionKind::InvalidInternalAuth));
        let answer = call_service(&app, post(&path, Some(INTERNAL_SECRET))).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers().get("cache-control").unwrap(), "no-store");
        let answer = text(answer).await;
        let open = call_service(&app, post(&format!("/open/{endpoint}"), None)).await;
        assert_eq!((open.status().as_u16(), text(open).await), (200, answer));
    }
    // The route brings its method along.
    assert_eq!(call_service(&app, post("/plain", None)).await.status(), 200);
    let by_get = call_service(&app, at("GET", "/plain", None).to_request()).await;
    assert_eq!(by_get.status(), 404);
}
