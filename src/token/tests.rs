#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::{
    AccessTokens,
    domain::{
        ChallengeId, Claims, Credential, PlanId, RequestId, ResourceId, Secret, Timestamp, TxHash,
    },
};

const RSA_PUBLIC: &str = include_str!("../../tests/fixtures/keys/rsa2048-public.pem");
const RSA_PRIVATE: &str = include_str!("../../tests/fixtures/keys/rsa2048-private.pem");
const P256_PUBLIC: &str = include_str!("../../tests/fixtures/keys/p256-public.pem");
const P256_PRIVATE: &str = include_str!("../../tests/fixtures/keys/p256-private.pem");

fn secret(text: &str) -> Secret {
    Secret::new("a test secret", text).unwrap()
}

pub(super) fn claims() -> Claims {
    Claims::new(
        RequestId::new("r-1").unwrap(),
        ChallengeId::new("c-1").unwrap(),
        ResourceId::new("photo-1").unwrap(),
        PlanId::new("basic").unwrap(),
        TxHash::new("0xab").unwrap(),
        Timestamp::from_seconds(1_795_309_565),
    )
}

fn signed(tokens: &AccessTokens, token: &str) -> bool {
    tokens.has_signed(Credential::try_from(token).unwrap())
}

/// The same signature with a bit set that none of its bytes has.
fn stray_bit(token: &str) -> String {
    let last = token.bytes().last().unwrap();
    // The letters that end these signatures have an even index, and their neighbour is next to
    // them in ASCII, but at the borders of the alphabet's ranges.
    let next = match last {
        b'Z' => b'a',
        b'z' => b'0',
        b'9' => b'-',
        b'-' => b'_',
        other => other + 1,
    };
    format!("{}{}", &token[..token.len() - 1], char::from(next))
}

#[test]
fn a_bent_token_of_ours_stays_ours() {
    let shared = "the shared secret of these unit tests";
    let tokens = AccessTokens::builder()
        .key(VerifyingKey::hs256(&secret(shared)).kid("shared"))
        .key(VerifyingKey::from_any_pem("rsa", RSA_PUBLIC).unwrap())
        .key(VerifyingKey::from_any_pem("p256", P256_PUBLIC).unwrap())
        .build()
        .unwrap();
    let issuers = [
        TokenIssuer::hs256(&secret(shared)),
        TokenIssuer::hs256(&secret(shared)).kid("a kid of nobody"),
        TokenIssuer::from_pem("rsa", Algorithm::Rs256, RSA_PRIVATE).unwrap(),
        TokenIssuer::from_pem("p256", Algorithm::Es256, P256_PRIVATE).unwrap(),
    ];
    let now = Timestamp::from_seconds(1_795_305_965);
    for issuer in issuers {
        // Enough tokens that some signature has letters of the other alphabet.
        let mut standard = 0;
        for n in 0..16 {
            let claims = claims().issued(Timestamp::from_seconds(n));
            let token = issuer.access_token(&claims).unwrap();
            assert!(signed(&tokens, &token));
            let (input, signature) = token.rsplit_once('.').unwrap();
            let other = signature.replace('-', "+").replace('_', "/");
            standard += usize::from(other != signature);
            let mut tampered = vec![
                format!("{token}="),
                format!("{token}=="),
                format!("{token}========"),
                format!("{token}=AAAA"),
                format!("{token}~"),
                format!("{input}.={signature}"),
                format!("{input}.{}~{}", &signature[..9], &signature[9..]),
                stray_bit(&token),
                format!("{}=", stray_bit(&token)),
                format!("{token}."),
                format!("{token}.x.y"),
            ];
            if other != signature {
                tampered.push(format!("{input}.{other}"));
                tampered.push(format!("{input}.{other}="));
            }
            for tampered in tampered {
                assert!(signed(&tokens, &tampered), "{tampered}");
                let refused = tokens.validate(Credential::try_from(&*tampered).unwrap(), now);
                assert_eq!(refused.unwrap_err().kind(), crate::RejectionKind::InvalidToken);
            }
        }
        assert!(standard > 0);
    }
}

#[test]
fn what_we_have_not_signed_is_not_ours() {
    let tokens = AccessTokens::builder()
        .key(VerifyingKey::hs256(&secret("the shared secret of these unit tests")))
        .key(VerifyingKey::from_any_pem("p256", P256_PUBLIC).unwrap())
        .build()
        .unwrap();
    let ours = TokenIssuer::hs256(&secret("the shared secret of these unit tests"));
    let ours = ours.access_token(&claims()).unwrap();
    let foreign = TokenIssuer::hs256(&secret("the secret of the application's own tokens"));
    let foreign = foreign.access_token(&claims().from_issuer("the application")).unwrap();
    let rsa = TokenIssuer::from_pem("rsa", Algorithm::Rs256, RSA_PRIVATE).unwrap();
    let (input, signature) = ours.rsplit_once('.').unwrap();
    for token in [
        foreign.clone(),
        format!("{foreign}="),
        rsa.access_token(&claims()).unwrap(),
        format!("{}.{signature}", foreign.rsplit_once('.').unwrap().0),
        format!("{input}."),
        format!("{input}.{}", &signature[..40]),
        format!("{input}.A{signature}"),
        input.to_owned(),
        "..".to_owned(),
        "ak_opaque".to_owned(),
    ] {
        assert!(!signed(&tokens, &token), "{token}");
    }
}
