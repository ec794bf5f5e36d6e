//! The console, in a real browser.

mod browser;
mod changes;
mod keyboard;
mod purchases;
mod safety;
mod views;

use std::net::SocketAddr;

use serde_json::{Value, json};

use self::browser::Browser;
use crate::process::{Backend, Request, Setup};

const MASTER: &str = "hush-the-master-key-of-these-tests";
const SUPPORT: &str = "hush-the-support-key-of-these-tests";
const TIERS: &str = "/v1/loyalty/reward-tiers";
/// A text that would be markup, and is written from right to left.
const LABEL: &str = "<img src=x onerror=alert(1)> \u{5d0}\u{5d1}\u{5d2} &amp; \"'";

fn setup() -> Setup {
    Setup::new()
        .set("MASTER_API_KEYS", format!("ada={MASTER}"))
        .set("SUPPORT_API_KEYS", format!("bob={SUPPORT}"))
}

/// A backend, and a browser that is at its console.
fn console(setup: &Setup) -> Option<(Backend, Browser)> {
    let backend = setup.start();
    let mut browser = Browser::start(&format!("http://{}", backend.public))?;
    browser.open("/console");
    Some((backend, browser))
}

fn sign_in(browser: &mut Browser, key: &str) {
    browser.fill("Master or support key", key);
    browser.click("Sign in");
}

/// The same by the keyboard alone.
fn sign_in_by_hand(browser: &mut Browser, key: &str) {
    browser.wait_for("document.activeElement?.id === 'key'");
    browser.type_in(key);
    browser.press("Enter");
}

/// The status with which a key is answered.
fn asks(at: SocketAddr, key: &str) -> u16 {
    Request::get(TIERS).header("x-api-key", key).send(at).status
}

fn keys(at: SocketAddr, query: &str) -> Value {
    let answer = Request::get(&format!("/keys?{query}")).header("x-api-key", MASTER).send(at);
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str::<Value>(answer.text()).unwrap()["keys"].take()
}

fn create(at: SocketAddr, label: &str) -> Value {
    let create = Request::post("/keys", &json!({"role": "read", "label": label}));
    let answer = create.header("x-api-key", MASTER).send(at);
    assert_eq!(answer.status, 201, "{answer:?}");
    serde_json::from_str(answer.text()).unwrap()
}

fn secret(browser: &mut Browser) -> String {
    browser.wait_for("document.querySelector('#secret')");
    let secret = browser.eval("document.querySelector('#secret').textContent");
    secret.as_str().unwrap().to_owned()
}

/// Puts what comes of these paths into the place of the backend's answer.
fn answer_with(browser: &mut Browser, path: &str, answer: &str) {
    browser.eval(&format!(
        "globalThis.fetched = globalThis.fetched ?? fetch;
         globalThis.faked = {{...globalThis.faked, [{path}]: ({answer})}};
         globalThis.fetch = (url, options) => {{
             const given = faked[url.pathname];
             return given ? given(options, url) : fetched(url, options);
         }}; 0",
        path = json!(path),
    ));
}

#[test]
fn it_is_on_the_listener_of_the_operator() {
    let backend = setup().set("INTERNAL_PORT", "0").start();
    let internal = backend.internal.unwrap();
    for path in ["/console", "/console/main.js", "/console/console.css", "/console/icon.svg"] {
        assert_eq!(Request::get(path).send(backend.public).status, 404, "{path}");
        let page = Request::get(path).send(internal);
        assert_eq!(page.status, 200, "{path}");
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"),
            "{policy}"
        );
        for (header, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(page.header(header), Some(value), "{path}");
        }
    }
    assert_eq!(Request::get("/console/mod.rs").send(internal).status, 404);
    assert_eq!(Request::get("/refusals").send(backend.public).status, 404);
    assert_eq!(Request::get("/refusals").send(internal).status, 401);

    // Support reads the metrics there, too.
    let Some(mut browser) = Browser::start(&format!("http://{internal}")) else { return };
    browser.open("/console");
    sign_in(&mut browser, SUPPORT);
    browser.wait_for("text('#strip').includes('Refusals')");
    browser.click("Health");
    browser.wait_for_text("a listener of the operator's own");
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn a_refusal_tells_no_secret_and_who_was_refused() {
    let backend = setup().set("MINTER_API_KEYS", "hush-the-minter-key-of-these-tests").start();
    let at = backend.public;
    let refusals = |query: &str, key: &str| {
        Request::get(&format!("/refusals?{query}")).header("x-api-key", key).send(at)
    };
    assert_eq!(refusals("", "hush-the-minter-key-of-these-tests").status, 403);
    let lost = Request::get(&format!("/{MASTER}/x")).header("x-request-id", "req-1").send(at);
    assert_eq!(lost.status, 404);
    let other =
        Request::get("/api/photos/photo-2").bearer(&crate::serve::access_token("photo-1", 0));
    assert_eq!(other.send(at).status, 403);
    for key in [MASTER, SUPPORT] {
        let all = refusals("limit=2", key);
        assert_eq!((all.status, all.header("cache-control")), (200, Some("no-store")), "{all:?}");
        assert!(!all.text().contains("hush"), "{all:?}");
        let all: Value = serde_json::from_str(all.text()).unwrap();
        let newest = &all["refusals"][0];
        assert_eq!(newest["code"], "insufficient_permissions");
        assert_eq!(newest["route"], "/api/photos/{id}");
        assert_eq!(newest["caller"]["kind"], "access_token");
        assert_eq!(
            (&newest["wanted"], &newest["held"]),
            (&"photo-2".into(), &"photo-1 (basic)".into())
        );
        assert!(all["nextCursor"].is_string());
    }
    // Who holds what was revoked is known.
    let token = crate::serve::access_token("photo-1", 0);
    let end = Request::new("POST", "/credential/revoke")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("token={token}"));
    assert_eq!(end.send(at).status, 200);
    assert_eq!(Request::get("/api/photos/photo-1").bearer(&token).send(at).status, 401);
    let revoked = refusals("code=token_revoked&caller=request-1", MASTER);
    let revoked: Value = serde_json::from_str(revoked.text()).unwrap();
    assert_eq!(revoked["refusals"][0]["caller"]["kind"], "access_token", "{revoked}");
    let found: Value = serde_json::from_str(refusals("requestId=req-1", MASTER).text()).unwrap();
    assert_eq!(found["refusals"][0]["code"], "not_found");
    assert_eq!(refusals("limit=0", MASTER).status, 400);
    backend.kill();
}
