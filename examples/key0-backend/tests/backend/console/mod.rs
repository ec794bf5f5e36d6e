//! The console, in a real browser.

mod browser;

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
fn the_keyboard_alone_does_it() {
    let Some((backend, mut browser)) = console(&setup()) else { return };
    browser.wait_for("document.activeElement?.id === 'key'");
    browser.type_in(MASTER);
    browser.press("Enter");
    browser.tab_to("named('Create a key')");
    browser.press("Enter");
    browser.wait_for("field('Label')");
    browser.tab_to("field('Label')");
    browser.type_in("by hand");
    browser.press("Enter");
    let key = secret(&mut browser);
    assert_eq!(asks(backend.public, &key), 200);
    // What was shown this once is not lost to a slip.
    browser.press("Escape");
    browser.press("Escape");
    browser.tab_to("named('I have stored it')");
    browser.press("Enter");
    browser.wait_for("text('h1') === 'by hand'");
    browser.tab_to("named('Revoke')");
    browser.press("Enter");
    browser.wait_for_text("Revoke this key for good?");
    browser.press("Escape");
    browser.wait_for("!document.querySelector('dialog')");
    assert_eq!(browser.eval("document.activeElement === named('Revoke')"), true);
    browser.press("Enter");
    browser.tab_to("field('Reason')");
    browser.type_in("by hand, too");
    browser.press("Enter");
    browser.wait_for_text("by hand, too");
    assert_eq!(asks(backend.public, &key), 401);
    browser.press("/");
    browser.wait_for("document.activeElement.id === 'sought'");
    browser.type_in("by hand");
    browser.press("Enter");
    browser.wait_for("text('.found').includes('by hand')");
    assert_eq!(browser.faults(), [""; 0]);
}

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
fn a_purchase_is_found_by_its_transaction_and_revoked() {
    let Some((_backend, mut browser)) = console(&setup()) else { return };
    sign_in(&mut browser, MASTER);
    browser.wait_for("text('h1') === 'Keys'");
    let gone = "() => Promise.resolve(new Response('{\"code\":\"not_found\",\"detail\":\"no\"}',
        {status: 404, headers: {'Content-Type': 'application/problem+json'}}))";
    answer_with(&mut browser, "/purchases", gone);
    browser.click("Purchases");
    browser.wait_for_text("This view needs a backend that serves it");

    // As the contract has them, paid and never issued.
    let hash = "5e8f".repeat(16);
    let purchase = json!({
        "challengeId": "challenge-7f3c", "requestId": "http-7f3c", "resourceId": "photo-1",
        "planId": "basic", "txHash": format!("0x{hash}"), "state": "confirmed_unissued",
        "confirmedAt": "2026-11-30T09:00:00.000Z",
    });
    browser.eval(&format!(
        "globalThis.bought = {purchase}; globalThis.asked = [];
         globalThis.json = (it) => Promise.resolve(Response.json(it)); 0"
    ));
    let list = "(_, url) => { asked.push(url.search); return json({purchases: [bought]}); }";
    answer_with(&mut browser, "/purchases", list);
    answer_with(&mut browser, "/purchases/challenge-7f3c", "() => json(bought)");
    let revoke = "(options) => {
        asked.push(`${options.method} ${options.body}`);
        bought = {...bought, state: 'revoked', revokedAt: '2026-11-30T09:05:00.000Z', revokedReason: 'refund'};
        return json(bought);
    }";
    answer_with(&mut browser, "/purchases/challenge-7f3c/revoke", revoke);
    browser.eval(&format!(
        "sought.value = '0x{hash}'; document.querySelector('#search').requestSubmit()"
    ));
    browser.click("challenge-7f3c");
    browser.wait_for("text('.timeline .missing').includes('Issued: missing')");
    browser.click("Revoke");
    browser.wait_for_text("every access token of challenge-7f3c");
    browser.fill("Reason", "refund");
    browser.click("Revoke");
    browser.wait_for("text('.timeline').includes('Revoked')");
    let asked = browser.eval("asked.filter((it) => it.includes('txHash') || it.includes('POST'))");
    assert_eq!(asked, json!([format!("?txHash=0x{hash}"), "POST {\"reason\":\"refund\"}"]));
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
