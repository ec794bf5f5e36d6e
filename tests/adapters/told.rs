//! What logs and an application's own layers are told of a request, on both frameworks.
#![cfg(all(feature = "axum", feature = "actix", feature = "testing"))]

use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use actix_web::{
    App,
    dev::ServiceResponse,
    http::header::AUTHORIZATION,
    test::{TestRequest, call_service, init_service},
};
use axum::{Router, body::Body, routing::get};
use http::Request;
use key0_auth::{
    AccessTokens, ApiKeys, AuthLayer, Identity, InternalAuth, InternalAuthLayer, KeyStore,
    MemoryStore, Rejection, RejectionKind, Validator,
    actix::{AuthMiddleware, Routes},
    api::{HandlerError, PaymentHandler, PaymentReceived},
    apikey::{Grant, KeyFormat, KeyRecord},
    auth::{Caller, InternalCaller},
    domain::{Actor, Clock, KeyId, Role, Secret, SecretSet, SystemClock, Timestamp},
    store::{Payment, spi::SteadyClock},
    testing::{FakeClock, FaultyStore, Mood, TokenSigner},
    token::VerifyingKey,
};
use serde_json::json;
use tower::ServiceExt;
use tracing::Level;

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self, level: Level) -> tracing::subscriber::DefaultGuard {
        // With one subscriber alone, tracing takes what the thread that comes first to a line of the
        // log thinks of it for the last word, and other tests listen to nothing.
        static SECOND: OnceLock<tracing::Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| {
            let all = tracing_subscriber::fmt().with_max_level(Level::TRACE);
            tracing::Dispatch::new(all.with_writer(io::sink).finish())
        });
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn take(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    /// The one line there is, which must hold all of this.
    #[track_caller]
    fn assert_one(&self, parts: &[&str]) {
        let lines = self.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in parts {
            assert!(lines[0].contains(part), "{part}: {lines:?}");
        }
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A validator, its store, and a key that opens `photo-1`.
async fn shop() -> (Validator, Arc<FaultyStore<MemoryStore>>, String) {
    let store = FaultyStore::new(MemoryStore::new());
    let key = KeyFormat::default().generate().unwrap();
    let grant = Grant::Payment {
        resource_id: "photo-1".parse().unwrap(),
        plan_id: "basic".parse().unwrap(),
        permissions: None,
    };
    let record = KeyRecord::new(KeyId::generate(), &key, grant, SystemClock.now());
    store.insert(&record, &Actor::host()).await.unwrap();
    let validator = Validator::builder()
        .access_tokens(TokenSigner::new().access_tokens())
        .api_keys(ApiKeys::new(store.clone()))
        .build()
        .unwrap();
    (validator, store, key.expose().to_owned())
}

/// The status, who the response says it was, and why it was refused.
type Told = (u16, Option<String>, Option<RejectionKind>);

async fn by_axum(validator: &Validator, path: &str, credential: &str) -> Told {
    let auth = AuthLayer::new(validator.clone());
    let refuse = async || Rejection::new(RejectionKind::NotForSale);
    let router: Router = Router::new()
        .route("/photos/{id}", get(async || "a photo"))
        .route_layer(auth.clone().sold("id"))
        .route("/refuses", get(refuse).route_layer(auth.clone()))
        .route("/open", get(async |_: Identity| "fine").route_layer(auth.optional()));
    let request = Request::builder().uri(path).header("authorization", credential);
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let extensions = response.extensions();
    let caller = extensions.get::<Caller>().map(Caller::to_string);
    (response.status().as_u16(), caller, extensions.get().map(Rejection::kind))
}

async fn by_actix(validator: &Validator, path: &str, credential: &str) -> Told {
    let auth = AuthMiddleware::new(validator.clone());
    let (sold, optional) = (auth.clone().sold("id"), auth.clone().optional());
    let refuse = async || Rejection::new(RejectionKind::NotForSale);
    let sold = Routes::new()
        .get("/photos/{id}", async || "a photo")
        .each(|route| route.wrap(sold.clone()));
    let open = Routes::new()
        .get("/open", async |_: Identity| "fine")
        .each(|route| route.wrap(optional.clone()));
    let routes = Routes::new().get("/refuses", refuse).each(|route| route.wrap(auth.clone()));
    let routes = routes.merge(sold).merge(open);
    let app = App::new().configure(routes.with_problem_fallbacks(validator.responder()));
    let app = init_service(app).await;
    let request = TestRequest::with_uri(path).insert_header((AUTHORIZATION, credential));
    let response: ServiceResponse = call_service(&app, request.to_request()).await;
    let extensions = response.response().extensions();
    let caller = extensions.get::<Caller>().map(Caller::to_string);
    (response.status().as_u16(), caller, extensions.get().map(Rejection::kind))
}

#[actix_web::test]
async fn a_refusal_is_told_with_its_code_and_its_caller() {
    let (validator, _, key) = shop().await;
    let token = TokenSigner::new().token().resource("photo-2").bearer();
    let key = format!("Bearer {key}");
    let log = Log::default();
    let _listening = log.listen(Level::DEBUG);
    for axum in [true, false] {
        let send = async |path: &str, credential: &str| match axum {
            true => by_axum(&validator, path, credential).await,
            false => by_actix(&validator, path, credential).await,
        };
        let token_caller = Some("access_token test-request".to_owned());
        let kind = RejectionKind::InsufficientPermissions;
        assert_eq!(send("/photos/photo-1", &token).await, (403, token_caller.clone(), Some(kind)));
        log.assert_one(&[
            "DEBUG",
            "request refused",
            "code=\"insufficient_permissions\"",
            "caller=access_token test-request",
            "method=\"GET\"",
            "route=\"/photos/{id}\"",
        ]);
        let refused = send("/photos/photo-1", "Bearer a.b.c").await;
        assert_eq!(refused, (401, None, Some(RejectionKind::InvalidToken)));
        log.assert_one(&["DEBUG", "code=\"invalid_token\"", "route=\"/photos/{id}\""]);
        let (status, caller, rejection) = send("/photos/photo-1", &key).await;
        assert_eq!((status, rejection), (200, None));
        let caller = caller.unwrap();
        let parts: Vec<&str> = caller.split(' ').collect();
        assert_eq!((parts[0], parts.len()), ("payment_key", 3), "{caller}");
        assert!(parts[2].starts_with("(ak_") && parts[2].ends_with("…)"), "{caller}");
        assert_eq!(log.take(), [""; 0]);
        // What a handler refuses in the guard's form.
        let refused = send("/refuses", &token).await;
        assert_eq!(refused, (422, token_caller, Some(RejectionKind::NotForSale)));
        log.assert_one(&["DEBUG", "code=\"not_for_sale\"", "caller=access_token test-request"]);
    }
}

/// Who holds a key that is over is known: the secret was right.
#[actix_web::test]
async fn the_holder_of_an_expired_key_is_told() {
    let (validator, store, _) = shop().await;
    let key = KeyFormat::default().generate().unwrap();
    let grant = Grant::Integrator { role: Role::Read, permissions: None };
    let mut record = KeyRecord::new(KeyId::generate(), &key, grant, SystemClock.now());
    record.expires_at = Some(Timestamp::from_seconds(1));
    store.insert(&record, &Actor::host()).await.unwrap();
    let bearer = format!("Bearer {}", key.expose());
    let caller = format!("integrator_key {} ({})", record.id, record.display);
    let told = (401, Some(caller), Some(RejectionKind::KeyExpired));
    // Looked up at first, then remembered.
    for _ in 0..2 {
        assert_eq!(by_axum(&validator, "/photos/photo-1", &bearer).await, told);
        assert_eq!(by_actix(&validator, "/photos/photo-1", &bearer).await, told);
    }
}

/// So is whose token it was: by its signature. Where more than its time is against it, nobody is named.
#[actix_web::test]
async fn the_holder_of_an_expired_token_is_told() {
    let secret = Secret::new("secret", "a secret that signs the tokens of this test").unwrap();
    let tokens = || AccessTokens::builder().key(VerifyingKey::hs256(&secret));
    for tokens in [tokens(), tokens().remember_verified(10)] {
        let clock = FakeClock::new();
        let signer = TokenSigner::with(secret.clone()).clock(clock.clone());
        let tokens = tokens.build().unwrap();
        let validator =
            Validator::builder().access_tokens(tokens).clock(clock.clone()).build().unwrap();
        let refused =
            |who: Option<&str>| (401, who.map(str::to_owned), Some(RejectionKind::TokenExpired));
        let holder = refused(Some("access_token test-request"));
        let expired = signer.token().resource("photo-1").expired();
        for (token, told) in [
            (expired.clone(), holder.clone()),
            (expired.clone().claim("aud", "somebody-else"), refused(None)),
            (expired.clone().claim("cnf", json!({"jkt": "x"})), refused(None)),
            (expired.claim("planId", "system"), refused(None)),
        ] {
            let bearer = token.bearer();
            assert_eq!(by_axum(&validator, "/photos/photo-1", &bearer).await, told);
            assert_eq!(by_actix(&validator, "/photos/photo-1", &bearer).await, told);
        }
        // One that was good before.
        let bearer = signer.token().resource("photo-1").bearer();
        assert_eq!(by_axum(&validator, "/photos/photo-1", &bearer).await.0, 200);
        clock.advance(Duration::from_secs(2 * 60 * 60));
        assert_eq!(by_axum(&validator, "/photos/photo-1", &bearer).await, holder);
        assert_eq!(by_actix(&validator, "/photos/photo-1", &bearer).await, holder);
    }
}

/// An outage is told once for each request, with its cause; all else only to who asks for it.
#[actix_web::test]
async fn an_outage_is_told_with_its_cause_and_good_times_are_quiet() {
    let (validator, store, key) = shop().await;
    let key = format!("Bearer {key}");
    let unknown = KeyFormat::default().generate().unwrap();
    let unknown = format!("Bearer {}", unknown.expose());
    let log = Log::default();
    let _listening = log.listen(Level::WARN);
    assert_eq!(by_axum(&validator, "/photos/photo-1", &key).await.0, 200);
    assert_eq!(by_axum(&validator, "/photos/photo-2", &key).await.0, 403);
    assert_eq!(by_actix(&validator, "/photos/photo-1", "Bearer a.b.c").await.0, 401);
    assert_eq!(by_actix(&validator, "/photos/photo-1", &key).await.0, 200);
    assert_eq!(log.take(), [""; 0]);
    store.set(Mood::Fails);
    for axum in [true, false, true] {
        let answered = match axum {
            true => by_axum(&validator, "/photos/photo-1", &unknown).await,
            false => by_actix(&validator, "/photos/photo-1", &unknown).await,
        };
        assert_eq!(answered, (503, None, Some(RejectionKind::StoreUnavailable)));
        log.assert_one(&[
            "ERROR",
            "request could not be handled",
            "code=\"store_unavailable\"",
            "cause=\"the store",
            "route=\"/photos/{id}\"",
        ]);
    }
}

/// A middleware fails between the one that keeps answers, which looks at what it says, and the guard.
#[cfg(feature = "idempotency")]
#[actix_web::test]
async fn a_failure_that_is_rendered_twice_is_told_once() {
    use actix_web::{
        HttpResponse,
        body::MessageBody,
        dev::ServiceRequest,
        middleware::{Next, from_fn},
        test::try_call_service,
    };
    use key0_auth::{actix::IdempotencyMiddleware, idempotency::Idempotency};

    async fn fails(
        _: ServiceRequest,
        _: Next<impl MessageBody>,
    ) -> Result<ServiceResponse, actix_web::Error> {
        Err(Rejection::from(RejectionKind::StoreUnavailable).into())
    }
    let (validator, ..) = shop().await;
    let once = IdempotencyMiddleware::new(Idempotency::new(Arc::new(MemoryStore::new())));
    let auth = AuthMiddleware::new(validator);
    let routes = Routes::new().post("/orders", async || "an order");
    let routes =
        routes.each(|route| route.wrap(from_fn(fails)).wrap(once.clone()).wrap(auth.clone()));
    let app = App::new().configure(routes.with_problem_fallbacks(&Default::default()));
    let app = init_service(app).await;
    let log = Log::default();
    let _listening = log.listen(Level::WARN);
    for key in [None, Some("1")] {
        let token = TokenSigner::new().token().resource("photo-1").bearer();
        let mut request = TestRequest::post().uri("/orders").insert_header((AUTHORIZATION, token));
        if let Some(key) = key {
            request = request.insert_header(("idempotency-key", key));
        }
        let error = try_call_service(&app, request.to_request()).await.unwrap_err();
        let response: HttpResponse = error.error_response();
        assert_eq!(response.status(), 503);
        log.assert_one(&["ERROR", "request could not be handled", "code=\"store_unavailable\""]);
    }
}

/// Behind an optional layer nobody is at fault who sends no credential but the caller.
#[actix_web::test]
async fn an_identity_behind_an_optional_guard_is_asked_of_the_caller() {
    let (validator, ..) = shop().await;
    let log = Log::default();
    let _listening = log.listen(Level::WARN);
    // A scheme of somebody else is no credential of ours.
    let refused = (401, None, Some(RejectionKind::MissingCredential));
    assert_eq!(by_axum(&validator, "/open", "Basic YTpi").await, refused);
    assert_eq!(by_actix(&validator, "/open", "Basic YTpi").await, refused);
    assert_eq!(log.take(), [""; 0]);
}

/// A route whose guard was forgotten says so, once: in the log or, where nobody listens, in a
/// debug build's answer.
#[actix_web::test]
async fn a_forgotten_guard_is_told() {
    let router: Router = Router::new().route("/photos/{id}", get(async |_: Identity| "a photo"));
    let internal =
        SecretSet::new(Secret::new("internal", "an internal secret, 32 bytes long").unwrap());
    let internal = InternalAuth::builder().shared_secret(internal).build().unwrap();
    let half: Router = Router::new()
        .route("/half", get(async |_: Identity, _: InternalCaller| "fine"))
        .route_layer(InternalAuthLayer::new(internal));
    let app = App::new().configure(
        Routes::new()
            .get("/photos/{id}", async |_: Identity| "a photo")
            .with_problem_fallbacks(&key0_auth::auth::Responder::default()),
    );
    let app = init_service(app).await;
    let send = async |path: &str, axum: bool| match axum {
        true => {
            let router = if path == "/half" { half.clone() } else { router.clone() };
            let request = Request::builder()
                .uri(path)
                .header("x-internal-auth", "an internal secret, 32 bytes long");
            let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), 500);
            axum::body::to_bytes(response.into_body(), 10_000).await.unwrap()
        }
        false => {
            let request = TestRequest::with_uri(path).to_request();
            let response = call_service(&app, request).await;
            assert_eq!(response.status(), 500);
            actix_web::body::to_bytes(response.into_body()).await.unwrap()
        }
    };
    let told = "is not behind an Auth";
    for (path, axum) in [("/photos/1", true), ("/half", true), ("/photos/1", false)] {
        let body = send(path, axum).await;
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(body.contains(told), cfg!(debug_assertions), "{body}");
        let log = Log::default();
        let listening = log.listen(Level::ERROR);
        let body = send(path, axum).await;
        drop(listening);
        assert!(!String::from_utf8(body.to_vec()).unwrap().contains(told));
        let route = path.replace('1', "{id}");
        log.assert_one(&["ERROR", &format!("GET {route} is not behind an Auth")]);
    }
}

