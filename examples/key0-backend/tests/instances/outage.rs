//! What agents see while the server is gone, or stands still.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    cluster::{Cluster, Key, Line, access_token, call},
    engine::Engine,
    figures::Times,
    process::Request,
};

const TIME_TO_LIVE: Duration = Duration::from_secs(5);
/// For how long one answer of the store's readiness is told to all.
const SHARED: Duration = Duration::from_secs(1);
/// By when a refusal for an outage must be there.
const ANSWERED: Duration = Duration::from_millis(600);
const PAUSE: Duration = Duration::from_millis(5);
/// How long the load goes on before.
const MARGIN: Duration = Duration::from_secs(4);
/// How long a backend may take to come back, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// A key that every backend has read right before the outage.
    Warm,
    /// A key that is not in a cache.
    Cold,
    Token,
    Ready,
}

struct Seen {
    class: Class,
    /// Since the beginning.
    sent: Duration,
    took: Duration,
    status: u16,
}

/// When it was, since the beginning.
struct Outage {
    gone: Duration,
    /// From here on some of the server's processes may answer again.
    returning: Duration,
    returned: Duration,
}

/// The server ends, is away for a while, and comes back.
pub(crate) fn stopped(name: &str, engine: &dyn Engine, away: Duration) {
    run(name, engine, away, &|| engine.stop(), &|| engine.start());
}

/// The server stands still for a while.
pub(crate) fn hung(name: &str, engine: &dyn Engine, away: Duration) {
    run(name, engine, away, &|| engine.hang(), &|| engine.resume());
}

fn run(name: &str, engine: &dyn Engine, away: Duration, end: &dyn Fn(), back: &dyn Fn()) {
    let cluster = Cluster::start(&engine.url());
    let keys = cluster.issue(0..4_000);
    let (warm, cold) = keys.split_at(50);
    let seen = Mutex::new(Vec::new());
    let done = AtomicBool::new(false);
    let began = Instant::now();

    let outage = thread::scope(|scope| {
        for (place, address) in cluster.addresses().into_iter().enumerate() {
            let (seen, done) = (&seen, &done);
            let load = move |class: Class, requests: Vec<Request>| {
                let mut line = Line::open(address);
                for request in requests.iter().cycle() {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let sent = Instant::now();
                    let status = line.send_once(request).status;
                    let took = sent.elapsed();
                    let sent = sent - began;
                    seen.lock().unwrap().push(Seen { class, sent, took, status });
                    thread::sleep(PAUSE);
                }
            };
            let calls = |keys: &[Key]| keys.iter().map(|key| call(key.number, &key.text)).collect();
            // Another part for each, and so many that one comes round again when it has long left
            // the cache.
            let part = cold.len() / 3;
            let cold = calls(&cold[place * part..][..part]);
            let token = vec![call(1, &access_token(1))];
            scope.spawn(move || load(Class::Cold, cold));
            scope.spawn(move || load(Class::Token, token));
            scope.spawn(move || load(Class::Ready, vec![Request::get("/ready")]));
        }
        thread::sleep(MARGIN);

        // Read by every backend right before the end, and called all the while from then on.
        let read = |line: &mut Line| {
            for key in warm {
                assert_eq!(line.status(key.number, &key.text), 200);
            }
        };
        let mut lines: Vec<_> = cluster.addresses().into_iter().map(Line::open).collect();
        lines.iter_mut().for_each(read);
        end();
        let gone = began.elapsed();
        for address in cluster.addresses() {
            let (seen, done) = (&seen, &done);
            scope.spawn(move || {
                let mut line = Line::open(address);
                for key in warm.iter().cycle() {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let sent = Instant::now();
                    let status = line.status_now(key.number, &key.text);
                    let (took, sent) = (sent.elapsed(), sent - began);
                    seen.lock().unwrap().push(Seen { class: Class::Warm, sent, took, status });
                    thread::sleep(PAUSE);
                }
            });
        }
        thread::sleep(away);
        let returning = began.elapsed();
        back();
        let returned = began.elapsed();
        for class in [Class::Warm, Class::Cold, Class::Ready] {
            let is_back =
                |seen: &Seen| seen.class == class && seen.sent > returned && seen.status == 200;
            while !seen.lock().unwrap().iter().any(is_back) {
                assert!(began.elapsed() - returned < PATIENCE, "{class:?} does not come back");
                thread::sleep(PAUSE);
            }
        }
        done.store(true, Ordering::Relaxed);
        Outage { gone, returning, returned }
    });
    let seen = seen.into_inner().unwrap();
    tell(name, &seen, &outage);
    check(&seen, &outage);
}

/// Prints what was answered in each second.
fn tell(name: &str, seen: &[Seen], outage: &Outage) {
    let mut seconds: BTreeMap<u64, BTreeMap<(Class, u16), usize>> = BTreeMap::new();
    for seen in seen {
        let second = seconds.entry(seen.sent.as_secs()).or_default();
        *second.entry((seen.class, seen.status)).or_default() += 1;
    }
    println!(
        "{name}: gone at {:.1} s, back at {:.1} s; answers by second, class and status",
        outage.gone.as_secs_f64(),
        outage.returned.as_secs_f64()
    );
    for (second, counts) in seconds {
        let counts: Vec<_> = counts
            .iter()
            .map(|((class, status), count)| format!("{class:?} {status}: {count}"))
            .collect();
        println!("{second:>4} s  {}", counts.join("  "));
    }
}

fn check(seen: &[Seen], outage: &Outage) {
    let Outage { gone, returning, returned } = *outage;
    let of = |class: Class| seen.iter().filter(move |seen| seen.class == class);
    let refused = seen.iter().filter(|seen| seen.status == 401).count();
    assert_eq!(refused, 0, "an outage looked like a bad credential");
    assert!(seen.iter().all(|seen| matches!(seen.status, 200 | 503)));
    assert!(of(Class::Token).all(|seen| seen.status == 200), "tokens need no store");

    let answered = seen.iter().filter(|seen| seen.status == 503).map(|seen| seen.took);
    let answered = Times::new(answered.collect());
    println!(
        "{} times 503, after {:?} at the 99th percentile and {:?} at most",
        answered.len(),
        answered.percentile(99),
        answered.max()
    );

    // Whatever was read before is remembered for its time, and no longer.
    for (class, time) in
        [(Class::Warm, TIME_TO_LIVE), (Class::Cold, TIME_TO_LIVE), (Class::Ready, SHARED)]
    {
        let over =
            |seen: &&Seen| gone + time + ANSWERED < seen.sent && seen.sent + seen.took < returning;
        let (mut count, mut good) = (0, 0);
        for seen in of(class).filter(over) {
            count += 1;
            good += usize::from(seen.status == 200);
        }
        assert!(count > 0 && good == 0, "{class:?}: {good} of {count} were answered 200");
        let refused = of(class).filter(|seen| seen.status != 200);
        let refused = refused.map(|seen| seen.sent + seen.took);
        let first = refused.clone().filter(|at| *at > gone).min().unwrap_or_default();
        let last = refused.max().unwrap_or_default();
        println!(
            "{class:?}: the first refusal {:?} after the end, the last one {:?} after the return",
            first.saturating_sub(gone),
            last.saturating_sub(returned)
        );
    }
}
