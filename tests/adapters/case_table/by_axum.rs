//! The backend of these tests as an axum router.

use axum::{
    Json, Router,
    body::Body,
    extract::Path,
    routing::{get, post},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use key0_auth::{
    AuthLayer, Identity, Policy, Rejection,
    axum::{credential_routes, internal_routes, keys_routes, with_problem_fallbacks},
    domain::Action,
};
use serde_json::Value;
use tower::ServiceExt;

use crate::{
    case_table::{
        NOT_SERVED,
        parts::{self, Parts},
    },
    cases::{Served, Target},
};

pub(crate) struct InProcess(Router);

impl InProcess {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self(router(parts))
    }

    /// The same with a guard around each handler, in place of layers.
    pub(crate) fn by_handlers(parts: &Parts) -> Self {
        Self(with_guarded(parts, guarded_handlers(parts)))
    }
}

impl Target for InProcess {
    fn without(&self) -> &[&str] {
        NOT_SERVED
    }

    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        let response = self.0.clone().oneshot(request.map(Body::from)).await.unwrap();
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }
}

/// The router behind a socket, until the runtime ends.
pub(crate) async fn serve(parts: &Parts) -> Served {
    serve_router(router(parts)).await
}

async fn serve_router(router: Router) -> Served {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Served { address, without: NOT_SERVED, request_ids: false }
}

/// The router with a guard around each handler behind a socket, until the runtime ends.
pub(crate) async fn serve_by_handlers(parts: &Parts) -> Served {
    serve_router(with_guarded(parts, guarded_handlers(parts))).await
}

fn router(parts: &Parts) -> Router {
    let auth = AuthLayer::new(parts.validator.clone());
    let sold = Router::new()
        .route("/api/photos/{id}", get(photo))
        .route("/api/data/{id}", get(data))
        .route_layer(auth.clone());
    let partner = Router::new()
        .route("/v1/dpp/passports", post(async || Json(parts::passport())))
        .route_layer(auth.policy(Policy::permission("dpp", Action::Create)));
    with_guarded(parts, sold.merge(partner))
}

fn guarded_handlers(parts: &Parts) -> Router {
    let auth = AuthLayer::new(parts.validator.clone());
    let partner = auth.clone().policy(Policy::permission("dpp", Action::Create));
    let passport = async || Json(parts::passport());
    Router::new()
        .route("/api/photos/{id}", get(auth.guard(photo)))
        .route("/api/data/{id}", get(auth.guard(data)))
        .route("/v1/dpp/passports", post(partner.guard(passport)))
}

/// The whole backend, with these routes that a credential opens.
fn with_guarded(parts: &Parts, guarded: Router) -> Router {
    let (issue_token, payments) = (parts.issue_token.clone(), parts.payment_received.clone());
    let router = Router::new()
        .route("/health", get(async || Json(parts::health())))
        .merge(guarded)
        .merge(internal_routes(parts.internal.clone(), issue_token, payments))
        .merge(credential_routes(parts.credential.clone()))
        .merge(keys_routes(parts.validator.clone(), parts.keys.clone()));
    with_problem_fallbacks(router, parts.validator.responder())
}

async fn photo(Path(id): Path<String>, identity: Identity) -> Result<Json<Value>, Rejection> {
    Policy::resource(&*id).check(&identity)?;
    Ok(Json(parts::photo(&id, &identity)))
}

async fn data(Path(id): Path<String>, identity: Identity) -> Result<Json<Value>, Rejection> {
    Policy::resource(&*id).check(&identity)?;
    Ok(Json(parts::data(&id, &identity)))
}
