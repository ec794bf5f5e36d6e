use std::collections::{BTreeMap, HashMap};

use super::MemoryStore;
use crate::{
    apikey::KeyRecord,
    domain::{Actor, ChallengeId, KeyId, Timestamp},
    error::StoreError,
    store::{
        Change, Issuance, IssuanceClaim, IssuanceKey, IssuanceState, Lease, LeaseToken,
        LeasedPayment, Payment, PaymentOutcome, PaymentStore, RequestFingerprint, Rotation,
        WaitingPayments,
        lease::is_over,
        spi::{Confirmed, Revoked},
    },
};
use async_trait::async_trait;

#[derive(Default)]
pub(super) struct Issuances {
    entries: HashMap<IssuanceKey, Entry>,
    /// Which id claimed or spent a hash.
    spent: HashMap<String, IssuanceKey>,
}

struct Entry {
    fingerprint: RequestFingerprint,
    tx_hash: Option<String>,
    stage: Stage,
    revoked: Option<Revoked>,
}

enum Stage {
    Claimed(Lease),
    Issued(Issuance),
    /// It was revoked before.
    Never,
}

#[derive(Default)]
pub(super) struct Payments {
    entries: HashMap<ChallengeId, Kept>,
    paid: HashMap<String, ChallengeId>,
    /// Unfinished payments, by when they are due and then by arrival.
    due: BTreeMap<(Timestamp, u64), ChallengeId>,
    arrivals: u64,
}

struct Kept {
    payment: Payment,
    attempts: u32,
    lease: Option<LeaseToken>,
    /// Its place in the queue; the lease's end while it is leased.
    due: (Timestamp, u64),
}

impl Issuances {
    fn remove(&mut self, key: &IssuanceKey) {
        if let Some(tx_hash) = self.entries.remove(key).and_then(|entry| entry.tx_hash) {
            self.spent.remove(&tx_hash);
        }
    }

    fn remove_if_lapsed(&mut self, key: &IssuanceKey, now: Timestamp) {
        let stage = self.entries.get(key).map(|entry| &entry.stage);
        if matches!(stage, Some(Stage::Claimed(lease)) if is_over(lease.until, now)) {
            self.remove(key);
        }
    }

    /// The entry that this very claim holds.
    fn held(&mut self, claim: &IssuanceClaim) -> Option<&mut Entry> {
        self.entries.get_mut(&claim.key).filter(
            |entry| matches!(&entry.stage, Stage::Claimed(lease) if lease.token == claim.lease.token),
        )
    }

    fn issued(&mut self, key: &IssuanceKey) -> Option<&mut Issuance> {
        let entry = self.entries.get_mut(key).filter(|entry| entry.revoked.is_none());
        match entry.map(|entry| &mut entry.stage) {
            Some(Stage::Issued(issuance)) => Some(issuance),
            _ => None,
        }
    }

    pub(super) fn contains(&self, key: &IssuanceKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Marks an issuance as revoked, or puts the mark where there will be none, and says which key
    /// was issued. A claim is lost by it.
    pub(super) fn revoke(&mut self, key: &IssuanceKey, revoked: Revoked) -> Option<KeyId> {
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
            fingerprint: RequestFingerprint::from_bytes([0; 32]),
            tx_hash: None,
            stage: Stage::Never,
            revoked: None,
        });
        entry.revoked.get_or_insert(revoked);
        match &mut entry.stage {
            Stage::Issued(issuance) => {
                issuance.nonce = None;
                issuance.key_id.clone()
            }
            stage => {
                *stage = Stage::Never;
                None
            }
        }
    }

    /// What became of a claim, if it is known, with its hash.
    pub(super) fn settled(&self, key: &IssuanceKey) -> Option<Settled<'_>> {
        let entry = self.entries.get(key)?;
        let issuance = match &entry.stage {
            Stage::Claimed(_) => return None,
            Stage::Issued(issuance) => Some(issuance),
            Stage::Never => None,
        };
        Some(Settled {
            issuance,
            tx_hash: entry.tx_hash.as_deref(),
            revoked: entry.revoked.as_ref(),
        })
    }
}

