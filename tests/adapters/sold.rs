//! Routes that are sold by a parameter of their path, on both frameworks.
#![cfg(all(feature = "axum", feature = "actix", feature = "testing"))]

use actix_web::{
    App,
    body::to_bytes,
    dev::ServiceResponse,
    http::header::AUTHORIZATION,
    test::{TestRequest, call_service, init_service},
    web,
};
use axum::{
    Router,
    body::{Body, to_bytes as read},
    extract::Path,
    routing::get,
};
use http::Request;
use key0_auth::{
    AuthLayer, Policy, Sold, Validator,
    actix::{AuthMiddleware, Bought as ActixBought, Routes},
    axum::Bought,
    domain::Action,
    testing::TokenSigner,
};
use serde::Deserialize;
use tower::ServiceExt;

/// What the handlers answer, and a refusal's code.
type Answer = (u16, String);

fn validator() -> Validator {
    Validator::builder().access_tokens(TokenSigner::new().access_tokens()).build().unwrap()
}

fn token(resource: &str, plan: &str) -> String {
    TokenSigner::new().token().resource(resource).plan(plan).sign()
}

fn answer(status: u16, body: &[u8]) -> Answer {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let problem: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let code = problem.and_then(|problem| problem["code"].as_str().map(str::to_owned));
    (status, code.unwrap_or(text))
}

async fn by_axum(router: &Router, path: &str, token: Option<&str>) -> Answer {
    let mut request = Request::builder().uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    answer(status, &read(response.into_body(), 10_000).await.unwrap())
}

async fn by_actix(routes: Routes, path: &str, token: Option<&str>) -> Answer {
    let validator = validator();
    let app = App::new().configure(routes.with_problem_fallbacks(validator.responder()));
    let app = init_service(app).await;
    let mut request = TestRequest::with_uri(path);
    if let Some(token) = token {
        request = request.insert_header((AUTHORIZATION, format!("Bearer {token}")));
    }
    let response: ServiceResponse = call_service(&app, request.to_request()).await;
    let status = response.status().as_u16();
    answer(status, &to_bytes(response.into_body()).await.unwrap())
}

/// What a credential opens by a path, or why it does not: once for all ways to say that it is sold.
const CASES: [(&str, &str, u16, &str); 11] = [
    ("photo-1", "photo-1", 200, "photo photo-1"),
    ("photo-1", "photo-2", 403, "insufficient_permissions"),
    ("default", "photo-2", 200, "photo photo-2"),
    // Decoded as the handler sees it, neither less nor twice.
    ("photo-1", "photo%2D1", 200, "photo photo-1"),
    ("photo%2D1", "photo%2D1", 403, "insufficient_permissions"),
    ("photo%2D1", "photo%252D1", 200, "photo photo%2D1"),
    ("photo-1", "photo%252D1", 403, "insufficient_permissions"),
    ("a/b", "a%2Fb", 200, "photo a/b"),
    ("a", "a%2Fb", 403, "insufficient_permissions"),
    ("a+b", "a+b", 200, "photo a+b"),
    ("default", "%ff", 404, "not_found"),
];

#[actix_web::test]
async fn a_resource_is_taken_from_the_path() {
    let sold = AuthLayer::new(validator()).sold("id");
    let photo = async |Path(id): Path<String>| format!("photo {id}");
    let by_layer: Router = Router::new().route("/photos/{id}", get(photo)).route_layer(sold);
    let photo = async |Bought(Path(id)): Bought<Path<String>>| format!("photo {id}");
    let any = AuthLayer::new(validator());
    let by_extractor: Router = Router::new().route("/photos/{id}", get(photo)).route_layer(any);
    let sold = AuthLayer::new(validator()).sold("id");
    let photo = async |Path(id): Path<String>| format!("photo {id}");
    let by_guard: Router = Router::new().route("/photos/{id}", get(sold.guard(photo)));
    let by_middleware = || {
        let sold = AuthMiddleware::new(validator()).sold("id");
        let photo = async |id: web::Path<String>| format!("photo {id}");
        Routes::new().get("/photos/{id}", photo).each(|route| route.wrap(sold.clone()))
    };
    let by_actix_extractor = || {
        let any = AuthMiddleware::new(validator());
        let photo = async |ActixBought(id): ActixBought<web::Path<String>>| format!("photo {id}");
        Routes::new().get("/photos/{id}", photo).each(|route| route.wrap(any.clone()))
    };
    for (bought, id, status, text) in CASES {
        let (path, token) = (format!("/photos/{id}"), token(bought, "basic"));
        let wanted = (status, text.to_owned());
        for answered in [
            by_axum(&by_layer, &path, Some(&token)).await,
            by_axum(&by_guard, &path, Some(&token)).await,
            by_axum(&by_extractor, &path, Some(&token)).await,
            by_actix(by_middleware(), &path, Some(&token)).await,
            by_actix(by_actix_extractor(), &path, Some(&token)).await,
        ] {
            assert_eq!(answered, wanted, "{bought} for {path}");
        }
    }
    for answered in [
        by_axum(&by_layer, "/photos/photo-1", None).await,
        by_axum(&by_guard, "/photos/photo-1", None).await,
        by_axum(&by_extractor, "/photos/photo-1", None).await,
        by_actix(by_middleware(), "/photos/photo-1", None).await,
        by_actix(by_actix_extractor(), "/photos/photo-1", None).await,
    ] {
        assert_eq!(answered, (401, "missing_credential".to_owned()));
    }
}

