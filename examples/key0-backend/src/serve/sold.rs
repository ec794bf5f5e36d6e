//! What agents buy: photos and data.

use axum::{
    Json, Router,
    extract::{Path, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::get,
};
use key0_auth::{
    Identity, Policy, Rejection, RejectionKind,
    client::segment,
    domain::{PlanId, ResourceId},
};
use serde::Serialize;

/// To be put behind a guard.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/api/photos/{id}", get(photo))
        .route("/api/data/{id}", get(data))
        .route("/api/{id}", get(data))
}

/// The id in a path, which may be escaped bytes that are no text.
type ResourcePath = Result<Path<String>, PathRejection>;

fn resource(path: ResourcePath) -> Result<String, Rejection> {
    match path {
        Ok(Path(id)) => Ok(id),
        Err(error) => Err(Rejection::new(RejectionKind::NotFound).cause(error)),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Photo<'a> {
    id: &'a str,
    tier_id: Option<&'a PlanId>,
    plan_id: Option<&'a PlanId>,
    url: String,
    title: String,
    resolution: &'static str,
}

async fn photo(path: ResourcePath, identity: Identity) -> Result<Response, Rejection> {
    let id = resource(path)?;
    Policy::resource(id.as_str()).check(&identity)?;
    let photo = Photo {
        id: &id,
        tier_id: identity.plan_id(),
        plan_id: identity.plan_id(),
        url: format!("https://cdn.example.com/photos/{}.jpg", segment(&id)),
        title: format!("Photo {id}"),
        resolution: "4K",
    };
    Ok(Json(photo).into_response())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    id: &'a str,
    data: &'static str,
    tier_id: Option<&'a PlanId>,
    plan_id: Option<&'a PlanId>,
    resource_id: Option<&'a ResourceId>,
}

async fn data(path: ResourcePath, identity: Identity) -> Result<Response, Rejection> {
    let id = resource(path)?;
    Policy::resource(id.as_str()).check(&identity)?;
    let data = Data {
        id: &id,
        data: "premium content",
        tier_id: identity.plan_id(),
        plan_id: identity.plan_id(),
        resource_id: identity.resource_id(),
    };
    Ok(Json(data).into_response())
}
