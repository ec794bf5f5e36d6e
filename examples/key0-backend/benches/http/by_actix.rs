//! Three actix-web apps that differ in their guard alone.

use std::{future::ready, sync::Arc};

use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::{ErrorForbidden, ErrorUnauthorized},
    http::header::AUTHORIZATION,
    middleware::{Next, from_fn},
    web::{Data, Path, ReqData, ServiceConfig, get},
};
use key0_auth::{
    Identity, Policy, Rejection,
    actix::{AuthMiddleware, Routes},
};

use crate::{
    photo::{Claims, PATH, Photo, Verifier},
    server::Parts,
    store::READS,
    support::PLAN,
};

/// Without a line of ours, behind our middleware as the README says, or behind one as one writes
/// it by hand.
pub fn configure(config: &mut ServiceConfig, parts: &Parts) {
    match parts {
        Parts::Open | Parts::EmptyLayer | Parts::AroundHandler(_) => {
            config.route(PATH, get().to(async |id: Path<String>| photo(&id, PLAN)));
        }
        Parts::ByHand(verifier) => {
            let route = get().to(sold_by_hand).wrap(from_fn(check));
            config.app_data(Data::from(verifier.clone())).route(PATH, route);
        }
        Parts::Ours { validator, store } => {
            let auth = AuthMiddleware::new(validator.clone());
            let routes = Routes::new().get(PATH, sold).each(|route| route.wrap(auth.clone()));
            if let Some(store) = store.clone() {
                let reads = move || ready(store.reads().to_string());
                config.route(READS, get().to(reads));
            }
            config.configure(routes.with_problem_fallbacks(validator.responder()));
        }
    }
}

async fn sold(id: Path<String>, identity: Identity) -> Result<HttpResponse, Rejection> {
    Policy::resource(id.as_str()).check(&identity)?;
    Ok(photo(&id, identity.plan_id().map_or("", |plan| plan.as_str())))
}

async fn check(
    verifier: Data<Verifier>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let claims = verifier.verify(header).ok_or_else(|| ErrorUnauthorized("no good token"))?;
    request.extensions_mut().insert(Arc::new(claims));
    next.call(request).await
}

async fn sold_by_hand(
    id: Path<String>,
    claims: ReqData<Arc<Claims>>,
) -> Result<HttpResponse, Error> {
    if !claims.opens(&id) {
        return Err(ErrorForbidden("another resource"));
    }
    Ok(photo(&id, &claims.plan_id))
}

fn photo(id: &str, plan: &str) -> HttpResponse {
    HttpResponse::Ok().json(Photo::new(id, plan))
}
