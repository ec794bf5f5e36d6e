//! Who may do what, what goes wrong, and what never leaves the page.

use serde_json::{Value, json};

use super::{
    MASTER, SUPPORT, answer_with, asks, browser::Browser, console, create, setup, sign_in,
};
use crate::process::Request;

#[test]
fn support_sees_all_and_changes_nothing() {
    let Some((backend, mut browser)) = console(&setup()) else { return };
    let key = create(backend.public, "a shop");
    sign_in(&mut browser, SUPPORT);
    browser.wait_for_text("a shop");
    let changes = "globalThis.changes = 0; globalThis.fetched = fetch;
        globalThis.fetch = (url, options) => {
            if (options.method !== 'GET') changes++;
            return fetched(url, options);
        }; 0";
    browser.eval(changes);
    let disabled = |browser: &mut Browser, name: &str| {
        browser.eval("document.querySelector('#live').textContent = ''");
        browser.click(name);
        let state = browser.eval(&format!("named({}).getAttribute('aria-disabled')", json!(name)));
        assert_eq!(state, "true", "{name}");
        browser.wait_for("document.querySelector('#live').textContent.includes('A support key')");
    };
    disabled(&mut browser, "Create a key");
    browser.click("a shop");
    browser.wait_for_text("A support key sees everything and changes nothing");
    for name in ["Edit", "Suspend", "Rotate", "Revoke"] {
        disabled(&mut browser, name);
    }
    for view in ["Purchases", "Refusals", "Health"] {
        browser.click(view);
        browser.wait_for(&format!("text('h1') === {}", json!(view)));
    }
    assert_eq!(browser.eval("document.querySelector('dialog')"), Value::Null);
    assert_eq!(browser.eval("changes"), 0);
    assert_eq!(asks(backend.public, key["key"].as_str().unwrap()), 200);
    // Had it a button, the backend would refuse.
    let id = key["id"].as_str().unwrap();
    let change = Request::new("DELETE", &format!("/keys/{id}")).header("x-api-key", SUPPORT);
    assert_eq!(change.send(backend.public).status, 403);
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn bad_keys_outages_and_foreign_answers_are_told() {
    let setup = setup();
    let Some((backend, mut browser)) = console(&setup) else { return };
    sign_in(&mut browser, "nobody-knows-this-key-of-32-bytes-or-more");
    browser.wait_for_text("The backend does not know this key");
    let reader = create(backend.public, "no operator");
    sign_in(&mut browser, reader["key"].as_str().unwrap());
    browser.wait_for_text("it is a read key");

    let mut host = setup.clone().unset("PORT");
    for argument in ["create", "--role", "master", "--label", "for a day", "--json"] {
        host = host.argument(argument);
    }
    let made: Value = serde_json::from_str(&host.run("keys").stdout).unwrap();
    sign_in(&mut browser, made["key"].as_str().unwrap());
    browser.wait_for_text("no operator");

    answer_with(&mut browser, "/refusals", "() => Promise.reject(new TypeError('gone'))");
    browser.click("Refusals");
    browser.wait_for_text("GET /refusals can't be reached");
    let page =
        "() => Promise.resolve(new Response('<p>hello', {headers: {'Content-Type': 'text/html'}}))";
    answer_with(&mut browser, "/keys", page);
    browser.click("Keys");
    browser.wait_for_text("GET /keys answered with something that is no JSON");
    browser.eval("faked = {}; 0");
    browser.click("Try again");
    browser.wait_for_text("no operator");

    let revoke = Request::new("DELETE", &format!("/keys/{}", made["id"].as_str().unwrap()));
    let revoked = revoke.header("x-api-key", MASTER).send(backend.public);
    assert_eq!(revoked.status, 204, "{revoked:?}");
    browser.click("Refusals");
    browser.wait_for_text("You were signed out. This key has been revoked.");
    assert_eq!(browser.eval("document.querySelector('main table')"), Value::Null);
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn no_secret_leaves_the_page_as_it_stands() {
    let own = "6b1d".repeat(16);
    let other = "9c3a".repeat(16);
    let setup = setup().set("MASTER_API_KEYS", format!("ada={own},eve={other}"));
    let Some((_backend, mut browser)) = console(&setup) else { return };
    sign_in(&mut browser, "ak_1a2B\u{2026}");
    browser.wait_for_text("This is no key.");
    sign_in(&mut browser, &own);
    browser.wait_for("text('h1') === 'Keys'");
    browser.eval(
        "globalThis.sent = []; globalThis.fetched = fetch;
         globalThis.fetch = (url, options) => { sent.push(`${url} ${options.body}`); return fetched(url, options); };
         globalThis.seek = (text) => { sought.value = text; document.querySelector('#search').requestSubmit(); }; 0",
    );
    browser.eval(&format!("seek({})", json!(own)));
    browser.wait_for_text("This is the key that you are signed in with.");
    let uuid = "3f2b8a10-5c1d-4e6f-9a7b-0123456789ab";
    for secret in [&other, uuid] {
        browser.eval(&format!("seek({})", json!(secret)));
        browser.click("A secret: send its SHA-256");
        browser.wait_for_text("No key has this secret");
    }
    let key = format!("ak_{}", "1a2B".repeat(8));
    for (view, field) in [("Keys", "Label"), ("Purchases", "Challenge"), ("Refusals", "Caller")] {
        browser.click(view);
        browser.wait_for(&format!("text('h1') === {}", json!(view)));
        for secret in [&own, &key] {
            browser.fill(field, secret);
            assert_eq!(browser.eval(&format!("field({}).value", json!(field))), "", "{view}");
        }
    }
    for secret in [&own, &other, uuid, &key] {
        let told =
            browser.eval(&format!("(sent.join() + location.href).includes({})", json!(secret)));
        assert_eq!(told, false, "a secret left the page");
    }
    // A time past what a date can be is shown as it stands.
    browser.eval("seek(['{\"alg\":\"none\"}', '{\"exp\":1e300}', 'x'].map(btoa).join('.').replaceAll('=', ''))");
    browser.wait_for_text("1e+300");
    // The address is still that of the view before.
    browser.click("Refusals");
    browser.wait_for("text('h1') === 'Refusals'");
    assert_eq!(browser.faults(), [""; 0]);
}
