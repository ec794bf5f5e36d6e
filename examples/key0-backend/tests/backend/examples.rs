//! The examples, each started as a user starts it, and talked to.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, time::Duration};

use key0_auth::{
    domain::{Claims, Clock, SystemClock},
    token::TokenIssuer,
};
use serde_json::json;

use crate::process;
use crate::process::{
    Backend, INTERNAL_SECRET, MARK, Request, Setup, TOKEN_SECRET, connect, read_answer,
    token_secret,
};

const MASTER_KEY: &str = "hush-a-master-key-of-these-tests-32-bytes";
const PHOTO: &str = "/photos/photo-1";

/// A running example, and the credential that it tells of.
struct Example {
    backend: Backend,
    credential: String,
}

impl Example {
    /// Starts an example with nothing set but a port.
    fn start(name: &str) -> Option<Self> {
        Self::start_with(name, |setup| setup)
    }

    fn start_with(name: &str, change: impl FnOnce(Setup) -> Setup) -> Option<Self> {
        // The last line that each prints before it waits.
        let ready = if name.ends_with("_backend") { "listening on" } else { "Bearer " };
        let backend = change(Setup::example(name)?).start_example(ready);
        let stdout = backend.stdout();
        let credential = stdout.split("Bearer ").nth(1).and_then(|rest| rest.split('\'').next());
        let credential = credential.unwrap_or_default().to_owned();
        Some(Self { backend, credential })
    }

    fn send(&self, request: Request) -> process::Answer {
        request.try_send(self.backend.public).unwrap()
    }

    /// Sends a request with the credential.
    fn with_credential(&self, request: Request) -> process::Answer {
        self.send(request.bearer(&self.credential))
    }
}

#[test]
fn axum_app() {
    let Some(example) = Example::start("axum_app") else { return };
    sells_photos_and_shows_its_list(&example);
}

#[test]
fn actix_app() {
    let Some(example) = Example::start("actix_app") else { return };
    sells_photos_and_shows_its_list(&example);
}

fn sells_photos_and_shows_its_list(example: &Example) {
    let refused = example.send(Request::get(PHOTO));
    refused.assert_problem(401, "missing_credential", "No credential was sent");
    let answer = example.with_credential(Request::get(PHOTO));
    assert_eq!((answer.status, answer.text()), (200, "photo photo-1"));
    let another = example.with_credential(Request::get("/photos/photo-2"));
    let detail = "The credential does not grant this";
    another.assert_problem(403, "insufficient_permissions", detail);
    let open = example.send(Request::get("/photos"));
    assert_eq!((open.status, open.text()), (200, "photo-1 photo-2"));
    let known = example.with_credential(Request::get("/photos"));
    assert!(known.text().contains("bought photo-1"), "{known:?}");
    assert_eq!(example.send(Request::get("/photos").bearer("a.b.c")).status, 401);
    assert_eq!(example.send(Request::get("/nowhere")).status, 404);
    let method = example.send(Request::new("PUT", PHOTO));
    assert_eq!((method.status, method.header("allow")), (405, Some("GET,HEAD")));
}

#[test]
fn tower_only() {
    let Some(example) = Example::start("tower_only") else { return };
    let refused = example.send(Request::get(PHOTO));
    refused.assert_problem(401, "missing_credential", "No credential was sent");
    let answer = example.with_credential(Request::get(PHOTO));
    assert_eq!((answer.status, answer.text()), (200, "/photos/photo-1, plan basic"));
    assert_eq!(example.with_credential(Request::get("/photos/photo-2")).status, 403);
}

#[test]
fn custom_store() {
    let Some(example) = Example::start("custom_store") else { return };
    let answer = example.with_credential(Request::get(PHOTO));
    assert_eq!((answer.status, answer.text()), (200, "photo photo-1"));
    assert!(example.credential.starts_with("ak_"));
    let by_header = example.send(Request::get(PHOTO).header("x-api-key", &example.credential));
    assert_eq!(by_header.status, 200);
    let unknown = key0_auth::apikey::KeyFormat::default().generate().unwrap();
    let refused = example.send(Request::get(PHOTO).bearer(unknown.expose()));
    refused.assert_problem(401, "invalid_api_key", "Invalid API key");
}

#[test]
fn custom_rejection() {
    let Some(example) = Example::start("custom_rejection") else { return };
    let refused = example.send(Request::get(PHOTO));
    assert_eq!((refused.status, refused.header("content-type")), (401, Some("application/json")));
    let challenge = refused.header("www-authenticate");
    assert_eq!(challenge, Some("Bearer realm=\"photos\""));
    let text = "Photos cost a little: pay through Key0";
    assert_eq!(refused.json(), json!({"ok": false, "reason": "missing_credential", "text": text}));
    let another = example.with_credential(Request::get("/photos/photo-2"));
    let text = "photo-2 is not the photo that you have paid for";
    assert_eq!(another.status, 403);
    assert_eq!(another.member("text"), text);
    assert_eq!(example.send(Request::get("/nowhere")).member("reason"), "not_found");
    assert_eq!(example.with_credential(Request::get(PHOTO)).text(), "photo photo-1");
}

