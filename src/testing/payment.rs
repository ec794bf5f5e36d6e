use serde_json::Map;

use crate::{
    api::IssuanceRequest,
    domain::{Clock, PlanId, ResourceId, SystemClock},
    store::Payment,
};

/// What an [`IssuanceHook`](crate::api::IssuanceHook) is asked for this resource and plan. Its
/// members are public, to be changed.
///
/// ```
/// let mut request = key0_auth::testing::issuance_request("photo-1", "basic");
/// request.metadata.insert("credits".to_owned(), 100.into());
/// assert_eq!(request.plan_id.as_str(), "basic");
/// ```
pub fn issuance_request(resource: &str, plan: &str) -> IssuanceRequest {
    IssuanceRequest {
        request_id: known("test-request"),
        challenge_id: Some(known("test-challenge")),
        resource_id: known::<ResourceId>(resource),
        plan_id: known::<PlanId>(plan),
        tx_hash: known("0xtest"),
        metadata: Map::new(),
    }
}

/// A payment for this resource and plan, as a [`PaymentHandler`](crate::api::PaymentHandler) gets
/// it; received now. Its members are public, to be changed.
///
/// ```
/// let payment = key0_auth::testing::payment("photo-1", "basic");
/// assert_eq!(payment.resource_id.as_str(), "photo-1");
/// ```
pub fn payment(resource: &str, plan: &str) -> Payment {
    let request = issuance_request(resource, plan);
    Payment {
        challenge_id: known("test-challenge"),
        request_id: request.request_id,
        resource_id: request.resource_id,
        plan_id: request.plan_id,
        tx_hash: request.tx_hash,
        details: Map::new(),
        received_at: SystemClock.now(),
    }
}

fn known<T: std::str::FromStr>(id: &str) -> T {
    match id.parse() {
        Ok(id) => id,
        Err(_) => panic!("{id:?} is no id"),
    }
}
