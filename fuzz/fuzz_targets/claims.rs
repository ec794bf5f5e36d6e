//! A signature that holds opens nothing when the claims are not what they must be.
#![no_main]

use std::sync::LazyLock;

use key0_auth::AccessTokens;
use key0_auth_fuzz::{HEADER, NOW, access_tokens, validate, signed};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

static TOKENS: LazyLock<AccessTokens> = LazyLock::new(access_tokens);

fuzz_target!(|payload: &[u8]| {
    let Ok(claims) = validate(&TOKENS, &signed(HEADER.as_bytes(), payload)) else { return };
    // Read again by another parser, which forgives more.
    let read: Value = serde_json::from_slice(payload).expect("JSON");
    let read = read.as_object().expect("an object");

    assert!(read["exp"].as_f64().expect("a number") > NOW as f64, "expired");
    assert!(read.get("nbf").is_none_or(|nbf| nbf.as_f64().is_some_and(|nbf| nbf <= NOW as f64)));
    assert!(!read.contains_key("cnf"), "sender-constrained");
    assert_eq!(id(read, "sub"), Some(claims.request_id().as_str()));
    assert_eq!(id(read, "jti"), Some(claims.challenge_id().as_str()));
    assert_eq!(id(read, "resourceId"), Some(claims.resource_id().as_str()));
    assert_eq!(id(read, "txHash"), Some(claims.tx_hash().as_str()));
    let plan = Some(claims.plan_id().as_str());
    assert!(id(read, "planId") == plan || id(read, "tierId") == plan);
    for name in ["planId", "tierId"] {
        assert!(!read.contains_key(name) || id(read, name) == plan, "{name}");
    }
    for (name, system) in [("sub", "key0-service"), ("planId", "system"), ("txHash", "system-auth")]
    {
        assert_ne!(id(read, name), Some(system));
    }
});

/// An id as the contract wants it: 1 to 256 visible ASCII characters.
fn id<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let text = claims.get(name)?.as_str()?;
    let legal = (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    legal.then_some(text)
}