/// Nobody gets in, and it is no fault of the caller.
#[actix_web::test]
async fn a_parameter_that_the_route_lacks_is_a_fault() {
    let all = token("default", "basic");
    let fault = (500, "internal_error".to_owned());
    let photo = async || "photo";
    let sold = AuthLayer::new(validator()).sold("id");
    for path in ["/photos/{photo}", "/photos", "/photos/{photo}/{number}"] {
        let router: Router = Router::new().route(path, get(photo)).route_layer(sold.clone());
        let asked = path.replace(['{', '}'], "");
        assert_eq!(by_axum(&router, &asked, Some(&all)).await, fault, "{path}");
        let router: Router = Router::new().route(path, get(sold.guard(photo)));
        assert_eq!(by_axum(&router, &asked, Some(&all)).await, fault, "{path}");
        let sold = AuthMiddleware::new(validator()).sold("id");
        let routes = Routes::new().get(path, photo).each(|route| route.wrap(sold.clone()));
        assert_eq!(by_actix(routes, &asked, Some(&all)).await, fault, "{path}");
    }
    // Of two parameters with one name nobody can tell which is meant.
    let sold = AuthMiddleware::new(validator()).sold("id");
    let app = App::new()
        .service(web::scope("/albums/{id}").route("/photos/{id}", web::get().to(photo).wrap(sold)));
    let app = init_service(app).await;
    let bearer = (AUTHORIZATION, format!("Bearer {all}"));
    let request = TestRequest::with_uri("/albums/a/photos/b").insert_header(bearer).to_request();
    assert_eq!(call_service(&app, request).await.status(), 500);
}

/// Each layer is asked, so what they disagree about is refused.
#[actix_web::test]
async fn all_layers_must_be_satisfied() {
    let photo = async |Path(id): Path<String>| format!("photo {id}");
    let router: Router = Router::new()
        .route("/photos/{id}", get(photo))
        .route_layer(AuthLayer::new(validator()).sold("id"))
        .route_layer(AuthLayer::new(validator()).optional().plan("gold"));
    let routes = || {
        let gold = AuthMiddleware::new(validator()).optional().plan("gold");
        let sold = AuthMiddleware::new(validator()).sold("id");
        let photo = async |id: web::Path<String>| format!("photo {id}");
        let routes = Routes::new().get("/photos/{id}", photo);
        routes.each(|route| route.wrap(sold.clone())).each(|route| route.wrap(gold.clone()))
    };
    for (token, status) in [
        (Some(token("photo-1", "gold")), 200),
        (Some(token("photo-1", "basic")), 403),
        (Some(token("photo-2", "gold")), 403),
        (None, 401),
    ] {
        let token = token.as_deref();
        assert_eq!(by_axum(&router, "/photos/photo-1", token).await.0, status);
        assert_eq!(by_actix(routes(), "/photos/photo-1", token).await.0, status);
    }
    let optional = AuthLayer::new(validator()).optional().sold("id");
    let open: Router = Router::new().route("/photos/{id}", get(photo)).route_layer(optional);
    assert_eq!(by_axum(&open, "/photos/photo-1", None).await.0, 401);
    let staff = AuthLayer::new(validator()).permission("photos", Action::Read);
    let staff: Router = Router::new().route("/photos/{id}", get(photo)).route_layer(staff);
    let bought = token("default", "gold");
    assert_eq!(by_axum(&staff, "/photos/photo-1", Some(&bought)).await.0, 403);
}

#[derive(Deserialize)]
struct AlbumPhoto {
    album: String,
    number: u32,
}

impl Sold for AlbumPhoto {
    fn resource_id(&self) -> std::borrow::Cow<'_, str> {
        (&self.album).into()
    }
}

#[actix_web::test]
async fn what_is_sold_can_be_a_type_of_the_application_s_own() {
    let photo = async |Bought(Path(photo)): Bought<Path<AlbumPhoto>>| {
        format!("{} of {}", photo.number, photo.album)
    };
    let router: Router = Router::new()
        .route("/albums/{album}/{number}", get(photo))
        .route_layer(AuthLayer::new(validator()));
    let by_policy = async |Path((_, number)): Path<(String, u32)>| number.to_string();
    let album = AuthLayer::new(validator())
        .path_policy("album", |album| Policy::resource(format!("album-{album}")));
    let layered: Router =
        Router::new().route("/albums/{album}/{number}", get(by_policy)).route_layer(album);
    let routes = || {
        let any = AuthMiddleware::new(validator());
        let photo = async |ActixBought(photo): ActixBought<web::Path<AlbumPhoto>>| {
            format!("{} of {}", photo.number, photo.album)
        };
        Routes::new().get("/albums/{album}/{number}", photo).each(|route| route.wrap(any.clone()))
    };
    for (resource, path, status, text) in [
        ("a", "/albums/a/7", 200, "7 of a"),
        ("a", "/albums/b/7", 403, "insufficient_permissions"),
        ("a", "/albums/a/seven", 404, "not_found"),
    ] {
        let (wanted, token) = ((status, text.to_owned()), token(resource, "basic"));
        assert_eq!(by_axum(&router, path, Some(&token)).await, wanted, "{path}");
        assert_eq!(by_actix(routes(), path, Some(&token)).await, wanted, "{path}");
    }
    let token = token("album-a", "basic");
    assert_eq!(by_axum(&layered, "/albums/a/7", Some(&token)).await, (200, "7".to_owned()));
    assert_eq!(by_axum(&layered, "/albums/b/7", Some(&token)).await.0, 403);
}
