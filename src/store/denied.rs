//! The denied access tokens, as one process knows them.

use std::{
    collections::HashMap,
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
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    caught::caught,
    denials::{Denial, DenialStore, TokenDigest},
    keys::{Change, ChangeListener},
    purchase_revocation::{LONGEST_TOKEN_LIFE, USUAL_DENIAL},
};
use crate::{
    domain::{ChallengeId, Claims, Timestamp},
    error::{StoreError, StoreErrorKind},
};

/// How many denials are read at a time.
const PAGE: u32 = 1_000;
/// How long that may take, and how long a request waits for the first reading.
const READ_DEADLINE: Duration = Duration::from_millis(500);
/// The shortest and the longest interval between the beginnings of two readings.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// How soon a reading that failed is tried again, and how often a long rest is looked after.
const RETRY: Duration = Duration::from_secs(1);
/// Of the time between two readings, how much a reading may take: a twentieth.
const REST: u32 = 20;
/// How long a denial stays in the store after its end: a clock that runs ahead must not let in what
/// was denied.
const PURGE_MARGIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Which access tokens are denied: the denials of a [`DenialStore`], all of them in memory.
///
/// A [`Validator`](crate::Validator) asks it about every token whose signature holds. While nothing
/// is denied, that is one atomic load. Where [a longest life](Self::longest_token_life) is set, it
/// refuses tokens that live longer.
///
/// - **This process**: a denial counts from the return of [`deny`](Self::deny) on.
/// - **Others**: it counts as soon as the store tells of it. Where it does not, the list is read at
///   least every 5 s, from the beginning of one reading to that of the next.
/// - **Outages**: the last known denials hold, and access tokens keep working.
/// - **Start**: before the first reading no token is let in. Its request waits up to 500 ms, then it
///   is a 503. [`first_reading`](Self::first_reading) waits for it, before requests are taken.
///
/// Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{sync::Arc, time::Duration};
/// use key0_auth::{AccessTokens, MemoryStore, Validator, store::DeniedTokens};
///
/// let denied = DeniedTokens::new(Arc::new(MemoryStore::new()));
/// denied.first_reading(Duration::from_secs(5)).await?;
/// let validator = Validator::builder()
///     .access_tokens(AccessTokens::hs256("a secret that Key0 shares with this backend")?)
///     .denied_tokens(denied)
///     .build()?;
/// # let _ = validator;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeniedTokens {
    parts: Arc<Parts>,
    longest_token_life: Option<Duration>,
}

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
    /// What came of the first reading: until one succeeds, why the last one failed.
    first: watch::Sender<Result<(), StoreError>>,
    /// Something may have been missed.
    doubt: Notify,
}

#[derive(Debug, Default)]
struct Known {
    denied: Ends,
    /// What was heard since the last reading began, and which that may not have seen.
    heard: Ends,
}

/// Until when tokens are denied; [`UNTOLD`] where a store told of a denial and not of its end.
type Ends = HashMap<TokenDigest, Timestamp>;

const UNTOLD: Timestamp = Timestamp::from_micros(i64::MIN);

/// The later end counts.
fn add(ends: &mut Ends, token: TokenDigest, until: Timestamp) {
    let known = ends.entry(token).or_insert(until);
    *known = until.max(*known);
}

