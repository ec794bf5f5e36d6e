//! `key0-backend purchases`, beside a server that runs.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    process::{Ended, Request, Setup},
    serve::{PHOTO, issue},
};

fn purchases(setup: &Setup, arguments: &[&str]) -> Ended {
    let setup = arguments.iter().fold(setup.clone(), |setup, argument| setup.argument(argument));
    setup.run("purchases")
}

fn json(setup: &Setup, arguments: &[&str]) -> Value {
    let ended = purchases(setup, &[arguments, &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// "The customer with this transaction gets a 401": found and ended by two commands.
#[test]
fn a_customer_is_found_by_the_transaction_and_refunded() {
    let setup = Setup::new();
    let backend = setup.start();
    let key = issue(1).send(backend.public).member("token");
    issue(2).send(backend.public);
    let all = json(&setup, &["list"]);
    let listed = all["purchases"].as_array().unwrap();
    assert_eq!(listed.len(), 2, "{all}");
    let tx = listed[1]["txHash"].as_str().unwrap().to_uppercase().replace("0X", "0x");
    let found = json(&setup, &["list", "--tx", &tx, "--state", "issued"]);
    assert_eq!(found["purchases"], Value::from(vec![listed[1].clone()]));
    let id = found["purchases"][0]["challengeId"].as_str().unwrap();
    assert_eq!(json(&setup, &["show", id]), listed[1]);

    let revoked = json(&setup, &["revoke", id, "--reason", "refunded"]);
    assert_eq!(
        (&revoked["state"], &revoked["revokedReason"]),
        (&"revoked".into(), &"refunded".into())
    );
    assert!(!revoked.to_string().contains(&key), "{revoked}");
    // The server hears of it by itself.
    let began = Instant::now();
    while Request::get(PHOTO).bearer(&key).send(backend.public).status != 401 {
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    assert_eq!(issue(1).send(backend.public).member("code"), "purchase_revoked");

    let table = purchases(&setup, &["list", "--state", "revoked"]);
    assert!(table.stdout.starts_with("CHALLENGE") && table.stdout.contains(id), "{table:?}");
    let none = purchases(&setup, &["list", "--plan", "none"]);
    assert_eq!(none.stdout, "there are none\n");
    for refused in [
        &["show", "nothing"][..],
        &["retry", id],
        &["settle", id, "--reason", "paid back"],
        &["list", "--state", "lost"],
    ] {
        let ended = purchases(&setup, refused);
        assert_eq!(ended.code, Some(1), "{refused:?}: {ended:?}");
    }
}
