//! Each view as it looks: at every width, in light and dark, before there is data, and for readers
//! of screens.

use std::{fs, net::SocketAddr};

use serde_json::{Value, json};

use super::{MASTER, answer_with, browser::Browser, console, create, setup, sign_in};
use crate::{
    process::{INTERNAL_SECRET, Request},
    serve::{PAYMENT_RECEIVED, PHOTO, issue, order},
};

/// Something of everything that there is to see.
fn furnish(at: SocketAddr) -> String {
    let long = "a label of 200 characters, ".repeat(8);
    for label in ["acme", "<b>shop</b> \u{5d0}\u{5d1}\u{5d2}", &long[..200]] {
        create(at, label);
    }
    let key = issue(1).send(at).member("token");
    let paid = Request::post(PAYMENT_RECEIVED, &order(2)).internal(INTERNAL_SECRET);
    assert_eq!(paid.send(at).status, 200);
    assert_eq!(Request::get(PHOTO).bearer(&key).send(at).status, 200);
    assert_eq!(Request::get(PHOTO).bearer("a.b.c").send(at).status, 401);
    let made = create(at, "to be revoked");
    let id = made["id"].as_str().unwrap().to_owned();
    let revoke = Request::new("DELETE", &format!("/keys/{id}?reason=left"));
    assert_eq!(revoke.header("x-api-key", MASTER).send(at).status, 204);
    id
}

/// The views, each with what is true once it is there.
fn views(key: &str) -> Vec<(String, &'static str)> {
    let there = "visible('main tbody tr').length && !text('main').includes('Loading')";
    vec![
        ("#/keys?state=all".into(), there),
        (format!("#/keys/{key}"), "text('.history').includes('revoked')"),
        ("#/purchases".into(), there),
        ("#/purchases/challenge-2".into(), "visible('.timeline').length"),
        ("#/refusals".into(), there),
        ("#/health".into(), "visible('figure').length && text('main').includes('SECRET')"),
        ("#/audit".into(), there),
    ]
}

fn visit(browser: &mut Browser, hash: &str, there: &str) {
    browser.eval(&format!("location.hash = {}; 0", json!(hash)));
    browser.wait_for(&format!("location.hash === {} && ({there})", json!(hash)));
}

fn width(browser: &mut Browser, width: u32) {
    let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
    browser.send("Emulation.setDeviceMetricsOverride", metrics);
}

fn scheme(browser: &mut Browser, scheme: &str) {
    let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
    browser.send("Emulation.setEmulatedMedia", json!({"features": features}));
}

#[test]
fn no_view_is_wider_than_the_window() {
    let Some((backend, mut browser)) = console(&setup()) else { return };
    let key = furnish(backend.public);
    let fits = |browser: &mut Browser, what: &str| {
        for wide in [360, 800, 1_440] {
            width(browser, wide);
            let over = browser.eval("document.documentElement.scrollWidth - innerWidth");
            assert!(over.as_i64().unwrap() <= 0, "{what} at {wide}: {over} too wide");
        }
    };
    fits(&mut browser, "signing in");
    sign_in(&mut browser, MASTER);
    for (hash, there) in views(&key) {
        visit(&mut browser, &hash, there);
        fits(&mut browser, &hash);
    }
    browser.eval("location.hash = '#/keys'; 0");
    browser.click("Create a key");
    browser.wait_for("field('Label')");
    fits(&mut browser, "creating");
    assert_eq!(browser.faults(), [""; 0]);
}

