use std::time::Duration;

use serde_json::Value;

use super::{KeysApi, Operator, Parts, Shown, key_id, not_found};
use crate::{
    Rejection, RejectionKind,
    api::body::{self, FieldErrors, Members, Reply, outage},
    apikey::{Grant, KeyRecord, KeyState},
    domain::{KeyId, Timestamp},
    error::FieldError,
    store::Rotation,
};

/// The longest time for which the old secret of a rotation works.
const MAX_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often a rotation is tried that another one comes before.
const ROTATION_TRIES: usize = 3;

impl KeysApi {
    /// `POST /keys/{id}/rotate`: a new secret under the same id, shown this once. The old one works
    /// for as long as the body says by `gracePeriodSeconds`: up to 30 days, by default not at all.
    /// The one before it dies at once.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request; [`KeyNotRotatable`](RejectionKind::KeyNotRotatable) for a
    /// payment key, for one that is over, and for a master's key unless the operator is on the
    /// host.
    pub async fn rotate(
        &self,
        operator: &Operator,
        id: &str,
        body: &[u8],
    ) -> Result<Reply, Rejection> {
        operator.check_may_change()?;
        let grace = if body.is_empty() { Duration::ZERO } else { grace(Members::parse(body)?)? };
        let id = key_id(id)?;
        let (parts, operator) = (self.0.clone(), operator.clone());
        body::carry_out_in_time(async move { parts.rotate(&operator, &id, grace).await }).await
    }
}

impl Parts {
    async fn rotate(
        &self,
        operator: &Operator,
        id: &KeyId,
        grace: Duration,
    ) -> Result<Reply, Rejection> {
        for _ in 0..ROTATION_TRIES {
            let record = self.registry.get(id).await.map_err(outage)?.ok_or_else(not_found)?;
            self.check_rotatable(operator, &record)?;
            self.check_no_bootstrap(&record.digest)?;
            let plain = self.generate()?;
            let (actor, now) = (operator.actor(), self.clock.now());
            let rotation = Rotation {
                old: record.digest,
                new: plain.digest(),
                display: plain.masked(),
                old_until: Some(end_of(grace, now)),
            };
            if self.registry.rotate(id, &rotation, actor, now).await.map_err(outage)? {
                let changed = record.digests().chain([rotation.new]);
                changed.for_each(|digest| self.keys.store().forget(&digest));
                let old_until = rotation.old_until.filter(|_| !grace.is_zero());
                return Ok(Reply::json(200, &Shown::new(&record, Some(&plain)).until(old_until)));
            }
        }
        Err(Rejection::new(RejectionKind::RequestConflict)
            .detail("The key is being changed by other requests"))
    }

    fn check_rotatable(&self, operator: &Operator, record: &KeyRecord) -> Result<(), Rejection> {
        let ours = match record.grant {
            Grant::Integrator { role, .. } => operator.may_grant(role),
            Grant::Payment { .. } => false,
        };
        let state = record.state_at(self.clock.now());
        if ours && matches!(state, KeyState::InForce | KeyState::Suspended) {
            Ok(())
        } else {
            Err(RejectionKind::KeyNotRotatable.into())
        }
    }
}

/// When the old secret ends: without a grace long ago, so that it is dead by the clocks of all
/// instances.
fn end_of(grace: Duration, now: Timestamp) -> Timestamp {
    if grace.is_zero() { Timestamp::from_micros(0) } else { now.plus(grace).to_millis() }
}

/// How long the old secret of a rotation works.
fn grace(mut members: Members) -> Result<Duration, Rejection> {
    let seconds = match members.take("gracePeriodSeconds") {
        None | Some(Value::Null) => Some(0),
        Some(seconds) => seconds.as_u64(),
    };
    let grace = seconds.map(Duration::from_secs).filter(|grace| *grace <= MAX_GRACE);
    let wrong = "gracePeriodSeconds must be a whole number from 0 to 2592000";
    let mut errors = FieldErrors::default();
    let grace = grace.ok_or_else(|| FieldError::invalid("gracePeriodSeconds", wrong));
    let grace = errors.keep(grace);
    members.finish(grace, errors, "A rotation takes gracePeriodSeconds, and nothing else")
}
