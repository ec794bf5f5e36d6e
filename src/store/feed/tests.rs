use std::sync::{
    Mutex, Weak,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::*;
use crate::{apikey::KeyDigest, store::ChangeListener};

const PACE: Pace =
    Pace { look_every: Duration::from_secs(1), patience: Duration::from_millis(500) };

/// A server whose every connection shares one fate.
#[derive(Debug, Default)]
struct Server {
    down: AtomicBool,
    hangs: AtomicBool,
    panics: AtomicBool,
    opens_within: AtomicU64,
    opened: AtomicUsize,
    unseen: Mutex<Vec<Change>>,
    said: Mutex<Option<UnboundedSender<Option<Notification>>>>,
}

struct Ours(Arc<Server>);

struct Connection(Arc<Server>, UnboundedReceiver<Option<Notification>>);

impl Server {
    /// `None` ends the connection.
    fn say(&self, notification: Option<Notification>) {
        let said = self.said.lock().expect("no panic");
        let _ = said.as_ref().expect("it is open").send(notification);
    }

    fn log(&self, change: Change) {
        self.unseen.lock().expect("no panic").push(change);
    }
}

impl Source for Ours {
    type Listening = Connection;

    async fn open(&self) -> Result<Connection, StoreError> {
        wait(self.0.opens_within.load(Ordering::SeqCst)).await;
        assert!(!self.0.panics.load(Ordering::SeqCst), "this engine is no good");
        if self.0.down.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("it is down"));
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.0.said.lock().expect("no panic") = Some(sender);
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Connection(Arc::clone(&self.0), receiver))
    }
}

impl Listening for Connection {
    async fn hear(&mut self) -> Result<Notification, StoreError> {
        let said = self.1.recv().await.flatten();
        said.ok_or_else(|| StoreError::unavailable("it has hung up"))
    }

    async fn look(&mut self) -> Result<Vec<Change>, StoreError> {
        assert!(!self.0.panics.load(Ordering::SeqCst), "this engine is no good");
        if self.0.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(std::mem::take(&mut *self.0.unseen.lock().expect("no panic")))
    }

    fn proves(&self) -> bool {
        true
    }
}

#[cfg(feature = "tracing")]
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

#[cfg(feature = "tracing")]
impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Ear {
    heard: Mutex<Vec<Change>>,
    panics: AtomicBool,
    /// How many changes were heard when a look began and when one came to its end.
    began: Mutex<Vec<usize>>,
    ended: Mutex<Vec<usize>>,
}

impl ChangeListener for Ear {
    fn changed(&self, change: Change) {
        assert!(!self.panics.load(Ordering::SeqCst), "this listener is no good");
        self.heard.lock().expect("no panic").push(change);
    }

    fn catching_up(&self) {
        self.began.lock().expect("no panic").push(self.heard.lock().expect("no panic").len());
    }

    fn caught_up(&self) {
        self.ended.lock().expect("no panic").push(self.heard.lock().expect("no panic").len());
    }
}

impl Ear {
    fn looks(&self) -> (Vec<usize>, Vec<usize>) {
        let take = |counts: &Mutex<_>| std::mem::take(&mut *counts.lock().expect("no panic"));
        (take(&self.began), take(&self.ended))
    }

    fn on(listeners: &Listeners) -> Arc<Self> {
        let ear = Arc::new(Self::default());
        let listener: Weak<Self> = Arc::downgrade(&ear);
        listeners.add(listener);
        ear
    }

    fn take(&self) -> Vec<Change> {
        std::mem::take(&mut self.heard.lock().expect("no panic"))
    }
}

fn key(byte: u8) -> Change {
    Change::Key(KeyDigest::from_bytes([byte; 32]))
}

async fn start() -> (Arc<Server>, Arc<Listeners>, Arc<Ear>, Feed) {
    let (server, listeners) = (Arc::<Server>::default(), Arc::<Listeners>::default());
    let ear = Ear::on(&listeners);
    let feed = open(&server, &listeners).await;
    (server, listeners, ear, feed.expect("it opens"))
}

async fn open(server: &Arc<Server>, listeners: &Arc<Listeners>) -> Result<Feed, StoreError> {
    let deadline = Instant::now() + Duration::from_secs(4);
    Feed::start("test", Ours(Arc::clone(server)), Arc::clone(listeners), PACE, deadline, true).await
}

