mod timing;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use self::timing::Timing;
use super::{
    algorithm::Algorithm,
    discovery::Issuer,
    fetch::{self, FetchError, Fetcher},
    jwks::JwkSet,
    key::{Outcome, VerifyingKey},
    raw::Header,
};
use crate::error::ConfigFault;

/// How many keys one token is tried with at most.
const MAX_TRIES: usize = 16;
/// How many kids are waited for, or known to be in no set.
const MAX_KIDS: usize = 64;
/// A longer kid is in no set.
const MAX_KID_BYTES: usize = 256;

/// The keys of an identity provider: a JWK set behind a URL, fetched and fetched again.
///
/// - It is fetched at the start, and again as `Cache-Control` says, within 5 minutes to 24 hours.
///   Where that fails, the keys that are known stay, and it is tried again after 1 to 60 seconds.
/// - A token whose `kid` is in no set makes it fetch at once, at most every 10 seconds, and waits
///   for it up to 2 seconds. So a provider can use a key right after it has published it.
/// - What can't be decided, because the set can't be had, is a
///   [`StoreUnavailable`](crate::RejectionKind::StoreUnavailable): a 503, never a 401.
/// - Only `https`, except on loopback; no redirect to another host; at most 1 MiB, within 5 seconds.
/// - A set without any key that can verify tokens counts as a failure. Of [`JwkSet`] is what counts
///   in it. A token without a `kid` is tried with 16 keys at most, and never makes it fetch.
///
/// Cheap to clone. What it does on its own ends with its last clone.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::{AccessTokens, token::RemoteKeys};
///
/// let keys = RemoteKeys::new("KEY0_JWKS_URL", "https://id.example.com/jwks.json")?;
/// keys.start();
/// let tokens = AccessTokens::builder().remote_keys(keys).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RemoteKeys(Arc<Shared>);

struct Shared {
    name: Box<str>,
    location: Location,
    fetcher: Fetcher,
    timing: Timing,
    is_started: AtomicBool,
    /// `None` until a set was had.
    keys: RwLock<Option<Vec<VerifyingKey>>>,
    asked: Mutex<Asked>,
    wake: Arc<Notify>,
    /// Changes when a fetch has ended.
    ended: watch::Sender<()>,
}

#[derive(PartialEq, Eq)]
enum Location {
    Set(reqwest::Url),
    Issuer(Issuer),
}

/// What tokens have asked for.
#[derive(Default)]
struct Asked {
    /// When a kid last made it fetch.
    last: Option<Instant>,
    /// Kids that the next fetch looks for, and that the running one does.
    next: Vec<Box<str>>,
    running: Vec<Box<str>>,
    is_running: bool,
    /// Kids that were in no set, and when.
    unknown: Vec<(Box<str>, Instant)>,
}

impl RemoteKeys {
    /// The keys behind this URL. `name` is the setting it came from and stands in errors and logs.
    ///
    /// # Errors
    ///
    /// Fails when it is no URL of `https`, or of `http` on loopback.
    pub fn new(name: &str, url: &str) -> Result<Self, ConfigFault> {
        Self::with_timing(name, url, Timing::default())
    }

    /// The keys of this issuer, found by its metadata (RFC 8414, else OpenID Connect Discovery),
    /// which must name the very same issuer.
    ///
    /// # Errors
    ///
    /// Fails when it is no URL of `https`, or of `http` on loopback.
    pub fn of_issuer(name: &str, issuer: &str) -> Result<Self, ConfigFault> {
        let fault = |reason| ConfigFault::invalid(name, reason);
        let issuer = Issuer::new(issuer).map_err(fault)?;
        Self::at(name, Location::Issuer(issuer), Timing::default())
    }

    fn with_timing(name: &str, url: &str, timing: Timing) -> Result<Self, ConfigFault> {
        let url = fetch::address(url).map_err(|reason| ConfigFault::invalid(name, reason))?;
        Self::at(name, Location::Set(url), timing)
    }

