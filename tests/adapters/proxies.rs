//! What proxies and other backends ask: `/verify` and `/introspect`, in both frameworks, over
//! sockets.
#![cfg(all(feature = "axum", feature = "actix"))]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{App, HttpServer};
use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use key0_auth::{
    AccessTokens, ApiKeys, InternalAuth, Validator,
    api::{CallerField, Introspect, Verify, VerifyRules, VerifyRulesBuilder},
    apikey::{BootstrapKeys, Grant},
    auth::Gateway,
    domain::{
        Action, Clock, Permissions, PlanId, ResourceId, Role, Secret, SecretSet, SystemClock,
        Timestamp,
    },
    token::TokenIssuer,
};
use serde_json::{Value, json};

use crate::{http1, key_store::TestStore};

const TOKEN_SECRET: &str = "the access token secret of these tests";
const PROXY: &str = "the secret of the proxy, in these tests";
const INTERNAL: &str = "the internal secret of the proxies' tests";
const GATEWAY: &str = "the secret of Key0's gateway, in these tests";
const MASTER: &str = "the-master-key-of-the-proxies-tests";

/// A validator with a key or a token of every kind.
struct Shop {
    validator: Validator,
    keys: Arc<ApiKeys>,
    token: String,
    expired: String,
    key: String,
    partner: String,
    revoked: String,
    unreachable: String,
}

fn secrets(text: &str) -> SecretSet {
    SecretSet::new(Secret::new("a test's secret", text).unwrap())
}

impl Shop {
    fn new() -> Self {
        let now = SystemClock.now();
        let secret = Secret::new("a test's secret", TOKEN_SECRET).unwrap();
        let issuer = TokenIssuer::hs256(&secret);
        let claims = |at: Timestamp, life| {
            let claims = key0_auth::domain::Claims::new(
                key0_auth::domain::RequestId::new("request-1").unwrap(),
                key0_auth::domain::ChallengeId::new("challenge-1").unwrap(),
                ResourceId::new("photo-1").unwrap(),
                PlanId::new("basic").unwrap(),
                key0_auth::domain::TxHash::new("0xabab").unwrap(),
                at.plus(Duration::from_secs(life)),
            );
            issuer.access_token(&claims.issued(at)).unwrap()
        };
        let store = Arc::new(TestStore::new());
        let payment = |permissions| Grant::Payment {
            resource_id: ResourceId::new("photo-1").unwrap(),
            plan_id: PlanId::new("basic").unwrap(),
            permissions,
        };
        let permissions = Permissions::none().grant("dpp", Action::Read);
        let partner = Grant::Integrator { role: Role::Read, permissions: Some(permissions) };
        let key = store.add(payment(None), |record| {
            record.expires_at = Some(now.plus(Duration::from_secs(600)));
        });
        let partner = store.add(partner, |_| ());
        let revoked = store.add(payment(None), |record| record.revoked_at = Some(now));
        let unreachable = store.add_unreachable();
        let master = Secret::new("a test's secret", MASTER).unwrap();
        let keys = ApiKeys::new(store).bootstrap(BootstrapKeys::new().key(Role::Master, master));
        let keys = Arc::new(keys);
        let gateway = Gateway::builder(secrets(GATEWAY)).route("photo", "GET /api/photos/{id}");
        let validator = Validator::builder()
            .access_tokens(AccessTokens::hs256(TOKEN_SECRET).unwrap())
            .api_keys(keys.clone())
            .gateway(gateway.build().unwrap())
            .build()
            .unwrap();
        Self {
            validator,
            keys,
            token: claims(now, 600),
            expired: claims(now.minus(Duration::from_secs(900)), 60),
            key: key.expose().to_owned(),
            partner: partner.expose().to_owned(),
            revoked: revoked.expose().to_owned(),
            unreachable: unreachable.expose().to_owned(),
        }
    }

    fn verify(&self) -> Verify {
        Verify::new(self.validator.clone(), rules().build().unwrap())
    }
}

fn rules() -> VerifyRulesBuilder {
    VerifyRules::builder()
        .route("GET /api/photos/{id}", "resource={id}")
        .route("POST /api/photos/{id}", "resource={id}&plan=gold")
        .route("* /v1/dpp/{id}", "permission=dpp:read")
}

