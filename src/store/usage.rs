use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::registry::KeyRegistry;
use crate::{
    apikey::KeyRecord,
    domain::{KeyId, Timestamp},
    error::StoreError,
};

/// 32 KiB. Two keys that share a slot, and are both in use, are noted more often than once a
/// second; they are still written once.
const SLOTS: usize = 4_096;
/// How many keys are remembered until they are written; the uses of further ones are forgotten.
const MAX_PENDING: usize = 262_144;
/// How many uses are written in one transaction.
const BATCH: usize = 500;

/// When keys were first and last used, to the second: noted on the request path without waiting and, for
/// most keys that were noted in the same second, without a lock; written by
/// [`flush`](Self::flush).
///
/// Call `flush` once a minute, and at the end. Then a key costs one write a minute at most, and
/// a crash loses a minute at most. Clones are the same.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, store::KeyUsage};
///
/// let store = Arc::new(MemoryStore::new());
/// let usage = KeyUsage::new(store.clone());
/// let keys = ApiKeys::new(store).usage(usage.clone());
/// // Once a minute, and at the end.
/// usage.flush().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeyUsage(Arc<Shared>);

struct Shared {
    registry: Arc<dyn KeyRegistry>,
    /// The keys that were noted last: a part of the digest and the second in one number.
    recent: Box<[AtomicU64]>,
    /// The first and the last use of each.
    pending: Mutex<HashMap<KeyId, Uses>>,
}

type Uses = (Timestamp, Timestamp);

impl KeyUsage {
    /// Nothing noted yet; uses will be written to this store.
    pub fn new(registry: Arc<dyn KeyRegistry>) -> Self {
        let recent = std::iter::repeat_with(AtomicU64::default).take(SLOTS).collect();
        Self(Arc::new(Shared { registry, recent, pending: Mutex::default() }))
    }

    /// A key is used now.
    pub(crate) fn note(&self, record: &KeyRecord, now: Timestamp) {
        // A digest's bytes are evenly spread.
        let [a, b, c, d, e, f, g, h, low, high, ..] = *record.digest.as_bytes();
        let second = now.as_seconds().cast_unsigned();
        let mark = u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ second;
        let slot = usize::from(u16::from_le_bytes([low, high])) % SLOTS;
        if self.0.recent[slot].load(Ordering::Relaxed) == mark {
            return;
        }
        self.0.recent[slot].store(mark, Ordering::Relaxed);
        let mut pending = self.pending();
        if pending.len() < MAX_PENDING || pending.contains_key(&record.id) {
            remember(&mut pending, record.id.clone(), (now, now));
        }
    }

    /// Writes what was noted since the last call.
    ///
    /// # Errors
    ///
    /// Fails when the store can't; what it has not taken is written by the next call.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let batches = self.pending().len().div_ceil(BATCH);
        for _ in 0..batches {
            // One batch at a time, so that a call that is given up loses no more than that.
            let batch: Vec<_> = self.pending().extract_if(|_, _| true).take(BATCH).collect();
            let uses = batch.iter().flat_map(|(id, (first, last))| {
                let last = (last != first).then(|| (id.clone(), *last));
                [Some((id.clone(), *first)), last].into_iter().flatten()
            });
            if let Err(error) = self.0.registry.touch(&uses.collect::<Vec<_>>()).await {
                let mut pending = self.pending();
                for (id, uses) in batch {
                    remember(&mut pending, id, uses);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<KeyId, Uses>> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember(pending: &mut HashMap<KeyId, Uses>, id: KeyId, (first, last): Uses) {
    let known = pending.entry(id).or_insert((first, last));
    *known = (first.min(known.0), last.max(known.1));
}

impl fmt::Debug for KeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyUsage").field("pending", &self.pending().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        KeyStore, MemoryStore,
        apikey::{Grant, KeyFormat},
        domain::{Actor, Role},
    };

    fn record() -> KeyRecord {
        let key = KeyFormat::default().generate().expect("random bytes");
        let grant = Grant::Integrator { role: Role::Read, permissions: None };
        KeyRecord::new(KeyId::generate(), &key, grant, Timestamp::from_seconds(0))
    }

    async fn used_at(store: &MemoryStore, record: &KeyRecord) -> Option<Timestamp> {
        store.get(&record.id).await.expect("it answers").expect("it is there").last_used_at
    }

    #[tokio::test]
    async fn the_last_use_is_written_by_the_flush_and_not_before() {
        let (store, record) = (MemoryStore::new(), record());
        store.insert(&record, &Actor::host()).await.expect("it is new");
        let usage = KeyUsage::new(Arc::new(store.clone()));
        let at = |millis| Timestamp::from_millis(millis);
        for (uses, written) in [
            (&[60_000, 60_500][..], 60_000),
            (&[60_900], 60_000),
            (&[61_000, 119_999, 100_000], 119_999),
            (&[90_000], 119_999),
        ] {
            let before = used_at(&store, &record).await;
            uses.iter().for_each(|millis| usage.note(&record, at(*millis)));
            assert_eq!(used_at(&store, &record).await, before);
            usage.flush().await.expect("it writes");
            assert_eq!(used_at(&store, &record).await, Some(at(written)), "{uses:?}");
        }
    }

    #[tokio::test]
    async fn the_number_of_keys_that_are_remembered_is_bounded() {
        let usage = KeyUsage::new(Arc::new(MemoryStore::new()));
        let mut record = record();
        for i in 0..=MAX_PENDING as u64 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&i.to_le_bytes());
            record.digest = crate::apikey::KeyDigest::from_bytes(digest);
            record.id = KeyId::new(&i.to_string()).expect("legal");
            usage.note(&record, Timestamp::from_seconds(60));
        }
        assert_eq!(usage.pending().len(), MAX_PENDING);
        usage.flush().await.expect("unknown ids are passed over");
        assert_eq!(usage.pending().len(), 0);
    }
}
