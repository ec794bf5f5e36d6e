//! Whatever stands in the headers of a request, nobody is let in without a credential, and the
//! refusal is a proper problem.
#![no_main]

use std::{
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
};

use key0_auth::{
    ApiKeys, KeyStore, Rejection, RejectionKind, Validator,
    apikey::{BootstrapKeys, KeyDigest, KeyRecord},
    domain::{Actor, KeyId, Role, Secret, Timestamp},
    error::StoreError,
};
use key0_auth_fuzz::access_tokens;
use libfuzzer_sys::fuzz_target;

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let master = Secret::new("master", "a bootstrap key that no input holds").expect("long enough");
    let keys = BootstrapKeys::new().key(Role::Master, master);
    Validator::builder()
        .access_tokens(access_tokens())
        .api_keys(ApiKeys::new(Arc::new(Empty)).bootstrap(keys))
        .build()
        .expect("a good configuration")
});

// Up to two values of `Authorization`, then up to two of `X-Api-Key`, one a line.
fuzz_target!(|data: &[u8]| {
    let values: Vec<&[u8]> = data.split(|byte| *byte == b'\n').take(4).collect();
    let (authorization, api_key) = values.split_at(values.len().min(2));
    let values = || (authorization.iter().copied(), api_key.iter().copied());
    let present = |values: &[&[u8]]| values.iter().filter(|value| !value.is_empty()).count();

    let validating = pin!(VALIDATOR.validate(values().0, values().1));
    match validating.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(identity)) => panic!("let in: {identity:?}"),
        Poll::Ready(Err(refused)) => {
            if present(authorization) > 1 || present(api_key) > 1 {
                assert_eq!(refused.kind(), RejectionKind::MalformedCredential, "one of several counted");
            }
            check_problem(&refused);
        }
        // A key of the right shape, which the empty store would not know.
        Poll::Pending => {}
    }
});

fn check_problem(refused: &Rejection) {
    let refusal = VALIDATOR.responder().respond(refused);
    assert!([400, 401].contains(&refusal.status), "{}", refusal.status);
    let body: serde_json::Value = serde_json::from_slice(&refusal.body).expect("a JSON body");
    assert_eq!(body["status"], refusal.status);
    for (name, value) in &refusal.headers {
        assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{name}: {value}");
    }
}

#[derive(Debug)]
struct Empty;

#[async_trait::async_trait]
impl KeyStore for Empty {
    async fn find(&self, _: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        Ok(None)
    }

    async fn get(&self, _: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        Ok(None)
    }

    async fn insert(&self, _: &KeyRecord, _: &Actor) -> Result<(), StoreError> {
        Ok(())
    }

    async fn revoke(&self, _: &KeyId, _: &Actor, _: Timestamp) -> Result<Option<KeyDigest>, StoreError> {
        Ok(None)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
