use std::{borrow::Cow, fmt, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use async_trait::async_trait;
use serde_json::json;
use tokio::{
    sync::{Notify, Semaphore},
    task::{AbortHandle, JoinSet},
};

use super::{
    body::{self, Members, Reply, outage},
    credential,
};
use crate::{
    Rejection, RejectionKind,
    domain::{ChallengeId, Clock, RequestId, ResourceId, TxHash},
    error::{StoreError, StoreErrorKind, chain},
    metrics,
    store::{Lease, LeasedPayment, Payment, PaymentOutcome, PaymentStore},
};

/// How long the store may take to count the payments that wait.
#[cfg(feature = "metrics")]
const MEASURING: Duration = Duration::from_millis(500);
/// How long one run of the handler may take.
const HANDLER_DEADLINE: Duration = Duration::from_secs(30);
/// How long a payment is held for one run: longer, so that two runs never overlap.
const LEASE: Duration = Duration::from_secs(60);
/// How many payments are dealt with at a time.
const AT_ONCE: usize = 24;
/// How many of them may be such that failed before.
const REPEATS_AT_ONCE: usize = 12;
/// How much of a handler's error is logged.
const MAX_ERROR_CHARS: usize = 1_000;
/// How many payments that can't be read are passed over without a pause.
const UNREADABLE: u32 = 1_000;
/// How often the worker looks for payments that another instance left behind.
const LOOK: Duration = Duration::from_secs(1);
/// The first pause after a failure, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two runs.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// `POST /internal/payment-received`: keeps each payment once, durably, and has the application's
/// handler deal with it. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::{MemoryStore, api::PaymentReceived, domain::SystemClock};
///
/// let store = Arc::new(MemoryStore::new());
/// let payments = PaymentReceived::new(store, Arc::new(SystemClock));
/// let report = br#"{"challengeId":"c","requestId":"r","resourceId":"photo-1","planId":"basic",
///     "txHash":"0xabc"}"#;
/// assert_eq!(payments.handle(report).await?.body, br#"{"received":true}"#);
/// # Ok(())
/// # }
/// ```
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
/// fails, or takes longer than 30 seconds, is repeated with growing pauses of up to five minutes; its
/// error is logged. Up to 24 payments are dealt with at a time, at most 12 of them such that failed
/// before, so that none that hangs holds up the others.
///
/// Implemented with [`async_trait`](crate::async_trait):
///
/// ```
/// use key0_auth::{async_trait, api::{HandlerError, PaymentHandler}, store::Payment};
///
/// #[derive(Debug)]
/// struct Print;
///
/// #[async_trait]
/// impl PaymentHandler for Print {
///     async fn handle(&self, payment: &Payment) -> Result<(), HandlerError> {
///         println!("{} has bought {}", payment.request_id, payment.resource_id);
///         Ok(())
///     }
/// }
/// ```
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
    /// Keeps payments and runs no handler: another process may.
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
            repeats: Semaphore::new(REPEATS_AT_ONCE),
        };
        let worker = Some(tokio::spawn(worker.run()).abort_handle());
        Self(Arc::new(Parts { payments, clock, wake, worker }))
    }

    /// Shows in the metrics how many payments wait for their handler, and since when. To be called
    /// before they are exported; where the store can't tell, they stay as they were.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub async fn measure(&self) {
        let waiting = self.0.payments.waiting_payments();
        if let Ok(Ok(Some(waiting))) = tokio::time::timeout(MEASURING, waiting).await {
            let now = self.0.clock.now();
            let age = waiting.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
            metrics::gauge("key0_payments_waiting", &[], waiting.count as f64);
            metrics::gauge("key0_payments_oldest_seconds", &[], age.as_secs_f64());
        }
    }

    /// Answers a request whose caller was validated.
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
            PaymentOutcome::Recorded => {
                metrics::payment("recorded");
                self.0.wake.notify_one();
            }
            PaymentOutcome::Repeated => metrics::payment("repeated"),
            PaymentOutcome::Conflict => {
                metrics::payment("conflict");
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
    repeats: Semaphore,
}

