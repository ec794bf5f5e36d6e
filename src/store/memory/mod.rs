mod denials;
mod idempotency;
mod issuances;
mod keys;
mod payments;
mod purchases;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
};

use super::{PurchaseCursor, listeners::Listeners};
use crate::error::StoreError;

/// Keeps everything in this process's memory: for tests, trials and demos.
///
/// It forgets all of it at exit, also what was spent and what was revoked, it is shared with no
/// other process, and nothing bounds it but what is purged. Clones are the same store.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use key0_auth::{KeyStore, MemoryStore};
///
/// let store = MemoryStore::new();
/// store.ping().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    listeners: Listeners,
}

#[derive(Default)]
struct State {
    keys: keys::Keys,
    issuances: issuances::Issuances,
    payments: payments::Payments,
    requests: idempotency::Requests,
    denials: denials::Denials,
    /// The purchases, where they were first seen; the oldest first.
    seen: BTreeSet<PurchaseCursor>,
    /// How many purchases of which nothing was known were revoked on each day.
    unknown_revocations: BTreeMap<i64, u32>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs one transaction.
    fn with<T>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut state =
            self.shared.state.lock().map_err(|_| {
                StoreError::unavailable("a panic left the store in an unknown state")
            })?;
        work(&mut state)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
