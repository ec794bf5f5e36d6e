use async_trait::async_trait;

use super::{
    RedisStore,
    issuances::answer,
    row::{Fields, micros, needed},
    scripts,
};
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{
        IdempotencyState, IdempotencyStore, LONGEST_WAIT, Lease, RequestFingerprint, Slot,
        StoredResponse,
        stored::{bad, to_json},
    },
};

#[async_trait]
impl IdempotencyStore for RedisStore {
    async fn claim(
        &self,
        slot: &Slot,
        fingerprint: &RequestFingerprint,
        lease: &Lease,
        now: Timestamp,
        answers_over_at: Timestamp,
    ) -> Result<IdempotencyState, StoreError> {
        let mut call = self.call(&scripts::BEGIN_REQUEST);
        call.arg(slot_text(slot)).arg(fingerprint.as_bytes()).arg(lease.token.as_bytes());
        call.arg(lease.until.as_micros());
        call.arg(now.as_micros()).arg(now.plus(LONGEST_WAIT).as_micros());
        call.arg(answers_over_at.as_micros());
        let (state, more): (String, Option<redis::Value>) = answer(self.write(&call).await?)?;
        match (&*state, more) {
            ("started", None) => Ok(IdempotencyState::Started),
            ("reused", None) => Ok(IdempotencyState::Reused),
            ("in progress", Some(until)) => {
                let until: String = redis::from_redis_value(until).map_err(StoreError::corrupt)?;
                Ok(IdempotencyState::InProgress { until: micros(&until, "free_at")? })
            }
            ("done", Some(fields)) => {
                let fields = redis::from_redis_value(fields).map_err(StoreError::corrupt)?;
                Ok(IdempotencyState::Done(response(&Fields::new(fields))?))
            }
            _ => Err(bad("state")),
        }
    }

    async fn complete_request(
        &self,
        slot: &Slot,
        lease: &Lease,
        response: &StoredResponse,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut call = self.call(&scripts::COMPLETE_REQUEST);
        call.arg(slot_text(slot)).arg(lease.token.as_bytes()).arg(expires_at.as_micros());
        call.arg(response.status).arg(to_json(&response.headers)?).arg(&response.body);
        self.write(&call).await
    }

    async fn release_request(&self, slot: &Slot, lease: &Lease) -> Result<(), StoreError> {
        let mut call = self.call(&scripts::RELEASE_REQUEST);
        call.arg(slot_text(slot)).arg(lease.token.as_bytes());
        self.write(&call).await
    }

    async fn purge_requests(&self, now: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.purge(&scripts::PURGE_REQUESTS, now, limit).await
    }
}

/// The length tells where the scope ends.
fn slot_text(slot: &Slot) -> String {
    format!("{}:{}:{}", slot.scope.len(), slot.scope, slot.key)
}

fn response(fields: &Fields) -> Result<StoredResponse, StoreError> {
    Ok(StoredResponse {
        status: needed(fields.parsed("status")?, "status")?,
        headers: needed(fields.json("headers")?, "headers")?,
        body: needed(fields.bytes("body"), "body")?.to_owned(),
    })
}