    fn at(name: &str, location: Location, timing: Timing) -> Result<Self, ConfigFault> {
        Ok(Self(Arc::new(Shared {
            name: name.into(),
            location,
            fetcher: Fetcher::new(name)?,
            timing,
            is_started: AtomicBool::new(false),
            keys: RwLock::default(),
            asked: Mutex::default(),
            wake: Arc::default(),
            ended: watch::Sender::new(()),
        })))
    }

    /// Whether both fetch the same set for the same setting: where a configuration is read again, the
    /// keys that are known can go on in place of new ones, which may not be had at that moment.
    pub fn is_same_source(&self, other: &Self) -> bool {
        self.0.name == other.0.name && self.0.location == other.0.location
    }

    /// Starts fetching, within a tokio runtime; outside of one it does nothing. Called again it
    /// does nothing either. The first token that needs it starts it as well.
    pub fn start(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.0.is_started.swap(true, Ordering::Relaxed) {
            runtime.spawn(keep_fresh(Arc::downgrade(&self.0), Arc::clone(&self.0.wake)));
        }
    }

    /// Whether a set was had, now or before an outage.
    pub fn is_known(&self) -> bool {
        self.read(|keys| keys.is_some())
    }

    /// Starts fetching and waits until a fetch has ended. Whether a set is known then.
    pub async fn ready(&self) -> bool {
        let mut ended = self.0.ended.subscribe();
        self.start();
        self.is_known() || {
            // The sender lives as long as this handle.
            let _ = ended.changed().await;
            self.is_known()
        }
    }

    pub(super) fn has(&self, kid: &str) -> bool {
        self.read(|keys| keys.is_some_and(|keys| has(keys, kid)))
    }

    pub(super) fn verify(&self, header: &Header<'_>, message: &[u8], signature: &[u8]) -> Outcome {
        let asymmetric = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
        if !asymmetric.iter().any(|algorithm| algorithm.is_named(header.algorithm())) {
            return Outcome::Fails;
        }
        let verified = self.read(|keys| {
            let named = header.kid().filter(|kid| keys.is_some_and(|keys| has(keys, kid)));
            keys.unwrap_or_default()
                .iter()
                .filter(|key| match (header.kid(), named) {
                    (Some(_), None) => key.name().is_none(),
                    (_, named) => named.is_none() || key.name() == named,
                })
                .filter(|key| key.algorithm().is_named(header.algorithm()))
                .take(MAX_TRIES)
                .any(|key| key.verify(message, signature))
        });
        match verified {
            true => Outcome::Holds,
            false if self.is_settled(header.kid()) => Outcome::Fails,
            false => {
                self.ask(header.kid());
                Outcome::Undecided
            }
        }
    }

    pub(super) fn verify_with_any(&self, message: &[u8], signature: &[u8]) -> bool {
        self.read(|keys| keys.unwrap_or_default().iter().any(|key| key.verify(message, signature)))
    }

    /// Waits until it is known whether the set has this kid, or until that can't be had now.
    pub(super) async fn settle(&self, kid: Option<&str>) {
        let mut ended = self.0.ended.subscribe();
        self.ask(kid);
        let settled = async {
            while !self.is_settled(kid) && self.is_awaited(kid) && ended.changed().await.is_ok() {}
        };
        // What is not known then is told so by those who ask again.
        let _ = timeout(self.0.timing.patience, settled).await;
    }

    /// Whether the answer to this kid is known: the set has it, or was looked through for it.
    fn is_settled(&self, kid: Option<&str>) -> bool {
        let (is_known, has_kid) = self.read(|keys| {
            (keys.is_some(), kid.is_none_or(|kid| keys.is_some_and(|keys| has(keys, kid))))
        });
        let Some(kid) = kid.filter(|_| is_known && !has_kid) else { return is_known };
        let asked = self.asked();
        kid.len() > MAX_KID_BYTES
            || asked
                .unknown
                .iter()
                .any(|(unknown, at)| **unknown == *kid && at.elapsed() < self.0.timing.ask_every)
    }

    /// Whether a fetch is due or running from which the answer may come.
    fn is_awaited(&self, kid: Option<&str>) -> bool {
        let asked = self.asked();
        let kid = kid.unwrap_or_default();
        asked.is_running || asked.next.iter().any(|next| **next == *kid)
    }

