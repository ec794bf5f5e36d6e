//! How long an answer lives while the store tells of every change, and when it stops.

use std::{
    sync::{Arc, Weak, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use key0_auth::{
    Cached, KeyStore,
    apikey::{KeyDigest, KeyRecord},
    domain::Clock,
    store::spi::{Change, ChangeListener},
};

use crate::cache::support::{START, TestClock, TestStore, builder, is_revoked, new_key};

/// A cache around a store that tells of what others do only when it is made to.
struct Feed {
    store: Arc<TestStore>,
    clock: Arc<TestClock>,
    cache: Cached,
    key: KeyRecord,
}

impl Feed {
    /// The key is cached.
    async fn new() -> Self {
        Self::on(TestStore::mute(), u8::MAX).await
    }

    /// The digest's first byte says how old a proof may be: half the time to live, or all of it.
    async fn on(store: Arc<TestStore>, first: u8) -> Self {
        let (clock, mut key) = (TestClock::new(), new_key());
        key.digest = with_first(&key.digest, first);
        store.put(&key);
        let cache = builder(&store, &clock).build().unwrap();
        cache.find(&key.digest).await.unwrap().unwrap();
        Self { store, clock, cache, key }
    }

    fn each(&self, tell: impl Fn(&dyn ChangeListener)) {
        let listeners = self.store.listeners.lock().unwrap().clone();
        listeners.iter().filter_map(Weak::upgrade).for_each(|listener| tell(&*listener));
    }

    fn catching_up(&self) {
        self.each(|listener| listener.catching_up());
    }

    fn caught_up(&self) {
        self.each(|listener| listener.caught_up());
    }

    fn looks(&self) {
        self.catching_up();
        self.caught_up();
    }

    fn remembers(&self) -> bool {
        self.cache.recall(&self.key.digest).is_some()
    }

    fn revoked_elsewhere(&self) {
        self.store.set_revoked(&self.key.id, START).unwrap();
    }
}

fn with_first(digest: &KeyDigest, first: u8) -> KeyDigest {
    let mut bytes = *digest.as_bytes();
    bytes[0] = first;
    KeyDigest::from_bytes(bytes)
}

/// Only a store that reads keys where it looks for changes may be believed.
#[tokio::test]
async fn a_store_that_does_not_say_that_it_proves_changes_proves_none() {
    let store = TestStore::mute();
    store.proves.store(false, SeqCst);
    let feed = Feed::on(store, u8::MAX).await;
    feed.clock.advance(4_999);
    feed.looks();
    assert!(feed.remembers());
    feed.clock.advance(1);
    feed.looks();
    assert!(!feed.remembers());
}

/// Else all would be read again in one instant.
#[tokio::test]
async fn keys_fall_back_one_after_the_other() {
    let mut lived = Vec::new();
    for first in [0, 127, u8::MAX] {
        let feed = Feed::on(TestStore::mute(), first).await;
        for _ in 0..4 {
            feed.clock.advance(2_000);
            feed.looks();
        }
        let mut millis = 0;
        while feed.remembers() {
            feed.clock.advance(10);
            millis += 10;
        }
        lived.push(millis);
    }
    assert_eq!(lived, [2_510, 3_750, 5_000]);
}

#[tokio::test]
async fn a_key_lives_for_a_minute_while_the_store_tells_of_every_change() {
    let feed = Feed::new().await;
    for _ in 0..59 {
        feed.clock.advance(1_000);
        feed.looks();
        assert!(feed.remembers());
    }
    feed.clock.advance(999);
    assert!(feed.remembers());
    feed.clock.advance(1);
    assert!(!feed.remembers(), "a minute");
    assert_eq!(feed.store.reads(), 1);
}

#[tokio::test]
async fn what_a_store_tells_counts_at_once_however_long_an_answer_may_live() {
    let feed = Feed::new().await;
    for change in [Change::Key(feed.key.digest), Change::All] {
        feed.clock.advance(4_000);
        feed.looks();
        feed.clock.advance(4_000);
        assert!(feed.remembers());
        feed.each(|listener| listener.changed(change));
        assert!(!feed.remembers());
        feed.looks();
        assert!(!feed.remembers());
        feed.cache.find(&feed.key.digest).await.unwrap();
    }
}

/// The bound is kept whatever becomes of the feed: a revocation that it does not tell of counts five
/// seconds later at the latest.
#[tokio::test]
async fn an_answer_falls_back_to_its_time_to_live_the_moment_the_feed_is_late() {
    // Nothing is said any more, a look has begun that never ends, or looks fail one after the other.
    let late: [fn(&Feed); 3] = [
        |_| (),
        |feed| feed.catching_up(),
        |feed| {
            feed.catching_up();
            feed.catching_up();
        },
    ];
    for late in late {
        let feed = Feed::new().await;
        for _ in 0..10 {
            feed.clock.advance(2_000);
            feed.looks();
        }
        // Right after the last look that came to its end.
        feed.revoked_elsewhere();
        for _ in 0..4 {
            feed.clock.advance(1_000);
            late(&feed);
            assert!(feed.remembers());
        }
        feed.clock.advance(999);
        assert!(feed.remembers());
        feed.clock.advance(1);
        assert!(!feed.remembers());
        assert!(is_revoked(&feed.cache, &feed.key.digest).await);
    }
}

/// What changed after a look had begun may be missing in it.
#[tokio::test]
async fn a_look_tells_of_what_was_there_when_it_began() {
    let feed = Feed::new().await;
    feed.clock.advance(10_000);
    feed.looks();
    feed.clock.advance(1_000);
    feed.catching_up();
    feed.revoked_elsewhere();
    feed.clock.advance(4_999);
    feed.caught_up();
    assert!(feed.remembers(), "within the bound");
    feed.clock.advance(1);
    assert!(!feed.remembers(), "five seconds after the look began");
}

#[tokio::test]
async fn an_end_without_a_beginning_says_nothing() {
    let feed = Feed::new().await;
    feed.clock.advance(4_000);
    feed.caught_up();
    feed.clock.advance(1_000);
    feed.caught_up();
    assert!(!feed.remembers());
    feed.cache.find(&feed.key.digest).await.unwrap();
    feed.looks();
    feed.clock.advance(5_000);
    feed.caught_up();
    assert!(!feed.remembers(), "that beginning has had its end");
}

/// A clock that is set must not make an old look a young one, or an answer.
#[tokio::test]
async fn a_clock_that_is_set_prolongs_nothing() {
    let feed = Feed::new().await;
    feed.clock.advance(10_000);
    feed.looks();
    assert!(feed.remembers());
    feed.clock.advance(-1_000);
    assert!(!feed.remembers(), "the look is yet to come by this clock");
}

/// Where the clock stands still, one that nobody can set goes on.
#[tokio::test]
async fn a_clock_that_stands_still_prolongs_nothing() {
    let (store, clock, key) = (TestStore::new(), TestClock::new(), new_key());
    store.put(&key);
    let short = Duration::from_millis(50);
    let cache = builder(&store, &clock).time_to_live(short).build().unwrap();
    cache.find(&key.digest).await.unwrap();
    let listeners = store.listeners.lock().unwrap().clone();
    let listener = listeners[0].upgrade().unwrap();
    listener.catching_up();
    listener.caught_up();
    let began = Instant::now();
    while cache.recall(&key.digest).is_some() {
        assert!(began.elapsed() < Duration::from_secs(30), "the look never grows old");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_is_unknown_lives_for_the_time_to_live_alone() {
    let feed = Feed::new().await;
    let unknown = new_key().digest;
    feed.cache.find(&unknown).await.unwrap();
    feed.clock.advance(4_999);
    feed.looks();
    assert!(feed.cache.recall(&unknown).is_some());
    feed.clock.advance(1);
    feed.looks();
    assert!(feed.cache.recall(&unknown).is_none() && feed.remembers());
}

#[tokio::test]
async fn an_answer_lives_no_longer_than_its_key_all_the_same() {
    let (store, clock, mut key) = (TestStore::mute(), TestClock::new(), new_key());
    key.digest = with_first(&key.digest, u8::MAX);
    key.expires_at = Some(START.plus(Duration::from_secs(20)));
    store.put(&key);
    let cache = builder(&store, &clock).build().unwrap();
    cache.find(&key.digest).await.unwrap();
    let feed = Feed { store, clock, cache, key };
    for _ in 0..5 {
        assert!(feed.remembers(), "{:?}", feed.clock.now());
        feed.clock.advance(4_000);
        feed.looks();
    }
    assert!(!feed.remembers());
}

#[tokio::test]
async fn both_times_to_live_can_be_set() {
    for (short, long, lives) in [(5, 0, 5), (5, 3, 5), (5, 7, 7), (90, 60, 90), (0, 60, 0)] {
        let (store, clock, mut key) = (TestStore::mute(), TestClock::new(), new_key());
        key.digest = with_first(&key.digest, u8::MAX);
        store.put(&key);
        let cache = builder(&store, &clock)
            .time_to_live(Duration::from_secs(short))
            .time_to_live_while_hearing(Duration::from_secs(long))
            .build()
            .unwrap();
        cache.find(&key.digest).await.unwrap();
        let feed = Feed { store, clock, cache, key };
        let mut lived = 0;
        while feed.remembers() {
            feed.clock.advance(1_000);
            feed.looks();
            lived += 1;
        }
        assert_eq!(lived, lives, "{short} and {long}");
    }
    let (store, clock) = (TestStore::new(), TestClock::new());
    let too_long = builder(&store, &clock).time_to_live_while_hearing(Duration::MAX);
    assert_eq!(too_long.build().unwrap_err().faults().len(), 1);
}