impl DeniedTokens {
    /// The denials of this store, which are read from now on.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub fn new(store: Arc<dyn DenialStore>) -> Self {
        Self::reading_every(store, LONGEST)
    }

    /// The same with a shorter interval than 5 s, down to 100 ms: mostly the time to live of the
    /// keys' cache, so that both are equally old at most.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub fn reading_every(store: Arc<dyn DenialStore>, interval: Duration) -> Self {
        let state = Arc::new(State::new());
        let listener: Weak<State> = Arc::downgrade(&state);
        store.subscribe(listener);
        let interval = interval.clamp(SHORTEST, LONGEST);
        let readings = read_for_ever(store.clone(), Arc::downgrade(&state), interval);
        let readings = Handle::current().spawn(readings).abort_handle();
        Self { parts: Arc::new(Parts { store, state, readings }), longest_token_life: None }
    }

    /// Sets how long access tokens may live, 366 days at most. For so long those of a revoked purchase
    /// are denied, and a [`Validator`](crate::Validator) refuses one that lives longer, since it could
    /// outlive its denial. Without it they are denied for 30 days, and tokens may live as long as they
    /// like. Set it before you hand this on: clones that were made before don't learn of it.
    #[must_use]
    pub fn longest_token_life(mut self, life: Duration) -> Self {
        self.longest_token_life = Some(life.min(LONGEST_TOKEN_LIFE));
        self
    }

    /// Until when the tokens of a purchase are denied that is revoked now.
    pub(crate) fn end_of_all(&self, now: Timestamp) -> Timestamp {
        now.plus(self.longest_token_life.unwrap_or(USUAL_DENIAL))
    }

    /// Whether a token lives so long that it could outlive its denial: from when it was issued, or from
    /// now where it does not say, or says later.
    pub(crate) fn is_outlived_by(&self, claims: &Claims, now: Timestamp) -> bool {
        let from = claims.issued_at().map_or(now, |issued_at| issued_at.min(now));
        self.longest_token_life.is_some_and(|longest| claims.expires_at().since(from) > longest)
    }

    /// Waits until the list was read once. To be called at the start, before requests are taken.
    ///
    /// # Errors
    ///
    /// Fails with the reason of the last attempt where none succeeds in time. It is tried again
    /// all the same.
    pub async fn first_reading(&self, patience: Duration) -> Result<(), StoreError> {
        let mut first = self.parts.state.first.subscribe();
        match timeout(patience, first.wait_for(Result::is_ok)).await {
            Ok(_read) => Ok(()),
            Err(_elapsed) => self.parts.state.first.borrow().clone(),
        }
    }

    /// Whether the list was read at least once, and goes on being read, so that access tokens can be
    /// told apart.
    pub fn are_known(&self) -> bool {
        self.parts.state.is_read() && !self.parts.readings.is_finished()
    }

    /// Denies the access tokens with this `jti` until then: no one of them may live longer. What is
    /// known to be denied so long is not written again.
    ///
    /// # Errors
    ///
    /// Fails when the store can't tell whether they are denied now.
    pub async fn deny(&self, jti: &ChallengeId, until: Timestamp) -> Result<(), StoreError> {
        let token = TokenDigest::of(jti);
        if self.parts.state.denies(&token, until) {
            return Ok(());
        }
        self.parts.store.deny(&Denial { token, until }).await?;
        // A store may tell nobody.
        self.parts.state.deny(token, until);
        Ok(())
    }

    /// Learns of a denial that the store holds since a moment ago.
    pub(crate) fn learn_of(&self, denial: &Denial) {
        self.parts.state.deny(denial.token, denial.until);
    }

    /// Removes up to `limit` denials that ended more than 30 days before `now`, and says how many.
    ///
    /// # Errors
    ///
    /// Fails when the store can't.
    pub async fn purge(&self, now: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.parts.store.purge_denials(now.minus(PURGE_MARGIN), limit).await
    }

    /// Ends the readings, before the store is closed. What is known by then holds, here and in all
    /// clones.
    pub fn close(&self) {
        self.parts.readings.abort();
    }

    /// Whether the tokens with this `jti` are denied. `None` before the first reading.
    pub(crate) fn includes(&self, jti: &ChallengeId) -> Option<bool> {
        self.parts.state.includes(jti)
    }

    /// Waits for the first reading as long as a request may.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        self.first_reading(READ_DEADLINE).await
    }
}

impl State {
    fn new() -> Self {
        Self {
            may_deny: AtomicBool::new(true),
            known: RwLock::default(),
            first: watch::Sender::new(Err(StoreError::new(StoreErrorKind::TimedOut))),
            doubt: Notify::new(),
        }
    }

    fn is_read(&self) -> bool {
        self.first.borrow().is_ok()
    }

