//! What the backends of these tests are made of, whatever framework serves it, and the values that
//! open them.

use std::{sync::Arc, time::Duration};

use key0_auth::{
    AccessTokens, ApiKeys, Identity, InternalAuth, MemoryStore, Validator,
    api::{IssueToken, KeysApi, PaymentReceived},
    apikey::{BootstrapKeys, Grant, IssuanceSecrets},
    domain::{Clock, PlanId, ResourceId, Role, Secret, SecretSet, Timestamp},
    token::{Algorithm, TokenIssuer, VerifyingKey},
};
use serde_json::{Value, json};

use crate::case_table::{
    cases::{Placeholders, wire},
    key_store::TestStore,
};

pub(crate) const MASTER_KEY: &str = "a-master-key-of-the-configuration-1";
const PREVIOUS_INTERNAL_SECRET: &str = "previous-internal-secret-of-32-bytes";
const AUDIENCE: &str = "backend-service";

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) validator: Validator,
    pub(crate) internal: Arc<InternalAuth>,
    pub(crate) issue_token: IssueToken,
    pub(crate) payment_received: PaymentReceived,
    pub(crate) keys: KeysApi,
    pub(crate) values: Placeholders,
}

/// A while after the recording.
#[derive(Debug)]
struct TestClock;

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_795_310_000)
    }
}

impl Parts {
    pub(crate) fn new() -> Self {
        let wire = wire();
        let secret = |name: &str| Secret::new(name, wire[name].as_str().unwrap()).unwrap();
        let current = secret("accessTokenSecret");
        let pem = wire["rs256PublicKeyPem"].as_str().unwrap();
        let tokens = Arc::new(
            AccessTokens::builder()
                .key(VerifyingKey::hs256(&current))
                .key(VerifyingKey::hs256(&secret("previousAccessTokenSecret")))
                .key(VerifyingKey::from_pem("rs256", Algorithm::Rs256, pem).unwrap())
                .build()
                .unwrap(),
        );
        let store = Arc::new(TestStore::new());
        let values = placeholders(&store, &TokenIssuer::hs256(&current));

        let master = Secret::new("master", MASTER_KEY).unwrap();
        let keys = ApiKeys::new(store).bootstrap(BootstrapKeys::new().key(Role::Master, master));
        let keys = Arc::new(keys);
        let clock = Arc::new(TestClock);
        let validator = Validator::builder()
            .access_tokens(tokens.clone())
            .api_keys(keys.clone())
            .clock(clock.clone())
            .build()
            .unwrap();
        let previous = Secret::new("previous", PREVIOUS_INTERNAL_SECRET).unwrap();
        let internal = InternalAuth::builder()
            .shared_secret(SecretSet::new(secret("internalAuthSecret")).previous(previous))
            .signed_jwt(tokens, AUDIENCE)
            .clock(clock.clone())
            .build()
            .unwrap();
        // A store of its own: the one that is looked into can have no payments.
        let payments = Arc::new(MemoryStore::new());
        let issued = ApiKeys::new(payments.clone());
        let issuance = IssuanceSecrets::new(&SecretSet::new(secret("internalAuthSecret")));
        Self {
            validator,
            internal: Arc::new(internal),
            issue_token: IssueToken::new(payments.clone(), issued, issuance).clock(clock.clone()),
            payment_received: PaymentReceived::new(payments, clock.clone()),
            keys: KeysApi::new(Arc::new(MemoryStore::new()), keys).clock(clock),
            values,
        }
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

fn placeholders(store: &TestStore, issuer: &TokenIssuer) -> Placeholders {
    let now = TestClock.now();
    let bought = |resource: &str| Grant::Payment {
        resource_id: ResourceId::new(resource).unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
        permissions: None,
    };
    let staff = |role| Grant::Integrator { role, permissions: None };
    let key = |grant| store.add(grant, |_| ()).expose().to_owned();
    let revoked = store.add(bought("photo-1"), |record| record.revoked_at = Some(now));
    let expired = store.add(bought("photo-1"), |record| record.expires_at = Some(now));
    let system = |audience| issuer.system_token(audience, now, Duration::from_secs(60)).unwrap();
    Placeholders(vec![
        ("paymentKey", key(bought("photo-1"))),
        ("paymentKeyForAll", key(bought("default"))),
        ("minterKey", key(staff(Role::Minter))),
        ("readKey", key(staff(Role::Read))),
        ("masterKey", MASTER_KEY.to_owned()),
        ("revokedKey", revoked.expose().to_owned()),
        ("expiredKey", expired.expose().to_owned()),
        ("unreachableKey", store.add_unreachable().expose().to_owned()),
        ("system60s", system(AUDIENCE)),
        ("systemForAnother", system("another-service")),
        ("previousInternalSecret", PREVIOUS_INTERNAL_SECRET.to_owned()),
    ])
}