impl Worker {
    async fn run(self) {
        let worker = Arc::new(self);
        // Dropped with this task, and ended with it.
        let mut runs = JoinSet::new();
        let mut unreadable = 0;
        loop {
            while runs.try_join_next().is_some() {}
            // A store that fails is asked again after a pause, like one that has nothing to do.
            let leased = if runs.len() < AT_ONCE { worker.lease().await } else { Ok(None) };
            match leased {
                Ok(Some((leased, lease))) => {
                    runs.spawn(Arc::clone(&worker).deal_with(leased, lease));
                }
                Ok(None) => worker.rest(&mut runs).await,
                // It is put off until its lease runs out, so the next one is another.
                Err(error)
                    if error.kind() == StoreErrorKind::Corrupt && unreadable < UNREADABLE =>
                {
                    worker.passes_over(&error);
                    unreadable += 1;
                    continue;
                }
                Err(error) => {
                    worker.waits(&error);
                    worker.rest(&mut runs).await;
                }
            }
            unreadable = 0;
        }
    }

    /// Until there may be something to do.
    async fn rest(&self, runs: &mut JoinSet<()>) {
        let mut woken = pin!(self.wake.notified());
        let either = poll_fn(|context| {
            let ended = matches!(runs.poll_join_next(context), Poll::Ready(Some(_)));
            if ended || woken.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            Poll::Pending
        });
        let _ = tokio::time::timeout(LOOK, either).await;
    }

    fn passes_over(&self, _error: &StoreError) {
        #[cfg(feature = "tracing")]
        tracing::error!(error = chain(_error), "a payment can't be read; it is put off");
    }

    fn waits(&self, _error: &StoreError) {
        #[cfg(feature = "tracing")]
        tracing::warn!(error = chain(_error), "payments wait for the store");
    }

    async fn lease(&self) -> Result<Option<(LeasedPayment, Lease)>, StoreError> {
        let now = self.clock.now();
        let lease = Lease::new(now.plus(LEASE));
        Ok(self.payments.lease_payment(&lease, now).await?.map(|leased| (leased, lease)))
    }

    /// Deals with one payment. One that has failed before steps back where so many others like it
    /// run that a new one would have to wait.
    async fn deal_with(self: Arc<Self>, leased: LeasedPayment, lease: Lease) {
        let LeasedPayment { payment, attempts } = leased;
        let id = &payment.challenge_id;
        let turn = if attempts > 0 { self.repeats.try_acquire().map(Some) } else { Ok(None) };
        let ended = match turn {
            Ok(_turn) => match self.handle(&payment).await {
                Ok(()) => {
                    metrics::payment_handler_run("done");
                    self.payments.finish_payment(id, &lease, self.clock.now()).await
                }
                Err(error) => {
                    metrics::payment_handler_run("failed");
                    let error = kept(&error);
                    #[cfg(feature = "tracing")]
                    tracing::warn!(challenge_id = %id, attempts, error = &*error, "payment handler failed");
                    self.put_off(id, &lease, attempts, Some(&error)).await
                }
            },
            Err(_) => self.put_off(id, &lease, attempts, None).await,
        };
        if let Err(error) = ended {
            self.waits(&error);
        }
    }

    async fn put_off(
        &self,
        id: &ChallengeId,
        lease: &Lease,
        attempts: u32,
        error: Option<&str>,
    ) -> Result<bool, StoreError> {
        let next_attempt = self.clock.now().plus(pause(attempts));
        self.payments.retry_payment(id, lease, next_attempt, error).await
    }

    /// Runs the handler. What it failed with is cut to what a log can bear.
    async fn handle(&self, payment: &Payment) -> Result<(), String> {
        // On a task of its own, so that a panic in the handler is a failure like any other.
        let (handler, payment) = (self.handler.clone(), payment.clone());
        let run = tokio::spawn(async move {
            tokio::time::timeout(HANDLER_DEADLINE, handler.handle(&payment)).await
        });
        match run.await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => {
                Err(chain(&*error).escape_debug().take(MAX_ERROR_CHARS).collect())
            }
            Ok(Err(_elapsed)) => Err(format!("it took longer than {HANDLER_DEADLINE:?}")),
            Err(_panicked) => Err("it panicked".to_owned()),
        }
    }
}

/// What is kept and logged of a handler's error: a credential must get to neither place.
fn kept(error: &str) -> Cow<'_, str> {
    match credential::shows_in(error) {
        true => "it failed; what it said holds a credential".into(),
        false => error.into(),
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
