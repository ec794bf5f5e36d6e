//! What a middleware lets through to the handler, and what of it.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use actix_web::{
    App, HttpMessage, HttpRequest, HttpResponse,
    dev::{Payload, ServiceRequest},
    error::PayloadError,
    http::{Method, Version},
    middleware::{Next, from_fn},
    test::{TestRequest, call_service, init_service, read_body},
    web,
};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyDataStream;
use key0_auth::{
    AccessTokens, ApiKeys, InternalAuth, Policy, RejectionKind, Validator,
    actix::{AuthMiddleware, InternalAuthMiddleware},
    auth::{Fallback, FallbackError, FallbackGrant, IdentityKind, InternalStrategy, Source},
    domain::{Credential, Secret, SecretSet},
};

use crate::actix::{
    INTERNAL_SECRET, MASTER_KEY, TOKEN_SECRET, auth, bearer, identity, internal, kind, outcome,
    payment_key, preflight, request, see, store, token, validator,
};

#[actix_web::test]
async fn the_identity_is_handed_on() {
    let store = store();
    let auth = AuthMiddleware::new(validator(&store));
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
        (
            request(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]),
            Err(RejectionKind::MalformedCredential),
        ),
    ] {
        assert_eq!(identity(&auth, request).await, wanted);
    }
}

/// Panics when anything is asked of it.
#[derive(Debug)]
struct Untouchable;

impl Body for Untouchable {
    type Data = Bytes;
    type Error = PayloadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PayloadError>>> {
        panic!("the body was read");
    }
}

#[actix_web::test]
async fn a_refusal_reads_no_body_and_asks_nobody() {
    let store = store();
    let key = payment_key(&store, "basic");
    let auth = AuthMiddleware::new(validator(&store)).policy(Policy::plan("gold"));
    let asked = async |_: web::Bytes| -> HttpResponse { panic!("asked") };
    let untouchable = |mut request: ServiceRequest| {
        let payload = Box::pin(BodyDataStream::new(Untouchable));
        request.set_payload(Payload::Stream { payload });
        request
    };
    let app = App::new()
        .service(web::resource("/internal").wrap(InternalAuthMiddleware::new(internal())).to(asked))
        .default_service(web::to(asked).wrap(auth))
        .wrap(from_fn(move |request, next: Next<_>| next.call(untouchable(request))));
    let app = init_service(app).await;
    for (request, status) in [
        (request(&[]), 401),
        (bearer("a.b.c"), 401),
        (bearer(key.expose()), 403),
        (bearer(store.add_unreachable().expose()), 503),
        (TestRequest::with_uri("/internal"), 401),
    ] {
        assert_eq!(call_service(&app, request.to_request()).await.status(), status);
    }
}

#[actix_web::test]
async fn a_request_body_reaches_the_handler_as_it_was() {
    let store = store();
    let key = payment_key(&store, "basic");
    let auth = AuthMiddleware::new(validator(&store));
    let app = App::new().default_service(web::to(async |body: String| body).wrap(auth));
    let app = init_service(app).await;
    for credential in [token("basic"), key.expose().to_owned()] {
        let request = bearer(&credential).set_payload("as it was").to_request();
        assert_eq!(actix_web::test::call_and_read_body(&app, request).await, "as it was");
    }
}

