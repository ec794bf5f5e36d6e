//! The internal endpoints: what they refuse, and where they are served.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use key0_auth::{
    domain::{Clock, Secret, SystemClock},
    token::TokenIssuer,
};
use serde_json::{Value, json};

use crate::serve::{
    ISSUE_TOKEN, PAYMENT_RECEIVED, PHOTO, PHOTO_1, access_token, issue, order,
    process::{INTERNAL_SECRET, Request, Setup, TOKEN_SECRET},
};

#[test]
fn a_payment_buys_one_credential() {
    let backend = Setup::new().start();
    let post = |order: &Value| {
        Request::post(ISSUE_TOKEN, order).internal(INTERNAL_SECRET).send(backend.public)
    };
    let first = post(&order(1));
    assert_eq!(first.status, 200, "{first:?}");
    // Further members and another spelling of the plan make no other request.
    let mut again = order(1);
    again["tierId"] = again["planId"].take();
    again.as_object_mut().unwrap().remove("planId");
    again["amount"] = json!("$0.10");
    assert_eq!(post(&again).body, first.body);

    for (member, value) in
        [("requestId", "r"), ("resourceId", "photo-2"), ("planId", "gold"), ("txHash", "0x2")]
    {
        let mut other = order(1);
        other[member] = value.into();
        post(&other).assert_problem(
            409,
            "request_conflict",
            "This id was used before with another body",
        );
    }
    for hash in ["0xAB", "0xab", "0XaB"] {
        let mut same_payment = order(hash);
        same_payment["txHash"] = hash.into();
        let answer = post(&same_payment);
        match hash {
            "0xAB" => assert_eq!(answer.status, 200, "{answer:?}"),
            _ => answer.assert_problem(
                409,
                "payment_already_redeemed",
                "This payment has already been redeemed",
            ),
        }
    }
}

#[test]
fn the_fields_of_a_request() {
    let backend = Setup::new().start();
    let illegal = |name: &str| format!("{name} must be 1 to 256 visible ASCII characters");
    let mut cases: Vec<(Value, String)> = vec![
        (json!([]), "Expected JSON object".into()),
        (json!("text"), "Expected JSON object".into()),
        (json!(null), "Expected JSON object".into()),
    ];
    for name in ["requestId", "resourceId", "planId", "txHash"] {
        let mut without = order(1);
        without.as_object_mut().unwrap().remove(name);
        cases.push((without.clone(), format!("{name} is required")));
        without[name] = json!(null);
        cases.push((without, format!("{name} is required")));
        for value in [json!(""), json!(7), json!("a b"), json!("é"), json!("x".repeat(257))] {
            let mut bad = order(1);
            bad[name] = value;
            cases.push((bad, illegal(name)));
        }
    }
    let mut two_plans = order(1);
    two_plans["tierId"] = "gold".into();
    cases.push((two_plans, "planId and tierId must be equal".into()));
    for (body, detail) in cases {
        let refused = Request::post(ISSUE_TOKEN, &body).internal(INTERNAL_SECRET);
        refused.send(backend.public).assert_problem(400, "invalid_request", &detail);
        let mut report = body;
        if report.get("challengeId").is_none() || detail.starts_with("Expected") {
            report = json!({ "challengeId": 7 });
            let refused = Request::post(PAYMENT_RECEIVED, &report).internal(INTERNAL_SECRET);
            let detail = illegal("challengeId");
            refused.send(backend.public).assert_problem(400, "invalid_request", &detail);
        } else {
            let refused = Request::post(PAYMENT_RECEIVED, &report).internal(INTERNAL_SECRET);
            refused.send(backend.public).assert_problem(400, "invalid_request", &detail);
        }
    }
    for text in ["", "{", "{}x", "{\"a\":1,\"a\":2}", "\u{feff}{}"] {
        let request = Request::new("POST", ISSUE_TOKEN).header("Content-Type", "application/json");
        let refused = request.internal(INTERNAL_SECRET).body(text).send(backend.public);
        refused.assert_problem(400, "invalid_request", "Invalid JSON body");
    }
}

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/keys");

