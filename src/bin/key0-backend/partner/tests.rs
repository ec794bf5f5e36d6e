#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};

use key0_auth::MemoryStore;

use super::*;

/// A clock that goes on when it is told to.
#[derive(Debug, Default)]
pub(super) struct Watch(AtomicU64);

impl Watch {
    pub(super) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Watch {
    fn now(&self) -> Timestamp {
        let passed = Duration::from_secs(self.0.load(Ordering::SeqCst));
        Timestamp::from_seconds(1_795_000_000).plus(passed)
    }
}

/// All of it in memory.
pub(super) fn partner(watch: &Arc<Watch>) -> Partner {
    Partner::open(&Place::Memory, watch.clone(), Arc::new(MemoryStore::new())).unwrap()
}
