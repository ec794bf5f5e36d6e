//! The proof that no route was left open: it must fail for every way to leave one open.

use key0_auth::testing::{Probe, ProbeAnswer, assert_guarded_by};

const BODY: &str = r#"{"status":401,"code":"missing_credential"}"#;

fn refusal() -> ProbeAnswer {
    let headers = [
        ("Content-Type", "application/problem+json"),
        ("Cache-Control", "no-store"),
        ("WWW-Authenticate", "Bearer realm=\"api\""),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    ProbeAnswer { status: 401, headers, body: BODY.into() }
}

/// Judges an application that answers so; what is said of it, where it does not pass.
fn judged(
    answer: impl Fn(Probe) -> ProbeAnswer + Send + 'static,
    routes: &'static [(&'static str, &'static str)],
    open: &'static [(&'static str, &'static str)],
) -> Result<(), String> {
    let judging = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(assert_guarded_by(async |probe| answer(probe), routes, open));
    });
    judging.join().map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().unwrap().to_string(),
    })
}

#[track_caller]
fn fails(answer: impl Fn(Probe) -> ProbeAnswer + Send + 'static, told: &str) {
    let said = judged(answer, &[("GET", "/a"), ("POST", "/b/{id}/c")], &[("GET", "/open")]);
    let said = said.expect_err(told);
    assert!(said.contains(told), "{told}: {said}");
}

fn guarded(probe: &Probe) -> ProbeAnswer {
    if probe.path == "/open" { ProbeAnswer::new(200, "") } else { refusal() }
}

#[test]
fn guarded_routes_pass() {
    let routes: &[_] = &[("GET", "/a"), ("HEAD", "/a"), ("POST", "/b/{id}/c")];
    assert_eq!(judged(|probe| guarded(&probe), routes, &[("GET", "/open")]), Ok(()));
    for status in [200, 204, 302, 400, 415] {
        let open = move |probe: Probe| match &*probe.path {
            "/open" => ProbeAnswer::new(status, ""),
            _ => guarded(&probe),
        };
        assert_eq!(judged(open, routes, &[("GET", "/open")]), Ok(()), "{status}");
    }
}

#[test]
fn what_is_open_is_named() {
    fails(
        |probe| {
            if probe.path == "/b/x/c" { ProbeAnswer::new(200, "hello") } else { guarded(&probe) }
        },
        "POST /b/{id}/c without a credential: answered 200 \"hello\", not 401",
    );
    for status in [403, 404, 405, 500, 503] {
        fails(
            move |probe| match &*probe.path {
                "/a" => ProbeAnswer { status, ..refusal() },
                _ => guarded(&probe),
            },
            &format!("GET /a without a credential: answered {status}"),
        );
        fails(
            move |probe| match &*probe.path {
                "/open" => ProbeAnswer::new(status, ""),
                _ => guarded(&probe),
            },
            &format!("GET /open should be open, and is answered {status}"),
        );
    }
    fails(|_| refusal(), "GET /open should be open, and is answered 401");
}

/// Whichever bad credential opens, it is told.
#[test]
fn every_bad_credential_is_tried() {
    for (name, value, told) in [
        ("authorization", "Basic", "with another scheme"),
        ("authorization", "Bearer eyJ", "with a token that nobody signed"),
        ("authorization", "Bearer nobody", "with an opaque bearer"),
        ("authorization", "Bearer ak_", "with an unknown key as bearer"),
        ("x-api-key", "ak_", "with an unknown key"),
        ("x-internal-auth", "ak_", "with a wrong internal secret"),
    ] {
        fails(
            move |probe| {
                let sent = |(known, sent): &(&str, &str)| *known == name && sent.starts_with(value);
                match probe.headers.iter().any(sent) {
                    true => ProbeAnswer::new(200, ""),
                    false => guarded(&probe),
                }
            },
            told,
        );
    }
    for (empty, told) in [
        (("authorization", "Bearer "), "with an empty bearer"),
        (("x-internal-auth", ""), "with an empty internal secret"),
    ] {
        fails(
            move |probe| match probe.headers.contains(&empty) {
                true => ProbeAnswer::new(200, ""),
                false => guarded(&probe),
            },
            told,
        );
    }
}

#[test]
fn a_refusal_of_another_form_is_none() {
    for (missing, told) in [
        ("WWW-Authenticate", "has no challenge"),
        ("Cache-Control", "may be kept by caches"),
        ("Content-Type", "is no application/problem+json"),
    ] {
        fails(
            move |probe| {
                let mut answer = guarded(&probe);
                answer.headers.retain(|(name, _)| name != missing);
                answer
            },
            told,
        );
    }
    for body in ["", "{}", r#"{"status":401}"#, r#"{"status":403,"code":"x"}"#] {
        fails(
            move |probe| match guarded(&probe) {
                answer if answer.status == 401 => ProbeAnswer { body: body.into(), ..answer },
                answer => answer,
            },
            "is no problem of this crate",
        );
    }
}

