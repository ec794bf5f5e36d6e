#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;
use crate::{
    AccessTokens,
    domain::{Credential, Timestamp},
    token::{TokenIssuer, pem, tests::claims},
};

const NAMES: [(&str, Algorithm); 3] =
    [("rsa2048", Algorithm::Rs256), ("p256", Algorithm::Es256), ("ed25519", Algorithm::EdDsa)];

pub(in crate::token) fn file(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys");
    std::fs::read_to_string(format!("{folder}/{name}.pem")).unwrap()
}

/// A public key of the fixtures as a JWK with this kid.
pub(in crate::token) fn jwk(name: &str, kid: Option<&str>) -> Value {
    let der = pem::public_key(&file(&format!("{name}-public"))).unwrap();
    let end = |length: usize, before_end: usize| {
        let end = der.len() - before_end;
        URL_SAFE_NO_PAD.encode(&der[end - length..end])
    };
    let mut jwk = match name {
        "rsa2048" => json!({"kty": "RSA", "n": end(256, 5), "e": "AQAB"}),
        "p256" => json!({"kty": "EC", "crv": "P-256", "x": end(32, 32), "y": end(32, 0)}),
        _ => json!({"kty": "OKP", "crv": "Ed25519", "x": end(32, 0)}),
    };
    if let Some(kid) = kid {
        jwk["kid"] = kid.into();
    }
    jwk
}

pub(in crate::token) fn signed(name: &str, kid: Option<&str>) -> String {
    let algorithm = NAMES.iter().find(|(known, _)| *known == name).unwrap().1;
    let issuer = TokenIssuer::from_pem(name, algorithm, &file(&format!("{name}-private"))).unwrap();
    let issuer = match kid {
        Some(kid) => issuer.kid(kid),
        None => issuer,
    };
    issuer.access_token(&claims()).unwrap()
}

pub(in crate::token) fn now() -> Timestamp {
    Timestamp::from_seconds(1_795_305_965)
}

fn set(members: &[Value]) -> JwkSet {
    JwkSet::parse("THE_SET", json!({ "keys": members }).to_string().as_bytes()).unwrap()
}

fn opens(tokens: &AccessTokens, token: &str) -> bool {
    tokens.validate(Credential::try_from(token).unwrap(), now()).is_ok()
}

#[test]
fn a_key_of_a_set_verifies_as_the_same_key_in_pem_does() {
    let members = NAMES.map(|(name, _)| jwk(name, Some(name)));
    let set = set(&members);
    assert_eq!((set.keys.len(), set.passed_over()), (3, 0));
    let tokens = AccessTokens::builder().keys(set.into_keys()).build().unwrap();
    for (name, _) in NAMES {
        assert!(opens(&tokens, &signed(name, Some(name))), "{name}");
        assert!(opens(&tokens, &signed(name, None)), "{name}");
        assert!(!opens(&tokens, &signed(name, Some("another"))), "{name}");
        for (other, _) in NAMES.iter().filter(|(other, _)| *other != name) {
            assert!(!opens(&tokens, &signed(name, Some(other))), "{name}, {other}");
        }
    }
}

#[test]
fn what_can_not_verify_is_passed_over_and_spoils_nothing() {
    let with = |name: &str, member: &str, value: Value| {
        let mut jwk = jwk(name, Some("passed over"));
        jwk[member] = value;
        jwk
    };
    let useless = [
        json!(null),
        json!("a text"),
        json!({}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
        json!({"kty": "oct", "alg": "HS256", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}),
        json!({"kty": 1}),
        with("rsa2048", "use", json!("enc")),
        with("rsa2048", "use", json!(["sig"])),
        with("p256", "key_ops", json!(["encrypt"])),
        with("p256", "key_ops", json!([])),
        with("p256", "key_ops", json!("verify")),
        with("rsa2048", "alg", json!("PS256")),
        with("rsa2048", "alg", json!("HS256")),
        with("rsa2048", "alg", json!("RSA-OAEP")),
        with("ed25519", "alg", json!("Ed448")),
        with("ed25519", "crv", json!("X25519")),
        with("p256", "crv", json!("P-384")),
        with("p256", "x", json!("AA")),
        with("p256", "y", jwk("p256", None)["x"].clone()),
        with("ed25519", "x", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        with("ed25519", "x", json!("not base64url!")),
        with("ed25519", "kid", json!(7)),
        with("ed25519", "d", json!("AAAA")),
        with("rsa2048", "e", json!("AQ")),
        with("rsa2048", "e", json!("Ag")),
        with("rsa2048", "n", json!("AQAB")),
        with("rsa2048", "n", json!("")),
    ];
    let mut members = useless.to_vec();
    members.insert(3, jwk("ed25519", Some("good")));
    let read = set(&members);
    assert_eq!((read.keys.len(), read.passed_over()), (1, useless.len()));
    let tokens = AccessTokens::builder().keys(read.into_keys()).build().unwrap();
    assert!(opens(&tokens, &signed("ed25519", Some("good"))));

    for (name, member, value) in [
        ("rsa2048", "use", json!("sig")),
        ("rsa2048", "key_ops", json!(["verify"])),
        ("rsa2048", "alg", json!("RS256")),
        ("p256", "alg", json!("ES256")),
        ("ed25519", "alg", json!("EdDSA")),
        ("ed25519", "alg", json!("Ed25519")),
        ("ed25519", "x5c", json!(["AAAA"])),
    ] {
        assert_eq!(set(&[with(name, member, value.clone())]).passed_over(), 0, "{member} {value}");
    }
}

#[test]
fn names_that_stand_twice_or_nowhere_are_tried() {
    let twice = set(&[jwk("p256", Some("a")), jwk("ed25519", Some("a")), jwk("rsa2048", None)]);
    let tokens = AccessTokens::builder().keys(twice.into_keys()).build().unwrap();
    for (name, kid, good) in [
        ("p256", Some("a"), true),
        ("ed25519", Some("a"), true),
        ("rsa2048", Some("a"), false),
        ("rsa2048", Some("of nobody"), true),
        ("rsa2048", None, true),
        ("p256", None, true),
        ("p256", Some("of nobody"), false),
    ] {
        assert_eq!(opens(&tokens, &signed(name, kid)), good, "{name} {kid:?}");
    }
    let many: Vec<_> = (0..200).map(|n| jwk("p256", Some(&n.to_string()))).collect();
    let tokens = AccessTokens::builder().keys(set(&many).into_keys()).build().unwrap();
    assert!(opens(&tokens, &signed("p256", Some("199"))));
}

#[test]
fn what_is_no_set_is_told_apart() {
    for (text, reason) in [
        ("<html>", "it is no JSON"),
        ("", "it is no JSON"),
        ("[]", "it is no JWK set: the array keys is missing"),
        (r#"{"keys":{}}"#, "it is no JWK set: the array keys is missing"),
        (r#"{"kty":"OKP"}"#, "it is no JWK set: the array keys is missing"),
        (r#"{"keys":[]}"#, "none of its keys can verify tokens"),
        (r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, "none of its keys can verify tokens"),
    ] {
        let fault = JwkSet::parse("THE_SET", text.as_bytes()).unwrap_err().to_string();
        assert_eq!(fault, format!("THE_SET is not a usable key: {reason}"), "{text}");
    }
}
