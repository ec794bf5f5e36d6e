use async_trait::async_trait;

use super::{MemoryStore, State, denials::deny};
use crate::{
    apikey::{Grant, KeyRecord},
    domain::ChallengeId,
    error::StoreError,
    store::{
        IssuanceKey, Purchase, PurchaseRevocation, PurchaseStore, RevocationOutcome,
        spi::{Issued, PurchasedKey, Revoked},
    },
};

#[async_trait]
impl PurchaseStore for MemoryStore {
    async fn purchase(&self, key: &IssuanceKey) -> Result<Option<Purchase>, StoreError> {
        self.with(|state| Ok(state.purchase(key)))
    }

    async fn revoke_purchase(
        &self,
        revocation: &PurchaseRevocation,
    ) -> Result<RevocationOutcome, StoreError> {
        let outcome = self.with(|state| Ok(state.revoke_purchase(revocation)))?;
        self.shared.listeners.tell(&revocation.changes(&outcome));
        Ok(outcome)
    }
}

impl State {
    fn purchase(&self, key: &IssuanceKey) -> Option<Purchase> {
        let settled = self.issuances.settled(key);
        let paid = challenge(key).and_then(|id| self.payments.confirmed(id));
        if settled.is_none() && paid.is_none() {
            return None;
        }
        let issuance = settled.as_ref().and_then(|settled| settled.issuance);
        let record = issuance.and_then(|issuance| self.keys.get(issuance.key_id.as_ref()?));
        let bought = record.and_then(|record| match &record.grant {
            Grant::Payment { resource_id, plan_id, .. } => Some((resource_id, plan_id)),
            Grant::Integrator { .. } => None,
        });
        let payment = paid.as_ref().map(|(payment, _)| *payment);
        let bought = payment.map(|it| (&it.resource_id, &it.plan_id)).or(bought);
        let request_id = match key {
            IssuanceKey::Request(id) => Some(id.clone()),
            IssuanceKey::Challenge(_) => payment.map(|it| it.request_id.clone()),
        };
        let hash = settled.as_ref().and_then(|settled| settled.tx_hash?.parse().ok());
        Some(Purchase {
            key: key.clone(),
            request_id,
            resource_id: bought.map(|(resource_id, _)| resource_id.clone()),
            plan_id: bought.map(|(_, plan_id)| plan_id.clone()),
            tx_hash: payment.map(|it| it.tx_hash.clone()).or(hash),
            issued: issuance.map(|it| Issued { at: it.issued_at, expires_at: it.expires_at }),
            revoked: settled.and_then(|settled| settled.revoked.cloned()),
            issued_key: record.map(issued_key),
            confirmed: paid.map(|(_, confirmed)| confirmed),
        })
    }

    fn revoke_purchase(&mut self, revocation: &PurchaseRevocation) -> RevocationOutcome {
        let by_challenge = IssuanceKey::Challenge(revocation.id.clone());
        let is_known = self.issuances.contains(&by_challenge)
            || self.payments.confirmed(&revocation.id).is_some();
        let by_request = revocation.keys(false, true);
        let is_request = by_request.iter().any(|key| self.issuances.contains(key));
        if !is_known && !is_request {
            let count = self.unknown_revocations.entry(revocation.day()).or_default();
            if *count >= revocation.unknown_a_day {
                return RevocationOutcome::TooMany;
            }
            *count += 1;
        }
        let keys = revocation.keys(is_known, is_request);
        let mut digests = Vec::new();
        let PurchaseRevocation { reason, by, at, .. } = revocation;
        for key in &keys {
            let revoked = Revoked { at: *at, reason: reason.clone() };
            let id = self.issuances.revoke(key, revoked);
            let record = id.and_then(|id| self.keys.revoke(&id, reason.as_deref(), by, *at));
            digests.extend(record.iter().flat_map(KeyRecord::digests));
        }
        let key = keys.into_iter().next().unwrap_or(by_challenge);
        if let Some(denial) = revocation.denial(&key) {
            deny(&mut self.denials, &denial);
        }
        RevocationOutcome::Revoked { key, digests }
    }
}

fn challenge(key: &IssuanceKey) -> Option<&ChallengeId> {
    match key {
        IssuanceKey::Challenge(id) => Some(id),
        IssuanceKey::Request(_) => None,
    }
}

fn issued_key(record: &KeyRecord) -> PurchasedKey {
    let reason = record.revoked_reason.clone();
    PurchasedKey {
        id: record.id.clone(),
        display: record.display.clone(),
        expires_at: record.expires_at,
        last_used_at: record.last_used_at,
        revoked: record.revoked_at.map(|at| Revoked { at, reason }),
    }
}
