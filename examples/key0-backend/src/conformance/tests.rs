#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use key0_auth::domain::Secret;

use super::table::{Group, Known, Values, tokens::variants};

fn values() -> Values {
    let secret = |text: &str| Some(Secret::new("a secret", text).unwrap());
    let known = Known {
        tokens: secret("a secret of access tokens, 32 bytes and more"),
        internal: secret("a secret of internal calls, 32 bytes and more"),
        master: secret("a-master-key-of-the-tests-of-32-bytes-and-more"),
        gateway: secret("a secret of the gateway, of 32 bytes and more"),
        verify: secret("a secret of the proxies, of 32 bytes and more"),
        previous_tokens: secret("a previous secret of access tokens, of 32 bytes"),
        previous_internal: secret("a previous secret of internal calls, of 32 bytes"),
        audience: "backend-service".to_owned(),
        unreachable: Some("ak_x".to_owned()),
    };
    Values::new(known).unwrap()
}

/// Every name in the table has a value, or is kept by a case before; no case has another's name,
/// and no variant is there for nothing.
#[test]
fn the_table_is_whole() {
    let values = values();
    let (mut names, mut kept, mut used) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for group in Group::all().unwrap() {
        assert!(!group.cases.is_empty(), "{}", group.name);
        for case in group.cases {
            assert!(!case.steps.is_empty(), "{}", case.name);
            for need in case.needs() {
                let known = kept.contains(need) || values.get(need).is_ok();
                assert!(known, "{}: nobody knows {need}", case.name);
                used.insert(need.to_owned());
            }
            for step in &case.steps {
                assert!(!step.expect.as_slice().is_empty(), "{}", case.name);
                kept.extend(step.keep.keys().cloned());
            }
            assert!(names.insert((group.name, case.name.clone())), "{}: twice", case.name);
        }
    }
    for name in variants().unwrap().keys() {
        assert!(used.contains(&format!("token.{name}")), "no case uses the token {name}");
    }
    assert!(names.len() > 300, "{}", names.len());
}

/// The variants are what their names say: the parts are there, and the last one is no accident.
#[test]
fn variants_are_what_their_names_say() {
    let values = values();
    let token = |name: &str| values.get(&format!("token.{name}")).unwrap();
    assert_eq!(token("expired").split('.').count(), 3);
    assert_eq!(token("noSignature").split('.').count(), 2);
    assert_eq!(token("fourthPart").split('.').count(), 4);
    assert!(token("emptySignature").ends_with('.'));
    assert!(token("paddedSignature").ends_with('='));
    assert!(token("tooLong").len() > 8 * 1024);
    // The three that bear another algorithm's signature differ in its length.
    let signature = |name: &str| token(name).rsplit('.').next().unwrap().len();
    assert_eq!(["expired", "hs384", "hs512"].map(signature), [43, 64, 86]);
}

#[test]
fn secrets_are_taken_out_of_what_is_shown() {
    let mut values = values();
    values.keep("paymentKey", "ak_a-key-that-was-issued".to_owned());
    let secrets = [
        "internalSecret",
        "masterKey",
        "tokenSecret",
        "paymentKey",
        "gatewaySecret",
        "verifySecret",
    ];
    let text = secrets.map(|name| values.get(name).unwrap()).join(" and ");
    assert_eq!(values.redact(&text), "… and … and … and … and … and …");
}
