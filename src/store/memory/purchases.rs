use std::ops::Bound;

use async_trait::async_trait;

use super::{MemoryStore, State, denials::deny};
use crate::{
    apikey::{Grant, KeyRecord},
    domain::{Actor, ChallengeId, RequestId, Timestamp},
    error::StoreError,
    store::{
        AuditEvent, IssuanceKey, Purchase, PurchaseCursor, PurchasePage, PurchaseQuery,
        PurchaseRevocation, PurchaseStore, RevocationOutcome,
        purchase_listing::{Find, Listed, Paging},
        spi::{Issued, PurchasedKey, Revoked},
    },
};

#[async_trait]
impl PurchaseStore for MemoryStore {
    async fn purchase(&self, key: &IssuanceKey) -> Result<Option<Purchase>, StoreError> {
        self.with(|state| Ok(state.purchase(key)))
    }

    async fn purchases(&self, query: &PurchaseQuery) -> Result<PurchasePage, StoreError> {
        self.with(|state| Ok(state.page(query)))
    }

    async fn retry_handler(
        &self,
        challenge_id: &ChallengeId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.with(|state| {
            let waits = state.payments.retry(challenge_id, now);
            if waits {
                let event = AuditEvent::of_purchase(challenge_id, "retried", by, now, None);
                state.keys.events.note(event);
            }
            Ok(waits)
        })
    }

    async fn give_up_handler(
        &self,
        challenge_id: &ChallengeId,
        reason: &str,
        by: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.with(|state| {
            let waited = state.payments.give_up(challenge_id, reason);
            if waited {
                let event = AuditEvent::of_purchase(challenge_id, "settled", by, at, Some(reason));
                state.keys.events.note(event);
            }
            Ok(waited)
        })
    }

    async fn revoke_purchase(
        &self,
        revocation: &PurchaseRevocation,
    ) -> Result<RevocationOutcome, StoreError> {
        let outcome = self.with(|state| Ok(state.revoke_purchase(revocation)))?;
        self.shared.listeners.tell(&PurchaseRevocation::changes(&outcome));
        Ok(outcome)
    }
}

impl State {
    /// Notes where a purchase stands in listings, unless its payment came first.
    pub(super) fn see(&mut self, key: &IssuanceKey, at: Timestamp) {
        if challenge(key).is_none_or(|id| self.payments.confirmed(id).is_none()) {
            self.seen.insert(PurchaseCursor { seen_at: at, key: key.clone() });
        }
    }

    fn page(&self, query: &PurchaseQuery) -> PurchasePage {
        let mut paging = Paging::new(query);
        let find = query.filter.find();
        while let Some((count, after)) = paging.wants() {
            let until = after.cloned().map_or(Bound::Unbounded, Bound::Excluded);
            // Whatever identifies it, all are looked at.
            let count = if find.is_some() { usize::MAX } else { count };
            let seen = self.seen.range((Bound::Unbounded, until)).rev().take(count);
            let found = seen.filter(|cursor| find.as_ref().is_none_or(|it| self.is(cursor, it)));
            let looked_at: Vec<_> =
                found.map(|cursor| (cursor.clone(), self.listed(&cursor.key))).collect();
            let is_full = looked_at.len() == count;
            let end = looked_at.last().filter(|_| is_full).map(|(cursor, _)| cursor.clone());
            paging.take(looked_at, end);
        }
        paging.page()
    }

    fn is(&self, PurchaseCursor { key, .. }: &PurchaseCursor, find: &Find<'_>) -> bool {
        let settled = self.issuances.settled(key);
        let paid = challenge(key).and_then(|id| self.payments.confirmed(id));
        match find {
            Find::Challenge(id) => id.as_str() == key.id(),
            Find::Hash(hash) => {
                let hash = hash.normalized();
                settled.and_then(|it| it.tx_hash).is_some_and(|issued| issued == hash)
                    || paid.is_some_and(|(payment, _)| payment.tx_hash.normalized() == hash)
            }
            Find::Key(id) => {
                let issuance = settled.and_then(|settled| settled.issuance);
                issuance.is_some_and(|issuance| issuance.key_id.as_ref() == Some(*id))
            }
            Find::Request(id) => {
                let order = settled.and_then(|settled| settled.order);
                *key == IssuanceKey::Request((*id).clone())
                    || order.is_some_and(|order| order.request_id == **id)
                    || paid.is_some_and(|(payment, _)| payment.request_id == **id)
            }
        }
    }

