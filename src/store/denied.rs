//! The denied access tokens, as one process knows them.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, timeout},
};

use super::{
    denials::{Denial, DenialStore, TokenDigest},
    keys::{Change, ChangeListener},
};
use crate::{
    domain::{ChallengeId, Timestamp},
    error::{StoreError, StoreErrorKind},
};

/// How many denials are read at a time.
const PAGE: u32 = 10_000;
/// How long that may take.
const READ_DEADLINE: Duration = Duration::from_millis(500);
/// The shortest interval.
const SHORTEST: Duration = Duration::from_millis(100);
/// How soon a reading that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Of the time between two readings, how much a reading may take: a twentieth.
const REST: u32 = 20;

/// Which access tokens are denied: the denials of a [`DenialStore`], all of them in memory.
///
/// A [`Validator`](crate::Validator) asks it about every token whose signature holds. While nothing
/// is denied, that is one atomic load.
///
/// - A denial by this process counts from the return of [`deny`](Self::deny) on. One by another
///   process counts as soon as the store tells of it, and within 5 s where it does not.
/// - While the store can't be read, the last known denials hold, and access tokens keep working.
/// - Before the first reading no token is let in: its request waits up to 500 ms, then it is a 503.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct DeniedTokens(Arc<Parts>);

struct Parts {
    store: Arc<dyn DenialStore>,
    state: Arc<State>,
    readings: AbortHandle,
}

#[derive(Debug)]
struct State {
    /// Whether a token has to be looked up: something is denied, or nothing was read yet.
    may_deny: AtomicBool,
    known: RwLock<Known>,
    /// Whether there was a reading.
    is_read: watch::Sender<bool>,
    /// Something may have been missed.
    doubt: Notify,
}

#[derive(Debug, Default)]
struct Known {
    denied: HashSet<TokenDigest>,
    /// What was heard since the last reading began, and which that may not have seen.
    heard: Vec<TokenDigest>,
}

impl DeniedTokens {
    /// The denials of this store, which are read from now on.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub fn new(store: Arc<dyn DenialStore>) -> Self {
        Self::reading_every(store, Duration::from_secs(5))
    }

    /// The same with another interval in place of 5 s.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub fn reading_every(store: Arc<dyn DenialStore>, interval: Duration) -> Self {
        let state = Arc::new(State::new());
        let listener: Weak<State> = Arc::downgrade(&state);
        store.subscribe(listener);
        let readings = read_for_ever(store.clone(), Arc::downgrade(&state), interval);
        let readings = Handle::current().spawn(readings).abort_handle();
        Self(Arc::new(Parts { store, state, readings }))
    }

    /// Denies the access tokens with this `jti` until then.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell whether they are denied now.
    pub async fn deny(&self, jti: &ChallengeId, until: Timestamp) -> Result<(), StoreError> {
        let token = TokenDigest::of(jti);
        self.0.store.deny(&Denial { token, until }).await?;
        // A store may tell nobody.
        self.0.state.deny(token);
        Ok(())
    }

    /// Removes up to `limit` denials that ended before `before`, and says how many.
    ///
    /// # Errors
    ///
    /// Fails when the store can't.
    pub async fn purge(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.0.store.purge_denials(before, limit).await
    }

    /// Whether the tokens with this `jti` are denied. `None` before the first reading.
    pub(crate) fn includes(&self, jti: &ChallengeId) -> Option<bool> {
        self.0.state.includes(jti)
    }

    /// Waits for the first reading, within bounds.
    pub(crate) async fn settle(&self) {
        let mut is_read = self.0.state.is_read.subscribe();
        let _ = timeout(READ_DEADLINE, is_read.wait_for(|is_read| *is_read)).await;
    }
}

impl State {
    fn new() -> Self {
        Self {
            may_deny: AtomicBool::new(true),
            known: RwLock::default(),
            is_read: watch::Sender::new(false),
            doubt: Notify::new(),
        }
    }