#[test]
fn a_proof_of_nothing_is_none() {
    let said = judged(|_| refusal(), &[], &[("GET", "/open")]).unwrap_err();
    assert!(said.contains("no route is listed"), "{said}");
    let said = judged(|_| refusal(), &[("GET", "/a/{id")], &[]).unwrap_err();
    assert!(said.contains("a brace that is not closed"), "{said}");
}

#[cfg(feature = "axum")]
mod in_axum {
    use axum::{Router, routing::get};
    use key0_auth::{
        ApiKeys, AuthLayer, InternalAuth, InternalAuthLayer, MemoryStore, Validator,
        api::KeysApi,
        axum::{keys_routes, with_problem_fallbacks},
        domain::{Secret, SecretSet},
        testing::{TokenSigner, assert_guarded},
    };
    use std::sync::Arc;

    const ROUTES: &[(&str, &str)] = &[
        ("GET", "/photos/{id}"),
        ("HEAD", "/photos/{id}"),
        ("POST", "/internal/payment-received"),
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("DELETE", "/keys/{id}"),
    ];

    fn app(late: Router) -> Router {
        let keys = Arc::new(ApiKeys::new(Arc::new(MemoryStore::new())));
        let validator = Validator::builder()
            .access_tokens(TokenSigner::new().access_tokens())
            .api_keys(keys.clone())
            .build()
            .unwrap();
        let secret = Secret::new("internal", "an internal secret of these tests").unwrap();
        let internal = InternalAuth::builder().shared_secret(SecretSet::new(secret));
        let internal = InternalAuthLayer::new(internal.build().unwrap());
        let received = axum::routing::post(async || "received");
        let router = Router::new()
            .route("/photos/{id}", get(async || "a photo"))
            .route_layer(AuthLayer::new(validator.clone()))
            .merge(
                Router::new().route("/internal/payment-received", received).route_layer(internal),
            )
            .merge(keys_routes(validator.clone(), KeysApi::new(Arc::new(MemoryStore::new()), keys)))
            .route("/health", get(async || "fine"))
            .merge(late);
        with_problem_fallbacks(router, validator.responder())
    }

    #[tokio::test]
    async fn a_router_is_proved() {
        assert_guarded(app(Router::new()), ROUTES, &[("GET", "/health")]).await;
    }

    /// What axum's users fall for: a route that is added after the layer.
    #[tokio::test]
    #[should_panic(
        expected = "GET /late without a credential: answered 200 \"forgotten\", not 401"
    )]
    async fn a_route_after_the_layer_is_found() {
        let late = Router::new().route("/late", get(async || "forgotten"));
        assert_guarded(app(late), &[ROUTES, &[("GET", "/late")]].concat(), &[]).await;
    }
}

#[cfg(feature = "actix")]
mod in_actix {
    use actix_web::{
        App, HttpResponse,
        body::to_bytes,
        http::Method,
        test::{TestRequest, call_service, init_service},
        web,
    };
    use key0_auth::{
        Validator,
        actix::AuthMiddleware,
        testing::{ProbeAnswer, TokenSigner, assert_guarded_by},
    };

    #[actix_web::test]
    async fn an_application_is_proved() {
        prove(true).await;
    }

    #[actix_web::test]
    #[should_panic(expected = "GET /photos/{id} with an unknown key: answered 200")]
    async fn a_scope_without_its_middleware_is_found() {
        prove(false).await;
    }

    async fn prove(guarded: bool) {
        let tokens = TokenSigner::new().access_tokens();
        let validator = Validator::builder().access_tokens(tokens).build().unwrap();
        let photo = web::get().to(async || HttpResponse::Ok().body("a photo"));
        let photos = web::resource("/photos/{id}").route(photo);
        let app = App::new().route("/health", web::get().to(HttpResponse::Ok));
        macro_rules! judge {
            ($app:expr) => {{
                let app = init_service($app).await;
                assert_guarded_by(
                    async |probe| {
                        let method = Method::from_bytes(probe.method.as_bytes()).unwrap();
                        let request = TestRequest::with_uri(&probe.path).method(method);
                        let headers = probe.headers.into_iter();
                        let request = headers.fold(request, TestRequest::append_header);
                        let response = call_service(&app, request.to_request()).await;
                        let text = |value: &actix_web::http::header::HeaderValue| {
                            value.to_str().unwrap().to_owned()
                        };
                        let headers = response.headers().iter();
                        let headers = headers.map(|(name, value)| (name.to_string(), text(value)));
                        ProbeAnswer {
                            status: response.status().as_u16(),
                            headers: headers.collect(),
                            body: to_bytes(response.into_body()).await.unwrap().to_vec(),
                        }
                    },
                    &[("GET", "/photos/{id}")],
                    &[("GET", "/health")],
                )
                .await;
            }};
        }
        if guarded {
            judge!(app.service(photos.wrap(AuthMiddleware::new(validator))));
        } else {
            judge!(app.service(photos));
        }
    }
}
