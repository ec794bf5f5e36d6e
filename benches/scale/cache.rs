//! What the cache in front of a store takes: for each key that it remembers, and for unknown ones
//! however many come.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use allocation_counter::{AllocationInfo, measure as allocations};
use async_trait::async_trait;
use key0_auth::{
    Cached, KeyStore,
    apikey::{Grant, KeyDigest, KeyFormat, KeyRecord},
    domain::{Actor, Clock, KeyId, SystemClock, Timestamp},
    error::StoreError,
};
use serde::Serialize;

/// As many as a cache holds unless told otherwise.
const KEYS: u64 = 100_000;
/// How many unknown digests come between two valid ones.
const UNKNOWN_PER_KEY: u64 = 100;

/// The figures of the cache.
#[derive(Serialize)]
pub(crate) struct Figures {
    pub(crate) cached_keys: u64,
    pub(crate) bytes_per_cached_key: u64,
    /// As the system sees it; none where it doesn't tell.
    pub(crate) resident_bytes_per_cached_key: Option<u64>,
    pub(crate) flood: u64,
    pub(crate) flood_us_each: f64,
    pub(crate) flood_peak_mib: f64,
    pub(crate) flood_resident_mib: Option<f64>,
    pub(crate) hits_before_percent: f64,
    pub(crate) hits_under_flood_percent: f64,
}

/// Remembers many keys, then lets so many unknown digests come.
pub(crate) fn measure(flood: u64) -> Figures {
    let store = Arc::new(Shelf::new());
    let cached = Cached::builder(store.clone(), Arc::new(SystemClock));
    // Nothing is to go for its age.
    let cached = cached.time_to_live(Duration::from_secs(86_400)).build().expect("good limits");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let find = |digest: KeyDigest| runtime.block_on(cached.find_shared(&digest));
    let is_known = |digest| find(digest).expect("the store answers").is_some();

    let resident = resident_bytes();
    let filled = allocations(|| assert!((0..KEYS).all(|number| is_known(known(number)))));
    let fill_grew = grown(resident);
    assert_eq!(store.reads_of_known.swap(0, Relaxed), KEYS);
    assert!((0..KEYS).all(|number| is_known(known(number))));
    let missed_before = store.reads_of_known.swap(0, Relaxed);

    let resident = resident_bytes();
    let began = Instant::now();
    let flooded = allocations(|| {
        for number in 0..flood {
            assert!(!is_known(unknown(number)));
            if number % UNKNOWN_PER_KEY == 0 {
                assert!(is_known(known(number / UNKNOWN_PER_KEY % KEYS)));
            }
        }
    });
    let took = began.elapsed();
    let flood_grew = grown(resident);
    let asked = flood.div_ceil(UNKNOWN_PER_KEY);
    let missed = store.reads_of_known.load(Relaxed);
    Figures {
        cached_keys: KEYS,
        bytes_per_cached_key: live(filled) / KEYS,
        resident_bytes_per_cached_key: fill_grew.map(|bytes| bytes / KEYS),
        flood,
        flood_us_each: took.as_secs_f64() * 1e6 / flood as f64,
        flood_peak_mib: mib(flooded.bytes_max),
        flood_resident_mib: flood_grew.map(mib),
        hits_before_percent: 100.0 - percent(missed_before, KEYS),
        hits_under_flood_percent: 100.0 - percent(missed, asked),
    }
}

fn live(measured: AllocationInfo) -> u64 {
    u64::try_from(measured.bytes_current).expect("it grew")
}

fn grown(before: Option<u64>) -> Option<u64> {
    Some(resident_bytes()?.saturating_sub(before?))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}

/// What the system holds in memory of this process; Linux tells.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn known(number: u64) -> KeyDigest {
    spread(number, KNOWN)
}

fn unknown(number: u64) -> KeyDigest {
    spread(number, !KNOWN)
}

/// The last byte of the digests that the store knows.
const KNOWN: u8 = 1;

fn spread(number: u64, last: u8) -> KeyDigest {
    let mut bytes = *KeyDigest::of(&number.to_string()).as_bytes();
    bytes[31] = last;
    KeyDigest::from_bytes(bytes)
}

/// A store that takes no memory for its keys: it makes each when it is asked.
#[derive(Debug)]
struct Shelf {
    template: KeyRecord,
    reads_of_known: AtomicU64,
}

impl Shelf {
    fn new() -> Self {
        let key = KeyFormat::default().generate().expect("random bytes");
        let grant = Grant::Payment {
            resource_id: "photo-1".parse().expect("legal"),
            plan_id: "basic".parse().expect("legal"),
            permissions: None,
        };
        let template = KeyRecord::new(KeyId::generate(), &key, grant, SystemClock.now());
        Self { template, reads_of_known: AtomicU64::new(0) }
    }
}

#[async_trait]
impl KeyStore for Shelf {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        if digest.as_bytes()[31] != KNOWN {
            return Ok(None);
        }
        self.reads_of_known.fetch_add(1, Relaxed);
        // Texts of its own, as a record has that was read from a file.
        let mut record = self.template.clone();
        record.id = KeyId::generate();
        record.digest = *digest;
        record.grant = Grant::Payment {
            resource_id: "photo-1".parse().expect("legal"),
            plan_id: "basic".parse().expect("legal"),
            permissions: None,
        };
        Ok(Some(record))
    }

    async fn get(&self, _id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        Ok(None)
    }

    async fn insert(&self, _record: &KeyRecord, _by: &Actor) -> Result<(), StoreError> {
        Ok(())
    }

    async fn revoke(
        &self,
        _id: &KeyId,
        _by: &Actor,
        _at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        Ok(None)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