/// An identity provider on loopback, which tells of itself as OpenID has it, and its address. While
/// it is down it hangs up.
pub(crate) fn identity_provider(down: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let metadata = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string();
    let pem = std::fs::read_to_string(format!("{KEYS}/ed25519-public.pem")).unwrap();
    let der = BASE64_STANDARD.decode(pem.lines().nth(1).unwrap()).unwrap();
    let x = BASE64_URL_SAFE_NO_PAD.encode(&der[der.len() - 32..]);
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "kid": "a", "x": x});
    let keys = json!({"keys": [{"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}, jwk]}).to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if down.load(Ordering::SeqCst) {
                continue;
            }
            let mut head = [0; 2_048];
            let length = stream.read(&mut head).unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..length]);
            let (status, body) = match head.split(' ').nth(1) {
                Some("/.well-known/openid-configuration") => ("200 OK", &*metadata),
                Some("/keys") => ("200 OK", &*keys),
                _ => ("404 Not Found", ""),
            };
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    issuer
}

/// A token of that provider for this audience.
pub(crate) fn token_of_provider(issuer: &str, audience: &str) -> String {
    use jsonwebtoken::{Algorithm, EncodingKey, crypto::aws_lc::DEFAULT_PROVIDER};

    let pem = std::fs::read(format!("{KEYS}/ed25519-private.pem")).unwrap();
    let key = EncodingKey::from_ed_pem(&pem).unwrap();
    let now = SystemClock.now().as_seconds();
    let claims = json!({
        "iss": issuer, "aud": [audience], "azp": "key0", "iat": now, "exp": now + 600,
    });
    let part = |part: Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let header = json!({"alg": "EdDSA", "kid": "a", "typ": "at+jwt"});
    let input = format!("{}.{}", part(header), part(claims));
    let signer = (DEFAULT_PROVIDER.signer_factory)(&Algorithm::EdDSA, &key).unwrap();
    let signature = signer.try_sign(input.as_bytes()).unwrap();
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_secret_a_system_token_and_a_provider_s_token_open_on_one_backend() {
    let issuer = identity_provider(Arc::default());
    let backend = Setup::new()
        .set("INTERNAL_AUTH_STRATEGY", "shared-secret,signed-jwt,oauth")
        .set("INTERNAL_OAUTH_ISSUER", &issuer)
        .set("INTERNAL_OAUTH_AUDIENCE", "photos")
        .set("INTERNAL_OAUTH_CLIENT_IDS", "key0")
        .start();
    let post = |n: u8| Request::post(ISSUE_TOKEN, &order(n));
    let secret = Secret::new("the token secret", TOKEN_SECRET).unwrap();
    let system_token = |audience: &str| {
        let (now, minute) = (SystemClock.now(), Duration::from_secs(60));
        TokenIssuer::hs256(&secret).system_token(audience, now, minute).unwrap()
    };
    let by_provider = token_of_provider(&issuer, "photos");
    wait_for_keys(|| post(1).bearer(&by_provider).send(backend.public).status);
    for good in [
        post(2).internal(INTERNAL_SECRET),
        post(3).bearer(INTERNAL_SECRET),
        post(4).bearer(&system_token("backend-service")),
        post(5).bearer(&by_provider),
    ] {
        assert_eq!(good.send(backend.public).status, 200);
    }
    for bad in [
        post(6).bearer(&system_token("photos")),
        post(7).bearer(&token_of_provider(&issuer, "backend-service")),
        post(8).bearer(&token_of_provider(&format!("{issuer}/"), "photos")),
    ] {
        assert_eq!(bad.send(backend.public).status, 401);
    }
}

/// Until the provider's keys are there, a token of its own is a 503 and no refusal.
pub(crate) fn wait_for_keys(send: impl Fn() -> u16) {
    let ends = Instant::now() + Duration::from_secs(60);
    loop {
        match send() {
            200 => break,
            503 if Instant::now() < ends => std::thread::sleep(Duration::from_millis(20)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn the_secret_is_sent_once_in_either_header() {
    let previous = "hush: the secret before the current one";
    let backend = Setup::new().set("INTERNAL_AUTH_PREVIOUS_SECRETS", previous).start();
    let post = || Request::post(ISSUE_TOKEN, &order(1));
    for good in [
        post().internal(INTERNAL_SECRET),
        post().internal(previous),
        post().bearer(INTERNAL_SECRET),
        post().header("Authorization", &format!("bEaReR {previous}")),
        post().internal(INTERNAL_SECRET).bearer("something-else"),
    ] {
        assert_eq!(good.send(backend.public).status, 200);
    }
    for bad in [
        post(),
        post().internal(""),
        post().internal("wrong"),
        post().internal(&INTERNAL_SECRET[1..]),
        post().internal(&format!("{INTERNAL_SECRET}x")),
        post().internal(INTERNAL_SECRET).internal(INTERNAL_SECRET),
        post().bearer(INTERNAL_SECRET).bearer(INTERNAL_SECRET),
        post().bearer(""),
        post().header("Authorization", &format!("Basic {INTERNAL_SECRET}")),
        post().header("X-Api-Key", INTERNAL_SECRET),
        post().bearer(&access_token("photo-1", 0)),
    ] {
        let refused = bad.send(backend.public);
        refused.assert_problem(401, "invalid_internal_auth", "Internal authentication failed");
    }
}

#[test]
fn nobody_is_asked_where_the_strategy_is_none() {
    let setup = Setup::new()
        .set("INTERNAL_AUTH_STRATEGY", "none")
        .unset("INTERNAL_AUTH_SECRET")
        .set("ISSUANCE_SECRET", "hush: keys are derived from this secret");
    let backend = setup.start();
    assert_eq!(Request::post(ISSUE_TOKEN, &order(1)).send(backend.public).status, 200);
    assert_eq!(Request::post(PAYMENT_RECEIVED, &order(1)).send(backend.public).status, 200);
    assert!(backend.stdout().contains("WARNING         INTERNAL_AUTH_STRATEGY: none lets"));
}

#[test]
fn with_a_port_of_its_own_the_inside_is_served_there_only() {
    let backend = Setup::new().set("INTERNAL_PORT", "0").start();
    let internal = backend.internal.unwrap();
    assert_ne!(internal, backend.public);
    let nowhere = |request: Request, address| {
        request.send(address).assert_problem(404, "not_found", "Nothing is found at this path");
    };
    // The right secret and no secret at all, any method: the public side knows nothing of it.
    nowhere(issue(1), backend.public);
    nowhere(Request::post(ISSUE_TOKEN, &order(1)), backend.public);
    nowhere(Request::get(ISSUE_TOKEN), backend.public);
    nowhere(Request::post(PAYMENT_RECEIVED, &order(1)).internal(INTERNAL_SECRET), backend.public);
    nowhere(Request::get(PHOTO), internal);

    let issued = issue(1).send(internal);
    assert_eq!(issued.status, 200, "{issued:?}");
    let key = issued.member("token");
    Request::get(PHOTO).bearer(&key).send(backend.public).assert_ok(PHOTO_1);
    let report = Request::post(PAYMENT_RECEIVED, &order(1)).internal(INTERNAL_SECRET);
    report.send(internal).assert_ok(r#"{"received":true}"#);
    for address in [backend.public, internal] {
        let health = Request::get("/health").send(address);
        health.assert_ok(r#"{"status":"ok","service":"backend"}"#);
        let ready = Request::get("/ready").send(address);
        let checks = r#"{"store":"ok","writes":"ok","feed":"ok"}"#;
        ready.assert_ok(&format!(r#"{{"status":"ready","checks":{checks}}}"#));
    }
}
