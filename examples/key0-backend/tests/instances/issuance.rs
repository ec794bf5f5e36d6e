//! One payment buys one credential, whoever is asked for it, and however often.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    cluster::{Cluster, issue},
    engine::Engine,
};

const AT_ONCE: usize = 100;
/// How long a claim of a backend that was killed may hold up the others, on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// `rounds` says how often a backend is killed in the middle of it.
pub(crate) fn is_once(engine: &dyn Engine, rounds: u64) {
    let mut cluster = Cluster::start(&engine.url());
    let before = engine.counts();
    let addresses = cluster.addresses();
    let barrier = Barrier::new(AT_ONCE);
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = |n: usize| {
            let (address, barrier) = (addresses[n % addresses.len()], &barrier);
            scope.spawn(move || {
                barrier.wait();
                issue(1).send(address)
            })
        };
        let asked: Vec<_> = (0..AT_ONCE).map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (200, &answers[0].body), "{answer:?}");
    }
    assert_eq!(engine.counts(), (before.0 + 1, before.1 + 1));
    println!("{AT_ONCE} at once over three backends: one credential, one row");

    let mut unanswered = 0;
    for round in 0..rounds {
        let number = 2 + round;
        let first = cluster.backends.remove(0);
        let address = first.public;
        let (barrier, done) = (Barrier::new(AT_ONCE), AtomicUsize::new(0));
        let answers: Vec<_> = thread::scope(|scope| {
            let asked: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        let answer = issue(number).try_send(address);
                        done.fetch_add(1, Ordering::SeqCst);
                        answer.ok().filter(|answer| answer.status == 200)
                    })
                })
                .collect();
            // At another point of the work each time.
            while done.load(Ordering::SeqCst) < usize::try_from(round * 7).unwrap() % AT_ONCE {
                thread::yield_now();
            }
            first.kill();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        // As Key0 does: again, while the claim of the one that was killed holds.
        let deadline = Instant::now() + PATIENCE;
        let elsewhere = cluster.backends[0].public;
        let retried = loop {
            let answer = issue(number).send_once(elsewhere);
            match answer.status {
                200 => break answer,
                503 if Instant::now() < deadline => thread::sleep(Duration::from_millis(500)),
                _ => panic!("{answer:?}"),
            }
        };
        unanswered += answers.iter().filter(|answer| answer.is_none()).count();
        for answer in answers.iter().flatten() {
            assert_eq!(answer.body, retried.body, "another credential after the crash");
        }
        let other = issue(number).send(cluster.backends[1].public);
        assert_eq!(other.body, retried.body);
        assert_eq!(engine.counts(), (before.0 + number, before.1 + number));
        cluster.backends.push(cluster.setup.start());
    }
    println!(
        "{rounds} backends killed with {unanswered} of {} answers under way: the same credential \
         from the others, one row each",
        rounds * AT_ONCE as u64
    );
}
