use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web::Path};

use super::{
    AuthMiddleware, Routes,
    body::{JsonBody, JsonBodyIfAny, reply},
    keys::Reading,
};
use crate::{
    Rejection, Validator,
    api::{Operator, PurchasesApi},
};

/// What was bought, under `/purchases`, for the holders of a master key that `validator` accepts. To be
/// merged into [`Routes`] that end with [`with_problem_fallbacks`](Routes::with_problem_fallbacks).
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
/// use key0_auth::{actix::purchases_routes, domain::{Role, Secret}, store::DeniedTokens};
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::new());
/// let master = Secret::new("MASTER_API_KEYS", "a key of 32 bytes or more for the operator")?;
/// let master = BootstrapKeys::new().key(Role::Master, master);
/// let keys = Arc::new(ApiKeys::new(store.clone()).bootstrap(master));
/// let validator = Validator::builder().api_keys(keys.clone()).build()?;
/// let purchases = PurchasesApi::new(store.clone(), keys, DeniedTokens::new(store));
/// let routes = purchases_routes(validator, purchases);
/// # let _ = routes;
/// # Ok(())
/// # }
/// ```
pub fn purchases_routes(validator: Validator, purchases: PurchasesApi) -> Routes {
    let auth = AuthMiddleware::new(validator)
        .policy(PurchasesApi::policy())
        .wording(PurchasesApi::wording);
    let list = {
        let purchases = purchases.clone();
        move |caller: Reading, request: HttpRequest| {
            let (purchases, query) = (purchases.clone(), request.query_string().to_owned());
            async move { purchases.list(&caller.into(), Some(&query)).await.map(reply) }
        }
    };
    let show = {
        let purchases = purchases.clone();
        move |caller: Reading, id: Path<String>| {
            let purchases = purchases.clone();
            async move { purchases.show(&caller.into(), &id).await.map(reply) }
        }
    };
    let retry = {
        let purchases = purchases.clone();
        move |Changing(caller), id: Path<String>| {
            let purchases = purchases.clone();
            async move { purchases.retry(&caller, &id).await.map(reply) }
        }
    };
    let settle = {
        let purchases = purchases.clone();
        move |Changing(caller), id: Path<String>, JsonBody(body)| {
            let purchases = purchases.clone();
            async move { purchases.settle(&caller, &id, &body).await.map(reply) }
        }
    };
    let revoke = move |Changing(caller), id: Path<String>, JsonBodyIfAny(body)| {
        let purchases = purchases.clone();
        async move { purchases.revoke(&caller, &id, &body).await.map(reply) }
    };
    Routes::new()
        .get("/purchases", list)
        .get("/purchases/{id}", show)
        .post("/purchases/{id}/retry", retry)
        .post("/purchases/{id}/settle", settle)
        .post("/purchases/{id}/revoke", revoke)
        .each(|route| route.wrap(auth.clone()))
}

/// The caller whom the middleware has let in, where it changes something.
struct Changing(Operator);

impl FromRequest for Changing {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let operator = Reading::from_request(request, payload).into_inner().map(Operator::from);
        ready(operator.and_then(|operator| {
            PurchasesApi::check_may_change(&operator)?;
            Ok(Self(operator))
        }))
    }
}