/// The checker is a program of others, which is not part of this project: see CONTRIBUTING.md.
#[test]
fn a_checker_of_accessibility_finds_nothing() {
    let Some(axe) = std::env::var_os("KEY0_TEST_AXE") else {
        println!("skipped: KEY0_TEST_AXE names no axe.min.js");
        return;
    };
    let axe = fs::read_to_string(axe).unwrap();
    let previous = "hush: the internal secret before that one";
    let setup = setup().set("INTERNAL_AUTH_PREVIOUS_SECRETS", previous);
    let Some((backend, mut browser)) = console(&setup) else { return };
    let key = furnish(backend.public);
    browser.eval(&format!("{axe}; 0"));
    let check = |browser: &mut Browser, what: &str| {
        for of in ["light", "dark"] {
            scheme(browser, of);
            // Colours change by and by, and a checker would see them half way.
            browser.eval("Promise.all(document.getAnimations().map((it) => it.finished))");
            let found = browser.eval(
                "axe.run(document, {resultTypes: ['violations']}).then(({violations}) =>
                     violations.map(({id, nodes}) => [id, nodes.map(({html}) => html.slice(0, 200))]))",
            );
            assert_eq!(found, json!([]), "{what}, {of}");
        }
    };
    check(&mut browser, "signing in");
    sign_in(&mut browser, MASTER);
    for wide in [1_440, 360] {
        width(&mut browser, wide);
        for (hash, there) in views(&key) {
            visit(&mut browser, &hash, there);
            check(&mut browser, &format!("{hash} at {wide}"));
        }
        browser.eval("location.hash = '#/keys'; 0");
        browser.click("Create a key");
        browser.wait_for("field('Label')");
        check(&mut browser, "creating");
        browser.click("Create");
        browser.wait_for("visible('#secret').length");
        check(&mut browser, "the secret");
        browser.click("I have stored it");
        browser.wait_for("!document.querySelector('dialog')");
        browser.eval("sought.value = 'acme'; document.querySelector('#search').requestSubmit()");
        browser.wait_for("text('.found').includes('acme')");
        check(&mut browser, "what was found");
    }
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn a_view_is_there_before_its_data() {
    let Some((backend, mut browser)) = console(&setup()) else { return };
    let key = furnish(backend.public);
    sign_in(&mut browser, MASTER);
    browser.wait_for("visible('tbody tr').length");
    // From now on nothing is answered.
    let never = "() => new Promise(() => {})";
    let one = format!("/keys/{key}");
    for path in ["/keys", &one, "/purchases", "/refusals", "/audit", "/openapi.json", "/metrics"] {
        answer_with(&mut browser, path, never);
    }
    for (hash, title) in [
        ("#/keys?state=all", "Keys"),
        ("#/purchases", "Purchases"),
        ("#/refusals", "Refusals"),
        ("#/audit", "Audit"),
        ("#/health", "Health"),
        (&format!("#/keys/{key}"), "Keys"),
    ] {
        let there = format!("text('h1') === '{title}' && text('main').includes('Loading')");
        visit(&mut browser, hash, &there);
    }
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn the_audit_is_shown_filtered_and_saved() {
    let Some((backend, mut browser)) = console(&setup()) else { return };
    furnish(backend.public);
    sign_in(&mut browser, MASTER);
    browser.click("Audit");
    browser.wait_for("visible('tbody tr').length >= 5");
    browser.fill("Contains", "to be revoked");
    browser.wait_for("visible('tbody tr').length === 2");
    browser.eval(
        "globalThis.saved = null; globalThis.made = URL.createObjectURL;
         URL.createObjectURL = (blob) => { saved = blob; return made.call(URL, blob); }; 0",
    );
    browser.click("Save as CSV");
    browser.wait_for("saved");
    let saved = browser.eval("saved.text()");
    let lines: Vec<_> = saved.as_str().unwrap().split("\r\n").collect();
    assert_eq!(lines.len(), 3, "{saved}");
    assert!(lines[0].starts_with("\"at\",\"action\",\"kind\""), "{saved}");
    assert!(lines[2].contains("\"revoked\",\"key\"") && lines[2].ends_with("\"left\""), "{saved}");

    // Whoever signs out leaves nothing behind.
    browser.click("Sign out");
    browser.wait_for_text("You have signed out.");
    assert_eq!(browser.eval("document.querySelector('main table')"), Value::Null);
    browser.eval("location.hash = '#/keys'; 0");
    assert_eq!(browser.eval("visible('h1').map((it) => it.textContent)"), json!(["Sign in"]));
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn a_secret_tells_when_it_was_used_and_whether_it_may_go() {
    let setup = setup()
        .set("INTERNAL_AUTH_PREVIOUS_SECRETS", "hush: the internal secret before that one")
        .set("GATEWAY_SECRET", "hush: the secret of the gateway of today")
        .set("GATEWAY_PREVIOUS_SECRETS", "hush: the secret of the gateway of yesterday")
        .set("GATEWAY_ROUTES", "photo=GET /api/photos/{id}");
    let Some((backend, mut browser)) = console(&setup) else { return };
    let before = Request::post(PAYMENT_RECEIVED, &order(1))
        .internal("hush: the internal secret before that one");
    assert_eq!(before.send(backend.public).status, 200);
    sign_in(&mut browser, MASTER);
    browser.click("Health");
    let row = |name: &str| {
        format!("visible('tbody tr').find((it) => it.textContent.includes('{name}'))?.innerText")
    };
    let internal = row("INTERNAL_AUTH_PREVIOUS_SECRETS (number 1)");
    browser.wait_for(&format!("{internal}.includes('in use: keep it')"));
    let gateway = row("GATEWAY_PREVIOUS_SECRETS (number 1)");
    browser.wait_for(&format!("{gateway}.includes('never')"));
    browser.wait_for(&format!("{gateway}.includes('Safe to drop, if that stays so')"));
    // Two days later.
    browser.eval("{ const now = Date.now; Date.now = () => now() + 2 * 86_400_000; }");
    browser.click("Keys");
    browser.click("Health");
    browser.wait_for(&format!("{gateway}.includes('safe to drop')"));
    browser.wait_for(&format!("{internal}.includes('safe to drop')"));
    assert_eq!(browser.faults(), [""; 0]);
}