#[actix_web::test]
async fn a_token_is_validated_at_once_and_a_key_when_the_store_answers() {
    let store = store();
    let key = payment_key(&store, "basic");
    let auth = AuthMiddleware::new(validator(&store));
    let app = App::new().default_service(web::to(async || "inner").wrap(auth));
    let app = init_service(app).await;
    store.hold();
    let mut cx = Context::from_waker(Waker::noop());

    let mut by_token = pin!(call_service(&app, bearer(&token("basic")).to_request()));
    assert!(by_token.as_mut().poll(&mut cx).is_ready());

    let mut by_key = pin!(call_service(&app, bearer(key.expose()).to_request()));
    for _ in 0..2 {
        assert!(by_key.as_mut().poll(&mut cx).is_pending());
    }
    // While it waits, others are served; one that is not waited for any more holds nobody up.
    {
        let mut given_up = pin!(call_service(&app, bearer(key.expose()).to_request()));
        assert!(given_up.as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!(call_service(&app, bearer(&token("basic")).to_request()).await.status(), 200);
    store.release();
    assert_eq!(by_key.await.status(), 200);
}

#[actix_web::test]
async fn in_an_outage_keys_get_503_and_tokens_pass() {
    let store = store();
    let key = payment_key(&store, "basic");
    let auth = AuthMiddleware::new(validator(&store)).optional();
    store.set_down(true);
    let answer = crate::actix::answer(|route| route.wrap(auth.clone()), bearer(key.expose())).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers().get("retry-after").unwrap(), "1");
    assert!(!answer.headers().contains_key("www-authenticate"));
    let body = crate::actix::text(answer).await;
    assert!(!body.contains("cable"), "{body}");

    for (request, wanted) in [
        (bearer(&token("basic")), Ok(Some(IdentityKind::AccessToken))),
        (request(&[("x-api-key", MASTER_KEY)]), Ok(Some(IdentityKind::BootstrapKey))),
        (bearer("ak_mistyped"), Err(RejectionKind::InvalidApiKey)),
        (request(&[]), Ok(None)),
    ] {
        assert_eq!(identity(&auth, request).await, wanted);
    }
    store.set_down(false);
    assert_eq!(identity(&auth, bearer(key.expose())).await, Ok(Some(IdentityKind::PaymentKey)));
}

/// Knows `known`, fails on `fail`, and has never heard of anything else.
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
            _ => Ok(None),
        }
    }
}

#[actix_web::test]
async fn a_fallback_decides_or_fails() {
    let tokens = AccessTokens::hs256(TOKEN_SECRET).unwrap();
    let validator = Validator::builder().access_tokens(tokens).fallback(Moody).build().unwrap();
    let auth = AuthMiddleware::new(validator);
    for (credential, wanted) in [
        ("known", Ok(Some(IdentityKind::Fallback))),
        ("fail", Err(RejectionKind::StoreUnavailable)),
        ("unheard-of", Err(RejectionKind::InvalidToken)),
    ] {
        assert_eq!(identity(&auth, bearer(credential)).await, wanted);
    }
}

#[actix_web::test]
async fn gateway_headers_never_get_through() {
    let store = store();
    let key = payment_key(&store, "basic");
    let with = |request: TestRequest| {
        let headers = [
            ("X-Key0-Internal-Token", "forged"),
            ("x-key0-tx-hash", "0x1"),
            ("X-KEY0-PLAN-ID", "gold"),
            ("x-key0-plan-id", "gold too"),
            ("x-key0-", "nothing"),
            ("x-key0", "no gateway's"),
            ("x-request-id", "kept"),
        ];
        headers.into_iter().fold(request, |request, header| request.append_header(header))
    };
    let auth = AuthMiddleware::new(validator(&store));
    let optional = auth.clone().optional();
    let preflights = auth.clone().allow_preflight();
    let by_secret = request(&[("x-internal-auth", INTERNAL_SECRET)]);
    let by_key = request(&[("x-api-key", key.expose())]);
    let internal = InternalAuthMiddleware::new(internal());
    for (way, seen) in [
        ("required", outcome(|r| r.wrap(auth.clone()), with(bearer(&token("basic")))).await),
        ("looked up", outcome(|r| r.wrap(auth.clone()), with(by_key)).await),
        ("anonymous", outcome(|r| r.wrap(optional), with(request(&[]))).await),
        ("preflight", outcome(|r| r.wrap(preflights), with(preflight())).await),
        ("internal", outcome(|r| r.wrap(internal), with(by_secret)).await),
    ] {
        let headers = &seen.unwrap().headers;
        let gateway: Vec<_> =
            headers.keys().filter(|name| name.as_str().starts_with("x-key0-")).collect();
        assert!(gateway.is_empty(), "{way}: {gateway:?}");
        assert_eq!(headers.get("x-request-id").unwrap(), "kept", "{way}");
        assert_eq!(headers.get("x-key0").unwrap(), "no gateway's", "{way}");
    }
}

