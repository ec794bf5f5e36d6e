//! The proof that no route was left open: it must fail for every way to leave one open.

use key0_auth::{
    RejectionKind,
    testing::{Probe, ProbeAnswer, assert_guarded_by, assert_sold_by},
};

fn refusal() -> ProbeAnswer {
    refused(401, RejectionKind::MissingCredential)
}

fn refused(status: u16, kind: RejectionKind) -> ProbeAnswer {
    ProbeAnswer::new(status, "in a form of its own")
        .header("Cache-Control", "no-store")
        .header("WWW-Authenticate", "Bearer realm=\"api\"")
        .in_process(Some(&kind.into()))
}

/// Validates an application that answers so; what is said of it, where it does not pass.
fn validated(
    answer: impl Fn(Probe) -> ProbeAnswer + Send + 'static,
    routes: &'static [(&'static str, &'static str)],
    open: &'static [(&'static str, &'static str)],
) -> Result<(), String> {
    let validating = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(assert_guarded_by(async |probe| answer(probe), routes, open));
    });
    validating.join().map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().unwrap().to_string(),
    })
}

#[track_caller]
fn fails(answer: impl Fn(Probe) -> ProbeAnswer + Send + 'static, told: &str) {
    let said = validated(answer, &[("GET", "/a"), ("POST", "/b/{id}/c")], &[("GET", "/open")]);
    let said = said.expect_err(told);
    assert!(said.contains(told), "{told}: {said}");
}

fn guarded(probe: &Probe) -> ProbeAnswer {
    if probe.path == "/open" { ProbeAnswer::new(200, "") } else { refusal() }
}

#[test]
fn guarded_routes_pass() {
    let routes: &[_] = &[("GET", "/a"), ("HEAD", "/a"), ("POST", "/b/{id}/c")];
    assert_eq!(validated(|probe| guarded(&probe), routes, &[("GET", "/open")]), Ok(()));
    for status in [200, 204, 302, 400, 415] {
        let open = move |probe: Probe| match &*probe.path {
            "/open" => ProbeAnswer::new(status, ""),
            _ => guarded(&probe),
        };
        assert_eq!(validated(open, routes, &[("GET", "/open")]), Ok(()), "{status}");
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
                "/a" => refused(status, RejectionKind::MissingCredential),
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
                let sent =
                    |(known, sent): &(&str, String)| *known == name && sent.starts_with(value);
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
            move |probe| match probe.headers.contains(&(empty.0, empty.1.to_owned())) {
                true => ProbeAnswer::new(200, ""),
                false => guarded(&probe),
            },
            told,
        );
    }
}

/// The body may be of any form; what makes it a refusal of this crate may not.
#[test]
fn a_refusal_of_another_kind_is_none() {
    for (missing, told) in [
        ("WWW-Authenticate", "the 401 has no challenge"),
        ("Cache-Control", "the 401 may be kept by caches"),
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
    for (rejection, told) in [
        (None, "the 401 is none of this crate"),
        (Some(RejectionKind::NotFound), "the 401 is another refusal's, not_found"),
    ] {
        fails(
            move |probe| match guarded(&probe) {
                answer if answer.status == 401 => {
                    answer.in_process(rejection.map(Into::into).as_ref())
                }
                answer => answer,
            },
            told,
        );
    }
    // Over the wire nobody can tell.
    let by_wire = |probe: Probe| {
        let mut answer = guarded(&probe);
        answer.rejection = None;
        answer
    };
    assert_eq!(validated(by_wire, &[("GET", "/a")], &[]), Ok(()));
}

/// Validates whether an application that answers so sells its one route.
fn sells(answer: fn(&str) -> ProbeAnswer) -> Result<(), String> {
    let validating = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(assert_sold_by(
            async |probe| {
                assert_eq!((&*probe.method, &*probe.path), ("GET", "/photos/x/x"));
                answer(probe.headers[0].1.strip_prefix("Bearer for ").unwrap())
            },
            |resource| format!("for {resource}"),
            &[("GET", "/photos/{id}/{number}")],
        ));
    });
    validating.join().map_err(|panic| *panic.downcast::<String>().unwrap())
}

