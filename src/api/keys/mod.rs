mod edit;
mod find;
mod listing;
mod new_key;
mod operator;
mod rotate;
mod view;

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, SemaphorePermit};

use self::{
    listing::Listing,
    new_key::NewKey,
    view::{KeyView, Page, Shown},
};
use super::{
    body::{self, Members, Reply, invalid, outage},
    query::Query,
};
use crate::{
    ApiKeys, Policy, Rejection, RejectionKind,
    apikey::{KeyDigest, KeyRecord, PlainKey},
    domain::{Actor, Clock, KeyId, Role, SystemClock},
    error::{StoreError, StoreErrorKind},
    store::{KeyPage, KeyQuery, KeyRegistry, steady::SteadyClock},
};

pub(super) use new_key::check_text;
pub use operator::Operator;

/// How long a read may take: as long as one of a credential.
const READ_DEADLINE: Duration = Duration::from_millis(500);
/// How long a key is kept that is over.
pub(super) const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How many lines of a key's history are shown.
const MAX_HISTORY: u32 = 100;
/// How many listings are read at a time. One page can be megabytes, and must not keep credentials
/// waiting.
const LISTINGS_AT_ONCE: usize = 1;

/// `/keys`: operators onboard partners and cut them off. Cheap to clone.
///
/// Every change stands in the key's history, in the same transaction. From the return of
/// [`revoke`](Self::revoke) and [`rotate`](Self::rotate) on, no request that starts on this
/// instance succeeds with the old secret. The work goes on when the client hangs up. Whoever was
/// told of an outage (503) finds in the history what was done.
///
/// The adapters mount it behind [`policy`](Self::policy) and [`wording`](Self::wording).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, api::{KeysApi, Operator}};
///
/// let store = Arc::new(MemoryStore::new());
/// let keys = KeysApi::new(store.clone(), ApiKeys::new(store));
/// let made = keys.create(&Operator::host(), br#"{"label":"acme","role":"read"}"#).await?;
/// assert_eq!(made.status, 201);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct KeysApi(Arc<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    registry: Arc<dyn KeyRegistry>,
    keys: Arc<ApiKeys>,
    clock: Arc<dyn Clock>,
    steady: SteadyClock,
    listings: Arc<Semaphore>,
}

impl KeysApi {
    /// Manages the keys that `keys` accepts. `registry` must be the same store.
    pub fn new(registry: Arc<dyn KeyRegistry>, keys: impl Into<Arc<ApiKeys>>) -> Self {
        Self(Arc::new(Parts {
            registry,
            keys: keys.into(),
            steady: SteadyClock::new(Arc::new(SystemClock)),
            clock: Arc::new(SystemClock),
            listings: Arc::new(Semaphore::new(LISTINGS_AT_ONCE)),
        }))
    }