#[actix_web::test]
async fn credentials_are_marked_as_sensitive() {
    let bearer_token = format!("Bearer {}", token("basic"));
    let headers = [("authorization", &*bearer_token), ("x-other", "shown")];
    let seen = outcome(|route| route.wrap(auth()), request(&headers)).await.unwrap();
    assert!(seen.headers.get("authorization").unwrap().is_sensitive());
    assert!(!seen.headers.get("x-other").unwrap().is_sensitive());
    let by_key = request(&[("x-api-key", MASTER_KEY)]);
    let seen = outcome(|route| route.wrap(auth()), by_key).await.unwrap();
    assert!(!seen.request.contains(MASTER_KEY), "{}", seen.request);
    let by_secret = request(&[("x-internal-auth", INTERNAL_SECRET)]);
    let internal = InternalAuthMiddleware::new(internal());
    let seen = outcome(|route| route.wrap(internal), by_secret).await.unwrap();
    assert!(!seen.request.contains(INTERNAL_SECRET), "{}", seen.request);
}

#[actix_web::test]
async fn optional_lets_nobody_in_with_a_bad_credential() {
    let auth = auth().optional();
    let gold_only_here = auth.clone().policy_fn(|request: &HttpRequest| {
        request.path().starts_with("/photos/").then(|| Policy::plan("gold"))
    });
    let elsewhere = TestRequest::with_uri("/open");
    for (auth, request, wanted) in [
        (&auth, request(&[]), Ok(None)),
        (&auth, request(&[("authorization", "Basic dTpw")]), Ok(None)),
        (&auth, bearer(&token("basic")), Ok(Some(IdentityKind::AccessToken))),
        (&auth, bearer("a.b.c"), Err(RejectionKind::InvalidToken)),
        (&auth, request(&[("x-api-key", "ak_no")]), Err(RejectionKind::InvalidApiKey)),
        (&auth, bearer("a b"), Err(RejectionKind::MalformedCredential)),
        (
            &auth.clone().policy(Policy::plan("gold")),
            request(&[]),
            Err(RejectionKind::MissingCredential),
        ),
        (&gold_only_here, request(&[]), Err(RejectionKind::MissingCredential)),
        (&gold_only_here, bearer(&token("gold")), Ok(Some(IdentityKind::AccessToken))),
        (&gold_only_here, elsewhere, Ok(None)),
    ] {
        assert_eq!(identity(auth, request).await, wanted, "{auth:?}");
    }
}

#[actix_web::test]
async fn only_a_preflight_is_a_preflight() {
    let origin = ("origin", "https://shop.example");
    let asked = ("access-control-request-method", "GET");
    let options = |headers: &[(&str, &str)]| request(headers).method(Method::OPTIONS);
    let nonsense = ("authorization", "Bearer a.b.c");
    let untold = || preflight().version(Version::HTTP_2).set_payload("a body");

    let missing = Err(RejectionKind::MissingCredential);
    assert_eq!(identity(&auth(), preflight()).await, missing);
    let auth = auth().policy(Policy::plan("gold")).allow_preflight();
    for (request, wanted) in [
        (preflight(), Ok(None)),
        (options(&[origin, asked, nonsense]), Ok(None)),
        (options(&[asked]), missing),
        (options(&[origin]), missing),
        (options(&[asked, ("origin", "")]), missing),
        (options(&[origin, ("access-control-request-method", " ")]), missing),
        (options(&[origin, asked, ("content-length", "1")]), missing),
        (options(&[origin, asked, ("transfer-encoding", "chunked")]), missing),
        (preflight().method(Method::GET), missing),
        // Over HTTP/2 a body needs no header.
        (preflight().version(Version::HTTP_2), Ok(None)),
    ] {
        assert_eq!(identity(&auth, request).await, wanted);
    }
    // Whoever has a credential may send one, and all of it arrives.
    let echo = AuthMiddleware::new(validator(&store())).allow_preflight();
    let untell = |mut request: ServiceRequest, next: Next<_>| {
        request.headers_mut().remove("content-length");
        next.call(request)
    };
    let route = web::to(|body: web::Bytes| async { body }).wrap(echo).wrap(from_fn(untell));
    let app = init_service(App::new().default_service(route)).await;
    assert_eq!(call_service(&app, untold().to_request()).await.status(), 401);
    let sent = untold().insert_header(("x-api-key", MASTER_KEY)).to_request();
    assert_eq!(read_body(call_service(&app, sent).await).await, "a body");
    let empty = preflight().version(Version::HTTP_2).to_request();
    assert_eq!(call_service(&app, empty).await.status(), 200);
    // No credential reaches the handler.
    let with_both = options(&[origin, asked, nonsense, ("x-api-key", "a key")]);
    let seen = outcome(|route| route.wrap(auth.clone()), with_both).await.unwrap();
    assert!(!seen.headers.contains_key("authorization") && !seen.headers.contains_key("x-api-key"));
}

