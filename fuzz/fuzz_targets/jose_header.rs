//! A signature that holds opens nothing when the header is not what it must be.
#![no_main]

use std::sync::LazyLock;

use key0_auth::AccessTokens;
use key0_auth_fuzz::{PAYLOAD, access_tokens, validate, signed};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static TOKENS: LazyLock<AccessTokens> = LazyLock::new(access_tokens);

fuzz_target!(|header: &[u8]| {
    if validate(&TOKENS, &signed(header, PAYLOAD.as_bytes())).is_ok() {
        let header: Value = serde_json::from_slice(header).expect("JSON");
        let header = header.as_object().expect("an object");
        assert_eq!(header["alg"], "HS256");
        for refused in ["crit", "zip", "b64", "jwk", "jku", "x5u", "x5c"] {
            assert!(!header.contains_key(refused), "{refused}");
        }
        for text in ["kid", "typ"] {
            assert!(header.get(text).is_none_or(Value::is_string), "{text}");
        }
    }
});