    /// Sets where the time comes from; the system's clock by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        let parts = Arc::make_mut(&mut self.0);
        parts.steady = SteadyClock::new(clock.clone());
        parts.clock = clock;
        self
    }

    /// What the caller of every one of these routes must be: the holder of a master key.
    pub fn policy() -> Policy {
        Policy::role(Role::Master)
    }

    /// What the caller of those that only read must be: the holder of a master key or of one for
    /// support.
    pub fn readers_policy() -> Policy {
        Self::policy().or(Policy::role(Role::Support))
    }

    /// The texts that this API has for refusals of the credential.
    pub fn wording(kind: RejectionKind) -> Option<&'static str> {
        use RejectionKind as Kind;
        match kind {
            Kind::MissingCredential => Some("Missing x-api-key header"),
            Kind::InvalidToken
            | Kind::TokenExpired
            | Kind::TokenRevoked
            | Kind::InvalidApiKey
            | Kind::KeyRevoked
            | Kind::KeyExpired
            | Kind::KeySuspended
            | Kind::KeyRotated => Some("Invalid API key"),
            Kind::InsufficientPermissions => Some(operator::MASTERS_ONLY),
            _ => None,
        }
    }

    /// `POST /keys`: makes a key and shows it, this once.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request.
    pub async fn create(&self, operator: &Operator, body: &[u8]) -> Result<Reply, Rejection> {
        operator.check_may_change()?;
        let parts = &self.0;
        let wanted = NewKey::read(Members::parse(body)?, operator, parts.clock.now())?;
        let plain = parts.generate()?;
        let digest = plain.digest();
        let record = parts.record(wanted, digest, plain.masked());
        let record = parts.add(record, operator.actor()).await?;
        Ok(Reply::json(201, &Shown::new(&record, Some(&plain))))
    }

    /// Takes over a key that was issued elsewhere. The body is that of [`create`](Self::create)
    /// with one member more: `key`, the plain text of a key in one of the known shapes, or
    /// `digest`, its SHA-256 in hexadecimal. The answer shows no key. A digest does not tell the
    /// shape: unless the [`KeyFormat`](crate::apikey::KeyFormat) allows foreign ones, the answer has
    /// a `warning` that a key of another shape will not open.
    ///
    /// # Errors
    ///
    /// The reason to refuse it; [`RequestConflict`](RejectionKind::RequestConflict) where the key
    /// is known already, or comes from the configuration.
    pub async fn import(&self, operator: &Operator, body: &[u8]) -> Result<Reply, Rejection> {
        let (record, by_digest) = self.0.imported(operator, body)?;
        let record = self.0.add(record, operator.actor()).await?;
        let format = self.0.keys.key_format();
        Ok(Reply::json(201, &Shown::imported(&record, by_digest, format)))
    }

    /// Takes over up to some hundred keys at once, as [`import`](Self::import) does one, and says what
    /// became of each. Where the store can share a commit among them, it does.
    pub async fn import_many<B: AsRef<[u8]>>(
        &self,
        operator: &Operator,
        bodies: &[B],
    ) -> Vec<Result<Reply, Rejection>> {
        let parts = &self.0;
        let read = bodies.iter().map(|body| parts.imported(operator, body.as_ref()));
        let read: Vec<Result<(KeyRecord, bool), Rejection>> = read.collect();
        let good = read.iter().filter_map(|read| read.as_ref().ok());
        let records: Vec<_> = good.map(|(record, _)| record.clone()).collect();
        let (shared, actor) = (parts.clone(), operator.actor().clone());
        let added = body::carry_out_in_time(async move {
            let added = shared.registry.insert_many(&records, &actor).await.map_err(outage)?;
            for record in &records {
                shared.keys.store().forget(&record.digest);
            }
            Ok(added)
        });
        let mut added = match added.await {
            Ok(added) => Ok(added.into_iter()),
            Err(refusal) => Err(Some(refusal)),
        };
        let format = parts.keys.key_format();
        let outcome = |read: Result<(KeyRecord, bool), Rejection>| {
            let (record, by_digest) = read?;
            match &mut added {
                Ok(added) => match added.next() {
                    Some(true) => {
                        Ok(Reply::json(201, &Shown::imported(&record, by_digest, format)))
                    }
                    _ => Err(known()),
                },
                // The first of them has the cause.
                Err(refusal) => {
                    Err(refusal.take().unwrap_or_else(|| RejectionKind::StoreUnavailable.into()))
                }
            }
        };
        read.into_iter().map(outcome).collect()
    }

    /// The digest of the key that [`import`](Self::import) would take over, and its `warning`. Nothing
    /// is written.
    ///
    /// # Errors
    ///
    /// As [`import`](Self::import).
    pub async fn check_import(
        &self,
        operator: &Operator,
        body: &[u8],
    ) -> Result<(KeyDigest, Option<&'static str>), Rejection> {
        let (record, by_digest) = self.0.imported(operator, body)?;
        let digest = record.digest;
        let found = async { self.0.registry.find(&digest).await.map_err(outage) };
        match body::within(READ_DEADLINE, found).await? {
            Some(_) => Err(known()),
            None => Ok((digest, view::warning(by_digest, self.0.keys.key_format()))),
        }
    }

    /// `GET /keys`: a page of keys, newest first. `query` is the query of the URL, as it was sent.
    ///
    /// The listing is over where a page has no `nextCursor`. Before that a page can be short, even
    /// empty: the store bounds how many keys that are over it passes by for one page.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request.
    pub async fn list(&self, _: &Operator, query: Option<&str>) -> Result<Reply, Rejection> {
        let listing = Listing::parse(query)?;
        let parts = &self.0;
        let query = listing.query(parts.clock.now());
        // Held until the answer is written down.
        let (_permit, page) = body::within(READ_DEADLINE, parts.page(&query)).await?;
        let cursor = page.next.as_ref().map(|place| listing.cursor(place));
        Ok(Reply::json(200, &Page::new(&page, cursor)))
    }

    /// `GET /keys/{id}`: one key, in whatever state, with its history.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request.
    pub async fn show(&self, _: &Operator, id: &str) -> Result<Reply, Rejection> {
        let id = key_id(id)?;
        let registry = &self.0.registry;
        let found = async {
            let record = registry.get(&id).await.map_err(outage)?.ok_or_else(not_found)?;
            let history = registry.history(&id, MAX_HISTORY).await.map_err(outage)?;
            Ok((record, history))
        };
        let (record, history) = body::within(READ_DEADLINE, found).await?;
        Ok(Reply::json(200, &KeyView::with_history(&record, &history)))
    }

    /// `DELETE /keys/{id}`: revokes the key, with all of its secrets. No request on this instance that
    /// starts after the return succeeds with one. `query` is that of the URL: `reason` in it is kept.
    ///
    /// # Errors
    ///
    /// The reason to refuse the request; [`RequestConflict`](RejectionKind::RequestConflict) where
    /// the same key comes from the configuration as well, which still lets it in.
    pub async fn revoke(
        &self,
        operator: &Operator,
        id: &str,
        query: Option<&str>,
    ) -> Result<Reply, Rejection> {
        operator.check_may_change()?;
        let reason = Query::new(query).get("reason")?;
        reason.iter().try_for_each(|reason| new_key::check_text("reason", reason))?;
        let id = key_id(id)?;
        let (parts, actor) = (self.0.clone(), operator.actor().clone());
        body::carry_out(async move {
            let now = parts.clock.now();
            let revoked = parts.registry.revoke_because(&id, reason.as_deref(), &actor, now).await;
            let revoked = revoked.map_err(outage)?;
            let digest = revoked.ok_or_else(not_found)?;
            parts.keys.store().forget(&digest);
            parts.check_no_bootstrap(&digest)?;
            Ok(Reply::empty())
        })
        .await
    }

    /// Removes keys that were expired or revoked 30 days ago, up to `limit`, and says how many. To
    /// be called every now and then. Until then their holders are told why they are refused. None
    /// while the clock is in doubt: it was first seen, or set by more than two minutes, within the last
    /// hour.
    ///
    /// # Errors
    ///
    /// Fails when the store can't.
    pub async fn purge(&self, limit: u32) -> Result<u32, StoreError> {
        // A clock that was set must not take what is needed when it is right again.
        let Some(now) = self.0.steady.believed() else { return Ok(0) };
        self.0.registry.purge_keys(now.minus(RETENTION), limit).await
    }

    /// The refusal of a path without an id.
    pub fn missing_id() -> Rejection {
        invalid("Missing key id")
    }
}

