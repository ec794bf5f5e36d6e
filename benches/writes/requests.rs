//! What Key0 asks for.

use std::sync::Arc;

use key0_auth::{
    ApiKeys, KeyStore,
    api::{IssueToken, PaymentReceived},
    apikey::IssuanceSecrets,
    domain::{Secret, SecretSet, SystemClock},
    store::PaymentStore,
};
use serde_json::json;

use crate::rounds::Way;

/// The endpoint that issues, as an application sets it up.
pub(crate) fn issue_token<S: KeyStore + PaymentStore>(store: &Arc<S>) -> Way {
    let keys = ApiKeys::new(store.clone());
    let secret = Secret::new("a secret", &b"the issuance secret of a benchmark"[..]);
    let secrets = IssuanceSecrets::new(&SecretSet::new(secret.expect("long enough")));
    let issue = IssueToken::new(store.clone(), keys, secrets);
    Way::new("issue-token", move |number| {
        let issue = issue.clone();
        async move {
            let reply = issue.handle(&body(number)).await.expect("it is issued");
            assert_eq!(reply.status, 200);
        }
    })
}

/// The endpoint that is told of payments.
pub(crate) fn payment_received<S: PaymentStore>(store: &Arc<S>) -> Way {
    let received = PaymentReceived::new(store.clone(), Arc::new(SystemClock));
    Way::new("payment-received", move |number| {
        let received = received.clone();
        async move {
            let reply = received.handle(&body(number)).await.expect("it is kept");
            assert_eq!(reply.status, 200);
        }
    })
}

fn body(number: u64) -> Vec<u8> {
    let body = json!({
        "requestId": format!("request-{number:012}"),
        "challengeId": format!("challenge-{number:012}"),
        "resourceId": "photo-1",
        "planId": "basic",
        "txHash": tx_hash(number),
    });
    body.to_string().into_bytes()
}

pub(crate) fn tx_hash(number: u64) -> String {
    // An odd factor: as spread as real ones are.
    format!("0x{:064x}", u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}
