use std::sync::{Mutex, atomic::AtomicUsize};

use async_trait::async_trait;
use tokio::time::{advance, sleep};

use super::*;
use crate::{
    KeyStore,
    apikey::{KeyDigest, KeyRecord},
    domain::{Actor, KeyId},
};

fn jti(text: &str) -> ChallengeId {
    ChallengeId::new(text).expect("legal")
}

fn token(text: &str) -> TokenDigest {
    TokenDigest::of(&jti(text))
}

/// Answers after a while, and tells nobody of anything.
#[derive(Debug, Default)]
struct Slow {
    takes: Duration,
    hears: AtomicBool,
    fails: AtomicBool,
    panics: AtomicBool,
    readings: AtomicUsize,
    denied: Mutex<Vec<Denial>>,
    purged_before: Mutex<Option<Timestamp>>,
}

#[async_trait]
impl KeyStore for Slow {
    async fn find(&self, _: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        Ok(None)
    }

    async fn get(&self, _: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        Ok(None)
    }

    async fn insert(&self, _: &KeyRecord, _: &Actor) -> Result<(), StoreError> {
        Ok(())
    }

    async fn revoke(
        &self,
        _: &KeyId,
        _: &Actor,
        _: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        Ok(None)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn hears_changes(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl DenialStore for Slow {
    async fn deny(&self, denial: &Denial) -> Result<(), StoreError> {
        self.denied.lock().expect("no panic").push(*denial);
        Ok(())
    }

    async fn denials(
        &self,
        after: Option<&TokenDigest>,
        limit: u32,
    ) -> Result<Vec<Denial>, StoreError> {
        self.readings.fetch_add(1, Ordering::Relaxed);
        sleep(self.takes).await;
        assert!(!self.panics.load(Ordering::Relaxed), "a store's own fault");
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::unavailable("no rights"));
        }
        let mut denied = self.denied.lock().expect("no panic").clone();
        denied.sort_by_key(|denial| denial.token);
        denied.retain(|denial| after.is_none_or(|after| denial.token > *after));
        denied.truncate(limit as usize);
        Ok(denied)
    }

    async fn purge_denials(&self, before: Timestamp, _: u32) -> Result<u32, StoreError> {
        *self.purged_before.lock().expect("no panic") = Some(before);
        Ok(0)
    }
}

impl Slow {
    fn taking(millis: u64) -> Arc<Self> {
        let takes = Duration::from_millis(millis);
        Arc::new(Self { takes, hears: AtomicBool::new(true), ..Self::default() })
    }

