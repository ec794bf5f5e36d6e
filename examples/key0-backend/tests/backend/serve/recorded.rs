//! What was recorded from the Key0 SDK, sent as it stands.

use key0_auth::{domain::Secret, token::TokenIssuer};
use serde_json::Value;

use crate::serve::{
    ISSUE_TOKEN, PAYMENT_RECEIVED, PHOTO, PHOTO_1, now,
    process::{Request, Setup},
};

fn recorded() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/key0-wire.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn token(name: &str) -> String {
    text(&recorded()["tokens"][name]).to_owned()
}

/// With the secrets that the recordings were made with.
fn setup() -> Setup {
    let recorded = recorded();
    Setup::bare()
        .set("KEY0_ACCESS_TOKEN_SECRET", text(&recorded["accessTokenSecret"]))
        .set("INTERNAL_AUTH_SECRET", text(&recorded["internalAuthSecret"]))
}

/// A recorded request with its own headers, on a connection that it keeps alive.
fn replayed(place: usize) -> Request {
    let recorded = &recorded()["requests"][place];
    let body = recorded["body"].to_string();
    let headers = recorded["headers"].as_object().unwrap();
    assert_eq!(headers["content-length"], body.len().to_string());
    let request = Request::new(text(&recorded["method"]), text(&recorded["path"])).body(body);
    headers.iter().fold(request, |request, (name, value)| request.header(name, text(value)))
}

const BAD_SIGNATURE: (u16, &str, &str) =
    (401, "invalid_token", "The signature of the access token is not valid");
const EXPIRED: (u16, &str, &str) = (401, "token_expired", "The access token has expired");