    /// Makes it fetch, unless a kid did so lately.
    fn ask(&self, kid: Option<&str>) {
        self.start();
        if self.is_settled(kid) {
            return;
        }
        let mut asked = self.asked();
        let kid = kid.unwrap_or_default();
        let is_awaited = |kids: &[Box<str>]| kids.iter().any(|one| **one == *kid);
        if is_awaited(&asked.next) || is_awaited(&asked.running) {
            return;
        }
        let is_early = asked.last.is_some_and(|last| last.elapsed() < self.0.timing.ask_every);
        // Those who come while the fetch is due may look into the same set.
        let joins = !asked.next.is_empty() && asked.next.len() < MAX_KIDS;
        if kid.len() <= MAX_KID_BYTES && (!is_early || joins) {
            if !is_early {
                asked.last = Some(Instant::now());
                self.0.wake.notify_one();
            }
            asked.next.push(kid.into());
        }
    }

    fn read<T>(&self, read: impl FnOnce(Option<&[VerifyingKey]>) -> T) -> T {
        read(self.0.keys.read().unwrap_or_else(PoisonError::into_inner).as_deref())
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One fetch: its keys take the place of those before. Says when the next one is due.
    async fn fetch(&self) -> Result<Duration, FetchError> {
        {
            let mut asked = self.asked();
            asked.running = std::mem::take(&mut asked.next);
            asked.is_running = true;
        }
        let fetched = self.fetch_set().await;
        let fresh_for = fetched.map(|(keys, fresh_for)| {
            let mut asked = self.asked();
            for kid in std::mem::take(&mut asked.running) {
                if !has(&keys, &kid) {
                    asked.unknown.retain(|(unknown, _)| *unknown != kid);
                    asked.unknown.push((kid, Instant::now()));
                }
            }
            let surplus = asked.unknown.len().saturating_sub(MAX_KIDS);
            asked.unknown.drain(..surplus);
            drop(asked);
            *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(keys);
            self.0.timing.next_fetch(fresh_for)
        });
        let mut asked = self.asked();
        asked.running.clear();
        asked.is_running = false;
        drop(asked);
        self.0.ended.send_replace(());
        fresh_for
    }

    async fn fetch_set(&self) -> Result<(Vec<VerifyingKey>, Option<Duration>), FetchError> {
        let url = match &self.0.location {
            Location::Set(url) => url.clone(),
            Location::Issuer(issuer) => issuer.find_keys(&self.0.fetcher).await?,
        };
        let document = self.0.fetcher.get(url).await?;
        let set = JwkSet::read(&document.body).map_err(FetchError::Unusable)?;
        Ok((set.into_keys(), document.fresh_for))
    }

    fn tell(&self, _error: &FetchError) {
        #[cfg(feature = "tracing")]
        tracing::warn!(
            setting = &*self.0.name,
            error = crate::error::chain(_error),
            known = self.is_known(),
            "a JWK set could not be fetched; it is tried again"
        );
    }
}

fn has(keys: &[VerifyingKey], kid: &str) -> bool {
    keys.iter().any(|key| key.name() == Some(kid))
}

/// Fetches for as long as somebody holds the keys. One at a time, since nobody else fetches.
async fn keep_fresh(shared: Weak<Shared>, wake: Arc<Notify>) {
    let mut failures = 0;
    while let Some(keys) = shared.upgrade().map(RemoteKeys) {
        let pause = match keys.fetch().await {
            Ok(fresh_for) => {
                failures = 0;
                fresh_for
            }
            Err(error) => {
                keys.tell(&error);
                failures += 1;
                keys.0.timing.retry_after(failures - 1)
            }
        };
        drop(keys);
        // Nothing is lost where it ends early: it fetches once more than it had to.
        let _ = timeout(pause, wake.notified()).await;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys")
            .field("name", &self.0.name)
            .field("keys", &self.read(|keys| keys.map(<[_]>::len)))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "testing"))]
pub(super) mod tests;