    fn includes(&self, jti: &ChallengeId) -> Option<bool> {
        if !self.may_deny.load(Ordering::Acquire) {
            return Some(false);
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_denied = known.denied.contains_key(&TokenDigest::of(jti));
        (is_denied || self.is_read()).then_some(is_denied)
    }

    /// Whether a token is denied for so long at least.
    fn denies(&self, token: &TokenDigest, until: Timestamp) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.denied.get(token).is_some_and(|end| *end >= until)
    }

    fn deny(&self, token: TokenDigest, until: Timestamp) {
        let mut known = self.known();
        add(&mut known.denied, token, until);
        add(&mut known.heard, token, until);
        self.may_deny.store(true, Ordering::Release);
    }

    fn begin_reading(&self) {
        self.known().heard.clear();
    }

    /// A part of a list that is long: what it denies counts before the rest is read.
    fn learn(&self, page: &[Denial]) {
        let mut known = self.known();
        page.iter().for_each(|denial| add(&mut known.denied, denial.token, denial.until));
        self.may_deny.store(true, Ordering::Release);
    }

    /// What was heard while it was read stays denied, whatever was read.
    fn end_reading(&self, mut denied: Ends) {
        let mut known = self.known();
        known.heard.iter().for_each(|(token, until)| add(&mut denied, *token, *until));
        self.first.send_modify(|first| *first = Ok(()));
        self.may_deny.store(!denied.is_empty(), Ordering::Release);
        known.denied = denied;
    }

    fn fail_reading(&self, error: StoreError) {
        self.first.send_if_modified(|first| {
            let is_first = first.is_err();
            if is_first {
                *first = Err(error);
            }
            is_first
        });
    }

    fn known(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChangeListener for State {
    fn changed(&self, change: Change) {
        match change {
            Change::Token(token) => self.deny(token, UNTOLD),
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
        let read = caught(read(&*store, &state)).await;
        let rest = began.elapsed().saturating_mul(REST).min(LONGEST);
        let pause = match &read {
            Ok(()) => Pause { least: interval, most: rest },
            Err(_) => Pause { least: RETRY.min(interval), most: Duration::ZERO },
        };
        if let Err(error) = &read {
            report(error, is_failing);
            state.fail_reading(error.clone());
        }
        is_failing = read.is_err();
        pause.rest(began, &*store, &state).await;
    }
}

/// How long to wait from one beginning of a reading to the next.
struct Pause {
    least: Duration,
    /// A long list must not keep the store busy, as long as the store tells what is new.
    most: Duration,
}

impl Pause {
    async fn rest(&self, began: Instant, store: &dyn DenialStore, state: &State) {
        let mut until = began + self.least;
        loop {
            if timeout_at(until, state.doubt.notified()).await.is_ok() {
                // Doubts may come one upon the other.
                return sleep_until(began + SHORTEST).await;
            }
            if began.elapsed() >= self.most || !store.hears_changes() {
                return;
            }
            until = Instant::now() + RETRY.min(self.least);
        }
    }
}

async fn read(store: &dyn DenialStore, state: &State) -> Result<(), StoreError> {
    state.begin_reading();
    let mut denied = Ends::new();
    let mut after = None;
    loop {
        let page = timeout(READ_DEADLINE, store.denials(after.as_ref(), PAGE)).await;
        let page = page.map_err(|_elapsed| StoreError::new(StoreErrorKind::TimedOut))??;
        page.iter().for_each(|denial| add(&mut denied, denial.token, denial.until));
        match page.last() {
            Some(last) if page.len() >= PAGE as usize => after = Some(last.token),
            _ => break,
        }
        state.learn(&page);
    }
    state.end_reading(denied);
    Ok(())
}

fn report(_error: &StoreError, _again: bool) {
    #[cfg(feature = "tracing")]
    if !_again {
        let error = crate::error::chain(_error);
        tracing::warn!(error, "denied tokens can't be read; the last known ones hold");
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.readings.abort();
    }
}

impl fmt::Debug for DeniedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeniedTokens").field("store", &self.parts.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