#[test]
fn a_route_that_asks_for_no_resource_is_named() {
    const DENIED: RejectionKind = RejectionKind::InsufficientPermissions;
    assert_eq!(
        sells(|resource| match resource {
            "x" => ProbeAnswer::new(404, "no photo here"),
            _ => refused(403, DENIED),
        }),
        Ok(())
    );
    type Answers = fn(&str) -> ProbeAnswer;
    let cases: [(Answers, &str); 4] = [
        (
            |_| ProbeAnswer::new(200, "a photo"),
            "GET /photos/{id}/{number} with a credential for another resource: \
             answered 200 \"a photo\", not 403",
        ),
        (|_| refused(403, DENIED), "should let in who has bought `x`, and answered 403"),
        (|_| refused(500, RejectionKind::Internal), "should let in who has bought `x`"),
        (
            |resource| match resource {
                "x" => ProbeAnswer::new(200, "a photo"),
                _ => refused(403, DENIED).in_process(None),
            },
            "the 403 is none of this crate",
        ),
    ];
    for (answer, told) in cases {
        let said = sells(answer).expect_err(told);
        assert!(said.contains(told), "{told}: {said}");
    }
}

#[test]
fn a_proof_of_nothing_is_none() {
    let said = validated(|_| refusal(), &[], &[("GET", "/open")]).unwrap_err();
    assert!(said.contains("no route is listed"), "{said}");
    let said = validated(|_| refusal(), &[("GET", "/a/{id")], &[]).unwrap_err();
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

/// Of an application with refusals in a form of its own, too.
#[cfg(all(feature = "axum", feature = "actix"))]
mod sold {
    use actix_web::{App, web::Path as ActixPath};
    use axum::{Router, extract::Path, routing::get};
    use key0_auth::{
        AuthLayer, Validator,
        actix::{AuthMiddleware, Routes},
        auth::{Problem, ProblemBody},
        testing::{
            TokenSigner, assert_actix_guarded, assert_actix_sold, assert_guarded, assert_sold,
        },
    };

    const ROUTES: &[(&str, &str)] = &[("GET", "/photos/{id}"), ("GET", "/films/{id}")];

    #[derive(Debug)]
    struct Code;

    impl ProblemBody for Code {
        fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
            ("text/plain".into(), problem.code().into())
        }
    }

    fn validator(own_form: bool) -> Validator {
        let validator = Validator::builder().access_tokens(TokenSigner::new().access_tokens());
        let validator = if own_form { validator.problem_body(Code) } else { validator };
        validator.build().unwrap()
    }

    fn credential(resource: &str) -> String {
        TokenSigner::new().token().resource(resource).sign()
    }

    /// Photos are sold; films as the layer says.
    fn by_axum(validator: Validator, films: impl FnOnce(AuthLayer) -> AuthLayer) -> Router {
        let answer = async |Path(id): Path<String>| id;
        let auth = AuthLayer::new(validator);
        let films =
            Router::new().route("/films/{id}", get(answer)).route_layer(films(auth.clone()));
        Router::new().route("/photos/{id}", get(answer)).route_layer(auth.sold("id")).merge(films)
    }

    fn by_actix(films: impl Fn(AuthMiddleware) -> AuthMiddleware, validator: &Validator) -> Routes {
        let answer = async |id: ActixPath<String>| id.into_inner();
        let auth = AuthMiddleware::new(validator.clone());
        let (sold, films) = (auth.clone().sold("id"), films(auth));
        let photos = Routes::new().get("/photos/{id}", answer);
        let films = Routes::new().get("/films/{id}", answer).each(|film| film.wrap(films.clone()));
        photos.each(|photo| photo.wrap(sold.clone())).merge(films)
    }

    #[actix_web::test]
    async fn routes_that_are_sold_pass() {
        for own_form in [false, true] {
            let validator = validator(own_form);
            let app = by_axum(validator.clone(), |auth| auth.sold("id"));
            assert_guarded(app.clone(), ROUTES, &[]).await;
            assert_sold(app, credential, ROUTES).await;
            for sold in [false, true] {
                let routes = by_actix(|auth| auth.sold("id"), &validator);
                let routes = routes.with_problem_fallbacks(validator.responder());
                let app = App::new().configure(routes);
                match sold {
                    false => assert_actix_guarded(app, ROUTES, &[]).await,
                    true => assert_actix_sold(app, credential, ROUTES).await,
                }
            }
        }
    }

    async fn validate_axum(own_form: bool) {
        assert_sold(by_axum(validator(own_form), |auth| auth), credential, ROUTES).await;
    }

    async fn validate_actix(own_form: bool) {
        let validator = validator(own_form);
        let routes = by_actix(|auth| auth, &validator);
        let app = App::new().configure(routes.with_problem_fallbacks(validator.responder()));
        assert_actix_sold(app, credential, ROUTES).await;
    }

    #[tokio::test]
    #[should_panic(expected = "GET /films/{id} with a credential for another resource: answered")]
    async fn a_route_that_is_not_sold_is_named() {
        validate_axum(false).await;
    }

    #[tokio::test]
    #[should_panic(expected = "GET /films/{id} with a credential for another resource: answered")]
    async fn a_route_that_is_not_sold_is_named_whatever_the_form() {
        validate_axum(true).await;
    }

    #[actix_web::test]
    #[should_panic(expected = "GET /films/{id} with a credential for another resource: answered")]
    async fn an_actix_route_that_is_not_sold_is_named() {
        validate_actix(false).await;
    }

    #[actix_web::test]
    #[should_panic(expected = "GET /films/{id} with a credential for another resource: answered")]
    async fn an_actix_route_that_is_not_sold_is_named_whatever_the_form() {
        validate_actix(true).await;
    }

    /// What a proof says where it fails.
    fn said<F: Future<Output = ()>>(proof: impl FnOnce() -> F + Send + 'static) -> String {
        let proving = std::thread::spawn(move || actix_web::rt::System::new().block_on(proof()));
        *proving.join().unwrap_err().downcast::<String>().unwrap()
    }

    /// By either proof, on either framework, in either form.
    #[test]
    fn a_route_that_was_left_without_its_layer_is_named() {
        let routes = || [ROUTES, &[("GET", "/late/{id}")]].concat();
        let late = async || "forgotten";
        for own_form in [false, true] {
            let by_axum = move || {
                by_axum(validator(own_form), |auth| auth.sold("id")).route("/late/{id}", get(late))
            };
            let by_actix = move || {
                let validator = validator(own_form);
                let routes = by_actix(|auth| auth.sold("id"), &validator).get("/late/{id}", late);
                App::new().configure(routes.with_problem_fallbacks(validator.responder()))
            };
            for told in [
                said(move || async move { assert_guarded(by_axum(), &routes(), &[]).await }),
                said(move || async move { assert_sold(by_axum(), credential, &routes()).await }),
                said(move || async move { assert_actix_guarded(by_actix(), &routes(), &[]).await }),
                said(move || async move {
                    assert_actix_sold(by_actix(), credential, &routes()).await;
                }),
            ] {
                assert!(told.contains("GET /late/{id} with"), "{told}");
                assert!(!told.contains("/photos") && !told.contains("/films"), "{told}");
            }
        }
    }

    /// Its guard asks for a parameter that it has not.
    #[tokio::test]
    #[should_panic(expected = "GET /films/{id} should let in who has bought `x`, and answered 500")]
    async fn a_route_without_the_parameter_is_named() {
        let app = by_axum(validator(false), |auth| auth.sold("film"));
        assert_sold(app, credential, ROUTES).await;
    }

    #[actix_web::test]
    #[should_panic(expected = "GET /films/{id} with an unknown key: answered 200")]
    async fn an_actix_route_without_its_middleware_is_named() {
        let answer = async || "a film";
        let app = App::new().route("/films/{id}", actix_web::web::get().to(answer));
        assert_actix_guarded(app, &[("GET", "/films/{id}")], &[]).await;
    }
}