    fn listed(&self, key: &IssuanceKey) -> Option<Listed> {
        self.purchase(key).map(|purchase| Listed::Purchase(Box::new(purchase)))
    }

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
        let order = settled.as_ref().and_then(|settled| settled.order);
        let bought = order.map(|it| (&it.resource_id, &it.plan_id)).or(bought);
        let bought = payment.map(|it| (&it.resource_id, &it.plan_id)).or(bought);
        let request_id = match key {
            IssuanceKey::Request(id) => Some(id),
            IssuanceKey::Challenge(_) => {
                payment.map(|it| &it.request_id).or(order.map(|it| &it.request_id))
            }
        };
        let hash = settled.as_ref().and_then(|settled| settled.tx_hash?.parse().ok());
        Some(Purchase {
            key: key.clone(),
            request_id: request_id.cloned(),
            resource_id: bought.map(|(resource_id, _)| resource_id.clone()),
            plan_id: bought.map(|(_, plan_id)| plan_id.clone()),
            tx_hash: payment.map(|it| it.tx_hash.clone()).or(hash),
            issued: issuance.map(|it| Issued { at: it.issued_at, expires_at: it.expires_at }),
            revoked: settled.and_then(|settled| settled.revoked.cloned()),
            issued_key: record.map(|record| issued_key(record, self.keys.first_use(&record.id))),
            confirmed: paid.map(|(_, confirmed)| confirmed),
        })
    }

    pub(super) fn revoke_purchase(&mut self, revocation: &PurchaseRevocation) -> RevocationOutcome {
        let by_challenge = IssuanceKey::Challenge(revocation.id.clone());
        let paid = self.payments.confirmed(&revocation.id);
        let paid = paid.map(|(payment, _)| payment.tx_hash.normalized());
        let is_known = self.issuances.contains(&by_challenge) || paid.is_some();
        let by_request = RequestId::new(revocation.id.as_str()).map(IssuanceKey::Request);
        let is_request = by_request.is_ok_and(|key| self.issuances.contains(&key));
        if !is_known && !is_request {
            let count = self.unknown_revocations.entry(revocation.day()).or_default();
            if *count >= revocation.unknown_a_day {
                return RevocationOutcome::TooMany;
            }
            *count += 1;
        }
        let mut keys = revocation.keys(is_known, is_request);
        let own = keys.len();
        let holder = paid.as_ref().and_then(|hash| self.issuances.spent.get(hash));
        let other = holder.filter(|holder| !keys.contains(holder)).cloned();
        keys.extend(other);
        let (mut digests, mut is_first) = (Vec::new(), false);
        let PurchaseRevocation { id, reason, by, at, .. } = revocation;
        for (place, key) in keys.iter().enumerate() {
            if self.issuances.settled(key).is_none() {
                self.see(key, *at);
            }
            let revoked = Revoked { at: *at, reason: reason.clone() };
            let (issued, is_new) = self.issuances.revoke(key, revoked);
            is_first |= is_new && place < own;
            if let Some(id) = issued {
                self.keys.revoke(&id, reason.as_deref(), by, *at);
                digests.extend(self.keys.get(&id).into_iter().flat_map(KeyRecord::digests));
            }
        }
        if is_first {
            let reason = reason.as_deref();
            self.keys.events.note(AuditEvent::of_purchase(id, "revoked", by, *at, reason));
        }
        if let Some(hash) = paid {
            self.issuances.spend(&by_challenge, hash);
        }
        let denials = revocation.denials(&keys);
        denials.iter().for_each(|denial| deny(&mut self.denials, denial));
        let key = keys.into_iter().next().unwrap_or(by_challenge);
        RevocationOutcome::Revoked { key, digests, denials }
    }
}

fn challenge(key: &IssuanceKey) -> Option<&ChallengeId> {
    match key {
        IssuanceKey::Challenge(id) => Some(id),
        IssuanceKey::Request(_) => None,
    }
}

fn issued_key(record: &KeyRecord, first_used_at: Option<Timestamp>) -> PurchasedKey {
    let reason = record.revoked_reason.clone();
    PurchasedKey {
        id: record.id.clone(),
        display: record.display.clone(),
        expires_at: record.expires_at,
        first_used_at,
        last_used_at: record.last_used_at,
        revoked: record.revoked_at.map(|at| Revoked { at, reason }),
    }
}
