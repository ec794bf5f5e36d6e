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
    cluster::{Cluster, Key, Line, revoke},
    engine::Engine,
    figures::{Times, head},
};

const KEYS: u64 = 1_000;
/// How long the pollers and the load rest between two requests.
const PAUSE: Duration = Duration::from_millis(1);
/// How long no listener is left alone.
const CUT: Duration = Duration::from_secs(60);
/// The cache's time to live, and the read deadline of the store.
const BOUND: Duration = Duration::from_millis(5_500);

pub(crate) fn reach_every_instance(name: &str, engine: &dyn Engine) {
    let cluster = Cluster::start(&engine.url());
    let keys = cluster.issue(0..4 * KEYS);
    let (load, keys) = keys.split_at(KEYS as usize);
    let mut parts = keys.chunks(KEYS as usize);
    let mut next = || parts.next().unwrap();
    let mut table = vec![head()];

    let by_api = through_the_api(&cluster, load, next(), 4, Duration::ZERO);
    table.push(by_api.line(&format!("{name}: revoked through one of three")));

    let by_hand = engine.revoke_by_hand().map(|by_hand| {
        let by_hand = under_load(&cluster, load, || {
            measure(&cluster, next(), 4, Duration::ZERO, |_, key| by_hand(&key.id))
        });
        table.push(by_hand.line(&format!("{name}: revoked by hand")));
        by_hand
    });

    let cut = while_listeners_are_cut(engine, || through_the_api(&cluster, load, next(), 24, CUT));
    table.push(cut.line(&format!("{name}: while listeners are cut for {CUT:?}")));
    println!("{}", table.join("\n"));

    for times in [Some(&by_api), by_hand.as_ref()].into_iter().flatten() {
        assert!(times.percentile(99) <= Duration::from_secs(1), "{}", times.line(name));
        assert!(times.max() <= BOUND, "{}", times.line(name));
    }
    assert!(cut.max() <= BOUND, "{}", cut.line(name));
}

fn through_the_api(
    cluster: &Cluster,
    load: &[Key],
    keys: &[Key],
    workers: usize,
    spread: Duration,
) -> Times {
    under_load(cluster, load, || {
        measure(cluster, keys, workers, spread, |line, key| {
            assert_eq!(line.send(&revoke(&key.id)).status, 204);
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
            let asked = Instant::now();
            revoke(first, key);
            let revoked = Instant::now();
            let mut slowest = Duration::ZERO;
            for line in others {
                loop {
                    match line.status(key.number, &key.text) {
                        200 => assert!(revoked.elapsed() < 4 * BOUND, "{} lives on", key.id),
                        401 => break,
                        status => panic!("{status} for a revoked key"),
                    }
                    thread::sleep(PAUSE);
                }
                slowest = slowest.max(revoked.elapsed());
            }
            assert!(revoked - asked < BOUND, "a revocation took {:?}", revoked - asked);
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

/// Calls all backends with good keys meanwhile, none of which may ever fail.
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
/// less than [`CUT`].
fn while_listeners_are_cut<T>(engine: &dyn Engine, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let cutter = scope.spawn(|| {
            let began = Instant::now();
            let mut cut = 0;
            while began.elapsed() < CUT || !done.load(Ordering::Relaxed) {
                cut += engine.cut_listeners();
                thread::sleep(20 * PAUSE);
            }
            cut
        });
        let result = {
            let _end = End(&done);
            work()
        };
        let cut = cutter.join().unwrap();
        println!("{cut} listening connections were cut");
        assert!(cut > 30, "the backends hardly ever listened: {cut}");
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
