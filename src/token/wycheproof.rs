//! Project Wycheproof's vectors: for the four algorithms, at the level of the raw signature, and
//! for JSON web signatures, whose file is named by `KEY0_WYCHEPROOF_JWS`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{
    algorithm::Algorithm,
    jwks::JwkSet,
    jws::{CompactJws, Room},
    key::VerifyingKey,
    pem,
    signature::Verifier,
};
use crate::{
    AccessTokens,
    domain::{Credential, Secret},
};

/// Counts what was decided, so that an empty set can't pass.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    accepted: usize,
    refused: usize,
}

impl Tally {
    fn decide(&mut self, verifier: &Verifier, message: &[u8], signature: &[u8]) -> bool {
        let good = verifier.verify(message, signature);
        *if good { &mut self.accepted } else { &mut self.refused } += 1;
        good
    }
}

fn public(algorithm: Algorithm, pem: &str) -> Result<Verifier, &'static str> {
    Verifier::public(algorithm, &pem::public_key(pem).unwrap())
}

#[test]
fn hmac_sha256() {
    let mut tally = Tally::default();
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    for group in set.test_groups {
        for test in group.tests {
            // Shorter keys are refused before they become a verifier.
            let Ok(secret) = Secret::new("the key", test.key.to_vec()) else { continue };
            let good = tally.decide(&Verifier::hmac(&secret), &test.msg, &test.tag);
            // HS256 knows no truncated tags, which other uses of HMAC do (RFC 7518, section 3.2).
            let wanted = test.result == TestResult::Valid && group.tag_size == 256;
            assert_eq!(good, wanted, "{}: {}", test.tc_id, test.comment);
        }
    }
    assert_eq!(tally, Tally { accepted: 30, refused: 138 });
}

#[test]
fn ecdsa_p256_sha256() {
    let mut tally = Tally::default();
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    for group in set.test_groups {
        let verifier = public(Algorithm::Es256, &group.pem).unwrap();
        for test in group.tests {
            let good = tally.decide(&verifier, &test.msg, &test.sig);
            assert_eq!(good, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
        }
    }
    assert_eq!(tally, Tally { accepted: 173, refused: 89 });
}

#[test]
fn ecdsa_signatures_in_der_are_refused() {
    let mut tally = Tally::default();
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).unwrap();
    for group in set.test_groups {
        let verifier = public(Algorithm::Es256, &group.pem).unwrap();
        for test in group.tests {
            assert!(!tally.decide(&verifier, &test.msg, &test.sig), "{}", test.tc_id);
        }
    }
    assert_eq!(tally, Tally { accepted: 0, refused: 484 });
}

#[test]
fn ed25519() {
    let mut tally = Tally::default();
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    for group in set.test_groups {
        let verifier = public(Algorithm::EdDsa, &group.pem).unwrap();
        for test in group.tests {
            let good = tally.decide(&verifier, &test.msg, &test.sig);
            assert_eq!(good, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
        }
    }
    assert_eq!(tally, Tally { accepted: 88, refused: 63 });
}

#[test]
fn rsa_pkcs1_sha256() {
    use rsa_pkcs1_verify::TestName;
    let mut tally = Tally::default();
    for name in [
        TestName::Rsa2048Sha256,
        TestName::Rsa3072Sha256,
        TestName::Rsa4096Sha256,
        TestName::Rsa8192Sha256,
    ] {
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        for group in set.test_groups {
            let verifier = public(Algorithm::Rs256, &group.pem);
            if cfg!(not(feature = "aws_lc_rs")) && group.key_size > 4096 {
                assert!(verifier.is_err(), "a key that this provider can't verify with");
                continue;
            }
            let verifier = verifier.unwrap();
            for test in group.tests {
                let good = tally.decide(&verifier, &test.msg, &test.sig);
                // "Acceptable" is a padding that lacks a NULL, which is refused here.
                let wanted = test.result == TestResult::Valid;
                assert_eq!(good, wanted, "{name:?} {}: {}", test.tc_id, test.comment);
            }
        }
    }
    let (accepted, refused) = if cfg!(feature = "aws_lc_rs") { (31, 1003) } else { (24, 752) };
    assert_eq!(tally, Tally { accepted, refused });
}

/// Signatures that are decided otherwise than the file says: 367 and 370 are, byte for byte, the
/// valid 357; 372 and 373 hold a character that is no base64url.
const OTHERWISE: [u64; 4] = [367, 370, 372, 373];

#[test]
fn json_web_signatures() {
    const VARIABLE: &str = "KEY0_WYCHEPROOF_JWS";
    let Some(path) = std::env::var_os(VARIABLE) else {
        println!("skipped: {VARIABLE} does not name the file json_web_signature.json");
        return;
    };
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (mut tally, mut otherwise) = (Tally::default(), Vec::new());
    for group in file["testGroups"].as_array().unwrap() {
        let tokens = tokens_of(group);
        for test in group["tests"].as_array().unwrap() {
            let (id, jws) = (test["tcId"].as_u64().unwrap(), test["jws"].as_str().unwrap());
            let good = tokens.as_ref().is_some_and(|tokens| holds(tokens, jws));
            *if good { &mut tally.accepted } else { &mut tally.refused } += 1;
            let is_valid = test["result"] == "valid";
            // What no key of ours can verify is refused, and says nothing of the vector.
            if good != is_valid && (good || tokens.is_some()) {
                otherwise.push(id);
            }
        }
    }
    assert_eq!(otherwise, OTHERWISE);
    assert_eq!(tally, Tally { accepted: 20, refused: 381 });
}

/// Where the group's key is of an algorithm, and for a use, that is taken here.
fn tokens_of(group: &Value) -> Option<AccessTokens> {
    let key = match group.get("public") {
        Some(public) => {
            let set = serde_json::json!({ "keys": [public] }).to_string();
            JwkSet::read(set.as_bytes()).ok()?.into_keys().pop()?
        }
        None => {
            let jwk = &group["private"];
            let secret = BASE64_URL_SAFE_NO_PAD.decode(jwk["k"].as_str().unwrap()).unwrap();
            let secret = Secret::new("the key", secret).unwrap();
            VerifyingKey::hs256(&secret).kid(jwk["kid"].as_str().unwrap())
        }
    };
    Some(AccessTokens::builder().key(key).build().unwrap())
}

fn holds(tokens: &AccessTokens, jws: &str) -> bool {
    let Ok(credential) = Credential::try_from(jws) else { return false };
    CompactJws::split(credential).is_some_and(|token| {
        tokens.verify_signature(&token).is_ok()
            && Room::<0>::new().decode(token.payload()).is_some()
    })
}
