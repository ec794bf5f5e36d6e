//! What is done to keys.

use serde_json::json;

use super::{LABEL, MASTER, answer_with, asks, console, create, keys, secret, setup, sign_in};

#[test]
fn a_key_is_made_used_rotated_revoked_and_its_refusal_seen() {
    let setup = setup();
    let Some((backend, mut browser)) = console(&setup) else { return };
    let at = backend.public;
    sign_in(&mut browser, MASTER);
    browser.click("Create a key");
    browser.fill("Label", LABEL);
    browser.fill("Expires", "30");
    browser.click("Create");
    let first = secret(&mut browser);
    assert_eq!(asks(at, &first), 200);
    browser.click("I have stored it");
    browser.wait_for(&format!("text('h1') === {}", json!(LABEL)));
    assert_eq!(browser.eval("document.querySelectorAll('main img').length"), 0);
    for secret in [first.as_str(), MASTER] {
        let places = "document.documentElement.innerHTML + location.href + document.cookie
            + JSON.stringify([{...localStorage}, {...sessionStorage}])
            + [...document.querySelectorAll('input')].map((it) => it.value)";
        let found = browser.eval(&format!("({places}).includes({})", json!(secret)));
        assert_eq!(found, false, "a secret stays in the page");
    }

    // The tab stays open over a restart, by which it is written down that the key was used.
    let setup = setup.set("PORT", at.port().to_string());
    backend.terminate();
    let ended = backend.end();
    assert_eq!(ended.code, Some(0));
    let _backend = setup.start();
    browser.click("Keys");
    browser.wait_for("visible('tbody tr').length === 1");
    browser.eval("document.querySelector('tbody a').click()");
    browser.wait_for("visible('dd time').length === 3");
    assert!(keys(at, "")[0]["lastUsedAt"].is_string());

    browser.click("Rotate");
    browser.wait_for_text("gets a new secret");
    browser.click("Rotate");
    let second = secret(&mut browser);
    browser.click("I have stored it");
    browser.wait_for_text("works until");
    assert_eq!((asks(at, &first), asks(at, &second)), (200, 200));

    browser.click("Suspend");
    browser.wait_for_text("Suspend this key?");
    browser.click("Suspend");
    browser.wait_for("named('Resume')");
    assert_eq!(asks(at, &second), 401);
    browser.click("Resume");
    browser.wait_for_text("Resume this key?");
    browser.click("Resume");
    browser.wait_for("named('Suspend')");
    assert_eq!(asks(at, &second), 200);

    browser.click("Revoke");
    browser.fill("Reason", "left <b>us</b>");
    browser.click("Revoke");
    browser.wait_for_text("left <b>us</b>");
    assert_eq!((asks(at, &first), asks(at, &second)), (401, 401));
    browser.click("Refusals");
    browser.wait_for(
        "text('tbody').includes('key_revoked') && text('tbody').includes('key_suspended')",
    );
    browser.eval("document.querySelector('tbody td a').click()");
    browser.wait_for(&format!("text('h1') === {}", json!(LABEL)));
    browser.wait_for("text('section').includes('key_revoked')");

    // By its secret, of which only the digest is sent.
    browser.eval("globalThis.bodies = []; globalThis.fetched = fetch;
        globalThis.fetch = (url, options) => { bodies.push(`${url} ${options.body}`); return fetched(url, options); }; 0");
    browser.eval(&format!(
        "sought.value = {}; document.querySelector('#search').requestSubmit()",
        json!(second)
    ));
    browser.wait_for_text("Only its SHA-256 was sent.");
    assert_eq!(browser.eval("text('.found a')"), LABEL);
    assert_eq!(browser.eval(&format!("bodies.join().includes({})", json!(second))), false);
    assert_eq!(browser.faults(), [""; 0]);
    // The policy is in force: what it forbids is told.
    browser.eval("document.head.append(Object.assign(document.createElement('style'), {textContent: 'b{}'}))");
    browser.wait_for("document.querySelector('head style')");
    assert!(!browser.faults().is_empty(), "a violation is not told");
}

#[test]
fn several_keys_are_changed_at_once_and_a_double_click_counts_once() {
    let Some((backend, mut browser)) = console(&setup()) else { return };
    let at = backend.public;
    sign_in(&mut browser, MASTER);
    browser.click("Create a key");
    browser.fill("Label", "once");
    browser.eval("named('Create').click(); named('Create').click()");
    secret(&mut browser);
    browser.click("I have stored it");
    assert_eq!(keys(at, "").as_array().unwrap().len(), 1);
    for number in 0..3 {
        create(at, &format!("shop {number}"));
    }
    browser.click("Keys");
    browser.wait_for("visible('tbody tr').length === 4");
    browser.eval("visible('tbody input').slice(0, 3).forEach((it) => it.click())");
    browser.click("Revoke");
    browser.wait_for_text("Revoke 3 keys?");
    browser.click("Revoke");
    browser.wait_for("visible('tbody tr').length === 1");
    let left = keys(at, "");
    assert_eq!((left.as_array().unwrap().len(), &left[0]["label"]), (1, &"once".into()));
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn a_change_under_way_is_not_lost() {
    let Some((backend, mut browser)) = console(&setup()) else { return };
    let at = backend.public;
    sign_in(&mut browser, MASTER);
    browser.click("Create a key");
    browser.fill("Label", "slow");
    let held = "(options, url) => options.method === 'GET' ? fetched(url, options)
        : new Promise((done) => { globalThis.answer = () => done(fetched(url, options)); })";
    answer_with(&mut browser, "/keys", held);
    browser.click("Create");
    browser.wait_for("globalThis.answer");
    browser.press("Escape");
    browser.press("Escape");
    assert_eq!(browser.eval("named('Cancel').disabled"), true);
    browser.eval("answer()");
    let key = secret(&mut browser);
    assert_eq!(asks(at, &key), 200);
    browser.click("I have stored it");
    browser.wait_for("text('h1') === 'slow'");
    // Done, while its answer is lost.
    let lost = "(options, url) => options.method === 'GET' ? fetched(url, options)
        : fetched(url, options).then(() => { throw new TypeError(); })";
    browser.click("Keys");
    answer_with(&mut browser, "/keys", lost);
    browser.click("Create a key");
    browser.fill("Label", "lost");
    browser.click("Create");
    browser.wait_for_text("It may have been done all the same");
    browser.click("Cancel");
    browser.wait_for("visible('tbody tr').length === 2");

    // A stop leaves the rest as it is.
    let one = "(options, url) => new Promise((done) => { globalThis.answer = () => done(fetched(url, options)); })";
    browser.eval("delete globalThis.answer");
    for key in keys(at, "").as_array().unwrap() {
        answer_with(&mut browser, &format!("/keys/{}", key["id"].as_str().unwrap()), one);
    }
    browser.eval("visible('tbody input').forEach((it) => it.click())");
    browser.click("Revoke");
    browser.wait_for_text("Revoke 2 keys?");
    browser.click("Revoke");
    browser.wait_for("globalThis.answer");
    browser.click("Cancel");
    browser.eval("answer()");
    browser.wait_for("text('dialog').includes('not done')");
    assert_eq!(keys(at, "").as_array().unwrap().len(), 1);
    assert_eq!(browser.faults(), [""; 0]);
}