#[actix_web::test]
async fn every_policy_must_hold_on_both_ways() {
    let store = store();
    let auth = AuthMiddleware::new(validator(&store)).policy(Policy::plan("gold")).policy_fn(
        |request: &HttpRequest| Policy::resource(request.path().trim_start_matches('/')),
    );
    let [basic, gold] = ["basic", "gold"].map(|plan| payment_key(&store, plan));
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
        assert_eq!(identity(&auth, bearer(credential).uri(path)).await, wanted, "{path}");
    }
}

/// A policy sees the parameters of the path that the route has matched.
#[actix_web::test]
async fn a_policy_can_ask_for_what_the_path_says() {
    let auth = auth().policy_fn(|request: &HttpRequest| {
        Policy::resource(request.match_info().get("id").unwrap_or_default())
    });
    let route = web::get().to(async || "photo").wrap(auth);
    let app = init_service(App::new().service(web::resource("/photos/{id}").route(route))).await;
    for (path, status) in [("/photos/photo-1", 200), ("/photos/photo-2", 403)] {
        let request = bearer(&token("basic")).uri(path).to_request();
        assert_eq!(call_service(&app, request).await.status(), status, "{path}");
    }
}

#[actix_web::test]
async fn the_innermost_middleware_s_identity_is_the_handler_s() {
    let store = store();
    let all = AuthMiddleware::new(validator(&store));
    let keys_alone = Validator::builder()
        .api_keys(ApiKeys::new(store.clone()))
        .sources([Source::ApiKeyHeader])
        .build()
        .unwrap();
    let keys_alone = AuthMiddleware::new(keys_alone).optional();
    let key = payment_key(&store, "basic");
    let by_key = || request(&[("x-api-key", key.expose())]);
    let nested = |inner: &AuthMiddleware, outer: &AuthMiddleware, request| {
        let (inner, outer) = (inner.clone(), outer.clone());
        async {
            let outcome = outcome(|route| route.wrap(inner).wrap(outer), request).await;
            outcome.unwrap().identity.as_ref().map(key0_auth::Identity::kind)
        }
    };
    // The outer middleware was content, the inner one saw no credential of its own.
    assert_eq!(nested(&keys_alone, &all, bearer(&token("basic"))).await, None);
    // The other way round the inner one has validated itself.
    let seen = nested(&all, &keys_alone, bearer(&token("basic"))).await;
    assert_eq!(seen, Some(IdentityKind::AccessToken));
    assert_eq!(nested(&keys_alone, &all, by_key()).await, Some(IdentityKind::PaymentKey));
}

