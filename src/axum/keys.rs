use axum::{
    Router,
    extract::{FromRequestParts, Path, RawQuery, Request, rejection::PathRejection},
    middleware::from_fn,
    response::Response,
    routing::{MethodFilter, get, on, post},
};
use http::request::Parts;

use super::{
    body::{answer, check_direct, read, read_if_any},
    unread::drain_unread,
};
use crate::{
    AuthLayer, Identity, Rejection, RejectionKind, Validator,
    api::{KeysApi, Operator},
};

/// The keys API, under `/keys`, for the holders of a master key that `validator` accepts. To be
/// merged into a router that ends with [`with_problem_fallbacks`](super::with_problem_fallbacks).
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
/// use key0_auth::axum::keys_routes;
///
/// let store = Arc::new(MemoryStore::new());
/// let master = Secret::new("MASTER_API_KEYS", "a key of 32 bytes or more for the operator")?;
/// let master = BootstrapKeys::new().key(Role::Master, master);
/// let keys = Arc::new(ApiKeys::new(store.clone()).bootstrap(master));
/// let validator = Validator::builder().api_keys(keys.clone()).build()?;
/// let router: axum::Router = keys_routes(validator, KeysApi::new(store, keys));
/// # let _ = router;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn keys_routes<S>(validator: Validator, keys: KeysApi) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let auth =
        AuthLayer::new(validator).policy(KeysApi::readers_policy()).wording(KeysApi::wording);
    routes::<S, Checked, Reading>(keys).route_layer(auth)
}

/// The keys API behind nothing: whoever reaches it can make and revoke keys. For closed networks
/// alone.
///
/// ```
/// use std::sync::Arc;
/// use key0_auth::{ApiKeys, MemoryStore, api::KeysApi, axum::dangerous_keys_routes};
///
/// let store = Arc::new(MemoryStore::new());
/// let keys = KeysApi::new(store.clone(), ApiKeys::new(store));
/// let router: axum::Router = dangerous_keys_routes(keys);
/// # let _ = router;
/// ```
pub fn dangerous_keys_routes<S>(keys: KeysApi) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    routes::<S, Unchecked, Unchecked>(keys).route_layer(from_fn(drain_unread))
}

/// `C` may change keys, `R` may read them.
fn routes<S, C, R>(keys: KeysApi) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    C: FromRequestParts<S, Rejection = Rejection> + Into<Operator> + Send + 'static,
    R: FromRequestParts<S, Rejection = Rejection> + Into<Operator> + Send + 'static,
{
    let create = {
        let keys = keys.clone();
        async move |caller: C, request: Request| {
            let body = read(request).await?;
            keys.create(&caller.into(), &body).await.map(answer)
        }
    };
    let list = {
        let keys = keys.clone();
        async move |caller: R, RawQuery(query): RawQuery| {
            keys.list(&caller.into(), query.as_deref()).await.map(answer)
        }
    };
    let show = {
        let keys = keys.clone();
        async move |caller: R, id: KeyPath| keys.show(&caller.into(), &text(id)?).await.map(answer)
    };
    let revoke = {
        let keys = keys.clone();
        async move |caller: C, id: KeyPath, RawQuery(query): RawQuery| {
            keys.revoke(&caller.into(), &text(id)?, query.as_deref()).await.map(answer)
        }
    };
    let find = {
        let keys = keys.clone();
        async move |caller: C, request: Request| {
            let body = read(request).await?;
            keys.find(&caller.into(), &body).await.map(answer)
        }
    };
    let edit = {
        let keys = keys.clone();
        async move |caller: C, id: KeyPath, request: Request| {
            let body = read(request).await?;
            keys.edit(&caller.into(), &text(id)?, &body).await.map(answer)
        }
    };
    let rotate = async move |caller: C, id: KeyPath, request: Request| {
        let body = read_if_any(request).await?;
        keys.rotate(&caller.into(), &text(id)?, &body).await.map(answer)
    };
    let missing_id = async || -> Result<Response, Rejection> { Err(KeysApi::missing_id()) };
    let needs_id = MethodFilter::GET.or(MethodFilter::DELETE);
    Router::new()
        .route("/keys", get(list).post(create).delete(missing_id))
        .route("/keys/", on(needs_id, missing_id))
        .route("/keys/find", post(find))
        .route("/keys/{id}", get(show).patch(edit).delete(revoke))
        .route("/keys/{id}/rotate", post(rotate))
}

/// The id in a path, which may be escaped bytes that are no text.
pub(super) type KeyPath = Result<Path<String>, PathRejection>;

pub(super) fn text(id: KeyPath) -> Result<String, Rejection> {
    // What can't be an id is the id of no key.
    Ok(id.map_or_else(|_| String::new(), |Path(id)| id))
}

/// The caller whom the layer has let in.
pub(super) struct Checked(Operator);

/// The same, where it only reads.
pub(super) struct Reading(Operator);

/// Whoever calls.
struct Unchecked;

impl<S: Send + Sync> FromRequestParts<S> for Checked {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Operator::of(identity(parts)?).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Reading {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        Operator::reader(identity(parts)?).map(Self)
    }
}

fn identity(parts: &Parts) -> Result<&Identity, Rejection> {
    parts.extensions.get().ok_or_else(|| RejectionKind::Internal.into())
}

impl<S: Send + Sync> FromRequestParts<S> for Unchecked {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        check_direct(&parts.headers, &parts.extensions).map(|()| Self)
    }
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

impl From<Unchecked> for Operator {
    fn from(Unchecked: Unchecked) -> Self {
        Self::dangerous_unchecked()
    }
}
