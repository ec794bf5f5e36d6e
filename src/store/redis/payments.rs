use async_trait::async_trait;

use super::{
    RedisStore,
    keys::instant_text,
    row::{Fields, needed},
    scripts,
};
use crate::{
    apikey::KeyRecord,
    domain::{ChallengeId, Timestamp},
    error::StoreError,
    store::{
        Issuance, IssuanceClaim, IssuanceKey, IssuanceState, LONGEST_WAIT, Lease, LeasedPayment,
        Payment, PaymentOutcome, PaymentStore, PurchaseRevocation, PurchaseStore, WaitingPayments,
        payments::Ending,
        stored::{bad, to_json},
    },
};

#[async_trait]
impl PaymentStore for RedisStore {
    async fn begin_issuance(
        &self,
        claim: &IssuanceClaim,
        now: Timestamp,
    ) -> Result<IssuanceState, StoreError> {
        self.begin(claim, now).await
    }

    async fn complete_issuance(
        &self,
        claim: &IssuanceClaim,
        issuance: &Issuance,
        record: Option<&KeyRecord>,
    ) -> Result<bool, StoreError> {
        self.complete(claim, issuance, record).await
    }

    async fn abandon_issuance(&self, claim: &IssuanceClaim) -> Result<(), StoreError> {
        self.abandon(claim).await
    }

    async fn replace_issuance(
        &self,
        key: &IssuanceKey,
        old: &Issuance,
        new: &Issuance,
        display: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.replace(key, old, new, display, at).await
    }

    async fn forget_nonces(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.purge(&scripts::FORGET_NONCES, before, limit).await
    }

    async fn record_payment(&self, payment: &Payment) -> Result<PaymentOutcome, StoreError> {
        let received_at = payment.received_at.as_micros();
        let mut call = self.call(&scripts::RECORD_PAYMENT);
        call.arg(payment.challenge_id.as_str()).arg(payment.tx_hash.normalized());
        call.arg(payment.tx_hash.without_0x()).arg(received_at);
        call.arg(instant_text(payment.received_at)).arg(payment.request_id.as_str());
        call.arg("challenge_id").arg(payment.challenge_id.as_str());
        call.arg("request_id").arg(payment.request_id.as_str());
        call.arg("resource_id").arg(payment.resource_id.as_str());
        call.arg("plan_id").arg(payment.plan_id.as_str());
        call.arg("tx_hash").arg(payment.tx_hash.as_str());
        call.arg("details").arg(to_json(&payment.details)?);
        call.arg("received_at").arg(received_at);
        let outcome: String = self.write(&call).await?;
        let (outcome, is_revoked) = PaymentOutcome::told(&outcome).ok_or_else(|| bad("outcome"))?;
        if is_revoked {
            // Where this fails, the payment is told again.
            self.revoke_purchase(&PurchaseRevocation::of_paid(payment)).await?;
        }
        Ok(outcome)
    }

    async fn payment(&self, challenge_id: &ChallengeId) -> Result<Option<Payment>, StoreError> {
        let mut call = self.call(&scripts::PAYMENT);
        call.arg(challenge_id.as_str());
        let found: Option<Vec<Vec<u8>>> = self.read(&call).await?;
        found.map(|fields| payment(&Fields::new(fields))).transpose()
    }

    async fn waiting_payments(&self) -> Result<Option<WaitingPayments>, StoreError> {
        let call = self.call(&scripts::WAITING_PAYMENTS);
        let (count, oldest): (u64, Option<i64>) = self.read(&call).await?;
        Ok(Some(WaitingPayments { count, oldest: oldest.map(Timestamp::from_micros) }))
    }

    async fn lease_payment(
        &self,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Option<LeasedPayment>, StoreError> {
        let mut call = self.call(&scripts::LEASE_PAYMENT);
        call.arg(lease.token.as_bytes()).arg(lease.until.as_micros());
        call.arg(now.as_micros()).arg(now.plus(LONGEST_WAIT).as_micros());
        let leased: Option<Vec<Vec<u8>>> = self.write(&call).await?;
        let Some(fields) = leased.map(Fields::new) else { return Ok(None) };
        let attempts = needed(fields.parsed("attempts")?, "attempts")?;
        Ok(Some(LeasedPayment { payment: payment(&fields)?, attempts }))
    }

    async fn finish_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.end_lease(challenge_id, lease, Ending::Handled(at)).await
    }

    async fn retry_payment(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        next_attempt: Timestamp,
        error: Option<&str>,
    ) -> Result<bool, StoreError> {
        let error = error.map(str::to_owned);
        self.end_lease(challenge_id, lease, Ending::Again { next_attempt, error }).await
    }
}

impl RedisStore {
    async fn end_lease(
        &self,
        challenge_id: &ChallengeId,
        lease: &Lease,
        ending: Ending,
    ) -> Result<bool, StoreError> {
        let text = |micros: Option<i64>| micros.map(|it| it.to_string()).unwrap_or_default();
        let (handled_at, due_at, error) = ending.columns();
        let mut call = self.call(&scripts::END_PAYMENT);
        call.arg(challenge_id.as_str()).arg(lease.token.as_bytes());
        call.arg(text(handled_at)).arg(text(due_at)).arg(error.unwrap_or_default());
        self.write(&call).await
    }
}

fn payment(fields: &Fields) -> Result<Payment, StoreError> {
    Ok(Payment {
        challenge_id: needed(fields.parsed("challenge_id")?, "challenge_id")?,
        request_id: needed(fields.parsed("request_id")?, "request_id")?,
        resource_id: needed(fields.parsed("resource_id")?, "resource_id")?,
        plan_id: needed(fields.parsed("plan_id")?, "plan_id")?,
        tx_hash: needed(fields.parsed("tx_hash")?, "tx_hash")?,
        details: needed(fields.json("details")?, "details")?,
        received_at: needed(fields.instant("received_at")?, "received_at")?,
    })
}
