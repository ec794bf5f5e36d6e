use std::{error::Error as StdError, fmt, time::Duration};

use reqwest::Method;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::{
    call::Call,
    error::{Error, InvalidCall},
    retry::{Pauses, Repeat, RetryPolicy},
};

/// A state that was waited for and was not seen.
///
/// `T` is what was last seen instead; it is not shown in `Debug`.
pub struct PollError<T> {
    kind: PollErrorKind,
    last: Option<T>,
    error: Option<Error>,
}

/// Why the waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PollErrorKind {
    /// The deadline passed.
    TimedOut,
    /// The server refused, or its answer can't be read: to ask again would not help.
    Failed,
}

/// The shortest time between two looks.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// How long before the deadline the last look begins.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// When to look again after a look that found something else.
struct Looks {
    interval: Duration,
    last_is_taken: bool,
}

impl Looks {
    fn next(&mut self, left: Duration) -> Option<Duration> {
        let latest = left - LAST_LOOK.min(left / 2);
        if self.interval < latest {
            return Some(self.interval);
        }
        let is_last = !std::mem::replace(&mut self.last_is_taken, true);
        (is_last && !left.is_zero()).then_some(latest)
    }
}

impl Call {
    /// Sets how long is waited between two looks of [`poll_until`](Self::poll_until); 250 ms by
    /// default, and 10 ms at least.
    pub fn poll_every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Asks again and again, until `reached` holds for what is there, for so long at most.
    ///
    /// An outage is waited out, for as long as the server asks in `Retry-After`. The deadline
    /// takes the place of the client's own, and a last look is taken shortly before it; how long
    /// one look may take stays as it is.
    ///
    /// # Errors
    ///
    /// [`PollErrorKind::TimedOut`] with what was seen last, and the last failure where the last look
    /// failed; [`PollErrorKind::Failed`] at once where asking again would not help.
    pub async fn poll_until<T: DeserializeOwned>(
        &self,
        deadline: Duration,
        mut reached: impl FnMut(&T) -> bool,
    ) -> Result<T, PollError<T>> {
        let prepared = match self.prepare() {
            Ok(_) if self.method != Method::GET => Err(InvalidCall::NoGet.into()),
            prepared => prepared,
        };
        let prepared = prepared.map_err(|error| PollError::failed(error, None))?;
        let inner = &self.client.0;
        let policy = RetryPolicy { attempts: u32::MAX, ..inner.policy.clone() };
        let mut pauses = Pauses::new(&policy);
        let interval = self.interval.max(SHORTEST_INTERVAL);
        let mut looks = Looks { interval, last_is_taken: false };
        let started = Instant::now();
        let left = || deadline.saturating_sub(started.elapsed());
        let mut last = None;
        let mut attempts: u32 = 0;
        loop {
            attempts = attempts.saturating_add(1);
            let looked = inner.attempt(&prepared, policy.timeout.min(left())).await;
            let (pause, error) = match looked.and_then(|response| response.json::<T>()) {
                Ok(state) if reached(&state) => return Ok(state),
                Ok(state) => {
                    last = Some(state);
                    // An outage that is over begins anew with short pauses.
                    pauses = Pauses::new(&policy);
                    (looks.next(left()), None)
                }
                Err(error) => {
                    let error = error.of_call(attempts, None);
                    if !Repeat::Reads.is_worth_it(&error) {
                        return Err(PollError::failed(error, last));
                    }
                    (pauses.next(&error, left()), Some(error))
                }
            };
            match pause {
                Some(pause) => sleep(pause).await,
                None => return Err(PollError { kind: PollErrorKind::TimedOut, last, error }),
            }
        }
    }
}

impl<T> PollError<T> {
    fn failed(error: Error, last: Option<T>) -> Self {
        Self { kind: PollErrorKind::Failed, last, error: Some(error) }
    }

    /// Why the waiting ended.
    pub fn kind(&self) -> PollErrorKind {
        self.kind
    }

    /// What was seen last.
    pub fn last(&self) -> Option<&T> {
        self.last.as_ref()
    }

    /// What was seen last, by value.
    pub fn into_last(self) -> Option<T> {
        self.last
    }

    /// What went wrong with the last look.
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }
}

impl<T> fmt::Display for PollError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            PollErrorKind::TimedOut => "the state was not reached in time",
            PollErrorKind::Failed => "the state can't be waited for",
        })
    }
}

impl<T> fmt::Debug for PollError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollError")
            .field("kind", &self.kind)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T> StdError for PollError<T> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.as_ref().map(|error| error as &(dyn StdError + 'static))
    }
}
