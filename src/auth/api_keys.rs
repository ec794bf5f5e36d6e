use std::sync::Arc;

use super::{caller::refuse_held, identity::Identity};
use crate::{
    Cached, KeyStore, Rejection, RejectionKind,
    apikey::{BootstrapHolder, BootstrapKeys, KeyDigest, KeyFormat, KeyRecord, KeyState},
    domain::{Credential, SystemClock, Timestamp},
    store::KeyUsage,
};

/// The API keys that are accepted: where they are kept, how they look, and the ones that come
/// from the configuration.
///
/// ```
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, apikey::KeyFormat};
///
/// let keys = ApiKeys::new(Arc::new(MemoryStore::new())).format(KeyFormat::new("shop")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ApiKeys {
    store: Arc<Cached>,
    usage: Option<KeyUsage>,
    format: KeyFormat,
    bootstrap: BootstrapKeys,
}

impl ApiKeys {
    /// Keys of this store, behind a cache with its defaults.
    pub fn new(store: Arc<dyn KeyStore>) -> Self {
        Self::cached(Arc::new(Cached::new(store, Arc::new(SystemClock))))
    }

    /// Keys behind a cache of your own making.
    pub fn cached(store: Arc<Cached>) -> Self {
        Self { store, usage: None, format: KeyFormat::default(), bootstrap: BootstrapKeys::new() }
    }

    /// Sets the shape of issued keys; `ak_…` by default.
    #[must_use]
    pub fn format(mut self, format: KeyFormat) -> Self {
        self.format = format;
        self
    }

    /// Sets the keys that come from the configuration; none by default.
    #[must_use]
    pub fn bootstrap(mut self, keys: BootstrapKeys) -> Self {
        self.bootstrap = keys;
        self
    }

    /// Has it noted when keys are used; it is not by default.
    #[must_use]
    pub fn usage(mut self, usage: KeyUsage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// The store behind its cache. Whoever changes keys must do it through this one, so that the
    /// cache knows at once.
    pub fn store(&self) -> &Arc<Cached> {
        &self.store
    }

    /// The shape of issued keys.
    pub fn key_format(&self) -> &KeyFormat {
        &self.format
    }

    /// Whether the key with this digest comes from the configuration as well, where no store can
    /// revoke it.
    pub(crate) fn is_bootstrap(&self, digest: &KeyDigest) -> bool {
        self.bootstrap.contains(digest)
    }

    pub(super) fn find_bootstrap(&self, key: Credential<'_>) -> Option<&Arc<BootstrapHolder>> {
        self.bootstrap.find(key.expose())
    }

    /// The digest to look up. A mistyped key is refused here, without any lookup.
    pub(super) fn digest(&self, key: Credential<'_>) -> Result<KeyDigest, Rejection> {
        if self.format.is_well_formed(key.expose()) || self.format.can_be_foreign(key.expose()) {
            Ok(KeyDigest::of(key.expose()))
        } else {
            Err(RejectionKind::InvalidApiKey.into())
        }
    }

    /// What is said of this key without waiting: something where the store's answer is remembered.
    pub(super) fn recall(
        &self,
        digest: &KeyDigest,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<Result<Identity, Rejection>> {
        let found = self.store.recall(digest)?;
        Some(self.state_of(digest, found, now()))
    }

    pub(super) async fn look_up(
        &self,
        digest: &KeyDigest,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Identity, Rejection> {
        let found = self.store.find_shared(digest).await;
        let found =
            found.map_err(|error| Rejection::new(RejectionKind::StoreUnavailable).cause(error))?;
        self.state_of(digest, found, now())
    }

    /// Validates what the store has found at a time that is read after it was found.
    fn state_of(
        &self,
        digest: &KeyDigest,
        found: Option<Arc<KeyRecord>>,
        now: Timestamp,
    ) -> Result<Identity, Rejection> {
        let record = found.ok_or(RejectionKind::InvalidApiKey)?;
        // The store compares as it likes; the last word is a comparison in constant time.
        let refused = match record.state_of(digest, now).ok_or(RejectionKind::InvalidApiKey)? {
            KeyState::InForce => {
                if let Some(usage) = &self.usage {
                    usage.note(&record, now);
                }
                return Ok(Identity::from_record(record, digest));
            }
            KeyState::Revoked => RejectionKind::KeyRevoked,
            KeyState::Rotated => RejectionKind::KeyRotated,
            KeyState::Expired => RejectionKind::KeyExpired,
            KeyState::Suspended => RejectionKind::KeySuspended,
        };
        Err(refuse_held(refused, Identity::from_record(record, digest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        MemoryStore, Validator,
        apikey::Grant,
        auth::{Fallback, FallbackError, FallbackGrant, IdentityKind},
        domain::{Actor, KeyId, Role},
    };

    const THEIRS: &str = "sk_live_51H8xyz_QmFzZTY0";

    /// Knows whatever it is asked for.
    #[derive(Debug)]
    struct KnowsAll;

    #[async_trait::async_trait]
    impl Fallback for KnowsAll {
        async fn validate(
            &self,
            _: Credential<'_>,
        ) -> Result<Option<FallbackGrant>, FallbackError> {
            Ok(Some(FallbackGrant::new("somebody")))
        }
    }

    async fn kind(format: KeyFormat, bearer: &str) -> Result<IdentityKind, RejectionKind> {
        let store = Arc::new(MemoryStore::new());
        let grant = Grant::Integrator { role: Role::Read, permissions: None };
        let now = Timestamp::from_seconds(0);
        let record = KeyRecord::of_digest(KeyId::generate(), KeyDigest::of(THEIRS), grant, now);
        store.insert(&record, &Actor::host()).await.expect("it is new");
        let validator = Validator::builder()
            .api_keys(ApiKeys::new(store).format(format))
            .fallback(KnowsAll)
            .build()
            .expect("it is complete");
        let header = format!("Bearer {bearer}");
        let ask = async || {
            let validated = validator.validate([header.as_bytes()], []).await;
            validated.map(|identity| identity.kind()).map_err(|rejection| rejection.kind())
        };
        // At first by a lookup, then from what is remembered.
        let (first, again) = (ask().await, ask().await);
        assert_eq!(first, again);
        first
    }

    #[tokio::test]
    async fn an_imported_key_of_foreign_shape_opens_where_that_is_allowed() {
        let open = KeyFormat::default().allow_foreign();
        assert_eq!(kind(open.clone(), THEIRS).await, Ok(IdentityKind::IntegratorKey));
        // What nobody imported may be the application's own.
        let unknown = "sk_live_51H8xyz_bm9ib2R5";
        assert_eq!(kind(open.clone(), unknown).await, Ok(IdentityKind::Fallback));
        assert_eq!(kind(open, "short").await, Ok(IdentityKind::Fallback));
        assert_eq!(kind(KeyFormat::default(), THEIRS).await, Ok(IdentityKind::Fallback));
    }
}
