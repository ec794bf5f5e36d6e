use async_trait::async_trait;

use super::FaultyStore;
use crate::{
    apikey::KeyRecord,
    domain::{ChallengeId, Timestamp},
    error::StoreError,
    store::{
        Issuance, IssuanceClaim, IssuanceKey, IssuanceState, Lease, LeasedPayment, Payment,
        PaymentOutcome, PaymentStore, WaitingPayments,
    },
};

#[async_trait]
impl<S: PaymentStore + ?Sized> PaymentStore for FaultyStore<S> {
    async fn begin_issuance(
        &self,
        claim: &IssuanceClaim,
        now: Timestamp,
    ) -> Result<IssuanceState, StoreError> {
        self.run("begin_issuance", self.inner.begin_issuance(claim, now)).await
    }

    async fn complete_issuance(
        &self,
        claim: &IssuanceClaim,
        issuance: &Issuance,
        record: Option<&KeyRecord>,
    ) -> Result<bool, StoreError> {
        self.run("complete_issuance", self.inner.complete_issuance(claim, issuance, record)).await
    }

    async fn abandon_issuance(&self, claim: &IssuanceClaim) -> Result<(), StoreError> {
        self.run("abandon_issuance", self.inner.abandon_issuance(claim)).await
    }

    async fn replace_issuance(
        &self,
        key: &IssuanceKey,
        old: &Issuance,
        new: &Issuance,
        display: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run("replace_issuance", self.inner.replace_issuance(key, old, new, display, at)).await
    }

    async fn forget_nonces(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.run("forget_nonces", self.inner.forget_nonces(before, limit)).await
    }

    async fn record_payment(&self, payment: &Payment) -> Result<PaymentOutcome, StoreError> {
        self.run("record_payment", self.inner.record_payment(payment)).await
    }

    async fn payment(&self, challenge_id: &ChallengeId) -> Result<Option<Payment>, StoreError> {
        self.run("payment", self.inner.payment(challenge_id)).await
    }

    async fn waiting_payments(&self) -> Result<Option<WaitingPayments>, StoreError> {
        self.run("waiting_payments", self.inner.waiting_payments()).await
    }

    async fn lease_payment(
        &self,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Option<LeasedPayment>, StoreError> {
        self.run("lease_payment", self.inner.lease_payment(lease, now)).await
    }

    async fn finish_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.run("finish_payment", self.inner.finish_payment(challenge_id, lease, at)).await
    }

    async fn retry_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        next_attempt: Timestamp,
        error: Option<&str>,
    ) -> Result<bool, StoreError> {
        let retried = self.inner.retry_payment(challenge_id, lease, next_attempt, error);
        self.run("retry_payment", retried).await
    }
}
