//! Purchases, and what a customer sends of one.

use std::time::Duration;

use key0_auth::{
    domain::{Claims, Clock, SystemClock},
    token::TokenIssuer,
};
use serde_json::json;

use super::{MASTER, answer_with, browser::Browser, console, setup, sign_in};
use crate::{
    process::{INTERNAL_SECRET, Request, token_secret},
    serve::{PAYMENT_RECEIVED, PHOTO, access_token_of, issue, order},
};

#[track_caller]
fn seek(browser: &mut Browser, text: &str) {
    browser.wait_for("visible('#sought').length");
    browser.eval(&format!(
        "sought.value = {}; document.querySelector('#search').requestSubmit()",
        json!(text)
    ));
}

/// "The customer with this transaction wants the money back."
#[test]
fn a_purchase_is_found_by_its_transaction_and_revoked() {
    let Some((backend, mut browser)) = console(&setup()) else { return };
    let at = backend.public;
    let key = issue(1).send(at).member("token");
    let paid = Request::post(PAYMENT_RECEIVED, &order(1)).internal(INTERNAL_SECRET);
    assert_eq!(paid.send(at).status, 200);
    let token = access_token_of("challenge-1");
    let photo = |credential: &str| Request::get(PHOTO).bearer(credential).send(at).status;
    assert_eq!((photo(&key), photo(&token)), (200, 200));

    sign_in(&mut browser, MASTER);
    seek(&mut browser, "0x1");
    browser.click("challenge-1");
    browser.wait_for("text('.timeline').includes('Paid and confirmed')");
    let times = "[...document.querySelectorAll('.timeline time')].map((it) => it.dateTime)";
    assert_eq!(
        browser.eval(&format!("{{ const it = {times}; it.join() === it.sort().join() }}")),
        true
    );
    browser.click("Revoke");
    browser.wait_for_text("every access token of challenge-1");
    browser.fill("Reason", "refund");
    browser.click("Revoke");
    browser.wait_for("text('.timeline').includes('refund')");
    assert_eq!((photo(&key), photo(&token)), (401, 401));

    // Of the token its holder sends, the page shows why it is refused.
    seek(&mut browser, &format!("Authorization: Bearer {token}"));
    browser.wait_for("text('.answer').includes('token_revoked')");
    browser.wait_for("text('.found').includes('challenge-1')");
    browser.wait_for("text('section').includes('token_revoked')");
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn a_token_is_decoded_in_the_page_and_refused_by_the_backend() {
    let Some((backend, mut browser)) = console(&setup()) else { return };
    issue(1).send(backend.public);
    let claims = Claims::new(
        "request-1".parse().unwrap(),
        "challenge-1".parse().unwrap(),
        "photo-1".parse().unwrap(),
        "basic".parse().unwrap(),
        "0x1".parse().unwrap(),
        SystemClock.now().minus(Duration::from_secs(60)),
    );
    let expired = TokenIssuer::hs256(&token_secret()).access_token(&claims).unwrap();
    sign_in(&mut browser, MASTER);
    browser.wait_for("text('h1') === 'Keys'");
    browser.eval(
        "globalThis.sent = []; globalThis.fetched = fetch;
         globalThis.fetch = (url, options) => {
             sent.push({url: String(url), body: options.body, headers: Object.keys(options.headers)});
             return fetched(url, options);
         }; 0",
    );
    seek(&mut browser, &expired);
    browser.wait_for("text('.answer').includes('token_expired')");
    browser.wait_for("text('dl').includes('photo-1')");
    browser.wait_for("text('.found').includes('challenge-1')");
    let parts =
        "[location.href, sought.value, ...sent.map(({url, body}) => `${url} ${body}`)].join()";
    for part in expired.split('.') {
        assert_eq!(browser.eval(&format!("({parts}).includes('{part}')")), false);
    }
    // To be judged it is sent to the backend alone, as its holder sends it, and without the key.
    let judged = browser.eval("sent.filter(({url}) => url.endsWith('/credential'))");
    assert_eq!(judged.as_array().unwrap().len(), 1);
    assert_eq!(judged[0]["headers"], json!(["Authorization"]));
    assert_eq!(browser.faults(), [""; 0]);
}

#[test]
fn a_purchase_that_was_never_issued_shows_what_is_missing() {
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