#[derive(Debug)]
struct FailingHandler;

#[key0_auth::async_trait]
impl PaymentHandler for FailingHandler {
    async fn handle(&self, _: &Payment) -> Result<(), HandlerError> {
        // An error that tells its cause, and the cause.
        #[derive(Debug, thiserror::Error)]
        #[error("the ledger is down: {0}")]
        struct Ledger(#[source] io::Error);
        Err(Ledger(io::Error::other("no route\nto host")).into())
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_payments_handler_failed_with_is_told_with_each_cause_once() {
    let log = Log::default();
    let _listening = log.listen(Level::WARN);
    let store = Arc::new(MemoryStore::new());
    let payments = PaymentReceived::with_handler(store, Arc::new(SystemClock), FailingHandler);
    let report = br#"{"challengeId":"c","requestId":"r","resourceId":"p","planId":"basic",
        "txHash":"0xabc"}"#;
    payments.handle(report).await.unwrap();
    while log.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let told = "the ledger is down: no route\\\\nto host";
    log.assert_one(&[
        "WARN",
        "payment handler failed",
        "challenge_id=c",
        &format!("error=\"{told}\""),
    ]);
}

#[test]
fn a_clock_that_jumps_is_told_once_and_when_it_is_believed_again() {
    let (log, wall) = (Log::default(), FakeClock::new());
    let _listening = log.listen(Level::WARN);
    let clock = SteadyClock::new(wall.clone());
    let hour = Duration::from_secs(60 * 60);
    wall.jump_to(wall.now().plus(24 * hour));
    for _ in 0..3 {
        assert_eq!(clock.believed(), None);
    }
    log.assert_one(&["ERROR", "the clock was set", "shown=2026-11-23T", "expected=2026-11-22T"]);
    wall.advance(hour);
    assert!(clock.believed().is_some());
    log.assert_one(&["WARN", "the clock has gone steadily for an hour"]);
}