/// An issuance, a revocation in its place, or both.
pub(super) struct Settled<'a> {
    pub(super) issuance: Option<&'a Issuance>,
    pub(super) tx_hash: Option<&'a str>,
    pub(super) revoked: Option<&'a Revoked>,
}

impl Payments {
    /// A payment, and how far its handling is.
    pub(super) fn confirmed(&self, id: &ChallengeId) -> Option<(&Payment, Confirmed)> {
        let kept = self.entries.get(id)?;
        let waits = self.due.contains_key(&kept.due);
        let confirmed = Confirmed { at: kept.payment.received_at, waits, attempts: kept.attempts };
        Some((&kept.payment, confirmed))
    }

    /// Moves a payment that is leased so to another place in the queue, or out of it.
    fn end_lease(&mut self, id: &ChallengeId, lease: &Lease, next: Option<Timestamp>) -> bool {
        let held = self.entries.get_mut(id).filter(|kept| kept.lease == Some(lease.token));
        let Some(kept) = held else { return false };
        kept.lease = None;
        self.due.remove(&kept.due);
        if let Some(next) = next {
            kept.due.0 = next;
            self.due.insert(kept.due, id.clone());
        }
        true
    }
}

#[async_trait]
impl PaymentStore for MemoryStore {
    async fn begin_issuance(
        &self,
        claim: &IssuanceClaim,
        now: Timestamp,
    ) -> Result<IssuanceState, StoreError> {
        self.with(|state| {
            let issuances = &mut state.issuances;
            let tx_hash = claim.tx_hash.normalized();
            issuances.remove_if_lapsed(&claim.key, now);
            if let Some(other) = issuances.spent.get(&tx_hash).cloned() {
                issuances.remove_if_lapsed(&other, now);
            }
            if let Some(entry) = issuances.entries.get(&claim.key) {
                return Ok(match &entry.stage {
                    _ if entry.revoked.is_some() => IssuanceState::Revoked,
                    Stage::Never => IssuanceState::Revoked,
                    Stage::Claimed(_) => IssuanceState::InProgress,
                    _ if entry.fingerprint != claim.fingerprint => IssuanceState::Conflict,
                    Stage::Issued(issuance) => IssuanceState::Issued(issuance.clone()),
                });
            }
            if let Some(other) = issuances.spent.get(&tx_hash) {
                return Ok(match issuances.entries.get(other).map(|entry| &entry.stage) {
                    Some(Stage::Claimed(_)) => IssuanceState::InProgress,
                    _ => IssuanceState::Redeemed,
                });
            }
            issuances.spent.insert(tx_hash.clone(), claim.key.clone());
            let stage = Stage::Claimed(claim.lease.clone());
            let entry = Entry {
                fingerprint: claim.fingerprint,
                tx_hash: Some(tx_hash),
                stage,
                revoked: None,
            };
            issuances.entries.insert(claim.key.clone(), entry);
            Ok(IssuanceState::Started)
        })
    }

    async fn complete_issuance(
        &self,
        claim: &IssuanceClaim,
        issuance: &Issuance,
        record: Option<&KeyRecord>,
    ) -> Result<bool, StoreError> {
        let kept = self.with(|state| {
            let Some(entry) = state.issuances.held(claim) else { return Ok(false) };
            if let Some(record) = record {
                state.keys.insert(record, &Actor::key0())?;
            }
            entry.stage = Stage::Issued(issuance.clone());
            Ok(true)
        })?;
        if let Some(record) = record.filter(|_| kept) {
            self.shared.listeners.tell(&[Change::Key(record.digest)]);
        }
        Ok(kept)
    }

    async fn abandon_issuance(&self, claim: &IssuanceClaim) -> Result<(), StoreError> {
        self.with(|state| {
            if state.issuances.held(claim).is_some() {
                state.issuances.remove(&claim.key);
            }
            Ok(())
        })
    }

