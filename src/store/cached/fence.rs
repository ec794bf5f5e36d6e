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
#[derive(Debug)]
pub(super) struct Fence<E = AtomicU64> {
    epochs: Box<[E]>,
}

/// A counter that many threads read and few advance. A trait for the model check's sake.
pub(super) trait Epoch: Default {
    /// The present epoch. The store is read after this: `Acquire`.
    fn current(&self) -> u64;
    /// Begins the next epoch. The change was committed before this: `Release`.
    fn advance(&self);
}

impl<E: Epoch> Fence<E> {
    pub(super) fn new() -> Self {
        Self::with_shards(SHARDS)
    }

    fn with_shards(shards: usize) -> Self {
        Self { epochs: std::iter::repeat_with(E::default).take(shards).collect() }
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
}

#[cfg(test)]
mod tests;
