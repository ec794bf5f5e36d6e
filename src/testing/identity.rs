use std::sync::Arc;

use crate::{
    ApiKeys, Identity, KeyStore, MemoryStore, Validator,
    apikey::{BootstrapKeys, Grant, KeyFormat, KeyRecord},
    domain::{Actor, Clock, KeyId, Permissions, PlanId, ResourceId, Role, Secret, SystemClock},
};

/// The bootstrap key of these identities.
const BOOTSTRAP: &str = "a-bootstrap-key-of-key0_auth::testing-for-nothing-but-tests";

/// The identity of who holds an API key that was bought for this resource and plan.
///
/// Like every identity here it comes out of a [`Validator`], which was shown a real key. For that
/// of an agent with an access token see [`TestToken::validate`](super::TestToken::validate).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use key0_auth::{Policy, domain::{Action, Role}, testing};
///
/// let buyer = testing::buyer("photo-1", "basic").await;
/// assert!(Policy::resource("photo-1").check(&buyer).is_ok());
/// assert!(Policy::resource("photo-2").check(&buyer).is_err());
///
/// let partner = testing::partner(Role::Read, None).await;
/// assert!(partner.allows("orders", Action::Read) && !partner.opens("photo-1"));
///
/// let operator = testing::operator(Role::Master).await;
/// assert_eq!(operator.role(), Some(Role::Master));
/// # }
/// ```
pub async fn buyer(resource: &str, plan: &str) -> Identity {
    let (Ok(resource_id), Ok(plan_id)) = (ResourceId::new(resource), PlanId::new(plan)) else {
        panic!("{resource:?} or {plan:?} is no id");
    };
    of_key(Grant::Payment { resource_id, plan_id, permissions: None }).await
}

/// The identity of a partner. Permissions, where there are some, stand in place of
/// what the role implies.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use key0_auth::{domain::{Action, Permissions, Role}, testing};
///
/// let orders = Permissions::none().grant("orders", Action::Update);
/// let partner = testing::partner(Role::Read, orders).await;
/// assert!(partner.allows("orders", Action::Update) && !partner.allows("photos", Action::Read));
/// # }
/// ```
pub async fn partner(role: Role, permissions: impl Into<Option<Permissions>>) -> Identity {
    of_key(Grant::Integrator { role, permissions: permissions.into() }).await
}

/// The identity of who holds a key from the configuration.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use key0_auth::{Policy, domain::Role, testing};
///
/// let support = testing::operator(Role::Support).await;
/// assert!(Policy::role(Role::Master).check(&support).is_err());
/// # }
/// ```
pub async fn operator(role: Role) -> Identity {
    let secret = match Secret::new("a bootstrap key of the tests", BOOTSTRAP) {
        Ok(secret) => secret,
        Err(fault) => panic!("{fault}"),
    };
    let keys = ApiKeys::new(Arc::new(MemoryStore::new()))
        .bootstrap(BootstrapKeys::new().key(role, secret));
    validate(keys, BOOTSTRAP).await
}

async fn of_key(grant: Grant) -> Identity {
    let key = match KeyFormat::default().generate() {
        Ok(key) => key,
        Err(error) => panic!("{error}"),
    };
    let store = MemoryStore::new();
    let record = KeyRecord::new(KeyId::generate(), &key, grant, SystemClock.now());
    if let Err(error) = store.insert(&record, &Actor::host()).await {
        panic!("{error}");
    }
    validate(ApiKeys::new(Arc::new(store)), key.expose()).await
}

async fn validate(keys: ApiKeys, key: &str) -> Identity {
    let validator = match Validator::builder().api_keys(keys).build() {
        Ok(validator) => validator,
        Err(error) => panic!("{error}"),
    };
    match validator.validate([], [key.as_bytes()]).await {
        Ok(identity) => identity,
        Err(rejection) => panic!("{rejection}"),
    }
}