#[actix_web::test]
async fn an_identity_that_was_there_before_is_gone() {
    let seen = outcome(|route| route.wrap(auth()), bearer(&token("gold"))).await.unwrap();
    let stale = seen.identity.clone().unwrap();
    let optional = auth().optional().allow_preflight();
    for (auth, request, wanted) in [
        (&optional, request(&[]), None),
        (&optional, preflight(), None),
        (&auth(), request(&[("x-api-key", MASTER_KEY)]), Some(IdentityKind::BootstrapKey)),
    ] {
        let stale = stale.clone();
        let put = from_fn(move |request: ServiceRequest, next: Next<_>| {
            request.extensions_mut().insert(stale.clone());
            next.call(request)
        });
        let seen = outcome(|route| route.wrap(auth.clone()).wrap(put), request).await.unwrap();
        assert_eq!(seen.identity.as_ref().map(key0_auth::Identity::kind), wanted);
    }
}

#[actix_web::test]
async fn an_internal_caller_is_validated_by_the_header_that_was_set() {
    let secret = SecretSet::new(Secret::new("internal", INTERNAL_SECRET).unwrap());
    let builder = InternalAuth::builder().shared_secret(secret).header("X-Key0-Secret");
    let auth = InternalAuthMiddleware::new(Arc::new(builder.build().unwrap()));
    let good = request(&[("x-key0-secret", INTERNAL_SECRET)]);
    let seen = outcome(|route| route.wrap(auth.clone()), good).await.unwrap();
    let strategy = seen.caller.map(|caller| caller.strategy());
    assert_eq!(strategy, Some(InternalStrategy::SharedSecret));
    assert!(seen.identity.is_none());
    assert!(!seen.headers.contains_key("x-key0-secret"));
    let seen = outcome(|route| route.wrap(auth.clone()), bearer(INTERNAL_SECRET)).await.unwrap();
    assert!(seen.caller.is_some());
    for headers in [
        &[][..],
        &[("x-key0-secret", "")],
        &[("x-key0-secret", "wrong")],
        &[("x-key0-secret", INTERNAL_SECRET), ("x-key0-secret", INTERNAL_SECRET)],
        &[("x-internal-auth", INTERNAL_SECRET)],
    ] {
        let answer = crate::actix::answer(|route| route.wrap(auth.clone()), request(headers)).await;
        assert_eq!(kind(&answer), Some(RejectionKind::InvalidInternalAuth));
        assert_eq!(answer.status(), 401);
        let challenge = answer.headers().get("www-authenticate").unwrap();
        assert_eq!(challenge, "Bearer realm=\"internal\"");
    }
}

#[actix_web::test]
async fn around_an_app_a_scope_or_a_resource_it_refuses_first() {
    let photo = async || "photo";
    let guarded = App::new()
        .service(web::resource("/resource").wrap(auth()).route(web::get().to(photo)))
        .service(web::scope("/scope").wrap(auth()).route("/photo", web::get().to(photo)))
        .service(web::resource("/route").route(web::get().to(photo).wrap(auth())));
    let guarded = init_service(guarded).await;
    for (method, path, status) in [
        (Method::PUT, "/resource", 401),
        (Method::GET, "/scope/nowhere", 401),
        (Method::PUT, "/scope/photo", 401),
        (Method::PUT, "/route", 405),
        (Method::GET, "/route", 401),
        (Method::GET, "/nowhere", 404),
    ] {
        let request = TestRequest::with_uri(path).method(method).to_request();
        assert_eq!(call_service(&guarded, request).await.status(), status, "{path}");
    }
    let all = init_service(App::new().route("/", web::get().to(photo)).wrap(auth())).await;
    for path in ["/", "/nowhere"] {
        let request = TestRequest::with_uri(path).to_request();
        assert_eq!(call_service(&all, request).await.status(), 401, "{path}");
    }
}

#[actix_web::test]
async fn a_policy_by_path_is_asked_for_the_path_that_the_router_sees() {
    let auth = auth().policy_at("/private/{tail}*", Policy::plan("gold"));
    let app = App::new()
        .service(web::resource("/private/{id}").route(web::get().to(see).wrap(auth.clone())))
        .service(web::resource("/open/{id}").route(web::get().to(see).wrap(auth)));
    let app = init_service(app).await;
    let token = token("basic");
    for (path, status) in [
        ("/private/a", 403),
        ("/%70rivate/a", 403),
        ("/private/%2570", 403),
        ("/open/a", 200),
        ("/open/%70rivate", 200),
    ] {
        let request = bearer(&token).uri(path).to_request();
        assert_eq!(call_service(&app, request).await.status(), status, "{path}");
    }
}