async fn wait(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_is_told_at_once_and_what_is_not_by_the_next_look() {
    let (server, _listeners, ear, _feed) = start().await;
    server.say(Some(Notification::Changes(vec![key(1), key(2)])));
    wait(1).await;
    assert_eq!(ear.take(), [key(1), key(2)]);
    server.log(key(3));
    server.say(Some(Notification::Look));
    wait(1).await;
    assert_eq!(ear.take(), [key(3)]);
    server.log(key(4));
    wait(1_100).await;
    assert_eq!(ear.take(), [key(4)]);
    wait(5_000).await;
    assert_eq!(ear.take(), []);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_notifications_keeps_no_look_from_its_time() {
    let (server, _listeners, ear, _feed) = start().await;
    server.log(key(9));
    for _ in 0..1_500 {
        server.say(Some(Notification::Changes(vec![key(1)])));
        wait(1).await;
    }
    assert!(ear.take().contains(&key(9)));
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_it_opens_anew_and_anything_may_have_changed() {
    let (server, _listeners, ear, _feed) = start().await;
    server.say(None);
    wait(60).await;
    assert_eq!(ear.take(), [Change::All]);
    // Down for a minute: found within two seconds of its return.
    server.down.store(true, Ordering::SeqCst);
    server.say(None);
    wait(60_000).await;
    assert_eq!(ear.take(), []);
    server.down.store(false, Ordering::SeqCst);
    wait(2_000).await;
    assert_eq!(ear.take(), [Change::All]);
    server.say(Some(Notification::Changes(vec![key(1)])));
    wait(1).await;
    assert_eq!(ear.take(), [key(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_is_a_loss() {
    let (server, _listeners, ear, _feed) = start().await;
    server.hangs.store(true, Ordering::SeqCst);
    wait(1_400).await;
    assert_eq!(server.opened.load(Ordering::SeqCst), 1);
    server.hangs.store(false, Ordering::SeqCst);
    wait(300).await;
    assert_eq!(server.opened.load(Ordering::SeqCst), 2);
    assert_eq!(ear.take(), [Change::All]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_ends_nothing_and_hears_of_it_later() {
    let (server, listeners, ear, _feed) = start().await;
    let other = Ear::on(&listeners);
    ear.panics.store(true, Ordering::SeqCst);
    server.say(Some(Notification::Changes(vec![key(1)])));
    wait(1).await;
    assert_eq!((ear.take(), other.take()), (vec![], vec![key(1)]));
    ear.panics.store(false, Ordering::SeqCst);
    wait(1_000).await;
    assert_eq!((ear.take(), other.take()), (vec![Change::All], vec![Change::All]));
    server.say(Some(Notification::Changes(vec![key(2)])));
    wait(1).await;
    assert_eq!((ear.take(), other.take()), (vec![key(2)], vec![key(2)]));
}

#[tokio::test(start_paused = true)]
async fn only_a_look_that_came_to_its_end_says_that_all_is_told() {
    let (server, _listeners, ear, _feed) = start().await;
    wait(900).await;
    server.say(Some(Notification::Changes(vec![key(1)])));
    assert_eq!(ear.looks(), (vec![], vec![]), "neither the opening nor what is heard says it");
    server.log(key(2));
    wait(200).await;
    assert_eq!(ear.looks(), (vec![1], vec![2]), "after what it has found was told");
    wait(2_000).await;
    assert_eq!(ear.looks(), (vec![2, 2], vec![2, 2]));
    // One that hangs, and then one that is lost.
    server.hangs.store(true, Ordering::SeqCst);
    wait(1_400).await;
    assert_eq!(ear.looks(), (vec![2], vec![]));
    server.down.store(true, Ordering::SeqCst);
    wait(10_000).await;
    assert_eq!(ear.looks(), (vec![], vec![]));
    server.hangs.store(false, Ordering::SeqCst);
    server.down.store(false, Ordering::SeqCst);
    wait(3_500).await;
    let (began, ended) = ear.looks();
    assert!(!ended.is_empty() && began == ended && ended[0] == 3, "{began:?}, {ended:?}");
    assert_eq!(ear.take(), [key(1), key(2), Change::All]);
}

#[tokio::test(start_paused = true)]
async fn what_a_listener_has_not_heard_for_sure_is_not_told() {
    let (server, _listeners, ear, _feed) = start().await;
    ear.panics.store(true, Ordering::SeqCst);
    server.log(key(1));
    wait(1_100).await;
    assert_eq!(ear.looks(), (vec![0], vec![]));
    ear.panics.store(false, Ordering::SeqCst);
    wait(1_000).await;
    assert_eq!(ear.looks(), (vec![0], vec![1]));
    assert_eq!(ear.take(), [Change::All]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_drops_every_connection_is_not_asked_without_a_pause() {
    let (server, _listeners, _ear, _feed) = start().await;
    for _ in 0..10_000 {
        server.say(None);
        wait(1).await;
    }
    let opened = server.opened.load(Ordering::SeqCst);
    assert!((5..60).contains(&opened), "{opened} in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_panics_ends_nothing() {
    let (server, _listeners, ear, _feed) = start().await;
    // At a look, and then at every opening.
    server.panics.store(true, Ordering::SeqCst);
    wait(10_000).await;
    assert_eq!((ear.take(), server.opened.load(Ordering::SeqCst)), (vec![], 1));
    server.panics.store(false, Ordering::SeqCst);
    wait(1_100).await;
    assert_eq!(ear.take(), [Change::All]);
    server.say(Some(Notification::Changes(vec![key(1)])));
    wait(1).await;
    assert_eq!(ear.take(), [key(1)]);
}

#[tokio::test(start_paused = true)]
async fn the_first_opening_is_tried_until_its_deadline() {
    let (server, listeners) = (Arc::<Server>::default(), Arc::<Listeners>::default());
    server.down.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let (failed, ()) = tokio::join!(open(&server, &listeners), wait(3_000));
    assert!(failed.is_err() && began.elapsed() <= Duration::from_secs(4));
    let up_again = async {
        wait(1_500).await;
        server.down.store(false, Ordering::SeqCst);
    };
    server.down.store(true, Ordering::SeqCst);
    tokio::join!(open(&server, &listeners), up_again).0.expect("it is up in time");
}

#[tokio::test(start_paused = true)]
async fn an_opening_may_take_longer_than_a_look() {
    let (server, listeners) = (Arc::<Server>::default(), Arc::<Listeners>::default());
    let ear = Ear::on(&listeners);
    server.opens_within.store(3_000, Ordering::SeqCst);
    let _feed = open(&server, &listeners).await.expect("it opens");
    server.say(None);
    wait(3_100).await;
    assert_eq!(ear.take(), [Change::All]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_reported_once_a_minute_and_whenever_it_changes() {
    let told = |outage: &mut Outage, text: &'static str| {
        outage.open = false;
        outage.report(&StoreError::unavailable(text));
        outage.open
    };
    let mut outage = Outage::default();
    assert!(told(&mut outage, "no network") && !told(&mut outage, "no network"));
    assert!(told(&mut outage, "no rights") && !told(&mut outage, "no rights"));
    wait(59_000).await;
    assert!(!told(&mut outage, "no rights"));
    wait(1_000).await;
    assert!(told(&mut outage, "no rights"));
}

#[cfg(feature = "tracing")]
#[tokio::test(start_paused = true)]
async fn a_failure_to_open_anew_and_the_return_are_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (server, _listeners, _ear, _feed) = start().await;
    server.down.store(true, Ordering::SeqCst);
    server.say(None);
    wait(10_000).await;
    server.down.store(false, Ordering::SeqCst);
    wait(1_100).await;
    let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("it is text");
    for line in ["it has hung up", "it is down", "arrive again"] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}

#[test]
fn times_that_no_clock_can_count_are_bent() {
    assert_eq!(kept(Duration::ZERO), Duration::from_millis(1));
    assert_eq!(kept(Duration::MAX), Duration::from_secs(3600));
    assert_eq!(kept(Duration::from_millis(500)), Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_feed_ends() {
    let (server, _listeners, _ear, feed) = start().await;
    drop(feed);
    wait(1).await;
    assert!(server.said.lock().expect("no panic").as_ref().expect("it was open").is_closed());
}
