//! How long revocations take until they are known here.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::{
    apikey::{KeyDigest, KeyRecord},
    domain::{Clock, Timestamp},
    metrics,
};

/// How many changes are remembered until the key is asked for again.
const MOST: usize = 1_024;

/// When a change to a key that is in use was heard, until its record is read again and tells whether
/// it was a revocation.
pub(super) struct Heard {
    clock: Arc<dyn Clock>,
    changes: Cache<KeyDigest, Timestamp>,
}

impl Heard {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, changes: Cache::new(MOST) }
    }

    /// A key has changed; of one that is not in use nobody asks how long it took.
    pub(super) fn changed(&self, digest: &KeyDigest, is_in_use: impl FnOnce() -> bool) {
        if cfg!(feature = "metrics") && is_in_use() {
            self.changes.insert(*digest, self.clock.now());
        }
    }

    /// The record of a key was read.
    pub(super) fn read(&self, digest: &KeyDigest, record: Option<&KeyRecord>) {
        let Some(revoked_at) = record.and_then(|record| record.revoked_at) else { return };
        if let Some((_, heard_at)) = self.changes.remove(digest) {
            metrics::revocation_heard(heard_at.since(revoked_at));
        }
    }
}