#[test]
fn fallback() {
    let secret = format!("{MARK}: a secret for the example with the fallback");
    let example =
        Example::start_with("fallback", |setup| setup.set("KEY0_ACCESS_TOKEN_SECRET", &*secret));
    let Some(example) = example else { return };
    let own = example.with_credential(Request::get(PHOTO));
    assert_eq!((own.status, own.text()), (200, "photo photo-1 for Ada"));
    assert_eq!(example.with_credential(Request::get("/photos/photo-2")).status, 403);
    let refused = example.send(Request::get(PHOTO).bearer("a.b.c"));
    refused.assert_problem(401, "invalid_token", "The access token is malformed");
    // Key0's tokens go on working.
    let secret = key0_auth::domain::Secret::new("the example's", secret).unwrap();
    let bought = TokenIssuer::hs256(&secret).access_token(&claims()).unwrap();
    let bought = example.send(Request::get(PHOTO).bearer(&bought));
    assert_eq!((bought.status, bought.text()), (200, "photo photo-1 for request-1"));
    example.backend.kill();
}

fn claims() -> Claims {
    Claims::new(
        "request-1".parse().unwrap(),
        "challenge-1".parse().unwrap(),
        "photo-1".parse().unwrap(),
        "basic".parse().unwrap(),
        "0xabc".parse().unwrap(),
        SystemClock.now().plus(Duration::from_secs(3_600)),
    )
}

#[test]
fn actix_backend() {
    leaves_its_database_whole("actix_backend");
}

#[test]
fn axum_backend() {
    leaves_its_database_whole("axum_backend");
}

/// Once it has done its work, and was asked to end. No secret is printed.
fn leaves_its_database_whole(name: &str) {
    let Some(setup) = ends_when_it_is_asked_to(name) else { return };
    let log = std::fs::metadata(setup.path("key0-backend.db-wal"));
    assert_eq!(log.map_or(0, |log| log.len()), 0);
}

fn ends_when_it_is_asked_to(name: &str) -> Option<Setup> {
    let (mut example, setup) = does_a_backend_s_work(name)?;
    example.backend.terminate();
    assert!(example.backend.wait().success());
    let ended = example.backend.end();
    assert!(setup.database().exists(), "{ended:?}");
    Some(setup)
}

/// A seller's whole application is short: what it is made of, and no more.
#[test]
fn the_whole_backends_are_short() {
    for source in
        [include_str!("../../../axum_backend.rs"), include_str!("../../../actix_backend.rs")]
    {
        let (mut lines, mut in_imports) = (0, false);
        for line in source.lines() {
            in_imports |= line.starts_with("use ");
            lines += usize::from(!in_imports && !line.is_empty() && !line.trim().starts_with("//"));
            in_imports &= !line.ends_with(';');
        }
        assert!(lines <= 45, "{lines} lines");
    }
}