    fn readings(&self) -> usize {
        self.readings.load(Ordering::Relaxed)
    }
}

/// Lets time go by in small steps, so that whatever is due by then is done.
async fn pass(seconds: u64) {
    for _ in 0..seconds * 20 {
        advance(Duration::from_millis(50)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

#[test]
fn what_is_heard_during_a_reading_stays_denied() {
    let state = State::new();
    assert_eq!(state.includes(&jti("a")), None);
    state.begin_reading();
    state.changed(Change::Token(token("a")));
    assert_eq!(state.includes(&jti("a")), Some(true));
    // The reading began before, and has not seen it.
    state.end_reading([(token("b"), UNTOLD)].into());
    for denied in ["a", "b"] {
        assert_eq!(state.includes(&jti(denied)), Some(true));
    }
    assert_eq!(state.includes(&jti("c")), Some(false));
    // The next one has seen all, and that they are over by now.
    state.begin_reading();
    state.end_reading(Ends::new());
    assert_eq!(state.includes(&jti("a")), Some(false));
    assert!(!state.may_deny.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_slow_to_read_rests_while_changes_are_heard_and_only_then() {
    let store = Slow::taking(200);
    let denied = DeniedTokens::reading_every(store.clone(), SHORTEST);
    pass(1).await;
    assert_eq!(store.readings(), 1);
    pass(2).await;
    assert_eq!(store.readings(), 1, "it rests for 4 s");
    // The feed is lost in the midst of a rest.
    store.hears.store(false, Ordering::Relaxed);
    let elsewhere = Denial { token: token("elsewhere"), until: Timestamp::from_seconds(9) };
    store.denied.lock().expect("no panic").push(elsewhere);
    pass(1).await;
    assert_eq!(denied.includes(&jti("elsewhere")), Some(true));
    let before = store.readings();
    pass(4).await;
    assert!(store.readings() - before > 8, "{}", store.readings() - before);
}

/// A store may say that it hears of changes, and be wrong.
#[tokio::test(start_paused = true)]
async fn no_list_takes_longer_to_arrive_than_five_seconds_and_its_reading() {
    let store = Slow::taking(450);
    let _denied = DeniedTokens::new(store.clone());
    pass(51).await;
    assert!(store.readings() >= 10, "{}", store.readings());
}

#[tokio::test(start_paused = true)]
async fn what_is_denied_so_long_already_is_not_written_again() {
    let store = Slow::taking(0);
    let denied = DeniedTokens::new(store.clone());
    for (end, written) in [(9, 1), (9, 1), (8, 1), (10, 2), (10, 2)] {
        denied.deny(&jti("a"), Timestamp::from_seconds(end)).await.expect("it works");
        assert_eq!(store.denied.lock().expect("no panic").len(), written, "{end}");
    }
    // Of what was heard alone nobody knows the end.
    denied.parts.state.changed(Change::Token(token("b")));
    denied.deny(&jti("b"), Timestamp::from_seconds(9)).await.expect("it works");
    assert_eq!(store.denied.lock().expect("no panic").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_is_read_again() {
    let store = Slow::taking(0);
    store.panics.store(true, Ordering::Relaxed);
    let denied = DeniedTokens::new(store.clone());
    pass(2).await;
    assert!(!denied.are_known());
    store.panics.store(false, Ordering::Relaxed);
    denied.first_reading(Duration::from_secs(3)).await.expect("it is tried again");
    denied.close();
    pass(1).await;
    assert!(!denied.are_known(), "nobody reads any more");
}

#[tokio::test(start_paused = true)]
async fn a_short_list_is_read_at_every_interval() {
    let store = Slow::taking(10);
    let _denied = DeniedTokens::new(store.clone());
    pass(51).await;
    assert!((10..=11).contains(&store.readings()), "{}", store.readings());
}

#[tokio::test(start_paused = true)]
async fn doubts_that_never_end_leave_the_store_alone_now_and_then() {
    let store = Slow::taking(0);
    let denied = DeniedTokens::new(store.clone());
    for _ in 0..20 {
        for _ in 0..100 {
            denied.parts.state.changed(Change::All);
            tokio::task::yield_now().await;
        }
        advance(Duration::from_millis(50)).await;
    }
    assert!((5..=12).contains(&store.readings()), "{}", store.readings());
}

#[tokio::test(start_paused = true)]
async fn the_start_waits_for_the_first_reading_and_is_told_why_there_is_none() {
    let store = Slow::taking(0);
    store.fails.store(true, Ordering::Relaxed);
    let denied = DeniedTokens::new(store.clone());
    let error = denied.first_reading(Duration::from_secs(3)).await.expect_err("it can't be read");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(!denied.are_known());
    assert_eq!(denied.includes(&jti("a")), None);
    store.fails.store(false, Ordering::Relaxed);
    denied.first_reading(Duration::from_secs(3)).await.expect("it is tried again");
    assert_eq!(denied.includes(&jti("a")), Some(false));
    // An outage later on takes nothing back.
    store.fails.store(true, Ordering::Relaxed);
    pass(20).await;
    assert!(denied.are_known());
    assert_eq!(denied.includes(&jti("a")), Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_read_page_by_page_and_counts_meanwhile() {
    let store = Slow::taking(300);
    let many = (0..2_500).map(|n| token(&format!("c-{n}")));
    let denials = many.map(|token| Denial { token, until: Timestamp::from_seconds(9) });
    store.denied.lock().expect("no panic").extend(denials);
    let denied = DeniedTokens::new(store.clone());
    let are_denied =
        || (0..2_500).filter(|n| denied.includes(&jti(&format!("c-{n}"))) == Some(true)).count();
    advance(Duration::from_millis(1)).await;
    tokio::task::yield_now().await;
    sleep(Duration::from_millis(400)).await;
    assert_eq!((are_denied(), denied.are_known()), (1_000, false));
    denied.first_reading(Duration::from_secs(3)).await.expect("it is read");
    assert_eq!((are_denied(), store.readings()), (2_500, 3));
}

#[tokio::test]
async fn what_has_just_ended_is_not_purged() {
    let store = Slow::taking(0);
    let denied = DeniedTokens::new(store.clone());
    let now = Timestamp::from_seconds(1_000_000_000);
    denied.purge(now, 10).await.expect("it works");
    let before = store.purged_before.lock().expect("no panic").expect("it was asked");
    assert!(now.since(before) >= Duration::from_secs(30 * 24 * 60 * 60), "{before}");
}
