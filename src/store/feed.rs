//! News of changes that other processes make on the same server.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::AbortHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{Change, backoff::Backoff, listeners::Listeners};
use crate::error::{StoreError, StoreErrorKind};

/// Where an engine's news come from.
pub(crate) trait Source: Send + Sync + 'static {
    /// A connection that listens.
    type Listening: Listening;

    /// Begins to listen. What changes from its return on is heard, or seen by the next look.
    fn open(&self) -> impl Future<Output = Result<Self::Listening, StoreError>> + Send;
}

/// A connection that listens. After an error it is used no more.
pub(crate) trait Listening: Send + 'static {
    /// Waits until the server says something. Whoever drops the future loses nothing.
    fn hear(&mut self) -> impl Future<Output = Result<News, StoreError>> + Send;

    /// What has changed since the last look, or since the opening.
    fn look(&mut self) -> impl Future<Output = Result<Vec<Change>, StoreError>> + Send;
}

/// What a server has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
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
    /// How long an opening or a look may take.
    pub(crate) patience: Duration,
}

/// A task that tells listeners what other processes change. It ends when this is dropped.
///
/// What is heard is told at once; a look at regular intervals finds what was not said, or was lost
/// on the way. After a failure it opens anew until that works, and tells that anything may have
/// changed: while nothing is heard, a cache's time to live is the bound.
#[derive(Debug)]
pub(crate) struct Feed {
    _task: Task,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(AbortHandle);

impl Feed {
    /// Listens from the return on.
    pub(crate) async fn start<S: Source>(
        source: S,
        listeners: Arc<Listeners>,
        pace: Pace,
    ) -> Result<Self, StoreError> {
        let listening = within(pace.patience, source.open()).await?;
        Ok(Self { _task: Task::spawn(run(source, listening, listeners, pace)) })
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
) {
    let mut backoff = Backoff::default();
    let mut lost = false;
    loop {
        let began = Instant::now();
        let error = follow(&mut listening, &listeners, pace, lost).await;
        report(&error);
        // Only what held for a while counts as working: else a server that takes connections and
        // drops them would be asked without a pause.
        if began.elapsed() > 2 * pace.look_every {
            backoff.reset();
        }
        drop(listening);
        listening = loop {
            sleep(backoff.pause()).await;
            if let Ok(opened) = within(pace.patience, source.open()).await {
                break opened;
            }
        };
        lost = true;
    }
}

/// Tells what is heard and seen, until that fails.
async fn follow(
    listening: &mut impl Listening,
    listeners: &Listeners,
    pace: Pace,
    mut lost: bool,
) -> StoreError {
    let mut tell = |changes: &[Change]| {
        let changes = if lost { &[Change::All] } else { changes };
        // A listener that panics has heard nothing for sure.
        lost = catch_unwind(AssertUnwindSafe(|| listeners.tell(changes))).is_err();
    };
    tell(&[]);
    let mut due = Instant::now() + pace.look_every;
    loop {
        match timeout_at(due, listening.hear()).await {
            Ok(Ok(News::Changes(changes))) => tell(&changes),
            Ok(Ok(News::Look)) => due = Instant::now(),
            Ok(Err(error)) => return error,
            Err(_elapsed) => {}
        }
        if due <= Instant::now() {
            match within(pace.patience, listening.look()).await {
                Ok(changes) => tell(&changes),
                Err(error) => return error,
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

fn report(error: &StoreError) {
    #[cfg(feature = "tracing")]
    {
        let cause = std::error::Error::source(error).map(tracing::field::display);
        tracing::warn!(%error, cause, "news from the store are lost until it answers again");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = error;
}

#[cfg(test)]
mod tests;
