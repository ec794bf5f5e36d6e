//! All of it by the keyboard alone.

use super::{MASTER, asks, browser::Browser, console, secret, setup, sign_in_by_hand};
use crate::{
    process::Request,
    serve::{PHOTO, issue},
};

/// Comes to what is named so, and presses Enter.
#[track_caller]
fn press_on(browser: &mut Browser, name: &str) {
    browser.tab_to(&format!("named('{name}')"));
    browser.press("Enter");
}

/// Looks for a text in the search box, which `/` leads to.
#[track_caller]
fn seek(browser: &mut Browser, text: &str) {
    browser.press("/");
    browser.wait_for("document.activeElement.id === 'sought'");
    browser.type_in(text);
    browser.press("Enter");
}

#[test]
fn the_keyboard_alone_does_it() {
    let Some((backend, mut browser)) = console(&setup()) else { return };
    let at = backend.public;
    sign_in_by_hand(&mut browser, MASTER);
    press_on(&mut browser, "Create a key");
    browser.wait_for("field('Label')");
    browser.tab_to("field('Label')");
    browser.type_in("by hand");
    browser.press("Enter");
    let first = secret(&mut browser);
    assert_eq!(asks(at, &first), 200);
    // What was shown this once is not lost to a slip.
    browser.press("Escape");
    browser.press("Escape");
    press_on(&mut browser, "I have stored it");
    browser.wait_for("text('h1') === 'by hand'");

    press_on(&mut browser, "Rotate");
    browser.wait_for_text("gets a new secret");
    browser.tab_to("visible('dialog [type=submit]')[0]");
    browser.press("Enter");
    let second = secret(&mut browser);
    press_on(&mut browser, "I have stored it");
    browser.wait_for_text("works until");
    assert_eq!((asks(at, &first), asks(at, &second)), (200, 200));

    press_on(&mut browser, "Revoke");
    browser.wait_for_text("Revoke this key for good?");
    browser.press("Escape");
    browser.wait_for("!document.querySelector('dialog')");
    assert_eq!(browser.eval("document.activeElement === named('Revoke')"), true);
    browser.press("Enter");
    browser.tab_to("field('Reason')");
    browser.type_in("by hand, too");
    browser.press("Enter");
    browser.wait_for_text("by hand, too");
    assert_eq!((asks(at, &first), asks(at, &second)), (401, 401));
    press_on(&mut browser, "Refusals");
    browser.wait_for("text('tbody').includes('key_revoked')");
    browser.tab_to("visible('tbody td a')[0]");
    browser.press("Enter");
    browser.wait_for("text('h1') === 'by hand'");
    seek(&mut browser, "by hand");
    browser.wait_for("text('.found').includes('by hand')");

    // A purchase, by its transaction.
    let bought = issue(1).send(at).member("token");
    assert_eq!(Request::get(PHOTO).bearer(&bought).send(at).status, 200);
    seek(&mut browser, "0x1");
    press_on(&mut browser, "challenge-1");
    browser.wait_for("text('.timeline').includes('Issued')");
    press_on(&mut browser, "Revoke");
    browser.tab_to("field('Reason')");
    browser.type_in("refund");
    browser.press("Enter");
    browser.wait_for("text('.timeline').includes('refund')");
    assert_eq!(Request::get(PHOTO).bearer(&bought).send(at).status, 401);

    press_on(&mut browser, "Sign out");
    browser.wait_for("document.activeElement?.id === 'key'");
    assert_eq!(browser.eval("document.querySelector('.timeline')"), serde_json::Value::Null);
    assert_eq!(browser.faults(), [""; 0]);
}
