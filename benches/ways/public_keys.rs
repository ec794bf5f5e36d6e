use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use key0_auth::{AccessTokens, token::VerifyingKey};

use super::{Way, hs256::ours};
use crate::support::{claims, encode, parts, signing_input};

/// Signing takes long, and what a verification reads of a token weighs little: fewer do.
fn fewer(size: usize) -> usize {
    size.min(512)
}

pub(super) fn rs256(size: usize) -> Vec<Way> {
    let pair = RsaKeyPair::from_pkcs8(&der("rsa2048-private")).expect("an RSA key");
    let sign = |input: &str| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature)
            .expect("it signs");
        signature
    };
    let tokens = tokens(fewer(size), r#"{"alg":"RS256"}"#, sign);
    let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der("rsa2048-public"));
    ways(tokens, key.expect("an RSA key"), "rsa2048-public")
}

pub(super) fn es256(size: usize) -> Vec<Way> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der("p256-private"));
    let pair = pair.expect("a P-256 key");
    let sign = |input: &str| {
        pair.sign(&SystemRandom::new(), input.as_bytes()).expect("it signs").as_ref().to_vec()
    };
    let tokens = tokens(fewer(size), r#"{"alg":"ES256"}"#, sign);
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der("p256-public"));
    ways(tokens, key.expect("a P-256 key"), "p256-public")
}

fn ways(tokens: Vec<String>, key: ParsedPublicKey, file: &str) -> Vec<Way> {
    let taken_apart = tokens.iter().map(|token| parts(token)).collect();
    let cold = AccessTokens::public_key_pem(&pem(file)).expect("a public key");
    let key_again = VerifyingKey::from_any_pem(file, &pem(file)).expect("a public key");
    let warm = AccessTokens::builder().key(key_again).remember_verified(tokens.len() * 2).build();
    let warm = warm.expect("good limits");
    vec![
        Way::new(
            "bare verification",
            taken_apart,
            move |(input, signature): &(String, Vec<u8>)| {
                key.verify_sig(input.as_bytes(), signature).is_ok()
            },
        ),
        ours("ours, never seen", cold, tokens.clone()).at_most(1.1, "bare verification"),
        // Every way has validated each of its tokens once before it is measured.
        ours("ours, remembered", warm, tokens).at_most(0.035, "bare verification").without_memory(),
    ]
}

fn tokens(size: usize, header: &str, sign: impl Fn(&str) -> Vec<u8>) -> Vec<String> {
    let token = |n| {
        let input = signing_input(header, &claims(n));
        let signature = encode(sign(&input));
        format!("{input}.{signature}")
    };
    (0..size).map(token).collect()
}

fn pem(name: &str) -> String {
    let path = format!("{}/tests/fixtures/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn der(name: &str) -> Vec<u8> {
    let body: String = pem(name).lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).expect("base64")
}
