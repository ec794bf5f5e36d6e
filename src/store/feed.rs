//! Notification of changes that other processes make on the same server.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::AbortHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{Change, backoff::Backoff, caught::caught, listeners::Listeners};
use crate::{
    error::{StoreError, StoreErrorKind, chain},
    metrics,
};

/// How long an opening may take. More than a look: over a slow network it is many questions and
/// answers, and what never gets to its end is no feed at all.
const OPENING: Duration = Duration::from_secs(5);
/// How often a failure that lasts is written to the log.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Where an engine's change notifications come from.
pub(crate) trait Source: Send + Sync + 'static {
    /// A connection that listens.
    type Listening: Listening;

    /// Begins to listen. What changes from its return on is heard, or seen by the next look.
    fn open(&self) -> impl Future<Output = Result<Self::Listening, StoreError>> + Send;
}

/// A connection that listens. After an error it is used no more.
pub(crate) trait Listening: Send + 'static {
    /// Waits until the server says something. Whoever drops the future loses nothing.
    fn hear(&mut self) -> impl Future<Output = Result<Notification, StoreError>> + Send;

    /// What has changed since the last look, or since the opening.
    fn look(&mut self) -> impl Future<Output = Result<Vec<Change>, StoreError>> + Send;

    /// Whether the last look has seen all that a read could, so was surely on the same server.
    fn proves(&self) -> bool {
        false
    }
}

/// What a server has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notification {
    /// This has changed.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    Changes(Vec<Change>),
    /// Something has changed: a look tells what.
    Look,
}

/// How often is looked, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The time between two looks, whatever is heard in between.
    pub(crate) look_every: Duration,
    /// How long a look may take.
    pub(crate) patience: Duration,
}

/// A timeout or interval as it can be kept: from a millisecond to an hour.
pub(crate) fn kept(time: Duration) -> Duration {
    time.clamp(Duration::from_millis(1), Duration::from_secs(3600))
}

/// A task that tells listeners what other processes change. It ends when this is dropped.
///
/// What is heard is told at once; a look at regular intervals finds what was not said, or was lost
/// on the way. After a failure it opens anew until that works, and tells that anything may have
/// changed: while nothing is heard, a cache's time to live is the bound. What it hears proves nothing
/// of what it does not hear: only a look that has come to its end says that all is told.
#[derive(Debug)]
pub(crate) struct Feed {
    _task: Task,
    hears: Arc<AtomicBool>,
}

/// Whether it listens at the moment, for who asks and for the metrics.
struct State {
    engine: &'static str,
    hears: Arc<AtomicBool>,
}

impl State {
    fn set(&self, hears: bool) {
        self.hears.store(hears, Ordering::Relaxed);
        metrics::feed_connected(self.engine, hears);
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(AbortHandle);

impl Feed {
    /// Listens from the return on. Until the deadline it is tried again, where it `waits`.
    pub(crate) async fn start<S: Source>(
        engine: &'static str,
        source: S,
        listeners: Arc<Listeners>,
        pace: Pace,
        deadline: Instant,
        waits: bool,
    ) -> Result<Self, StoreError> {
        let mut backoff = Backoff::default();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match within(OPENING.min(left), source.open()).await {
                Ok(listening) => {
                    let hears = Arc::new(AtomicBool::new(true));
                    let state = State { engine, hears: Arc::clone(&hears) };
                    state.set(true);
                    let task = run(source, listening, listeners, pace, state);
                    return Ok(Self { _task: Task::spawn(task), hears });
                }
                Err(error) => error,
            };
            let pause = backoff.pause();
            if !waits || Instant::now() + pause >= deadline {
                return Err(error);
            }
            sleep(pause).await;
        }
    }

    /// Whether it listens at the moment.
    pub(crate) fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
    }
}

impl Task {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run<S: Source>(
    source: S,
    mut listening: S::Listening,
    listeners: Arc<Listeners>,
    pace: Pace,
    state: State,
) {
    let (mut backoff, mut outage) = (Backoff::default(), Outage::default());
    let mut lost = false;
    loop {
        let began = Instant::now();
        let Err(error) = caught(follow(&mut listening, &listeners, pace, &state, lost)).await;
        // Only what held for a while counts as working: else a server that takes connections and
        // drops them would be asked without a pause.
        if began.elapsed() > 2 * pace.look_every {
            backoff.reset();
            outage = Outage::default();
        }
        outage.report(&error);
        state.set(false);
        drop(listening);
        listening = loop {
            sleep(backoff.pause()).await;
            match caught(within(OPENING, source.open())).await {
                Ok(opened) => break opened,
                Err(error) => outage.report(&error),
            }
        };
        outage.report_end();
        state.set(true);
        lost = true;
    }
}

/// Tells what is heard and seen, until that fails.
async fn follow(
    listening: &mut impl Listening,
    listeners: &Listeners,
    pace: Pace,
    state: &State,
    mut lost: bool,
) -> Result<Infallible, StoreError> {
    let mut tell = |changes: &[Change]| {
        let changes = if lost { &[Change::All] } else { changes };
        // A listener that panics has heard nothing for sure.
        lost = catch_unwind(AssertUnwindSafe(|| listeners.tell(changes))).is_err();
        metrics::feed_heard(state.engine);
        !lost
    };
    tell(&[]);
    let mut due = Instant::now() + pace.look_every;
    loop {
        match timeout_at(due, listening.hear()).await {
            Ok(Ok(Notification::Changes(changes))) => drop(tell(&changes)),
            Ok(Ok(Notification::Look)) => due = Instant::now(),
            Ok(Err(error)) => return Err(error),
            Err(_elapsed) => {}
        }
        if due <= Instant::now() {
            listeners.catching_up();
            let told = tell(&within(pace.patience, listening.look()).await?);
            if told && listening.proves() {
                listeners.caught_up();
            }
            due = Instant::now() + pace.look_every;
        }
    }
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let done = timeout(patience, work).await;
    done.unwrap_or_else(|_elapsed| Err(StoreError::new(StoreErrorKind::TimedOut)))
}

/// What was written to the log of an outage.
#[derive(Debug, Default)]
struct Outage {
    told: Option<(String, Instant)>,
    open: bool,
}

impl Outage {
    fn report(&mut self, error: &StoreError) {
        let failure = chain(error);
        if self.is_new(&failure) {
            #[cfg(feature = "tracing")]
            tracing::warn!(
                error = failure,
                "change notifications from the store are lost until it answers again"
            );
            self.told = Some((failure, Instant::now()));
            self.open = true;
        }
    }

    /// Whether a failure is another than the last, or that was told long ago.
    fn is_new(&self, failure: &str) -> bool {
        self.told.as_ref().is_none_or(|(told, at)| told != failure || at.elapsed() >= REPORT_EVERY)
    }

    fn report_end(&mut self) {
        if std::mem::take(&mut self.open) {
            #[cfg(feature = "tracing")]
            tracing::info!("change notifications from the store arrive again");
        }
    }
}

#[cfg(test)]
mod tests;
