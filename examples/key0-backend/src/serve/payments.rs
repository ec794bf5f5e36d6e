use key0_auth::{
    api::{HandlerError, PaymentHandler},
    store::Payment,
};

/// The sample's way to deal with a payment: a line in the log.
#[derive(Debug)]
pub(super) struct LogPayment;

#[async_trait::async_trait]
impl PaymentHandler for LogPayment {
    async fn handle(&self, payment: &Payment) -> Result<(), HandlerError> {
        tracing::info!(
            challenge_id = %payment.challenge_id,
            resource_id = %payment.resource_id,
            plan_id = %payment.plan_id,
            tx_hash = %payment.tx_hash,
            "payment received"
        );
        Ok(())
    }
}
