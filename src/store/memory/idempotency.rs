use std::collections::HashMap;

use super::MemoryStore;
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{
        IdempotencyState, IdempotencyStore, Lease, LeaseToken, RequestFingerprint, Slot,
        StoredResponse, lease::is_over,
    },
};
use async_trait::async_trait;

#[derive(Default)]
pub(super) struct Requests(HashMap<Slot, Request>);

struct Request {
    fingerprint: RequestFingerprint,
    stage: Stage,
    /// When the slot counts as free: the lease's end, or the answer's.
    free_at: Timestamp,
}

enum Stage {
    Running(LeaseToken),
    Done(StoredResponse),
}

impl Request {
    fn is_free(&self, now: Timestamp, answers_over_at: Timestamp) -> bool {
        match self.stage {
            Stage::Running(_) => is_over(self.free_at, now),
            Stage::Done(_) => self.free_at <= answers_over_at,
        }
    }
}

impl Requests {
    /// The slot's request while it runs under this very lease.
    fn held(&mut self, slot: &Slot, lease: &Lease) -> Option<&mut Request> {
        self.0.get_mut(slot).filter(
            |request| matches!(request.stage, Stage::Running(token) if token == lease.token),
        )
    }
}

#[async_trait]
impl IdempotencyStore for MemoryStore {
    async fn claim(
        &self,
        slot: &Slot,
        fingerprint: &RequestFingerprint,
        lease: &Lease,
        now: Timestamp,
        answers_over_at: Timestamp,
    ) -> Result<IdempotencyState, StoreError> {
        self.with(|state| {
            let requests = &mut state.requests.0;
            if let Some(request) =
                requests.get_mut(slot).filter(|request| !request.is_free(now, answers_over_at))
            {
                return Ok(match &request.stage {
                    _ if request.fingerprint != *fingerprint => IdempotencyState::Reused,
                    Stage::Running(token) if *token == lease.token => {
                        request.free_at = lease.until;
                        IdempotencyState::Started
                    }
                    Stage::Running(_) => IdempotencyState::InProgress { until: request.free_at },
                    Stage::Done(response) => IdempotencyState::Done(response.clone()),
                });
            }
            let stage = Stage::Running(lease.token);
            let request = Request { fingerprint: *fingerprint, stage, free_at: lease.until };
            requests.insert(slot.clone(), request);
            Ok(IdempotencyState::Started)
        })
    }

    async fn complete_request(
        &self,
        slot: &Slot,
        lease: &Lease,
        response: &StoredResponse,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.with(|state| {
            let Some(request) = state.requests.held(slot, lease) else { return Ok(false) };
            request.stage = Stage::Done(response.clone());
            request.free_at = expires_at;
            Ok(true)
        })
    }

    async fn release_request(&self, slot: &Slot, lease: &Lease) -> Result<(), StoreError> {
        self.with(|state| {
            if state.requests.held(slot, lease).is_some() {
                state.requests.0.remove(slot);
            }
            Ok(())
        })
    }

    async fn purge_requests(&self, now: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.with(|state| {
            let mut removed = 0;
            state.requests.0.retain(|_, request| {
                let keep = removed == limit || request.free_at > now;
                removed += u32::from(!keep);
                keep
            });
            Ok(removed)
        })
    }
}
