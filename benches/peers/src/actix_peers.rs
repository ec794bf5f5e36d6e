//! Actix-web apps that differ in their guard alone.

use std::sync::Arc;

use actix_jwt::{ActixJwtMiddleware, extract_claims};
use actix_web::{
    Error, HttpMessage, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::{ErrorForbidden, ErrorUnauthorized},
    http::header::AUTHORIZATION,
    middleware::{Next, from_fn},
    web::{Data, Path, ReqData, ServiceConfig, get},
};
use actix_web_httpauth::{extractors::bearer::BearerAuth, middleware::HttpAuthentication};
use key0_auth::{
    Identity, Policy, Rejection, Validator,
    actix::{AuthMiddleware, Routes},
};

use crate::{
    axum_peers::validator,
    photo::{Claims, PATH, Photo, Verifier},
    server::Peer,
    support::{PLAN, SECRET},
};

/// What an app is made of.
#[derive(Clone)]
pub enum Parts {
    Open,
    Ours(Validator),
    ByHand(Arc<Verifier>),
    Httpauth(Arc<Verifier>),
    Jwt(Arc<ActixJwtMiddleware>),
}

impl Parts {
    pub fn of(peer: Peer) -> Self {
        match peer {
            Peer::ActixMiddleware => Self::Ours(validator(false)),
            Peer::ActixRemembering => Self::Ours(validator(true)),
            Peer::ActixByHand => Self::ByHand(Arc::new(Verifier::new())),
            Peer::ActixHttpauth => Self::Httpauth(Arc::new(Verifier::new())),
            Peer::ActixJwt => {
                let mut jwt = ActixJwtMiddleware::new();
                jwt.key = SECRET.as_bytes().to_vec();
                jwt.token_lookup = "header:Authorization".to_owned();
                jwt.identity_key = "resourceId".to_owned();
                jwt.init().expect("a key");
                Self::Jwt(Arc::new(jwt))
            }
            _ => Self::Open,
        }
    }

    pub fn configure(&self, config: &mut ServiceConfig) {
        match self {
            Self::Open => {
                config.route(PATH, get().to(async |id: Path<String>| photo(&id, PLAN)));
            }
            Self::Ours(validator) => {
                let auth = AuthMiddleware::new(validator.clone());
                let routes = Routes::new().get(PATH, sold).each(|route| route.wrap(auth.clone()));
                config.configure(routes.with_problem_fallbacks(validator.responder()));
            }
            Self::ByHand(verifier) => {
                let route = get().to(sold_by_hand).wrap(from_fn(check));
                config.app_data(Data::from(verifier.clone())).route(PATH, route);
            }
            Self::Httpauth(verifier) => {
                let auth = HttpAuthentication::bearer(check_bearer);
                config
                    .app_data(Data::from(verifier.clone()))
                    .route(PATH, get().to(sold_by_hand).wrap(auth));
            }
            Self::Jwt(jwt) => {
                config.route(PATH, get().to(sold_by_jwt).wrap(jwt.middleware()));
            }
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

/// The extractor has read the header by now: what is checked is the header again, as by hand.
async fn check_bearer(
    request: ServiceRequest,
    _: BearerAuth,
) -> Result<ServiceRequest, (Error, ServiceRequest)> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let verifier = request.app_data::<Data<Verifier>>();
    match verifier.and_then(|verifier| verifier.verify(header)) {
        Some(claims) => {
            request.extensions_mut().insert(Arc::new(claims));
            Ok(request)
        }
        None => Err((ErrorUnauthorized("no good token"), request)),
    }
}

async fn sold_by_hand(
    id: Path<String>,
    claims: ReqData<Arc<Claims>>,
) -> Result<HttpResponse, Error> {
    sold_to(&id, &claims.resource_id, &claims.plan_id)
}

async fn sold_by_jwt(id: Path<String>, request: HttpRequest) -> Result<HttpResponse, Error> {
    let claims = extract_claims(&request);
    let text = |name| claims.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    sold_to(&id, text("resourceId"), text("planId"))
}

fn sold_to(id: &str, bought: &str, plan: &str) -> Result<HttpResponse, Error> {
    if bought == id || bought == "default" {
        Ok(photo(id, plan))
    } else {
        Err(ErrorForbidden("another resource"))
    }
}

fn photo(id: &str, plan: &str) -> HttpResponse {
    HttpResponse::Ok().json(Photo::new(id, plan))
}
