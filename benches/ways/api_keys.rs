use std::{hint::black_box, rc::Rc, sync::Arc, time::Duration};

use key0_auth::{
    ApiKeys, Cached, Identity, KeyStore, MemoryStore, Rejection, Validator, apikey::KeyDigest,
    domain::Actor,
};
use tokio::runtime::{Builder, Runtime};

use super::Way;
use crate::support::{access_tokens, at_once, cached, new_key, now};

pub(super) fn ways(size: usize) -> Vec<Way> {
    let (known, forgetful) = (Rc::new(Shop::new(size)), Rc::new(Shop::new(size)));
    let keys = known.good.clone();
    let store = Arc::clone(&known.store);
    let digests = keys.iter().map(|key| KeyDigest::of(key)).collect();
    vec![
        Way::new("SHA-256", keys.clone(), |key| {
            black_box(KeyDigest::of(key));
            true
        }),
        accepted_cached(&known).at_most(10.0, "SHA-256").without_memory(),
        accepted_uncached(&forgetful).beside("SHA-256"),
        Way::new("the store's own part of it", digests, move |digest| {
            black_box(at_once(store.find(digest))).is_ok_and(|found| found.is_some())
        })
        .beside("SHA-256"),
    ]
}

pub(super) fn accepted_cached(shop: &Rc<Shop>) -> Way {
    let (keys, shop) = (shop.bearers(&shop.good), Rc::clone(shop));
    Way::new("accepted, cached", keys, move |bearer| {
        black_box(shop.validate_cached(bearer)).is_ok()
    })
}

pub(super) fn accepted_uncached(shop: &Rc<Shop>) -> Way {
    let (keys, shop) = (shop.with_digests(&shop.good), Rc::clone(shop));
    Way::new("accepted, uncached", keys, move |(bearer, digest)| {
        black_box(shop.validate_uncached(bearer, digest)).is_ok()
    })
}

/// How many keys of each fate there are: so few that the cache has room for all.
const KEYS: usize = 1_000;

/// A validator of access tokens and API keys, and keys of every fate.
///
/// Where some are asked for as if the cache did not know them, it comes to hold what it no longer
/// looks at, in the place of others: such a shop is good for that alone.
pub(super) struct Shop {
    pub(super) validator: Validator,
    pub(super) good: Vec<String>,
    pub(super) revoked: Vec<String>,
    pub(super) expired: Vec<String>,
    pub(super) unknown: Vec<String>,
    store: Arc<MemoryStore>,
    cached: Arc<Cached>,
    runtime: Runtime,
}

impl Shop {
    /// At most so many keys of every fate; the cache knows them all.
    pub(super) fn new(size: usize) -> Self {
        let store = Arc::new(MemoryStore::new());
        let cached = cached(Arc::clone(&store));
        let validator = Validator::builder()
            .access_tokens(access_tokens(0))
            .api_keys(ApiKeys::cached(Arc::clone(&cached)))
            .build()
            .expect("there is what it needs");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut shop = Self {
            validator,
            store,
            cached,
            runtime,
            good: Vec::new(),
            revoked: Vec::new(),
            expired: Vec::new(),
            unknown: Vec::new(),
        };
        for _ in 0..size.min(KEYS) {
            shop.add_one_of_each();
        }
        for key in [&shop.good, &shop.revoked, &shop.expired, &shop.unknown].into_iter().flatten() {
            let bearer = format!("Bearer {key}");
            let _ = shop.runtime.block_on(shop.validator.validate([bearer.as_bytes()], []));
        }
        shop
    }

    fn add_one_of_each(&mut self) {
        let insert = |record| at_once(self.store.insert(&record, &Actor::host())).expect("new");
        let (good, record) = new_key();
        insert(record);
        let (revoked, mut record) = new_key();
        record.revoked_at = Some(now());
        insert(record);
        let (expired, mut record) = new_key();
        record.expires_at = Some(now().minus(Duration::from_secs(60)));
        insert(record);
        let (unknown, _) = new_key();
        self.good.push(good.expose().to_owned());
        self.revoked.push(revoked.expose().to_owned());
        self.expired.push(expired.expose().to_owned());
        self.unknown.push(unknown.expose().to_owned());
    }

    pub(super) fn bearers(&self, keys: &[String]) -> Vec<String> {
        keys.iter().map(|key| format!("Bearer {key}")).collect()
    }

    pub(super) fn with_digests(&self, keys: &[String]) -> Vec<(String, KeyDigest)> {
        keys.iter().map(|key| (format!("Bearer {key}"), KeyDigest::of(key))).collect()
    }

    pub(super) fn validate_cached(&self, authorization: &str) -> Result<Identity, Rejection> {
        at_once(self.validator.validate([authorization.as_bytes()], []))
    }

    /// As if the cache had never heard of the key with this digest.
    pub(super) fn validate_uncached(
        &self,
        authorization: &str,
        digest: &KeyDigest,
    ) -> Result<Identity, Rejection> {
        self.cached.forget(digest);
        self.runtime.block_on(self.validator.validate([authorization.as_bytes()], []))
    }
}