    fn includes(&self, jti: &ChallengeId) -> Option<bool> {
        if !self.may_deny.load(Ordering::Acquire) {
            return Some(false);
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_denied = known.denied.contains(&TokenDigest::of(jti));
        (is_denied || *self.is_read.borrow()).then_some(is_denied)
    }

    fn deny(&self, token: TokenDigest) {
        let mut known = self.known();
        known.denied.insert(token);
        known.heard.push(token);
        self.may_deny.store(true, Ordering::Release);
    }

    fn begin_reading(&self) {
        self.known().heard.clear();
    }

    /// What was heard while it was read stays denied, whatever was read.
    fn end_reading(&self, mut denied: HashSet<TokenDigest>) {
        let mut known = self.known();
        denied.extend(&known.heard);
        self.is_read.send_replace(true);
        self.may_deny.store(!denied.is_empty(), Ordering::Release);
        known.denied = denied;
    }

    fn known(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChangeListener for State {
    fn changed(&self, change: Change) {
        match change {
            Change::Token(token) => self.deny(token),
            Change::All => self.doubt.notify_one(),
            Change::Key(_) => {}
        }
    }
}

/// Reads at intervals, and when something may have been missed, until nobody asks any more.
async fn read_for_ever(store: Arc<dyn DenialStore>, state: Weak<State>, interval: Duration) {
    let mut is_failing = false;
    loop {
        let Some(state) = state.upgrade() else { return };
        let began = Instant::now();
        let pause = match read(&*store, &state).await {
            Ok(()) => {
                is_failing = false;
                // A long list must not keep the store busy; what is new is told.
                interval.max(SHORTEST).max(began.elapsed() * REST)
            }
            Err(error) => {
                report(&error, is_failing);
                is_failing = true;
                RETRY.min(interval).max(SHORTEST)
            }
        };
        let _ = timeout(pause, state.doubt.notified()).await;
    }
}

async fn read(store: &dyn DenialStore, state: &State) -> Result<(), StoreError> {
    state.begin_reading();
    let mut denied = HashSet::new();
    let mut after = None;
    loop {
        let page = timeout(READ_DEADLINE, store.denials(after.as_ref(), PAGE)).await;
        let page = page.map_err(|_elapsed| StoreError::new(StoreErrorKind::TimedOut))??;
        denied.extend(page.iter().map(|denial| denial.token));
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after = Some(last.token),
            _ => break,
        }
    }
    state.end_reading(denied);
    Ok(())
}

fn report(_error: &StoreError, _again: bool) {
    #[cfg(feature = "tracing")]
    if !_again {
        let cause = std::error::Error::source(_error).map(tracing::field::display);
        tracing::warn!(error = %_error, cause, "denied tokens can't be read; the last known ones hold");
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.readings.abort();
    }
}

impl fmt::Debug for DeniedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeniedTokens").field("store", &self.0.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jti(text: &str) -> ChallengeId {
        ChallengeId::new(text).expect("legal")
    }

    #[test]
    fn what_is_heard_during_a_reading_stays_denied() {
        let state = State::new();
        assert_eq!(state.includes(&jti("a")), None);
        state.begin_reading();
        state.changed(Change::Token(TokenDigest::of(&jti("a"))));
        assert_eq!(state.includes(&jti("a")), Some(true));
        // The reading began before, and has not seen it.
        state.end_reading([TokenDigest::of(&jti("b"))].into());
        for denied in ["a", "b"] {
            assert_eq!(state.includes(&jti(denied)), Some(true));
        }
        assert_eq!(state.includes(&jti("c")), Some(false));
        // The next one has seen all, and that they are over by now.
        state.begin_reading();
        state.end_reading(HashSet::new());
        assert_eq!(state.includes(&jti("a")), Some(false));
        assert!(!state.may_deny.load(Ordering::Relaxed));
    }
}
