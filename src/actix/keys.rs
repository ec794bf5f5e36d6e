use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, dev::Payload, web::Path};

use super::{
    AuthMiddleware, Routes,
    body::{Direct, JsonBody, JsonBodyIfAny, reply},
};
use crate::{
    Identity, Rejection, RejectionKind, Validator,
    api::{KeysApi, Operator},
};

/// The keys API, under `/keys`, for the holders of a master key that `validator` accepts. To be
/// merged into [`Routes`] that end with
/// [`with_problem_fallbacks`](Routes::with_problem_fallbacks).
///
/// | method, path | |
/// |---|---|
/// | `POST /keys` | makes a key and shows it, this once |
/// | `GET /keys` | a page of keys, newest first |
/// | `GET /keys/{id}` | one key with its history |
/// | `POST /keys/find` | the key that somebody holds, in whatever state |
/// | `PATCH /keys/{id}` | changes what is said of a key, suspends or resumes it |
/// | `POST /keys/{id}/rotate` | a new secret under the same id |
/// | `DELETE /keys/{id}` | revokes the key, with all of its secrets |
///
/// The two that read are open to a key for support, too.
///
/// ```
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, Validator, api::KeysApi, apikey::BootstrapKeys};
/// use key0_auth::domain::{Role, Secret};
/// use key0_auth::actix::keys_routes;
///
/// let store = Arc::new(MemoryStore::new());
/// let master = Secret::new("MASTER_API_KEYS", "a key of 32 bytes or more for the operator")?;
/// let master = BootstrapKeys::new().key(Role::Master, master);
/// let keys = Arc::new(ApiKeys::new(store.clone()).bootstrap(master));
/// let validator = Validator::builder().api_keys(keys.clone()).build()?;
/// let routes = keys_routes(validator, KeysApi::new(store, keys));
/// # let _ = routes;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn keys_routes(validator: Validator, keys: KeysApi) -> Routes {
    let auth =
        AuthMiddleware::new(validator).policy(KeysApi::readers_policy()).wording(KeysApi::wording);
    routes::<Checked, Reading>(keys).each(|route| route.wrap(auth.clone()))
}

/// The keys API behind nothing: whoever reaches it can make and revoke keys. For closed networks
/// alone.
///
/// ```
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, actix::dangerous_keys_routes, api::KeysApi};
///
/// let store = Arc::new(MemoryStore::new());
/// let routes = dangerous_keys_routes(KeysApi::new(store.clone(), ApiKeys::new(store)));
/// # let _ = routes;
/// ```
pub fn dangerous_keys_routes(keys: KeysApi) -> Routes {
    routes::<Direct, Direct>(keys)
}

/// `C` may change keys, `R` may read them.
fn routes<C, R>(keys: KeysApi) -> Routes
where
    C: FromRequest<Error = Rejection> + Into<Operator> + 'static,
    R: FromRequest<Error = Rejection> + Into<Operator> + 'static,
{
    let create = {
        let keys = keys.clone();
        move |caller: C, JsonBody(body)| {
            let keys = keys.clone();
            async move { keys.create(&caller.into(), &body).await.map(reply) }
        }
    };
    let list = {
        let keys = keys.clone();
        move |caller: R, request: HttpRequest| {
            let (keys, query) = (keys.clone(), request.query_string().to_owned());
            async move { keys.list(&caller.into(), Some(&query)).await.map(reply) }
        }
    };
    let show = {
        let keys = keys.clone();
        move |caller: R, id: Path<String>| {
            let keys = keys.clone();
            async move { keys.show(&caller.into(), &id).await.map(reply) }
        }
    };
    let revoke = {
        let keys = keys.clone();
        move |caller: C, id: Path<String>, request: HttpRequest| {
            let (keys, query) = (keys.clone(), request.query_string().to_owned());
            async move { keys.revoke(&caller.into(), &id, Some(&query)).await.map(reply) }
        }
    };
    let find = {
        let keys = keys.clone();
        move |caller: C, JsonBody(body)| {
            let keys = keys.clone();
            async move { keys.find(&caller.into(), &body).await.map(reply) }
        }
    };
    let edit = {
        let keys = keys.clone();
        move |caller: C, id: Path<String>, JsonBody(body)| {
            let keys = keys.clone();
            async move { keys.edit(&caller.into(), &id, &body).await.map(reply) }
        }
    };
    let rotate = move |caller: C, id: Path<String>, JsonBodyIfAny(body)| {
        let keys = keys.clone();
        async move { keys.rotate(&caller.into(), &id, &body).await.map(reply) }
    };
    let missing_id = async || -> Result<HttpResponse, Rejection> { Err(KeysApi::missing_id()) };
    Routes::new()
        .get("/keys", list)
        .post("/keys", create)
        .delete("/keys", missing_id)
        .get("/keys/", missing_id)
        .delete("/keys/", missing_id)
        .post("/keys/find", find)
        .get("/keys/{id}", show)
        .patch("/keys/{id}", edit)
        .delete("/keys/{id}", revoke)
        .post("/keys/{id}/rotate", rotate)
}

/// The caller whom the middleware has let in.
pub(super) struct Checked(Operator);

/// The same, where it only reads.
pub(super) struct Reading(Operator);

impl FromRequest for Checked {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identity(request).and_then(|identity| Operator::of(&identity).map(Self)))
    }
}

impl FromRequest for Reading {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identity(request).and_then(|identity| Operator::reader(&identity).map(Self)))
    }
}

fn identity(request: &HttpRequest) -> Result<Identity, Rejection> {
    let identity = request.extensions().get::<Identity>().cloned();
    identity.ok_or_else(|| RejectionKind::Internal.into())
}

impl From<Checked> for Operator {
    fn from(Checked(operator): Checked) -> Self {
        operator
    }
}

impl From<Reading> for Operator {
    fn from(Reading(operator): Reading) -> Self {
        operator
    }
}

impl From<Direct> for Operator {
    fn from(Direct: Direct) -> Self {
        Self::dangerous_unchecked()
    }
}