    async fn replace_issuance(
        &self,
        key: &IssuanceKey,
        old: &Issuance,
        new: &Issuance,
        display: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let replaced = self.with(|state| {
            let Some(issuance) = state.issuances.issued(key).filter(|stored| *stored == old) else {
                return Ok(false);
            };
            let display = display.to_owned();
            let rotation = Rotation { old: old.digest, new: new.digest, display, old_until: None };
            if let Some(id) = &old.key_id
                && state.keys.replace(id, &rotation, &Actor::key0(), at)?.is_none()
            {
                return Ok(false);
            }
            *issuance = new.clone();
            Ok(true)
        })?;
        if replaced {
            self.shared.listeners.tell(&[Change::Key(old.digest), Change::Key(new.digest)]);
        }
        Ok(replaced)
    }

    async fn forget_nonces(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.with(|state| {
            let nonces =
                state.issuances.entries.values_mut().filter_map(|entry| match &mut entry.stage {
                    Stage::Issued(issuance) if issuance.issued_at < before => {
                        issuance.nonce.is_some().then_some(&mut issuance.nonce)
                    }
                    _ => None,
                });
            let mut forgotten = 0;
            for nonce in nonces.take(limit as usize) {
                *nonce = None;
                forgotten += 1;
            }
            Ok(forgotten)
        })
    }

    async fn record_payment(&self, payment: &Payment) -> Result<PaymentOutcome, StoreError> {
        self.with(|state| {
            let payments = &mut state.payments;
            let tx_hash = payment.tx_hash.normalized();
            let known = payments.entries.get(&payment.challenge_id);
            let payer = payments.paid.get(&tx_hash);
            if known.is_some() && payer == Some(&payment.challenge_id) {
                return Ok(PaymentOutcome::Repeated);
            }
            if known.is_some() || payer.is_some() {
                return Ok(PaymentOutcome::Conflict);
            }
            let due = (payment.received_at, payments.arrivals);
            payments.arrivals += 1;
            payments.due.insert(due, payment.challenge_id.clone());
            payments.paid.insert(tx_hash, payment.challenge_id.clone());
            let kept = Kept { payment: payment.clone(), attempts: 0, lease: None, due };
            payments.entries.insert(payment.challenge_id.clone(), kept);
            Ok(PaymentOutcome::Recorded)
        })
    }

    async fn payment(&self, challenge_id: &ChallengeId) -> Result<Option<Payment>, StoreError> {
        self.with(|state| {
            Ok(state.payments.entries.get(challenge_id).map(|kept| kept.payment.clone()))
        })
    }

    async fn lease_payment(
        &self,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Option<LeasedPayment>, StoreError> {
        self.with(|state| {
            let payments = &mut state.payments;
            let entries = [payments.due.first_key_value(), payments.due.last_key_value()];
            let due = entries.into_iter().flatten().map(|(entry, _)| *entry);
            let Some(entry) = due.filter(|entry| is_over(entry.0, now)).min() else {
                return Ok(None);
            };
            let Some(id) = payments.due.remove(&entry) else { return Ok(None) };
            let Some(kept) = payments.entries.get_mut(&id) else { return Ok(None) };
            kept.due.0 = lease.until;
            payments.due.insert(kept.due, id);
            kept.lease = Some(lease.token);
            let attempts = kept.attempts;
            kept.attempts = attempts.saturating_add(1);
            Ok(Some(LeasedPayment { payment: kept.payment.clone(), attempts }))
        })
    }

    async fn finish_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
    ) -> Result<bool, StoreError> {
        self.with(|state| Ok(state.payments.end_lease(challenge_id, lease, None)))
    }

    async fn retry_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        next_attempt: Timestamp,
    ) -> Result<bool, StoreError> {
        self.with(|state| Ok(state.payments.end_lease(challenge_id, lease, Some(next_attempt))))
    }

    async fn waiting_payments(&self) -> Result<Option<WaitingPayments>, StoreError> {
        self.with(|state| {
            let Payments { due, entries, .. } = &state.payments;
            let waiting = due.values().filter_map(|id| entries.get(id));
            let oldest = waiting.map(|kept| kept.payment.received_at).min();
            Ok(Some(WaitingPayments { count: due.len() as u64, oldest }))
        })
    }
}
