//! Three axum apps that differ in their guard alone.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Path, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header::AUTHORIZATION};
use key0_auth::{AuthLayer, Identity, Policy, Rejection};

use crate::{
    photo::{Claims, PATH, Photo, Verifier},
    server::Parts,
    store::READS,
    support::PLAN,
};

/// Without a line of ours, behind our layer as the README says, or behind a middleware as one
/// writes it by hand.
pub fn app(parts: Parts) -> Router {
    let app = Router::new();
    match parts {
        Parts::Open => app.route(PATH, get(open)),
        Parts::EmptyLayer => {
            app.route(PATH, get(open)).route_layer(tower::layer::util::Identity::new())
        }
        Parts::ByHand(verifier) => {
            let check = from_fn_with_state(verifier, check);
            app.route(PATH, get(sold_by_hand)).route_layer(check)
        }
        Parts::AroundHandler(validator) => {
            app.route(PATH, get(AuthLayer::new(validator).guard(sold)))
        }
        Parts::Ours { validator, store } => {
            let app = app.route(PATH, get(sold)).route_layer(AuthLayer::new(validator));
            match store {
                Some(store) => app.route(READS, get(async move || store.reads().to_string())),
                None => app,
            }
        }
    }
}

async fn open(Path(id): Path<String>) -> Response {
    photo(&id, PLAN)
}

async fn sold(Path(id): Path<String>, identity: Identity) -> Result<Response, Rejection> {
    Policy::resource(&*id).check(&identity)?;
    Ok(photo(&id, identity.plan_id().map_or("", |plan| plan.as_str())))
}

async fn check(
    State(verifier): State<Arc<Verifier>>,
    mut request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let claims = verifier.verify(header).ok_or(StatusCode::UNAUTHORIZED)?;
    request.extensions_mut().insert(Arc::new(claims));
    Ok(next.run(request).await)
}

async fn sold_by_hand(
    Path(id): Path<String>,
    Extension(claims): Extension<Arc<Claims>>,
) -> Result<Response, StatusCode> {
    if !claims.opens(&id) {
        return Err(StatusCode::FORBIDDEN);
    }
    Ok(photo(&id, &claims.plan_id))
}

fn photo(id: &str, plan: &str) -> Response {
    Json(Photo::new(id, plan)).into_response()
}