impl Parts {
    /// The record of a key that was issued elsewhere, and whether its digest alone is known.
    fn imported(&self, operator: &Operator, body: &[u8]) -> Result<(KeyRecord, bool), Rejection> {
        operator.check_may_change()?;
        let mut members = Members::parse(body)?;
        let (digest, display) = new_key::imported(&mut members, self.keys.key_format())?;
        let by_digest = display == "…";
        self.check_no_bootstrap(&digest)?;
        let wanted = NewKey::read(members, operator, self.clock.now())?;
        Ok((self.record(wanted, digest, display), by_digest))
    }

    /// A page, and the permit without which no other is read meanwhile.
    async fn page(&self, query: &KeyQuery) -> Result<(SemaphorePermit<'_>, KeyPage), Rejection> {
        let permit = self.listings.acquire().await;
        let permit = permit.map_err(|error| outage(StoreError::unavailable(error)))?;
        Ok((permit, self.registry.list(query).await.map_err(outage)?))
    }

    fn record(&self, wanted: NewKey, digest: KeyDigest, display: String) -> KeyRecord {
        let mut record = wanted.record(KeyId::generate(), digest, self.clock.now());
        record.display = display;
        record
    }

    async fn add(
        self: &Arc<Self>,
        record: KeyRecord,
        actor: &Actor,
    ) -> Result<KeyRecord, Rejection> {
        let (parts, actor) = (self.clone(), actor.clone());
        body::carry_out_in_time(async move {
            parts.registry.insert(&record, &actor).await.map_err(known_or_outage)?;
            parts.keys.store().forget(&record.digest);
            Ok(record)
        })
        .await
    }

    /// A key that comes from the configuration as well is let in whatever the store says.
    fn check_no_bootstrap(&self, digest: &KeyDigest) -> Result<(), Rejection> {
        if self.keys.is_bootstrap(digest) {
            return Err(Rejection::new(RejectionKind::RequestConflict)
                .detail("This key comes from the configuration, and must be removed there"));
        }
        Ok(())
    }

    fn generate(&self) -> Result<PlainKey, Rejection> {
        let generated = self.keys.key_format().generate();
        generated.map_err(|error| Rejection::new(RejectionKind::Internal).cause(error))
    }
}

/// What can't be an id is the id of no key.
fn key_id(text: &str) -> Result<KeyId, Rejection> {
    KeyId::new(text).map_err(|_| not_found())
}

fn known_or_outage(error: StoreError) -> Rejection {
    match error.kind() {
        StoreErrorKind::Conflict => known(),
        _ => outage(error),
    }
}

fn known() -> Rejection {
    Rejection::new(RejectionKind::RequestConflict).detail("This key is known already")
}

fn not_found() -> Rejection {
    Rejection::new(RejectionKind::NotFound).detail("API key not found")
}
