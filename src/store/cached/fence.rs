use std::sync::atomic::{AtomicU64, Ordering};

use crate::apikey::KeyDigest;

/// 32 KiB. A change to one key makes the cache forget one in so many others.
const SHARDS: usize = 4096;

/// Keeps what was read before a change from answering whoever asks after it.
///
/// Every digest has an epoch, shared with the other digests of its shard. Whoever asks reads the
/// epoch first, and seeks and keeps answers only under digest and epoch together. Whoever changes
/// a key commits first, then advances the epoch.
///
/// So an answer kept under an epoch comes from a read that began after that epoch did, and hence
/// after the commit that made it begin. A read that is under way across a change puts its answer
/// where nobody looks any more; and nobody who asks after the change can join that read.
///
/// It also holds up to when all changes are told, for those who may then keep an answer longer.
#[derive(Debug)]
pub(super) struct Fence<E = AtomicU64> {
    epochs: Box<[E]>,
    told: [E; 2],
}

/// A counter that many threads read and few advance. A trait for the model check's sake.
pub(super) trait Epoch: Default {
    /// The present epoch. The store is read after this: `Acquire`.
    fn current(&self) -> u64;
    /// Begins the next epoch. The change was committed before this: `Release`.
    fn advance(&self);
    /// Counts on from here. What was told up to now has begun its epochs before this: `Release`.
    fn set(&self, to: u64);
}

/// What whoever asks reads before any answer is sought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) epoch: u64,
    /// As [`Fence::told`] was given it; zeros before.
    pub(super) told: [u64; 2],
}

impl<E: Epoch> Fence<E> {
    pub(super) fn new() -> Self {
        Self::with_shards(SHARDS)
    }

    fn with_shards(shards: usize) -> Self {
        let epochs = std::iter::repeat_with(E::default).take(shards).collect();
        Self { epochs, told: Default::default() }
    }

    /// The epoch of a digest, and up to when changes are told.
    pub(super) fn look(&self, digest: &KeyDigest) -> Seen {
        // In this order: a change that is told by then has begun the epoch that is read next.
        let [first, second] = &self.told;
        let told = [first.current(), second.current()];
        Seen { told, epoch: self.epoch(digest) }
    }

    /// All changes up to then have been told.
    pub(super) fn told(&self, [first, second]: [u64; 2]) {
        self.told[0].set(first);
        self.told[1].set(second);
    }

    /// The epoch of a digest, to be read before any answer is sought.
    pub(super) fn epoch(&self, digest: &KeyDigest) -> u64 {
        self.shard(digest).current()
    }

    /// This key changed.
    pub(super) fn advance(&self, digest: &KeyDigest) {
        self.shard(digest).advance();
    }

    /// Any key may have changed.
    pub(super) fn advance_all(&self) {
        self.epochs.iter().for_each(E::advance);
    }

    fn shard(&self, digest: &KeyDigest) -> &E {
        // A digest's bytes are evenly spread.
        let [first, second, ..] = *digest.as_bytes();
        &self.epochs[usize::from(u16::from_le_bytes([first, second])) % self.epochs.len()]
    }
}

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

#[cfg(test)]
mod tests;
