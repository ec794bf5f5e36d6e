use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::json;
use tokio::{sync::Notify, task::AbortHandle};

use super::body::{self, Members, Reply, outage};
use crate::{
    Rejection, RejectionKind,
    domain::{ChallengeId, Clock, RequestId, ResourceId, TxHash},
    error::StoreError,
    store::{Lease, LeasedPayment, Payment, PaymentOutcome, PaymentStore},
};

/// How long one run of the handler may take.
const HANDLER_DEADLINE: Duration = Duration::from_secs(30);
/// How long a payment is held for one run: longer, so that two runs never overlap.
const LEASE: Duration = Duration::from_secs(60);
/// How often the worker looks for payments that another instance left behind.
const LOOK: Duration = Duration::from_secs(1);
/// The first pause after a failure, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two runs.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// `POST /internal/payment-received`: keeps each payment once, durably, and has the application's
/// handler deal with it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PaymentReceived(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    payments: Arc<dyn PaymentStore>,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
    worker: Option<AbortHandle>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.abort();
        }
    }
}

/// What the application does with a payment.
///
/// Runs at least once per payment, also after a crash, from the stored record. It may run again
/// although it succeeded: the payment's `challenge_id` is the key to deduplicate by. A run that
/// fails, or takes longer than 30 seconds, is repeated with growing pauses of up to five minutes.
#[async_trait]
pub trait PaymentHandler: fmt::Debug + Send + Sync + 'static {
    /// Deals with a payment.
    ///
    /// # Errors
    ///
    /// Fails when it must be tried again.
    async fn handle(&self, payment: &Payment) -> Result<(), HandlerError>;
}

/// Why a handler must be tried again.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

impl PaymentReceived {
    /// Keeps payments for somebody else to deal with.
    pub fn new(payments: Arc<dyn PaymentStore>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Parts { payments, clock, wake: Arc::default(), worker: None }))
    }

    /// Keeps payments and has `handler` deal with them, on a task that lives as long as this value
    /// and its clones. Must be called within a tokio runtime.
    pub fn with_handler(
        payments: Arc<dyn PaymentStore>,
        clock: Arc<dyn Clock>,
        handler: impl PaymentHandler,
    ) -> Self {
        let wake = Arc::new(Notify::new());
        let worker = Worker {
            payments: payments.clone(),
            clock: clock.clone(),
            wake: wake.clone(),
            handler: Arc::new(handler),
        };
        let worker = Some(tokio::spawn(worker.run()).abort_handle());
        Self(Arc::new(Parts { payments, clock, wake, worker }))
    }

    /// Answers a request whose caller was judged.
    ///
    /// # Errors
    ///
    /// The reason to refuse it.
    pub async fn handle(&self, body: &[u8]) -> Result<Reply, Rejection> {
        let mut members = Members::parse(body)?;
        let payment = Payment {
            challenge_id: members.id("challengeId", ChallengeId::new)?,
            request_id: members.id("requestId", RequestId::new)?,
            resource_id: members.id("resourceId", ResourceId::new)?,
            plan_id: members.plan()?,
            tx_hash: members.id("txHash", TxHash::new)?,
            details: members.rest(),
            received_at: self.0.clock.now().to_millis(),
        };
        let recorded = async { self.0.payments.record_payment(&payment).await.map_err(outage) };
        match body::in_time(recorded).await? {
            PaymentOutcome::Recorded => self.0.wake.notify_one(),
            PaymentOutcome::Repeated => {}
            PaymentOutcome::Conflict => {
                return Err(Rejection::new(RejectionKind::RequestConflict)
                    .detail("This challenge or this transaction belongs to another payment"));
            }
        }
        Ok(Reply::json(200, &json!({ "received": true })))
    }
}

#[derive(Debug)]
struct Worker {
    payments: Arc<dyn PaymentStore>,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
    handler: Arc<dyn PaymentHandler>,
}

impl Worker {
    async fn run(self) {
        loop {
            // A store that fails is asked again after a pause, like one that has nothing to do.
            let stepped = self.step().await;
            #[cfg(feature = "tracing")]
            if let Err(error) = &stepped {
                tracing::warn!(%error, "payments wait for the store");
            }
            if !matches!(stepped, Ok(true)) {
                let _ = tokio::time::timeout(LOOK, self.wake.notified()).await;
            }
        }
    }

    /// Deals with one payment. `false` when none is due.
    async fn step(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let lease = Lease::new(now.plus(LEASE));
        let Some(leased) = self.payments.lease_payment(&lease, now).await? else {
            return Ok(false);
        };
        let LeasedPayment { payment, attempts } = leased;
        if self.succeeds(&payment).await {
            self.payments.finish_payment(&payment.challenge_id, &lease).await?;
        } else {
            #[cfg(feature = "tracing")]
            tracing::warn!(challenge_id = %payment.challenge_id, attempts, "payment handler failed");
            let next_attempt = self.clock.now().plus(pause(attempts));
            self.payments.retry_payment(&payment.challenge_id, &lease, next_attempt).await?;
        }
        Ok(true)
    }

    async fn succeeds(&self, payment: &Payment) -> bool {
        // On a task of its own, so that a panic in the handler is a failure like any other.
        let (handler, payment) = (self.handler.clone(), payment.clone());
        let run = tokio::spawn(async move {
            tokio::time::timeout(HANDLER_DEADLINE, handler.handle(&payment)).await
        });
        matches!(run.await, Ok(Ok(Ok(()))))
    }
}

/// The pause after so many runs, with up to a quarter taken off at random, so that what failed
/// together is not tried again together.
fn pause(attempts: u32) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << attempts.min(16)).min(LONGEST_PAUSE);
    let mut random = [0];
    let share = if getrandom::fill(&mut random).is_ok() { u32::from(random[0]) } else { 0 };
    full - full * share / (4 * 256)
}
