//! How long the operations of a `SqliteStore` take, by how many keys are in its file.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    time::Instant,
};

use key0_auth::{
    KeyStore, SqliteStore,
    apikey::KeyKind,
    domain::Actor,
    store::{
        KeyRegistry,
        spi::{KeyCursor, KeyQuery},
    },
};
use serde::Serialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::fill;

/// The sizes take turns, so that whatever else the machine does meets all of them.
const ROUNDS: u64 = 50;
const LOOKUPS: u64 = 100;
const LISTINGS: u64 = 5;
const REVOCATIONS: u64 = 5;
const LOOKUPS_FROM_DISK: u64 = 6;
/// How many keys a page shows.
const PAGE: u32 = 50;

/// The figures of one file; `us` are microseconds.
#[derive(Serialize)]
pub(crate) struct Figures {
    pub(crate) keys: u64,
    pub(crate) fill_s: f64,
    pub(crate) file_mib: u64,
    pub(crate) lookup_us: f64,
    pub(crate) lookup_p99_us: f64,
    /// The first after a start. None where the system can't be told to forget a file's pages.
    pub(crate) lookup_from_disk_us: Option<f64>,
    pub(crate) lookup_from_disk_p99_us: Option<f64>,
    pub(crate) list_page_us: f64,
    pub(crate) list_deep_page_us: f64,
    pub(crate) revoke_us: f64,
}

/// Fills a file for every size, and measures them by turns.
pub(crate) fn measure(sizes: &[u64]) -> Vec<Figures> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files: Vec<_> = sizes.iter().map(|keys| Subject::new(&folder, *keys)).collect();
    for _ in 0..ROUNDS {
        for file in &mut files {
            file.look_up(LOOKUPS);
            file.list(LISTINGS);
            file.revoke(REVOCATIONS);
        }
    }
    // Last, since the other files' pages are not to be forgotten under the measurements above.
    for _ in 0..ROUNDS {
        files.iter_mut().for_each(|file| file.look_up_from_disk(LOOKUPS_FROM_DISK));
    }
    files.into_iter().map(Subject::figures).collect()
}

/// A file, and what was measured of it.
struct Subject {
    runtime: Runtime,
    store: SqliteStore,
    path: PathBuf,
    keys: u64,
    fill_s: f64,
    /// How many keys were taken so far: each is taken once.
    taken: u64,
    lookups: Vec<f64>,
    lookups_from_disk: Vec<f64>,
    pages: Vec<f64>,
    deep_pages: Vec<f64>,
    revocations: Vec<f64>,
}

impl Subject {
    fn new(folder: &TempDir, keys: u64) -> Self {
        let path = folder.path().join(format!("{keys}.db"));
        let began = Instant::now();
        fill::fill(&path, keys);
        let fill_s = began.elapsed().as_secs_f64();
        // Into the system's memory.
        let mut file = File::open(&path).expect("it is there");
        io::copy(&mut file, &mut io::sink()).expect("it can be read");
        println!("filled a file with {keys} keys in {fill_s:.1} s");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            runtime: runtime.expect("a runtime"),
            store: SqliteStore::open(&path).expect("the store's own schema"),
            path,
            keys,
            fill_s,
            taken: 0,
            lookups: Vec::new(),
            lookups_from_disk: Vec::new(),
            pages: Vec::new(),
            deep_pages: Vec::new(),
            revocations: Vec::new(),
        }
    }

    /// The number of a key that was not taken before, from anywhere in the file.
    fn next(&mut self) -> u64 {
        // Coprime to every size, so that no number comes twice before all have come.
        const STRIDE: u128 = 6_364_136_223_846_793_007;
        self.taken += 1;
        assert!(self.taken <= self.keys, "a key for each operation");
        u64::try_from(u128::from(self.taken) * STRIDE % u128::from(self.keys)).expect("less")
    }

    fn look_up(&mut self, times: u64) {
        for _ in 0..times {
            let took = self.look_up_in(&self.store.clone());
            self.lookups.push(took);
        }
    }

    fn look_up_in(&mut self, store: &SqliteStore) -> f64 {
        let number = self.next();
        let digest = fill::digest(number);
        let (found, took) = timed(|| self.runtime.block_on(store.find(&digest)));
        let record = found.expect("the store answers").expect("the key is there");
        assert_eq!((record.digest, record.created_at), (digest, fill::created_at(number)));
        took
    }

    /// The first look-up after a start: neither SQLite nor the system holds a page of the file.
    fn look_up_from_disk(&mut self, times: u64) {
        let file = File::open(&self.path).expect("it is there");
        file.sync_all().expect("what is not on the disk can't be forgotten");
        for _ in 0..times {
            let store = SqliteStore::open(&self.path).expect("the store's own schema");
            if forget_pages(&file) {
                let took = self.look_up_in(&store);
                self.lookups_from_disk.push(took);
            }
        }
    }

    /// The newest keys, and those after some key anywhere.
    fn list(&mut self, times: u64) {
        for _ in 0..times {
            let number = self.next().max(u64::from(PAGE));
            let found = self.runtime.block_on(self.store.find(&fill::digest(number)));
            let after = KeyCursor::of(&found.expect("it answers").expect("the key is there"));
            for (after, newest) in [(None, self.keys - 1), (Some(after), number - 1)] {
                let deep = after.is_some();
                let query = KeyQuery {
                    kind: KeyKind::Payment,
                    in_force_at: None,
                    filter: Default::default(),
                    after,
                    limit: PAGE,
                };
                let (page, took) = timed(|| self.runtime.block_on(self.store.list(&query)));
                let page = page.expect("the store answers");
                assert_eq!(page.keys.len(), PAGE as usize);
                assert_eq!(page.keys[0].created_at, fill::created_at(newest));
                if deep { &mut self.deep_pages } else { &mut self.pages }.push(took);
            }
        }
    }

    fn revoke(&mut self, times: u64) {
        for _ in 0..times {
            let number = self.next();
            let digest = fill::digest(number);
            let found = self.runtime.block_on(self.store.find(&digest));
            let id = found.expect("the store answers").expect("the key is there").id;
            let (host, now) = (Actor::host(), fill::created_at(self.keys));
            let (revoked, took) =
                timed(|| self.runtime.block_on(self.store.revoke(&id, &host, now)));
            assert_eq!(revoked.expect("the store answers"), Some(digest));
            self.revocations.push(took);
        }
    }

    fn figures(mut self) -> Figures {
        let from_disk = &mut self.lookups_from_disk;
        Figures {
            keys: self.keys,
            fill_s: self.fill_s,
            file_mib: fs::metadata(&self.path).expect("it is there").len() >> 20,
            lookup_us: quantile(&mut self.lookups, 50),
            lookup_p99_us: quantile(&mut self.lookups, 99),
            lookup_from_disk_us: (!from_disk.is_empty()).then(|| quantile(from_disk, 50)),
            lookup_from_disk_p99_us: (!from_disk.is_empty()).then(|| quantile(from_disk, 99)),
            list_page_us: quantile(&mut self.pages, 50),
            list_deep_page_us: quantile(&mut self.deep_pages, 50),
            revoke_us: quantile(&mut self.revocations, 50),
        }
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let began = Instant::now();
    let result = work();
    (result, began.elapsed().as_secs_f64() * 1e6)
}

fn quantile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * percent / 100]
}

/// Has the system forget what it holds of this file in memory.
#[cfg(target_os = "linux")]
fn forget_pages(file: &File) -> bool {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn forget_pages(_file: &File) -> bool {
    false
}
