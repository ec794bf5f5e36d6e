//! `jsonwebtoken::decode`, as it is and with the checks that ours makes as well.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use key0_auth::{
    AccessTokens,
    domain::{Clock, Credential, SystemClock},
};
use serde::Deserialize;

#[cfg(feature = "aws_lc_rs")]
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
#[cfg(not(feature = "aws_lc_rs"))]
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;

use super::strict::{StrictClaims, is_harmless_header};
use crate::support::{HEADER, SECRET, claims, sign};

/// The library that most services would use.
pub struct Jsonwebtoken {
    key: DecodingKey,
    by_itself: Validation,
    within_ours: Validation,
}

/// The claims as most services would declare them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlainClaims {
    pub sub: String,
    pub jti: String,
    pub resource_id: String,
    pub plan_id: String,
    pub tx_hash: String,
    pub iat: Option<f64>,
    pub exp: f64,
}

impl Jsonwebtoken {
    pub fn new() -> Self {
        // By name: where a build has both providers, the default one panics. The second call of a
        // process fails, and need not succeed.
        let _ = DEFAULT_PROVIDER.install_default();
        let mut by_itself = Validation::new(Algorithm::HS256);
        by_itself.leeway = 0;
        by_itself.validate_nbf = true;
        by_itself.validate_aud = false;
        // It compares whole seconds, and so lets a token in that is just over. Who compares the
        // times themselves need not have them compared twice.
        let mut within_ours = by_itself.clone();
        within_ours.validate_exp = false;
        within_ours.validate_nbf = false;
        within_ours.required_spec_claims.clear();
        Self {
            key: DecodingKey::from_secret(SECRET.as_bytes()).expect("a secret"),
            by_itself,
            within_ours,
        }
    }

    /// `decode` alone: what it checks by itself.
    pub fn decode(&self, token: &str) -> Option<PlainClaims> {
        let decoded = jsonwebtoken::decode::<PlainClaims>(token, &self.key, &self.by_itself);
        Some(decoded.ok()?.claims)
    }

    /// `decode`, and around it everything else that ours checks.
    pub fn validate(&self, token: &str) -> Option<StrictClaims> {
        let (header, _) = token.split_once('.')?;
        if token.len() > 8 * 1024 || !is_harmless_header(header) {
            return None;
        }
        let decoded = jsonwebtoken::decode::<StrictClaims>(token, &self.key, &self.within_ours);
        let now = SystemClock.now().as_micros() as f64 / 1e6;
        Some(decoded.ok()?.claims).filter(|claims| claims.hold_at(now))
    }
}

/// Shows that the checks are equal where they matter: both take and both refuse what they should.
pub fn assert_equal_checks(ours: &AccessTokens) {
    let peer = Jsonwebtoken::new();
    let taken_by_both = |token: &str| {
        let credential = Credential::try_from(token).expect("visible characters");
        let by_us = ours.validate(credential, SystemClock.now()).is_ok();
        assert_eq!(peer.validate(token).is_some(), by_us, "{token}");
        by_us
    };
    let usual = claims(1);
    let with = |members: &str| usual.replacen('{', &format!("{{{members},"), 1);
    let instead = |of: &str, text: &str| {
        assert!(usual.contains(of), "{of}");
        usual.replace(of, text)
    };
    let tier = instead("planId", "tierId");

    for good in [
        &usual,
        &tier,
        &with(r#""tierId":"basic""#),
        &with(r#""colour":"red","more":{"a":[1,2.5,null,true,{"b":"c"}]}"#),
        &with(r#""iss":"key0","nbf":1.5"#),
        &instead("photo-", "photo\\u002d"),
    ] {
        assert!(taken_by_both(&sign(HEADER, good)), "{good}");
    }
    for bad in [
        // Twice in one object.
        &with(r#""sub":"another""#),
        &with(r#""nbf":1,"nbf":2"#),
        &with(r#""colour":"red","colour":"red""#),
        &with(r#""more":{"a":1,"a":1}"#),
        // Of the wrong type.
        &with(r#""nbf":"1""#),
        &with(r#""nbf":null"#),
        &with(r#""iss":1"#),
        &with(r#""iss":["key0"]"#),
        &with(r#""aud":1"#),
        &with(r#""aud":["photos",1]"#),
        &instead(r#""iat":"#, r#""iat":false,"was":"#),
        &instead(r#""planId":"basic""#, r#""planId":1"#),
        // Of the wrong time.
        &instead(r#""exp":"#, r#""exp":1,"was":"#),
        &instead(r#""exp":"#, r#""was":"#),
        &with(r#""nbf":9999999999"#),
        // Of or for somebody else, or in part of somebody else.
        &with(r#""aud":"photos""#),
        &with(r#""aud":["photos","data"]"#),
        &with(r#""tierId":"other""#),
        &with(r#""cnf":{"jkt":"x"}"#),
        &with(r#""cnf":null"#),
        &instead(r#""sub":"550e8400-e29b-41d4-a716-000000000001""#, r#""sub":"key0-service""#),
        &instead(r#""planId":"basic""#, r#""planId":"system""#),
        &tier.replace("basic", "system"),
        &instead(&format!("0x{:064x}", 1), "system-auth"),
        // Not an id.
        &instead("basic", ""),
        &instead("basic", "two words"),
        &instead("basic", "gr\u{fc}n"),
        &instead("basic", &"b".repeat(257)),
        &instead(r#""planId":"basic","#, ""),
        // Not an object.
        &"[]".to_owned(),
        &usual[1..].to_owned(),
    ] {
        assert!(!taken_by_both(&sign(HEADER, bad)), "{bad}");
    }
    assert!(taken_by_both(&sign(r#"{"alg":"HS256","typ":"JWT","kid":"a","x":{"y":1}}"#, &usual)));
    for member in [
        r#""crit":["exp"]"#,
        r#""crit":null"#,
        r#""zip":"DEF""#,
        r#""b64":false"#,
        r#""jwk":null"#,
        r#""jku":"https://example.com""#,
        r#""x5u":"https://example.com""#,
        r#""x5c":["a"]"#,
        r#""alg":"HS256""#,
        r#""x":1,"x":1"#,
        r#""x":{"y":1,"y":1}"#,
        r#""kid":1"#,
        r#""kid":null"#,
        r#""typ":null"#,
        r#""typ":"logout+jwt""#,
    ] {
        let header = format!(r#"{{"alg":"HS256",{member}}}"#);
        assert!(!taken_by_both(&sign(&header, &usual)), "{header}");
    }
    let good = sign(HEADER, &usual);
    for tampered in [format!("{good}="), format!("{good}."), good[..good.len() - 1].to_owned()] {
        assert!(!taken_by_both(&tampered), "{tampered}");
    }
}
