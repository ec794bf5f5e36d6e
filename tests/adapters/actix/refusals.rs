//! What a refusal looks like, whoever gives it, and who sees it.

use actix_cors::Cors;
use actix_web::{
    App, Error, HttpResponse, Responder as _,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
    middleware::{Next, from_fn},
    test::{TestRequest, call_service, init_service, try_call_service},
    web,
};
use key0_auth::{
    AccessTokens, Policy, Rejection, RejectionKind, Validator,
    actix::{AuthMiddleware, InternalAuthMiddleware},
    auth::{Problem, ProblemBody, Responder},
    domain::Action,
};

use crate::actix::{
    INTERNAL_SECRET, TOKEN_SECRET, answer, auth, bearer, internal, kind, payment_key, preflight,
    request, store, text, token, validator,
};

#[actix_web::test]
async fn a_refusal_is_a_whole_response() {
    let answer = answer(|route| route.wrap(auth()), request(&[])).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers().get("content-type").unwrap(), "application/problem+json");
    assert_eq!(answer.headers().get("cache-control").unwrap(), "no-store");
    let challenges: Vec<_> = answer.headers().get_all("www-authenticate").collect();
    assert_eq!(challenges, ["Bearer realm=\"api\"", "ApiKey realm=\"api\""]);
    let refused = Rejection::new(RejectionKind::MissingCredential).instance("/photos/1");
    let expected = Responder::default().respond(&refused);
    assert_eq!(text(answer).await.into_bytes(), expected.body);
}

#[actix_web::test]
async fn a_missing_permission_is_named() {
    let auth = auth().policy(Policy::permission("dpp", Action::Create));
    let answer = answer(|route| route.wrap(auth), bearer(&token("basic"))).await;
    assert_eq!(answer.status(), 403);
    assert_eq!(
        answer.headers().get("www-authenticate").unwrap(),
        "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"dpp:create\""
    );
}

/// A body of the application's own, of a media type that it may choose badly.
#[derive(Debug)]
struct Plain(&'static str);

impl ProblemBody for Plain {
    fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
        (self.0.into(), problem.detail().into())
    }
}

fn photos(media_type: &'static str) -> AuthMiddleware {
    let validator = Validator::builder()
        .access_tokens(AccessTokens::hs256(TOKEN_SECRET).unwrap())
        .realm("photos")
        .problem_body(Plain(media_type))
        .build()
        .unwrap();
    AuthMiddleware::new(validator)
}

#[actix_web::test]
async fn realm_words_and_body_are_the_application_s() {
    for (media_type, shown) in [("text/plain", Some("text/plain")), ("text\n/plain", None)] {
        let auth = photos(media_type).wording(|kind| match kind {
            RejectionKind::InvalidToken => Some("Go and buy one"),
            _ => None,
        });
        let refused = answer(|route| route.wrap(auth.clone()), bearer("a.b.c")).await;
        assert_eq!(refused.status(), 401);
        let content_type = refused.headers().get("content-type");
        assert_eq!(content_type.map(|value| value.to_str().unwrap()), shown);
        assert_eq!(
            refused.headers().get("www-authenticate").unwrap(),
            "Bearer realm=\"photos\", error=\"invalid_token\", error_description=\"Go and buy one\""
        );
        assert_eq!(text(refused).await, "Go and buy one");
        let refused = answer(|route| route.wrap(auth), request(&[])).await;
        assert_eq!(text(refused).await, "No credential was sent");
    }
}

