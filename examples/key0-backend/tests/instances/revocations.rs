//! How soon what one backend has revoked is refused by the others.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    cluster::{Cluster, Key, Line, end, revoke, tokens},
    engine::Engine,
    figures::{Times, head},
    process::Request,
};

/// How long the pollers and the load rest between two requests.
const PAUSE: Duration = Duration::from_millis(1);
/// The cache's time to live, and the read deadline of the store.
const BOUND: Duration = Duration::from_millis(5_500);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// How many keys are revoked in each way.
    pub(crate) keys: usize,
    /// How long no listener is left alone, at least.
    pub(crate) cut: Duration,
}

/// Revokes keys and access tokens through one backend, by hand, and while listeners are cut. An accept by a request
/// that was sent after the bound is a failure on any machine.
pub(crate) fn reach_every_instance(name: &str, engine: &dyn Engine, size: Size) {
    let cluster = Cluster::start(&engine.url());
    let keys = cluster.issue(0..4 * size.keys as u64);
    let (load, keys) = keys.split_at(size.keys);
    let mut parts = keys.chunks(size.keys);
    let mut next = || parts.next().unwrap();
    let mut table = vec![head()];

    let by_key = |key: &Key| revoke(&key.id);
    let by_api = through_the_api(&cluster, load, next(), 4, Duration::ZERO, by_key);
    table.push(by_api.line(&format!("{name}: revoked through one of three")));
    let by_token = |key: &Key| end(&key.text);
    let ended = tokens(0..size.keys as u64);
    let ended = through_the_api(&cluster, load, &ended, 4, Duration::ZERO, by_token);
    table.push(ended.line(&format!("{name}: access tokens revoked through one of three")));
    if let Some(by_hand) = engine.revoke_by_hand() {
        let by_hand = under_load(&cluster, load, || {
            measure(&cluster, next(), 4, Duration::ZERO, |_, key| by_hand(&key.id))
        });
        table.push(by_hand.line(&format!("{name}: revoked by hand")));
    }
    let Size { cut, .. } = size;
    let times = while_listeners_are_cut(engine, cut, || {
        through_the_api(&cluster, load, next(), 24, cut, by_key)
    });
    table.push(times.line(&format!("{name}: while listeners are cut for {cut:?}")));
    let ended = tokens(size.keys as u64..2 * size.keys as u64);
    let times = while_listeners_are_cut(engine, cut, || {
        through_the_api(&cluster, load, &ended, 24, cut, by_token)
    });
    table.push(times.line(&format!("{name}: access tokens, while listeners are cut for {cut:?}")));
    println!("{}", table.join("\n"));
}

fn through_the_api(
    cluster: &Cluster,
    load: &[Key],
    keys: &[Key],
    workers: usize,
    spread: Duration,
    request: impl Fn(&Key) -> Request + Sync,
) -> Times {
    under_load(cluster, load, || {
        measure(cluster, keys, workers, spread, |line, key| {
            // Sent again after an outage, it may have been done before.
            assert!(matches!(line.send(&request(key)).status, 200 | 204 | 404));
            assert_eq!(line.status(key.number, &key.text), 401, "the revoking backend itself");
        })
    })
}

/// For each key the time from its revocation until both of the other backends refuse it. The
/// revocations are evenly spread over a time, as far as there are workers for that.
fn measure(
    cluster: &Cluster,
    keys: &[Key],
    workers: usize,
    spread: Duration,
    revoke: impl Fn(&mut Line, &Key) + Sync,
) -> Times {
    let next = AtomicUsize::new(0);
    let delays = Mutex::new(Vec::new());
    let began = Instant::now();
    let work = || {
        let mut lines: Vec<Line> = cluster.addresses().into_iter().map(Line::open).collect();
        while let Some((place, key)) = {
            let place = next.fetch_add(1, Ordering::Relaxed);
            keys.get(place).map(|key| (place, key))
        } {
            let due = spread * place as u32 / keys.len() as u32;
            thread::sleep(due.saturating_sub(began.elapsed()));
            for line in &mut lines {
                assert_eq!(line.status(key.number, &key.text), 200, "before it is revoked");
            }
            let (first, others) = lines.split_first_mut().unwrap();
            revoke(first, key);
            let revoked = Instant::now();
            let mut slowest = Duration::ZERO;
            for line in others {
                loop {
                    let sent = revoked.elapsed();
                    match line.status_now(key.number, &key.text) {
                        200 => assert!(sent <= BOUND, "{} is good {sent:?} later", key.id),
                        401 => break,
                        // The store is too slow just now.
                        503 => {}
                        status => panic!("{status} for a revoked key"),
                    }
                    thread::sleep(PAUSE);
                }
                slowest = slowest.max(revoked.elapsed());
            }
            delays.lock().unwrap().push(slowest);
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    let times = Times::new(delays.into_inner().unwrap());
    assert_eq!(times.len(), keys.len());
    times
}

/// Calls all backends with good keys meanwhile, none of which may ever be refused.
fn under_load<T>(cluster: &Cluster, keys: &[Key], work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for (place, address) in cluster.addresses().into_iter().enumerate() {
            let done = &done;
            scope.spawn(move || {
                let mut line = Line::open(address);
                for key in keys.iter().cycle().skip(place * keys.len() / 3) {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    assert_eq!(line.status(key.number, &key.text), 200, "a key of the load");
                    thread::sleep(PAUSE);
                }
            });
        }
        let _end = End(&done);
        work()
    })
}

/// Cuts the listening connections as soon as they are there, for as long as the work takes and no
/// less than this.
fn while_listeners_are_cut<T>(engine: &dyn Engine, least: Duration, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let cutter = scope.spawn(|| {
            let began = Instant::now();
            let mut cut = 0;
            while cut == 0 || began.elapsed() < least || !done.load(Ordering::Relaxed) {
                cut += engine.cut_listeners();
                thread::sleep(20 * PAUSE);
            }
            cut
        });
        let result = {
            let _end = End(&done);
            work()
        };
        println!("{} listening connections were cut", cutter.join().unwrap());
        result
    })
}

/// Says that it is over, also where a check has failed.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
