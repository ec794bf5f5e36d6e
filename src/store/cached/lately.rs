use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::apikey::KeyDigest;

/// 1 MiB. Of two keys that share a slot the one that was read last is known.
const SLOTS: usize = 131_072;

/// The digests that were found or changed lately, however long ago they were forgotten. Unknown ones
/// leave no mark, so that no flood of them displaces any.
#[derive(Debug)]
pub(super) struct Lately(Box<[AtomicU64]>);

impl Lately {
    pub(super) fn new() -> Self {
        Self(std::iter::repeat_with(AtomicU64::default).take(SLOTS).collect())
    }

    pub(super) fn note(&self, digest: &KeyDigest) {
        let (slot, mark) = self.slot(digest);
        slot.store(mark, Relaxed);
    }

    pub(super) fn knows(&self, digest: &KeyDigest) -> bool {
        let (slot, mark) = self.slot(digest);
        slot.load(Relaxed) == mark
    }

    fn slot(&self, digest: &KeyDigest) -> (&AtomicU64, u64) {
        // A digest's bytes are evenly spread.
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *digest.as_bytes();
        let slot = u32::from_le_bytes([i, j, k, l]) as usize % SLOTS;
        (&self.0[slot], u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }
}
