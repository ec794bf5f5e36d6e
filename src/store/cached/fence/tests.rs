#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::{Epoch, Fence};
use crate::apikey::KeyDigest;

const DIGEST: KeyDigest = KeyDigest::from_bytes([7; 32]);

impl Epoch for AtomicU64 {
    fn current(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    fn advance(&self) {
        self.fetch_add(1, Ordering::Release);
    }

    fn set(&self, to: u64) {
        self.store(to, Ordering::Release);
    }
}

/// A fence that is always open.
#[derive(Default)]
struct NoFence;

impl Epoch for NoFence {
    fn current(&self) -> u64 {
        0
    }

    fn advance(&self) {}

    fn set(&self, _: u64) {}
}

/// A fence that other threads may see move late or early.
#[derive(Default)]
struct Unordered(AtomicU64);

impl Epoch for Unordered {
    fn current(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }
}

/// The cache in small: one key, whose answer is whether it is revoked.
struct Model<E> {
    fence: Fence<E>,
    revoked: AtomicBool,
    /// One read at a time for each epoch. What it found stays here.
    answers: Mutex<HashMap<u64, Arc<Mutex<Option<bool>>>>>,
}

impl<E: Epoch> Model<E> {
    fn new() -> Self {
        Self {
            fence: Fence::with_shards(1),
            revoked: AtomicBool::new(false),
            answers: Mutex::default(),
        }
    }

    /// The epoch under which it looked, and the answer.
    fn find(&self) -> (u64, bool) {
        let epoch = self.fence.epoch(&DIGEST);
        let slot = Arc::clone(self.answers.lock().unwrap().entry(epoch).or_default());
        let mut answer = slot.lock().unwrap();
        let revoked = *answer.get_or_insert_with(|| self.revoked.load(Ordering::Relaxed));
        (epoch, revoked)
    }

    /// What is there already.
    fn recall(&self) -> Option<bool> {
        let epoch = self.fence.epoch(&DIGEST);
        let slot = Arc::clone(self.answers.lock().unwrap().get(&epoch)?);
        let answer = slot.lock().unwrap();
        *answer
    }

    fn revoke(&self, all: bool) {
        self.revoked.store(true, Ordering::Relaxed);
        if all { self.fence.advance_all() } else { self.fence.advance(&DIGEST) }
    }
}

/// Some early callers, a revocation, and a late caller, in every order that threads can take
/// with so many preemptions; without a number, in every order there is.
fn no_schedule_resurrects_a_revoked_key<E: Epoch + Send + Sync + 'static>(
    early: usize,
    preemptions: Option<usize>,
    all: bool,
) {
    let mut schedules = loom::model::Builder::new();
    schedules.preemption_bound = preemptions;
    schedules.check(move || {
        let model = Arc::new(Model::<E>::new());
        let early: Vec<_> = (0..early)
            .map(|_| {
                let model = Arc::clone(&model);
                thread::spawn(move || {
                    let (epoch, revoked) = model.find();
                    assert!(revoked || epoch == 0, "the new epoch gave the old answer");
                })
            })
            .collect();
        model.revoke(all);
        assert_ne!(model.recall(), Some(false), "a revoked key passed");
        assert!(model.find().1, "a revoked key passed");
        for caller in early {
            caller.join().unwrap();
        }
    });
}

#[test]
fn no_schedule_resurrects_a_revoked_key_with_the_fence() {
    no_schedule_resurrects_a_revoked_key::<AtomicU64>(1, None, false);
    no_schedule_resurrects_a_revoked_key::<AtomicU64>(1, None, true);
    no_schedule_resurrects_a_revoked_key::<AtomicU64>(2, Some(3), false);
}

#[test]
#[should_panic(expected = "a revoked key passed")]
fn some_schedule_does_without_the_fence() {
    no_schedule_resurrects_a_revoked_key::<NoFence>(1, None, false);
}

#[test]
#[should_panic(expected = "the new epoch gave the old answer")]
fn some_schedule_does_without_its_order() {
    no_schedule_resurrects_a_revoked_key::<Unordered>(1, None, false);
}

/// A change is told, and then that all are told up to it: whoever learns of that looks under the epoch
/// after the change, in every order that threads can take.
fn no_schedule_shows_what_is_told_and_an_old_epoch<E: Epoch + Send + Sync + 'static>() {
    loom::model(|| {
        let fence = Arc::new(Fence::<E>::with_shards(1));
        let feed = Arc::clone(&fence);
        let feed = thread::spawn(move || {
            feed.advance(&DIGEST);
            feed.told([1, 1]);
        });
        let seen = fence.look(&DIGEST);
        assert!(seen.told == [0, 0] || seen.epoch == 1, "an old answer counts as fresh");
        feed.join().unwrap();
    });
}

#[test]
fn whoever_learns_that_all_is_told_looks_under_the_new_epoch() {
    no_schedule_shows_what_is_told_and_an_old_epoch::<AtomicU64>();
}

#[test]
#[should_panic(expected = "an old answer counts as fresh")]
fn some_schedule_shows_it_without_its_order() {
    no_schedule_shows_what_is_told_and_an_old_epoch::<Unordered>();
}