#[test]
fn each_token_gets_its_answer() {
    let backend = setup().start();
    let get = |path: &str, name: &str| Request::get(path).bearer(&token(name)).send(backend.public);

    get(PHOTO, "hs256").assert_ok(PHOTO_1);
    get("/api/data/photo-1", "hs256").assert_ok(
        r#"{"id":"photo-1","data":"premium content","tierId":"basic","planId":"basic","resourceId":"photo-1"}"#,
    );
    get(PHOTO, "hs256DefaultResource").assert_ok(PHOTO_1);
    get("/api/photos/photo-2", "hs256DefaultResource")
        .assert_ok(&PHOTO_1.replace("photo-1", "photo-2"));
    get("/api/data/photo-2", "hs256DefaultResource").assert_ok(
        r#"{"id":"photo-2","data":"premium content","tierId":"basic","planId":"basic","resourceId":"default"}"#,
    );

    for path in ["/api/photos/photo-2", "/api/data/photo-2", "/api/photos/default"] {
        let refused = get(path, "hs256");
        refused.assert_problem(
            403,
            "insufficient_permissions",
            "The credential does not grant this",
        );
        let challenge = r#"Bearer realm="api", error="insufficient_scope""#;
        assert_eq!(refused.header("www-authenticate"), Some(challenge));
    }
    for (name, (status, code, detail)) in [
        ("hs256Expired", EXPIRED),
        ("hs256PreviousSecret", BAD_SIGNATURE),
        ("rs256", BAD_SIGNATURE),
        ("rs256Expired", BAD_SIGNATURE),
        ("hs256EmptyTxHash", (401, "invalid_token", "The claim txHash is not valid")),
    ] {
        let refused = get(PHOTO, name);
        refused.assert_problem(status, code, detail);
        let challenge =
            format!(r#"Bearer realm="api", error="invalid_token", error_description="{detail}""#);
        assert_eq!(refused.header("www-authenticate"), Some(&*challenge), "{name}");
    }
}

#[test]
fn previous_secrets_and_public_keys_count_once_they_are_configured() {
    let recorded = recorded();
    let pem = text(&recorded["rs256PublicKeyPem"]);
    let previous = text(&recorded["previousAccessTokenSecret"]);
    let both = setup()
        .set("KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS", previous)
        .set("KEY0_PUBLIC_KEY", pem)
        .start();
    for name in ["hs256", "hs256PreviousSecret", "rs256"] {
        Request::get(PHOTO).bearer(&token(name)).send(both.public).assert_ok(PHOTO_1);
    }
    for name in ["hs256Expired", "rs256Expired"] {
        let (status, code, detail) = EXPIRED;
        let refused = Request::get(PHOTO).bearer(&token(name)).send(both.public);
        refused.assert_problem(status, code, detail);
    }

    // The public key alone, its line ends written out as in many deployments.
    let setup = setup().unset("KEY0_ACCESS_TOKEN_SECRET");
    let public = setup.set("KEY0_PUBLIC_KEY", pem.replace('\n', "\\n")).start();
    Request::get(PHOTO).bearer(&token("rs256")).send(public.public).assert_ok(PHOTO_1);
    let (status, code, detail) = BAD_SIGNATURE;
    for name in ["hs256", "hs256PreviousSecret"] {
        let refused = Request::get(PHOTO).bearer(&token(name)).send(public.public);
        refused.assert_problem(status, code, detail);
    }
}

fn assert_not_internal(request: &Request, address: std::net::SocketAddr) {
    let refused = request.send(address);
    refused.assert_problem(401, "invalid_internal_auth", "Internal authentication failed");
    assert_eq!(refused.header("www-authenticate"), Some(r#"Bearer realm="internal""#));
}

#[test]
fn the_request_with_the_shared_secret() {
    let setup = setup();
    let backend = setup.start();
    let first = replayed(0).send(backend.public);
    let (token, expires_at) = (first.member("token"), first.member("expiresAt"));
    first.assert_ok(&format!(
        r#"{{"token":"{token}","expiresAt":"{expires_at}","tokenType":"Bearer"}}"#
    ));
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert!(token.starts_with("ak_") && token.len() == 39, "{token}");
    let left = expires_at.parse::<key0_auth::domain::Timestamp>().unwrap().since(now()).as_secs();
    assert!((3_500..=3_600).contains(&left), "{left}");
    assert!(expires_at.len() == 24 && expires_at.ends_with('Z'), "{expires_at}");

    Request::get(PHOTO).bearer(&token).send(backend.public).assert_ok(PHOTO_1);
    Request::get(PHOTO).header("X-Api-Key", &token).send(backend.public).assert_ok(PHOTO_1);
    let other = Request::get("/api/photos/photo-2").bearer(&token).send(backend.public);
    other.assert_problem(403, "insufficient_permissions", "The credential does not grant this");

    assert_eq!(replayed(0).send(backend.public).body, first.body);
    // A system token and nothing at all are not enough here.
    assert_not_internal(&replayed(1), backend.public);
    assert_not_internal(&replayed(2), backend.public);

    // The same three where the body is trusted: whatever they carry, the answer is the same.
    backend.kill();
    let backend = setup.set("ISSUE_TOKEN_AUTH", "body").start();
    for place in 0..3 {
        assert_eq!(replayed(place).send(backend.public).body, first.body, "request {place}");
    }
    // That trust is for issue-token alone.
    let payment = Request::post(PAYMENT_RECEIVED, &recorded()["accessGrant"]);
    assert_not_internal(&payment, backend.public);
}

#[test]
fn the_request_with_a_system_token() {
    let recorded = recorded();
    let setup = setup().set("INTERNAL_AUTH_STRATEGY", "signed-jwt");
    let backend = setup.start();
    // It lives for seventy years.
    assert_not_internal(&replayed(1), backend.public);
    // The secret is not asked for, and an agent's token is none of Key0's.
    assert_not_internal(&replayed(0), backend.public);
    let body = &recorded["requests"][1]["body"];
    for name in ["hs256", "hs256DefaultResource"] {
        let request = Request::post(ISSUE_TOKEN, body).bearer(&token(name));
        assert_not_internal(&request, backend.public);
    }

    let secret = Secret::new("recorded", text(&recorded["accessTokenSecret"])).unwrap();
    let issuer = TokenIssuer::hs256(&secret);
    let system = |audience: &str, seconds: u64| {
        let lifetime = std::time::Duration::from_secs(seconds);
        issuer.system_token(audience, now(), lifetime).unwrap()
    };
    let fresh = system("backend-service", 60);
    let issue = |token: &str| Request::post(ISSUE_TOKEN, body).bearer(token);
    let answer = issue(&fresh).send(backend.public);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(issue(&fresh).send(backend.public).body, answer.body);
    assert_not_internal(&issue(&system("other-service", 60)), backend.public);
    assert_not_internal(&issue(&system("backend-service", 400)), backend.public);

    let seventy_years = text(&recorded["requests"][1]["headers"]["authorization"]);
    for authorization in [&format!("Bearer {fresh}"), seventy_years] {
        for path in [PHOTO, "/api/photos/backend-service"] {
            let refused =
                Request::get(path).header("Authorization", authorization).send(backend.public);
            assert_eq!((refused.status, &*refused.member("code")), (401, "invalid_token"));
        }
    }

    // Both strategies, while callers move over.
    backend.kill();
    let backend = setup.set("INTERNAL_AUTH_STRATEGY", "signed-jwt, shared-secret").start();
    assert_eq!(replayed(0).send(backend.public).body, answer.body);
    assert_eq!(issue(&fresh).send(backend.public).body, answer.body);
    assert_not_internal(&replayed(2), backend.public);
}

#[test]
fn the_payment() {
    let recorded = recorded();
    let backend = setup().start();
    let secret = text(&recorded["internalAuthSecret"]);
    let grant = &recorded["accessGrant"];
    let report = |grant: &Value| Request::post(PAYMENT_RECEIVED, grant).internal(secret);
    assert_not_internal(&Request::post(PAYMENT_RECEIVED, grant), backend.public);
    for _ in 0..3 {
        report(grant).send(backend.public).assert_ok(r#"{"received":true}"#);
    }
    let mut other_payment = grant.clone();
    other_payment["txHash"] = "0x1".into();
    let mut other_challenge = grant.clone();
    other_challenge["challengeId"] = "challenge-1".into();
    for conflicting in [&other_payment, &other_challenge] {
        report(conflicting).send(backend.public).assert_problem(
            409,
            "request_conflict",
            "This challenge or this transaction belongs to another payment",
        );
    }
    let mut older = other_payment;
    older["challengeId"] = "challenge-2".into();
    older["tierId"] = older["planId"].take();
    older.as_object_mut().unwrap().remove("planId");
    report(&older).send(backend.public).assert_ok(r#"{"received":true}"#);
    backend.wait_for_log("payment received", 2);
    let logged = backend.kill().stderr;
    assert_eq!(logged.matches("payment received").count(), 2, "{logged}");
}