/// actix-web lets nobody change a request that somebody else holds.
#[actix_web::test]
async fn a_request_that_is_held_outside_is_answered() {
    let app =
        App::new().service(web::resource("/{id}").route(web::get().to(see).wrap(auth()).wrap(
            from_fn(async |request: ServiceRequest, next: Next<_>| {
                let held = request.request().clone();
                let answer = next.call(request).await;
                drop(held);
                answer
            }),
        )));
    let app = init_service(app).await;
    let good = || bearer(&token("basic")).uri("/a");
    assert_eq!(call_service(&app, good().to_request()).await.status(), 200);
    assert_eq!(call_service(&app, TestRequest::with_uri("/a").to_request()).await.status(), 401);
    // It can't be taken off, and must not get through.
    let forged = good().append_header(("x-key0-payer", "0x1")).to_request();
    assert_eq!(call_service(&app, forged).await.status(), 500);
}

#[actix_web::test]
async fn what_a_credential_opens_is_kept_from_shared_caches() {
    let own = async || {
        let vary = ("vary", "x-api-key, Authorization");
        HttpResponse::Ok()
            .insert_header(("cache-control", "max-age=60"))
            .insert_header(vary)
            .finish()
    };
    let app = App::new()
        .route("/plain", web::get().to(async || "").wrap(auth()))
        .route("/own", web::get().to(own).wrap(auth()))
        .route("/maybe", web::get().to(async || "").wrap(auth().optional()));
    let app = init_service(app).await;
    let token = token("basic");
    for (path, credential, cache, vary) in [
        ("/plain", Some(&*token), Some("private"), Some("Authorization, X-Api-Key")),
        ("/own", Some(&*token), Some("max-age=60"), Some("x-api-key, Authorization")),
        ("/maybe", Some(&*token), Some("private"), Some("Authorization, X-Api-Key")),
        ("/maybe", None, None, Some("Authorization, X-Api-Key")),
        ("/plain", Some("a.b.c"), Some("no-store"), None),
    ] {
        let request = credential.map_or_else(TestRequest::default, bearer).uri(path);
        let answer = call_service(&app, request.to_request()).await;
        let told = |name| {
            let values: Vec<_> = answer.headers().get_all(name).collect();
            assert!(values.len() < 2, "{path}");
            values.first().map(|value| value.to_str().unwrap())
        };
        assert_eq!((told("cache-control"), told("vary")), (cache, vary), "{path} {credential:?}");
    }
}

#[cfg(feature = "idempotency")]
#[actix_web::test]
async fn key0_s_retries_get_the_first_answer_in_the_same_form() {
    use key0_auth::{
        MemoryStore, Rejection, actix::IdempotencyMiddleware, idempotency::Idempotency,
    };

    let secret = SecretSet::new(Secret::new("internal", INTERNAL_SECRET).unwrap());
    let internal = InternalAuth::builder().shared_secret(secret).problem_body(crate::actix::Code);
    let internal = InternalAuthMiddleware::new(internal.build().unwrap());
    let idempotency = IdempotencyMiddleware::new(Idempotency::new(Arc::new(MemoryStore::new())));
    let refuse = async || Err::<&str, _>(Rejection::from(RejectionKind::RequestConflict));
    let route = web::post().to(refuse).wrap(idempotency).wrap(internal);
    let app = init_service(App::new().default_service(route)).await;
    for replayed in [false, true] {
        let request = bearer(INTERNAL_SECRET).method(Method::POST);
        let request = request.append_header(("idempotency-key", "k")).to_request();
        let answer = call_service(&app, request).await;
        assert_eq!(answer.status(), 409);
        assert_eq!(answer.headers().contains_key("idempotent-replayed"), replayed);
        assert_eq!(answer.headers().get("content-type").unwrap(), "text/plain");
        assert_eq!(actix_web::test::read_body(answer).await, "request_conflict");
    }
}
