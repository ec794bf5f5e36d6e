//! A key that was made is well-formed, no typo of it is, and no other text ever panics.
#![no_main]

use std::sync::LazyLock;

use key0_auth::{
    apikey::{IssuanceSecrets, KeyFormat, Nonce},
    domain::{KeyId, Secret, SecretSet},
};
use key0_auth_fuzz::SECRET;
use libfuzzer_sys::fuzz_target;

static FORMAT: LazyLock<KeyFormat> = LazyLock::new(KeyFormat::default);
static SECRETS: LazyLock<IssuanceSecrets> = LazyLock::new(|| {
    IssuanceSecrets::new(&SecretSet::new(Secret::new("fuzz", SECRET).expect("long enough")))
});

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && FORMAT.is_well_formed(text)
    {
        assert!(FORMAT.is_claimed_by(text), "{text}");
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
    }

    let Some((nonce, typo)) = data.split_first_chunk::<16>() else { return };
    let id = KeyId::new("fuzz").expect("legal");
    let key = SECRETS
        .derive(&FORMAT, &SECRETS.current(), &Nonce::from_bytes(*nonce), &id)
        .expect("the secret is there");
    assert!(FORMAT.is_well_formed(key.expose()));
    let [at, with, ..] = *typo else { return };
    let mut tampered = key.expose().as_bytes().to_vec();
    let at = usize::from(at) % tampered.len();
    tampered[at] = with;
    if let Ok(tampered) = std::str::from_utf8(&tampered) {
        assert_eq!(FORMAT.is_well_formed(tampered), tampered == key.expose(), "{tampered}");
    }
});
