use axum::{
    Router,
    extract::{FromRequestParts, RawQuery, Request},
    routing::{get, post},
};
use http::request::Parts;

use super::{
    body::{answer, read, read_if_any},
    keys::{KeyPath, Reading, text},
};
use crate::{
    AuthLayer, Rejection, Validator,
    api::{Operator, PurchasesApi},
};

/// What was bought, under `/purchases`, for the holders of a master key that `validator` accepts. To be
/// merged into a router that ends with [`with_problem_fallbacks`](super::with_problem_fallbacks).
///
/// | method, path | |
/// |---|---|
/// | `GET /purchases` | a page of purchases, newest first |
/// | `GET /purchases/{challengeId}` | one purchase |
/// | `POST /purchases/{challengeId}/retry` | runs the handler of its payment that waits now |
/// | `POST /purchases/{challengeId}/settle` | gives that up, for a reason |
/// | `POST /purchases/{challengeId}/revoke` | kills its key and its access tokens, and ends its issuance |
///
/// Those that read are open to a key for support, too.
///
/// ```
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, Validator, api::PurchasesApi, apikey::BootstrapKeys};
/// use key0_auth::{axum::purchases_routes, domain::{Role, Secret}, store::DeniedTokens};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new());
/// let master = Secret::new("MASTER_API_KEYS", "a key of 32 bytes or more for the operator")?;
/// let master = BootstrapKeys::new().key(Role::Master, master);
/// let keys = Arc::new(ApiKeys::new(store.clone()).bootstrap(master));
/// let validator = Validator::builder().api_keys(keys.clone()).build()?;
/// let purchases = PurchasesApi::new(store.clone(), keys, DeniedTokens::new(store));
/// let router: axum::Router = purchases_routes(validator, purchases);
/// # let _ = router;
/// # Ok(())
/// # }
/// ```
pub fn purchases_routes<S>(validator: Validator, purchases: PurchasesApi) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let auth =
        AuthLayer::new(validator).policy(PurchasesApi::policy()).wording(PurchasesApi::wording);
    let list = {
        let purchases = purchases.clone();
        async move |caller: Reading, RawQuery(query): RawQuery| {
            purchases.list(&caller.into(), query.as_deref()).await.map(answer)
        }
    };
    let show = {
        let purchases = purchases.clone();
        async move |caller: Reading, id: KeyPath| {
            purchases.show(&caller.into(), &text(id)?).await.map(answer)
        }
    };
    let retry = {
        let purchases = purchases.clone();
        async move |caller: Changing, id: KeyPath| {
            purchases.retry(&caller.0, &text(id)?).await.map(answer)
        }
    };
    let settle = {
        let purchases = purchases.clone();
        async move |caller: Changing, id: KeyPath, request: Request| {
            let body = read(request).await?;
            purchases.settle(&caller.0, &text(id)?, &body).await.map(answer)
        }
    };
    let revoke = async move |caller: Changing, id: KeyPath, request: Request| {
        let body = read_if_any(request).await?;
        purchases.revoke(&caller.0, &text(id)?, &body).await.map(answer)
    };
    Router::new()
        .route("/purchases", get(list))
        .route("/purchases/{id}", get(show))
        .route("/purchases/{id}/retry", post(retry))
        .route("/purchases/{id}/settle", post(settle))
        .route("/purchases/{id}/revoke", post(revoke))
        .route_layer(auth)
}

/// The caller whom the layer has let in, where it changes something.
struct Changing(Operator);

impl<S: Send + Sync> FromRequestParts<S> for Changing {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let operator = Reading::from_request_parts(parts, state).await?.into();
        PurchasesApi::check_may_change(&operator)?;
        Ok(Self(operator))
    }
}
