//! What the backends of these tests are made of, whatever framework serves it, and what is known of
//! them.

use std::sync::Arc;

use async_trait::async_trait;
use key0_auth::{
    AccessTokens, ApiKeys, Identity, InternalAuth, KeyStore, MemoryStore, Validator,
    api::{CredentialApi, IssueToken, KeysApi, PaymentReceived},
    apikey::{BootstrapKeys, IssuanceSecrets, KeyDigest, KeyFormat, KeyRecord},
    auth::Gateway,
    domain::{Actor, KeyId, Role, Secret, SecretSet, SystemClock, Timestamp},
    error::StoreError,
    store::DeniedTokens,
    token::VerifyingKey,
};
use serde_json::{Value, json};

use crate::cases::{Known, Values};

pub(crate) const MASTER_KEY: &str = "a-master-key-of-the-configuration-1";
const AUDIENCE: &str = "backend-service";

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) validator: Validator,
    pub(crate) internal: Arc<InternalAuth>,
    pub(crate) issue_token: IssueToken,
    pub(crate) payment_received: PaymentReceived,
    pub(crate) keys: KeysApi,
    pub(crate) credential: CredentialApi,
    pub(crate) known: Known,
}

impl Parts {
    pub(crate) fn new() -> Self {
        Self::of(known())
    }

    /// With these secrets.
    pub(crate) fn of(known: Known) -> Self {
        let secret = |known: &Option<Secret>| known.clone().unwrap();
        let tokens = Arc::new(
            AccessTokens::builder()
                .key(VerifyingKey::hs256(&secret(&known.tokens)))
                .key(VerifyingKey::hs256(&secret(&known.previous_tokens)))
                .build()
                .unwrap(),
        );
        let store = Arc::new(MemoryStore::new());
        let unreachable = known.unreachable.as_deref().map(KeyDigest::of).unwrap();
        let keys = ApiKeys::new(Arc::new(OneUnreachable { store: store.clone(), unreachable }));
        let bootstrap = BootstrapKeys::new().key(Role::Master, secret(&known.master));
        let keys = Arc::new(keys.bootstrap(bootstrap));
        let denied = DeniedTokens::new(store.clone());
        let gateway = Gateway::builder(SecretSet::new(secret(&known.gateway)))
            .route("photo", "GET /api/photos/{id}");
        let validator = Validator::builder()
            .gateway(gateway.build().unwrap())
            .access_tokens(tokens.clone())
            .denied_tokens(denied.clone())
            .api_keys(keys.clone())
            .build()
            .unwrap();
        let internal_secrets =
            SecretSet::new(secret(&known.internal)).previous(secret(&known.previous_internal));
        let issuance = IssuanceSecrets::new(&internal_secrets);
        let internal = InternalAuth::builder()
            .shared_secret(internal_secrets)
            .signed_jwt(tokens, AUDIENCE)
            .build()
            .unwrap();
        let clock = Arc::new(SystemClock);
        Self {
            credential: CredentialApi::new(validator.clone(), store.clone(), denied),
            validator,
            internal: Arc::new(internal),
            issue_token: IssueToken::new(store.clone(), ApiKeys::new(store.clone()), issuance),
            payment_received: PaymentReceived::new(store.clone(), clock),
            keys: KeysApi::new(store, keys),
            known,
        }
    }

    pub(crate) fn values(&self) -> Values {
        Values::new(self.known.clone()).unwrap()
    }
}

fn known() -> Known {
    let secret = |text: &str| Some(Secret::new("a secret of these tests", text).unwrap());
    Known {
        tokens: secret("the-secret-of-access-tokens-of-these-tests"),
        previous_tokens: secret("the-secret-of-access-tokens-before-that-one"),
        internal: secret("the-secret-of-internal-calls-of-these-tests"),
        previous_internal: secret("the-secret-of-internal-calls-before-that-one"),
        master: secret(MASTER_KEY),
        gateway: secret("the-secret-of-key0-s-gateway-in-these-tests"),
        audience: AUDIENCE.to_owned(),
        unreachable: Some(KeyFormat::default().generate().unwrap().expose().to_owned()),
        ..Known::default()
    }
}

/// A store that can't look up one of its keys.
#[derive(Debug)]
struct OneUnreachable {
    store: Arc<MemoryStore>,
    unreachable: KeyDigest,
}

#[async_trait]
impl KeyStore for OneUnreachable {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        if *digest == self.unreachable {
            return Err(StoreError::unavailable("the cable is cut"));
        }
        self.store.find(digest).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.store.get(id).await
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        self.store.insert(record, by).await
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        self.store.revoke(id, by, at).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }
}

pub(crate) fn health() -> Value {
    json!({"status": "ok", "service": "backend"})
}

pub(crate) fn passport() -> Value {
    json!({"status": "draft"})
}

pub(crate) fn photo(id: &str, identity: &Identity) -> Value {
    let plan = identity.plan_id();
    json!({
        "id": id,
        "tierId": plan,
        "planId": plan,
        "url": format!("https://cdn.example.com/photos/{id}.jpg"),
        "title": format!("Photo {id}"),
        "resolution": "4K",
    })
}

pub(crate) fn data(id: &str, identity: &Identity) -> Value {
    let plan = identity.plan_id();
    json!({
        "id": id,
        "data": "premium content",
        "tierId": plan,
        "planId": plan,
        "resourceId": identity.resource_id(),
    })
}
