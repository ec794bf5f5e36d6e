use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, dev::Payload, web::Path};

use super::{
    AuthMiddleware, Routes,
    body::{JsonBody, JsonBodyIfAny, check_direct, reply},
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
/// | `POST /keys/{id}/rotate` | a new secret under the same id |
/// | `DELETE /keys/{id}` | kills every secret of the id |
pub fn keys_routes(validator: Validator, keys: KeysApi) -> Routes {
    let auth = AuthMiddleware::new(validator).policy(KeysApi::policy()).wording(KeysApi::wording);
    routes::<Checked>(keys).each(|route| route.wrap(auth.clone()))
}

/// The keys API behind nothing: whoever reaches it can make and revoke keys. For closed networks
/// alone.
pub fn dangerous_keys_routes(keys: KeysApi) -> Routes {
    routes::<Unchecked>(keys)
}

fn routes<C>(keys: KeysApi) -> Routes
where
    C: FromRequest<Error = Rejection> + Into<Operator> + 'static,
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
        move |caller: C, request: HttpRequest| {
            let (keys, query) = (keys.clone(), request.query_string().to_owned());
            async move { keys.list(&caller.into(), Some(&query)).await.map(reply) }
        }
    };
    let show = {
        let keys = keys.clone();
        move |caller: C, id: Path<String>| {
            let keys = keys.clone();
            async move { keys.show(&caller.into(), &id).await.map(reply) }
        }
    };
    let revoke = {
        let keys = keys.clone();
        move |caller: C, id: Path<String>| {
            let keys = keys.clone();
            async move { keys.revoke(&caller.into(), &id).await.map(reply) }
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
        .get("/keys/{id}", show)
        .delete("/keys/{id}", revoke)
        .post("/keys/{id}/rotate", rotate)
}

/// The caller whom the middleware has let in.
struct Checked(Operator);

/// Whoever calls.
struct Unchecked;

impl FromRequest for Checked {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let identity = request.extensions().get::<Identity>().cloned();
        let identity = identity.ok_or_else(|| Rejection::from(RejectionKind::Internal));
        ready(identity.and_then(|identity| Operator::of(&identity).map(Self)))
    }
}

impl From<Checked> for Operator {
    fn from(Checked(operator): Checked) -> Self {
        operator
    }
}

impl From<Unchecked> for Operator {
    fn from(Unchecked: Unchecked) -> Self {
        Self::dangerous_unchecked()
    }
}

impl FromRequest for Unchecked {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(check_direct(request).map(|()| Self))
    }
}
