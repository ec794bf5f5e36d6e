use std::collections::{BTreeMap, HashMap};

use super::{
    MemoryStore, State,
    issuances::{Entry, Stage},
};
use crate::{
    apikey::KeyRecord,
    domain::{Actor, ChallengeId, Timestamp},
    error::StoreError,
    store::{
        Change, Issuance, IssuanceClaim, IssuanceKey, IssuanceState, Lease, LeaseToken,
        LeasedPayment, Payment, PaymentOutcome, PaymentStore, PurchaseCursor, PurchaseRevocation,
        Rotation, WaitingPayments, lease::is_over, spi::Confirmed,
    },
};
use async_trait::async_trait;

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
    handled_at: Option<Timestamp>,
    last_error: Option<String>,
    given_up: Option<String>,
    lease: Option<LeaseToken>,
    /// Its place in the queue; the lease's end while it is leased.
    due: (Timestamp, u64),
}

impl Payments {
    /// A payment, and how far its handling is.
    pub(super) fn confirmed(&self, id: &ChallengeId) -> Option<(&Payment, Confirmed)> {
        let kept = self.entries.get(id)?;
        let waits = self.due.contains_key(&kept.due);
        let confirmed = Confirmed {
            at: kept.payment.received_at,
            waits,
            attempts: kept.attempts,
            handled_at: kept.handled_at,
            last_error: kept.last_error.clone(),
            given_up: kept.given_up.clone(),
        };
        Some((&kept.payment, confirmed))
    }

    /// Moves a payment that is leased so to another place in the queue, or out of it.
    fn end_lease(
        &mut self,
        id: &ChallengeId,
        lease: &Lease,
        next: Option<Timestamp>,
    ) -> Option<&mut Kept> {
        self.entries.get(id).filter(|kept| kept.lease == Some(lease.token))?;
        self.put_in_queue(id, next)
    }

    fn put_in_queue(&mut self, id: &ChallengeId, next: Option<Timestamp>) -> Option<&mut Kept> {
        let kept = self.entries.get_mut(id)?;
        kept.lease = None;
        self.due.remove(&kept.due);
        if let Some(next) = next {
            kept.due.0 = next;
            self.due.insert(kept.due, id.clone());
        }
        Some(kept)
    }

    /// Makes a payment that waits due now, unless its handler runs.
    pub(super) fn retry(&mut self, id: &ChallengeId, now: Timestamp) -> bool {
        let waiting = self.entries.get(id).filter(|kept| self.due.contains_key(&kept.due));
        let Some(kept) = waiting else { return false };
        if kept.lease.is_none() {
            self.put_in_queue(id, Some(now));
        }
        true
    }

    /// Takes a payment that waits out of the queue for good.
    pub(super) fn give_up(&mut self, id: &ChallengeId, reason: &str) -> bool {
        let is_due = self.entries.get(id).is_some_and(|kept| self.due.contains_key(&kept.due));
        let waiting = if is_due { self.put_in_queue(id, None) } else { None };
        let Some(kept) = waiting else { return false };
        kept.given_up = Some(reason.to_owned());
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
            if let Some(paid_for) = state.payments.paid.get(&tx_hash).cloned() {
                let paid_for = IssuanceKey::Challenge(paid_for);
                let is_request = matches!(claim.key, IssuanceKey::Request(_));
                let is_free = is_request && issuances.settled(&paid_for).is_none();
                if paid_for != claim.key && !is_free {
                    return Ok(IssuanceState::Redeemed);
                }
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
                order: Some(claim.order.clone()),
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
            state.see(&claim.key, issuance.issued_at);
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
        let (outcome, revoked) = self.with(|state| {
            let outcome = state.record(payment);
            let key = IssuanceKey::Challenge(payment.challenge_id.clone());
            let is_revoked =
                outcome != PaymentOutcome::Conflict && state.issuances.is_revoked(&key);
            let again = || state.revoke_purchase(&PurchaseRevocation::of_paid(payment));
            Ok((outcome, is_revoked.then(again)))
        })?;
        if let Some(revoked) = revoked {
            self.shared.listeners.tell(&PurchaseRevocation::changes(&revoked));
        }
        Ok(outcome)
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
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.with(|state| {
            let ended = state.payments.end_lease(challenge_id, lease, None);
            Ok(ended.is_some_and(|kept| {
                kept.handled_at = Some(at);
                kept.last_error = None;
                true
            }))
        })
    }

    async fn retry_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        next_attempt: Timestamp,
        error: Option<&str>,
    ) -> Result<bool, StoreError> {
        self.with(|state| {
            let ended = state.payments.end_lease(challenge_id, lease, Some(next_attempt));
            Ok(ended.is_some_and(|kept| {
                kept.last_error = error.map(str::to_owned).or(kept.last_error.take());
                true
            }))
        })
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

impl State {
    fn record(&mut self, payment: &Payment) -> PaymentOutcome {
        let payments = &mut self.payments;
        let tx_hash = payment.tx_hash.normalized();
        let known = payments.entries.get(&payment.challenge_id);
        let payer = payments.paid.get(&tx_hash);
        if known.is_some() && payer == Some(&payment.challenge_id) {
            return PaymentOutcome::Repeated;
        }
        if known.is_some() || payer.is_some() {
            return PaymentOutcome::Conflict;
        }
        let due = (payment.received_at, payments.arrivals);
        payments.arrivals += 1;
        payments.due.insert(due, payment.challenge_id.clone());
        payments.paid.insert(tx_hash, payment.challenge_id.clone());
        let kept = Kept {
            payment: payment.clone(),
            attempts: 0,
            handled_at: None,
            last_error: None,
            given_up: None,
            lease: None,
            due,
        };
        payments.entries.insert(payment.challenge_id.clone(), kept);
        let key = IssuanceKey::Challenge(payment.challenge_id.clone());
        if self.issuances.settled(&key).is_none() {
            self.seen.insert(PurchaseCursor { seen_at: payment.received_at, key });
        }
        PaymentOutcome::Recorded
    }
}