/// As a handler would refuse, with headers of its own.
async fn refuse(request: actix_web::HttpRequest) -> HttpResponse {
    let rejection = Rejection::new(RejectionKind::InsufficientPermissions).scope("dpp:read");
    let mut response = rejection.respond_to(&request);
    for (name, value) in [
        ("x-own", "kept"),
        ("allow", "GET"),
        ("content-encoding", "identity"),
        ("content-length", "999"),
    ] {
        let name = HeaderName::from_static(name);
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[actix_web::test]
async fn a_handler_s_refusal_looks_like_the_middleware_s() {
    let bare = init_service(App::new().default_service(web::to(refuse))).await;
    let response = call_service(&bare, request(&[]).to_request()).await;
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
    let rejection = response.response().extensions().get::<Rejection>().unwrap().clone();
    let body = String::from_utf8(Responder::default().respond(&rejection).body).unwrap();
    assert_eq!(text(response).await, body);

    let plain = || photos("text/plain");
    let one = web::to(refuse).wrap(plain());
    // Of two, the inner one decides.
    let nested = web::to(refuse).wrap(plain()).wrap(auth());
    for route in [one, nested] {
        let app = init_service(App::new().default_service(route)).await;
        let response = call_service(&app, bearer(&token("basic")).to_request()).await;
        assert_eq!(response.status(), 403);
        assert_eq!(kind(&response), Some(RejectionKind::InsufficientPermissions));
        let headers = response.headers();
        assert_eq!(headers.get("content-type").unwrap(), "text/plain");
        assert_eq!(headers.get("x-own").unwrap(), "kept");
        assert_eq!(headers.get("allow").unwrap(), "GET");
        assert!(!headers.contains_key("content-encoding"));
        assert!(!headers.contains_key("content-length"));
        for (name, values) in [("www-authenticate", 1), ("cache-control", 1), ("content-type", 1)] {
            assert_eq!(headers.get_all(name).count(), values, "{name}");
        }
        assert_eq!(
            headers.get("www-authenticate").unwrap(),
            "Bearer realm=\"photos\", error=\"insufficient_scope\", scope=\"dpp:read\""
        );
        assert_eq!(text(response).await, "The credential does not grant this");
    }

    let route = web::to(refuse).wrap(InternalAuthMiddleware::new(internal()));
    let app = init_service(App::new().default_service(route)).await;
    let response = call_service(&app, bearer(INTERNAL_SECRET).to_request()).await;
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers().get_all("www-authenticate").count(), 1);
}

/// With `?`, from a handler.
#[actix_web::test]
async fn an_error_of_a_handler_looks_like_the_middleware_s() {
    let fail = async || -> Result<&str, Rejection> { Err(RejectionKind::NotForSale.into()) };
    let app = init_service(
        App::new()
            .service(web::resource("/bare").to(fail))
            .default_service(web::to(fail).wrap(photos("text/plain"))),
    )
    .await;
    let bare = call_service(&app, TestRequest::with_uri("/bare").to_request()).await;
    assert_eq!((bare.status().as_u16(), kind(&bare)), (422, Some(RejectionKind::NotForSale)));
    assert!(text(bare).await.contains(r#""code":"not_for_sale""#));
    let formed = call_service(&app, bearer(&token("basic")).to_request()).await;
    assert_eq!((formed.status().as_u16(), kind(&formed)), (422, Some(RejectionKind::NotForSale)));
    assert_eq!(text(formed).await, "This resource and plan are not for sale");
}

/// Only refusals of ours are rendered again, whatever a response's extensions hold.
#[actix_web::test]
async fn another_response_of_a_handler_stays_as_it_is() {
    let handler = async || {
        let mut response = HttpResponse::ImATeapot().body("short and stout");
        response.extensions_mut().insert(Rejection::from(RejectionKind::Timeout));
        response
    };
    let route = web::to(handler).wrap(photos("text/plain"));
    let app = init_service(App::new().default_service(route)).await;
    let response = call_service(&app, bearer(&token("basic")).to_request()).await;
    assert_eq!(response.status(), 418);
    assert_eq!(text(response).await, "short and stout");
}

/// A middleware between ours and the handler that fails.
async fn fail(
    _: ServiceRequest,
    _: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    Err::<ServiceResponse, _>(Rejection::from(RejectionKind::NotForSale).into())
}

async fn fail_otherwise(
    _: ServiceRequest,
    _: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    Err::<ServiceResponse, _>(actix_web::error::ErrorImATeapot("short and stout"))
}

#[actix_web::test]
async fn an_error_further_inside_stays_an_error_and_takes_our_form() {
    let auth = photos("text/plain");
    let route = || web::to(async || "inner");
    for (route, status, body) in [
        (
            route().wrap(from_fn(fail)).wrap(auth.clone()),
            422,
            "This resource and plan are not for sale",
        ),
        (route().wrap(from_fn(fail_otherwise)).wrap(auth), 418, "short and stout"),
    ] {
        let app = init_service(App::new().default_service(route)).await;
        let error = try_call_service(&app, bearer(&token("basic")).to_request()).await.unwrap_err();
        let response = error.error_response();
        assert_eq!(response.status(), status);
        let told = actix_web::body::to_bytes(response.into_body()).await.unwrap();
        assert_eq!(told, body);
    }
}

/// A browser shows a refusal to a script only with CORS headers, so CORS goes outside.
#[actix_web::test]
async fn a_refusal_has_cors_headers_when_cors_is_outside() {
    let cross_origin = || request(&[("origin", "https://shop.example")]);
    let cors = || Cors::default().allowed_origin("https://shop.example").allowed_methods(["GET"]);
    let name = "access-control-allow-origin";

    // Around the App, as far outside as it gets.
    let app = App::new().default_service(web::to(async || "inner").wrap(auth())).wrap(cors());
    let app = init_service(app).await;
    let response = call_service(&app, cross_origin().to_request()).await;
    assert_eq!((response.status().as_u16(), kind(&response).is_some()), (401, true));
    assert_eq!(response.headers().get(name).unwrap(), "https://shop.example");
    // There preflights are answered before we see them.
    let response = call_service(&app, preflight().to_request()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().get(name).unwrap(), "https://shop.example");

    let inside = |auth: AuthMiddleware| web::to(async || "inner").wrap(cors()).wrap(auth);
    let app = init_service(App::new().default_service(inside(auth()))).await;
    let response = call_service(&app, cross_origin().to_request()).await;
    assert!(!response.headers().contains_key(name));
    assert_eq!(call_service(&app, preflight().to_request()).await.status(), 401);
    let app = init_service(App::new().default_service(inside(auth().allow_preflight()))).await;
    let response = call_service(&app, preflight().to_request()).await;
    assert_eq!((response.status().as_u16(), response.headers().contains_key(name)), (200, true));
}

#[actix_web::test]
async fn debug_shows_no_secret() {
    use actix_web::dev::{Transform, fn_service};
    let store = store();
    let key = payment_key(&store, "basic");
    let auth = AuthMiddleware::new(validator(&store))
        .policy_fn(|_: &actix_web::HttpRequest| Policy::plan("gold"));
    let internal = InternalAuthMiddleware::new(internal());
    let inner = || {
        fn_service(|request: ServiceRequest| async {
            Ok::<_, Error>(request.into_response(HttpResponse::Ok().finish()))
        })
    };
    let service = auth.new_transform(inner()).await.unwrap();
    let internal_service = internal.new_transform(inner()).await.unwrap();
    let shown = format!("{auth:?} {service:?} {internal:?} {internal_service:?}");
    for secret in [TOKEN_SECRET, crate::actix::MASTER_KEY, INTERNAL_SECRET, key.expose()] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("Fn(&HttpRequest)"), "{shown}");
}