/// Both endpoints on both frameworks.
async fn serve(verify: Verify, introspect: Introspect) -> [SocketAddr; 2] {
    let internal = InternalAuth::builder().shared_secret(secrets(INTERNAL)).build().unwrap();
    let internal = Arc::new(internal);
    let router = Router::new()
        .merge(key0_auth::axum::verify_routes(verify.clone()))
        .merge(key0_auth::axum::introspect_routes(internal.clone(), introspect.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let by_axum = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let server = HttpServer::new(move || {
        let routes = key0_auth::actix::verify_routes(verify.clone());
        let routes =
            routes.merge(key0_auth::actix::introspect_routes(internal.clone(), introspect.clone()));
        App::new().configure(routes.with_problem_fallbacks(&key0_auth::auth::Responder::default()))
    });
    let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let by_actix = server.addrs()[0];
    tokio::spawn(server.run());
    [by_axum, by_actix]
}

async fn ask(address: SocketAddr, line: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    let (method, path) = line.split_once(' ').unwrap();
    let request = Request::builder().method(method).uri(path);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    http1::send(address, request.body(Bytes::new()).unwrap()).await
}

fn code(response: &Response<Bytes>) -> String {
    let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_request_passes_by_the_policy_that_the_proxy_names() {
    let shop = Shop::new();
    let verify = shop.verify();
    let bearer = |credential: &str| format!("Bearer {credential}");
    let [token, key, partner] = [&shop.token, &shop.key, &shop.partner].map(|text| bearer(text));
    let [expired, unreachable] = [&shop.expired, &shop.unreachable].map(|text| bearer(text));
    let token = ("authorization", &*token);
    let key = ("authorization", &*key);
    let partner = ("authorization", &*partner);
    let expired = ("authorization", &*expired);
    let unreachable = ("authorization", &*unreachable);
    let gate = ("x-key0-internal-token", GATEWAY);
    let get = ("x-forwarded-method", "GET");
    let post = ("x-forwarded-method", "POST");
    let photo = ("x-forwarded-uri", "/api/photos/photo-1?size=4&resource=x");
    let other = ("x-forwarded-uri", "/api/photos/photo-2");
    let by_nginx = ("x-original-uri", "/api/photos/photo-1?size=4");
    type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, u16, &'a str);
    let denied = "insufficient_permissions";
    let rows: Vec<Row<'_>> = vec![
        // By a query.
        ("GET /verify?resource=photo-1", vec![token], 204, ""),
        ("POST /verify?resource=photo-1", vec![token], 204, ""),
        ("OPTIONS /verify?resource=photo-1", vec![key], 204, ""),
        ("GET /verify?resource=photo%2D1", vec![token], 204, ""),
        ("GET /verify?resource=photo-2", vec![token], 403, denied),
        ("GET /verify?resource=photo-1&resource=photo-2", vec![token], 403, denied),
        ("GET /verify?plan=basic", vec![key], 204, ""),
        ("GET /verify?plan=gold", vec![key], 403, denied),
        ("GET /verify?plan=basic&resource=photo-1", vec![key], 204, ""),
        ("GET /verify?permission=dpp:read", vec![partner], 204, ""),
        ("GET /verify?permission=dpp:update", vec![partner], 403, denied),
        ("GET /verify?permission=dpp:read", vec![token], 403, denied),
        ("GET /verify?resource=photo-1", vec![], 401, "missing_credential"),
        ("GET /verify?resource=photo-1", vec![expired], 401, "token_expired"),
        ("GET /verify?resource=photo-1", vec![unreachable], 503, "store_unavailable"),
        ("GET /verify?resource=photo-1", vec![token, token], 400, "invalid_request"),
        // No policy, or one that can't be read, lets nobody in.
        ("GET /verify", vec![token], 403, denied),
        ("GET /verify?", vec![token], 403, denied),
        ("GET /verify?style=nginx", vec![token], 403, denied),
        ("GET /verify?resource=", vec![token], 400, "invalid_request"),
        ("GET /verify?resourse=photo-1", vec![token], 400, "invalid_request"),
        ("GET /verify?plan=basic&resourse=photo-2", vec![token], 400, "invalid_request"),
        ("GET /verify?permission=dpp", vec![partner], 400, "invalid_request"),
        ("GET /verify?resource=%zz", vec![token], 400, "invalid_request"),
        ("GET /verify?style=apache&resource=photo-1", vec![token], 400, "invalid_request"),
        // By the table.
        ("GET /verify", vec![token, get, photo], 204, ""),
        ("GET /verify", vec![token, get, other], 403, denied),
        // A proxy that hands on the client's query has not written it.
        (
            "GET /verify?resource=photo-1",
            vec![token, get, ("x-forwarded-uri", "/api/photos/photo-2?resource=photo-1")],
            403,
            denied,
        ),
        (
            "GET /verify?size=4",
            vec![token, get, ("x-forwarded-uri", "/api/photos/photo-1?size=4")],
            204,
            "",
        ),
        ("GET /verify", vec![token, post, photo], 403, denied),
        ("GET /verify", vec![token, photo], 403, denied),
        ("GET /verify", vec![token, get, ("x-forwarded-uri", "/api/photos/")], 403, denied),
        ("GET /verify", vec![token, get, ("x-forwarded-uri", "/nowhere")], 403, denied),
        // A method beside it may be the client's own.
        ("GET /verify", vec![token, by_nginx, ("x-original-method", "GET")], 403, denied),
        ("GET /verify", vec![token, by_nginx, ("x-original-method", "POST")], 403, denied),
        ("GET /verify", vec![token, by_nginx, get], 403, denied),
        ("GET /verify", vec![partner, ("x-original-uri", "/v1/dpp/1")], 204, ""),
        ("GET /verify/api/photos/photo-1", vec![token], 204, ""),
        ("GET /verify/api/photos/photo-2", vec![token], 403, denied),
        ("GET /verify/api/photos/photo-2?resource=photo-1", vec![token], 403, denied),
        ("GET /verify/api/photos/photo-2", vec![token, get, photo], 403, denied),
        ("POST /verify/api/photos/photo-1", vec![token], 403, denied),
        ("GET /verify/", vec![token], 403, denied),
        // What was requested is told in a doubtful way.
        ("GET /verify", vec![token, get, photo, photo], 400, "invalid_request"),
        ("GET /verify", vec![token, get, get, photo], 400, "invalid_request"),
        ("GET /verify", vec![token, get, photo, by_nginx], 400, "invalid_request"),
        ("GET /verify", vec![token, get, other, by_nginx], 400, "invalid_request"),
        ("GET /verify?resource=photo-1", vec![token, by_nginx, by_nginx], 400, "invalid_request"),
        // Key0's gateway, where the proxy says what is called.
        ("GET /verify", vec![gate, get, other], 204, ""),
        ("GET /verify", vec![gate, post, other], 403, denied),
        ("GET /verify", vec![gate, token, get, ("x-forwarded-uri", "/v1/dpp/1")], 403, denied),
        ("GET /verify?resource=photo-1", vec![gate, get, photo], 403, denied),
        (
            "GET /verify?resource=photo-1",
            vec![("x-key0-internal-token", "wrong"), token],
            401,
            "invalid_internal_auth",
        ),
    ];
    let doubtful = [
        "http://shop.example/api/photos/photo-1",
        "//shop.example/api/photos/photo-1#x",
        "/api/photos/photo-1#fragment",
        "/api/photos%2Fphoto-1",
        "/api%2fphotos/photo-1",
        "/api/photos/photo-1%5c",
        "/api\\photos/photo-1",
        "api/photos/photo-1",
        "*",
    ];
    for address in serve(verify, Introspect::new(shop.validator.clone())).await {
        for (line, headers, status, told) in &rows {
            let response = ask(address, line, headers).await;
            let case = format!("{line} {headers:?} at {address}");
            assert_eq!(response.status(), *status, "{case}: {:?}", response.body());
            assert_eq!(code(&response), *told, "{case}");
        }
        for uri in doubtful {
            let headers = [token, ("x-original-uri", uri), ("x-original-method", "GET")];
            let response = ask(address, "GET /verify", &headers).await;
            assert_eq!(response.status(), 400, "{uri}");
        }
    }
}

#[tokio::test]
async fn the_caller_is_told_and_nothing_of_what_the_client_made_up() {
    let shop = Shop::new();
    let forged = ["caller-kind", "caller-id", "resource-id", "plan-id", "expires-at"]
        .map(|name| (format!("x-key0-{name}"), "forged"));
    let header = |response: &Response<Bytes>, name: &str| {
        let values: Vec<_> = response.headers().get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name}");
        values[0].to_str().unwrap().to_owned()
    };
    let verify = shop.verify();
    for address in serve(verify, Introspect::new(shop.validator.clone())).await {
        for (credential, policy, kind, id, resource, plan, expires) in [
            (
                &shop.token,
                "resource=photo-1",
                "access_token",
                "request-1",
                "photo-1",
                "basic",
                true,
            ),
            (&shop.key, "resource=photo-1", "payment_key", "", "photo-1", "basic", true),
            (&shop.partner, "permission=dpp:read", "integrator_key", "", "", "", false),
        ] {
            let bearer = format!("Bearer {credential}");
            let mut headers = vec![("authorization", &*bearer)];
            headers.extend(forged.iter().map(|(name, value)| (&**name, *value)));
            let response = ask(address, &format!("GET /verify?{policy}"), &headers).await;
            assert_eq!(response.status(), 204);
            assert_eq!(header(&response, "x-key0-caller-kind"), kind);
            assert_eq!(header(&response, "x-key0-resource-id"), resource);
            assert_eq!(header(&response, "x-key0-plan-id"), plan);
            assert_eq!(header(&response, "cache-control"), "no-store");
            let told = header(&response, "x-key0-expires-at");
            assert_eq!(!told.is_empty(), expires, "{told}");
            let told = header(&response, "x-key0-caller-id");
            assert!(if id.is_empty() { !told.is_empty() } else { told == id }, "{told}");
        }
    }
}

#[tokio::test]
async fn nginx_is_told_in_the_three_statuses_that_it_knows() {
    let shop = Shop::new();
    let bearer = |credential: &str| format!("Bearer {credential}");
    let verify = shop.verify();
    for address in serve(verify, Introspect::new(shop.validator.clone())).await {
        for (query, credential, status, told) in [
            ("style=nginx&resource=photo-1", Some(&shop.token), 204, None),
            ("resource=photo-1&style=nginx", None, 401, Some("missing_credential")),
            ("style=nginx&resource=photo-1", Some(&shop.revoked), 401, Some("key_revoked")),
            ("style=nginx&resource=x", Some(&shop.token), 403, Some("insufficient_permissions")),
            ("style=nginx&plan=basic", Some(&shop.unreachable), 403, Some("store_unavailable")),
            ("style=nginx&plann=basic", Some(&shop.token), 403, Some("invalid_request")),
            ("style=nginx", Some(&shop.token), 403, Some("insufficient_permissions")),
        ] {
            let bearer = credential.map(|credential| bearer(credential));
            let headers: Vec<_> = bearer.iter().map(|value| ("authorization", &**value)).collect();
            let response = ask(address, &format!("GET /verify?{query}"), &headers).await;
            assert_eq!(response.status(), status, "{query}");
            let code = response.headers().get("x-key0-code").map(|code| code.to_str().unwrap());
            assert_eq!(code, told, "{query}");
            assert_eq!(response.headers().contains_key("www-authenticate"), {
                told.is_some_and(|code| !["store_unavailable", "invalid_request"].contains(&code))
            });
        }
    }
}

#[tokio::test]
async fn the_proxy_s_secret_is_asked_for_first() {
    let shop = Shop::new();
    let verify =
        Verify::new(shop.validator.clone(), rules().secret(secrets(PROXY)).build().unwrap());
    let bearer = format!("Bearer {}", shop.token);
    let token = ("authorization", &*bearer);
    let secret = ("x-verify-auth", PROXY);
    let wrong = ("x-verify-auth", "the secret of nobody, in these tests");
    for address in serve(verify, Introspect::new(shop.validator.clone())).await {
        for (headers, status) in [
            (vec![token, secret], 204),
            (vec![token], 401),
            (vec![token, wrong], 401),
            (vec![token, secret, secret], 401),
            (vec![token, ("x-verify-auth", "")], 401),
        ] {
            let response = ask(address, "GET /verify?resource=photo-1", &headers).await;
            assert_eq!(response.status(), status, "{headers:?}");
            if status == 401 {
                assert_eq!(code(&response), "invalid_internal_auth");
            }
        }
    }
}

#[test]
fn a_table_that_asks_for_nothing_is_no_table() {
    let fails = |template: &str, asked: &str| {
        VerifyRules::builder().route(template, asked).build().is_err()
    };
    assert!(!fails("GET /a/{id}", "resource={id}&plan=gold&permission=dpp:read"));
    for (template, asked) in [
        ("GET /a", ""),
        ("GET /a", "resource="),
        ("GET /a", "anything"),
        ("GET /a", "resource={id}"),
        ("GET /a/{id}", "resource={other}"),
        ("GET /a/{id}", "resource=x{id}"),
        ("GET /a/{id}", "resource={id}&style=nginx"),
        ("GET /a", "permission=dpp:sell"),
        ("/a", "plan=gold"),
        ("GET /a/*", "plan=gold"),
    ] {
        assert!(fails(template, asked), "{template} {asked}");
    }
    let headers =
        |name: &str| VerifyRules::builder().header(CallerField::Id, name).build().is_err();
    assert!(!headers("X-User"));
    assert!(headers("") && headers("a b") && headers("X-Key0-Plan-Id"));
}

/// Wherever the application takes its credentials from, and in which order.
#[tokio::test]
async fn a_token_is_told_of_by_any_source() {
    use key0_auth::auth::Source;

    let shop = Shop::new();
    let introspect = async |sources: &[Source], token: &str| {
        let tokens = AccessTokens::hs256(TOKEN_SECRET).unwrap();
        let validator = Validator::builder()
            .access_tokens(tokens)
            .api_keys(shop.keys.clone())
            .sources(sources.iter().copied())
            .build()
            .unwrap();
        let reply = Introspect::new(validator).handle(format!("token={token}").as_bytes()).await;
        let reply = reply.map_err(|rejection| rejection.kind().status())?;
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        Ok(body["active"] == true)
    };
    const HEADER: Source = Source::ApiKeyHeader;
    for (sources, token, key) in [
        (&[Source::Bearer, HEADER][..], true, true),
        (&[HEADER, Source::Bearer], true, true),
        (&[Source::ApiKeyScheme, HEADER, Source::Bearer], true, true),
        (&[Source::Bearer], true, true),
        (&[HEADER], false, true),
        (&[Source::ApiKeyScheme], false, true),
    ] {
        assert_eq!(introspect(sources, &shop.token).await, Ok(token), "{sources:?}");
        assert_eq!(introspect(sources, &shop.key).await, Ok(key), "{sources:?}");
        assert_eq!(introspect(sources, &shop.expired).await, Ok(false), "{sources:?}");
        assert_eq!(introspect(sources, &shop.revoked).await, Ok(false), "{sources:?}");
        assert_eq!(introspect(sources, &shop.unreachable).await, Err(503), "{sources:?}");
    }
}

#[tokio::test]
async fn a_token_is_told_to_whoever_may_ask() {
    let shop = Shop::new();
    let verify = shop.verify();
    let post = |body: String, headers: &[(&str, &str)]| {
        let request = Request::post("/introspect");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(Bytes::from(body)).unwrap()
    };
    let form = ("content-type", "application/x-www-form-urlencoded");
    let internal = ("x-internal-auth", INTERNAL);
    let inactive = json!({"active": false});
    for address in serve(verify, Introspect::new(shop.validator.clone())).await {
        let introspect = async |token: &str| {
            let request = post(format!("token_type_hint=x&token={token}"), &[form, internal]);
            let response = http1::send(address, request).await;
            assert_eq!(response.headers()["cache-control"], "no-store");
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            (response.status().as_u16(), body)
        };
        let (status, body) = introspect(&shop.token).await;
        assert_eq!(status, 200);
        assert!(body["exp"].as_i64().unwrap() - body["iat"].as_i64().unwrap() == 600);
        for (name, value) in [
            ("active", json!(true)),
            ("kind", json!("access_token")),
            ("token_type", json!("Bearer")),
            ("sub", json!("request-1")),
            ("client_id", json!("request-1")),
            ("resource_id", json!("photo-1")),
            ("plan_id", json!("basic")),
            ("scope", Value::Null),
        ] {
            assert_eq!(body[name], value, "{name}");
        }
        let (_, body) = introspect(&shop.partner).await;
        assert_eq!(body["scope"], "dpp:read");
        assert_eq!(body["permissions"], json!({"dpp": ["read"]}));
        assert_eq!((&body["kind"], &body["exp"]), (&json!("integrator_key"), &Value::Null));
        let (_, body) = introspect(MASTER).await;
        assert_eq!(body["role"], "master");
        for token in [&*shop.expired, &shop.revoked, "a.b.c", "nobody's", "%20", "a+b", GATEWAY] {
            let token = token.replace(' ', "+");
            assert_eq!(introspect(&token).await, (200, inactive.clone()), "{token}");
        }
        let (status, body) = introspect(&shop.unreachable).await;
        assert_eq!((status, &body["code"]), (503, &json!("store_unavailable")));
        for (body, headers, status) in [
            (
                format!("token={}", shop.token),
                vec![form, internal, ("content-encoding", "gzip")],
                415,
            ),
            (
                format!("token={}", shop.token),
                vec![form, internal, ("content-encoding", "identity")],
                200,
            ),
            (format!("token={}", shop.token), vec![form], 401),
            (format!("token={}", shop.token), vec![internal], 415),
            (
                format!("token={}", shop.token),
                vec![internal, ("content-type", "application/json")],
                415,
            ),
            (String::new(), vec![form, internal], 400),
            ("token=".to_owned(), vec![form, internal], 400),
            ("token=a&token=b".to_owned(), vec![form, internal], 400),
            ("token=%zz".to_owned(), vec![form, internal], 400),
            ("a".repeat(64 * 1024 + 1), vec![form, internal], 413),
        ] {
            let response = http1::send(address, post(body, &headers)).await;
            assert_eq!(response.status(), status, "{headers:?}");
        }
    }
}