fn does_a_backend_s_work(name: &str) -> Option<(Example, Setup)> {
    let set = |setup: Setup| {
        setup
            .set("KEY0_ACCESS_TOKEN_SECRET", TOKEN_SECRET)
            .set("INTERNAL_AUTH_SECRET", INTERNAL_SECRET)
            .set("MASTER_API_KEYS", MASTER_KEY)
    };
    let setup = set(Setup::example(name)?);
    let example = Example::start_with(name, |_| setup.clone())?;
    let ids = ["requestId", "challengeId", "resourceId", "planId", "txHash"];
    let order: serde_json::Map<_, _> =
        ids.into_iter().map(|name| (name.to_owned(), json!("photo-1"))).collect();
    let order = json!(order);
    let issue = || Request::post("/internal/issue-token", &order).internal(INTERNAL_SECRET);
    let issued = issue().send(example.backend.public);
    assert_eq!(issued.status, 200, "{issued:?}");
    // A retry gets the same again, to the byte, and it opens what was paid for.
    assert_eq!(issue().send(example.backend.public).body, issued.body);
    let key = issued.member("token");
    let photo = Request::get("/api/photos/photo-1").bearer(&key).send(example.backend.public);
    assert_eq!(photo.status, 200, "{photo:?}");
    let another = Request::get("/api/photos/photo-2").bearer(&key).send(example.backend.public);
    let detail = "The credential does not grant this";
    another.assert_problem(403, "insufficient_permissions", detail);
    let token = TokenIssuer::hs256(&token_secret()).access_token(&claims()).unwrap();
    let data = Request::get("/api/data/photo-1").bearer(&token).send(example.backend.public);
    assert_eq!(data.member("data"), "premium content");
    let payment = Request::post("/internal/payment-received", &order).internal(INTERNAL_SECRET);
    payment.send(example.backend.public).assert_ok(r#"{"received":true}"#);
    let mut several = connect(example.backend.public).unwrap();
    for _ in 0..2 {
        use std::io::Write;
        let kept = Request::get("/health").header("connection", "keep-alive");
        several.write_all(&kept.bytes()).unwrap();
        assert_eq!(read_answer(&mut several, false).unwrap().status, 200);
    }
    let new = Request::post("/keys", &json!({"role": "read"})).header("x-api-key", MASTER_KEY);
    let made = new.send(example.backend.public);
    assert_eq!(made.status, 201, "{made:?}");
    let list =
        || Request::get("/keys").header("x-api-key", MASTER_KEY).send(example.backend.public);
    assert_eq!(list().json()["keys"][0]["id"], made.member("id"));
    let path = format!("/keys/{}", made.member("id"));
    let gone = Request::new("DELETE", &path).header("x-api-key", MASTER_KEY);
    assert_eq!(gone.send(example.backend.public).status, 204);
    assert_eq!(list().json(), json!({"keys": []}));
    example.backend.wait_for_log("payment photo-1 for photo-1", 1);
    Some((example, setup))
}

/// The day against a backend of its own, without a terminal.
#[test]
fn back_office() {
    let Some(setup) = Setup::example("back_office") else { return };
    let ended = setup.run_example();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for told in [
        "[################################] 8/8 certified",
        "the answer that was lost: {\"newamount\":600}",
        "sent 2 times under the key ",
        "and the balance is 600",
        "status 403, insufficient_permissions",
        "the server can't be reached, after 2 attempts",
        "250 points more make 850",
        "status 401, key_revoked",
        "The end: everything went as it should.",
    ] {
        assert!(ended.stdout.contains(told), "{told}: {}", ended.stdout);
    }
    assert!(!ended.stdout.contains('\r') && !ended.stdout.contains(" ! "), "{}", ended.stdout);
}

/// Against another backend it says what differs, and fails: nobody is there.
#[test]
fn back_office_fails_where_the_day_does() {
    let Some(setup) = Setup::example("back_office") else { return };
    let setup = setup.set("KEY0_BACKEND_URL", "http://127.0.0.1:1");
    let ended = setup.clone().run_example();
    assert!(ended.code == Some(1) && ended.stderr.contains("KEY0_BACKEND_MASTER_KEY"), "{ended:?}");
    let ended = setup.set("KEY0_BACKEND_MASTER_KEY", MASTER_KEY).run_example();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the server can't be reached"), "{ended:?}");
}

/// Neither an address with a password nor a variable that is no text starts a day, or is shown.
#[test]
fn back_office_shows_no_address_that_it_refuses() {
    let Some(setup) = Setup::example("back_office") else { return };
    let setup = setup.set("KEY0_BACKEND_MASTER_KEY", MASTER_KEY);
    let url = format!("http://user:{MARK}@127.0.0.1:1");
    let ended = setup.clone().set("KEY0_BACKEND_URL", url).run_example();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("it names no user"), "{ended:?}");
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(MARK), "{ended:?}");
    let url = OsString::from_vec([MARK.as_bytes(), b"\xe9"].concat());
    let ended = setup.set("KEY0_BACKEND_URL", url).run_example();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("KEY0_BACKEND_URL is no text"), "{ended:?}");
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(MARK), "{ended:?}");
}

/// A backend that is there already is not stopped for the outage.
#[test]
fn back_office_with_another_backend() {
    let Some(setup) = Setup::example("back_office") else { return };
    let secrets = Setup::new().set("MASTER_API_KEYS", MASTER_KEY);
    let backend = secrets.start();
    let ended = setup
        .set("KEY0_BACKEND_URL", format!("http://{}", backend.public))
        .set("KEY0_BACKEND_MASTER_KEY", MASTER_KEY)
        .run_example();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("everything went as it should"), "{ended:?}");
    assert!(ended.stdout.contains("sent 2 times under the key "), "{ended:?}");
    assert_eq!(Request::get("/health").send(backend.public).status, 200);
    backend.kill();
}

/// Faults of the configuration end it before it listens.
#[test]
fn actix_backend_does_not_start_without_its_secrets() {
    let Some(setup) = Setup::example("actix_backend") else { return };
    let with_tokens = setup.clone().set("KEY0_ACCESS_TOKEN_SECRET", TOKEN_SECRET);
    let whole = with_tokens.clone().set("INTERNAL_AUTH_SECRET", INTERNAL_SECRET);
    for (setup, told) in [
        (setup, "KEY0_ACCESS_TOKEN_SECRET"),
        (with_tokens.clone(), "INTERNAL_AUTH_SECRET"),
        (with_tokens.clone().set("INTERNAL_AUTH_SECRET", "short"), "INTERNAL_AUTH_SECRET"),
        (with_tokens.set("INTERNAL_AUTH_SECRET", TOKEN_SECRET), "INTERNAL_AUTH_SECRET"),
        (whole.clone().set("INTERNAL_AUTH_STRATEGY", "none"), "INTERNAL_AUTH_STRATEGY"),
        (whole.clone().set("DATABASE_URL", "mysql://localhost"), "DATABASE_URL"),
    ] {
        let ended = setup.run_example();
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.contains(told), "{told}: {ended:?}");
    }
}
