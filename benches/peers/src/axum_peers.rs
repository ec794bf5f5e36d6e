//! Axum apps that differ in their guard alone.

use std::sync::Arc;

use aliri::{
    jwa, jwk,
    jwt::{self, Audiences, CoreClaims, IssuerRef, SubjectRef},
};
use aliri_clock::UnixTime;
use aliri_oauth2::{Authority, HasScope, scope::Scope};
use aliri_tower::Oauth2Authorizer;
use axum::{
    Extension, Json, Router,
    extract::{FromRef, Path, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use axum_gate::{accounts::Account, gate::Gate, groups::Group, roles::Role};
use axum_jwt_auth::{Claims as JwtAuthClaims, Decoder, LocalDecoder};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{StatusCode, header::AUTHORIZATION};
use key0_auth::{AuthLayer, Identity, Policy, Rejection, Validator};
use serde::Deserialize;
use tower_oauth2_resource_server::{
    server::OAuth2ResourceServer, tenant::TenantConfiguration, validation::ClaimsValidationSpec,
};

use crate::{
    photo::{Claims, PATH, Photo, Verifier},
    server::Peer,
    support::{self, PLAN, SECRET, TOKENS},
    tokens::{GateCodec, ISSUER, KID, gate_codec},
};

pub async fn app(peer: Peer) -> Router {
    let app = Router::new();
    match peer {
        Peer::AxumLayer => app.route(PATH, get(sold)).route_layer(AuthLayer::new(validator(false))),
        Peer::AxumGuard => app.route(PATH, get(AuthLayer::new(validator(false)).guard(sold))),
        Peer::AxumRemembering => {
            app.route(PATH, get(sold)).route_layer(AuthLayer::new(validator(true)))
        }
        Peer::AxumByHand => {
            let check = from_fn_with_state(Arc::new(Verifier::new()), check);
            app.route(PATH, get(sold_by_hand)).route_layer(check)
        }
        Peer::Aliri => {
            let authorizer =
                Oauth2Authorizer::new().with_claims::<AliriClaims>().with_terse_error_handler();
            app.route(PATH, get(sold_by_aliri)).route_layer(authorizer.jwt_layer(authority()))
        }
        Peer::AxumGate => {
            let gate = Gate::bearer::<GateCodec, Role, Group>(ISSUER, Arc::new(gate_codec()));
            app.route(PATH, get(sold_by_gate)).route_layer(gate.require_login())
        }
        Peer::AxumJwtAuth => {
            let app = Router::new().route(PATH, get(sold_by_jwt_auth));
            app.with_state(JwtAuthState { decoder: decoder() })
        }
        Peer::TowerOauth2 => {
            let server = resource_server().await;
            app.route(PATH, get(sold_by_oauth2)).route_layer(server.into_layer())
        }
        _ => app.route(PATH, get(open)),
    }
}

pub fn validator(remembers: bool) -> Validator {
    let tokens =
        if remembers { support::remembering(4 * TOKENS) } else { support::access_tokens(0) };
    Validator::builder().access_tokens(tokens).build().expect("there is what it needs")
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
    sold_to(&id, &claims.resource_id, &claims.plan_id)
}

/// The claims for aliri, with the members that its traits ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AliriClaims {
    resource_id: String,
    plan_id: String,
    exp: UnixTime,
    #[serde(default)]
    aud: Audiences,
    #[serde(default)]
    scope: Scope,
}

impl CoreClaims for AliriClaims {
    fn nbf(&self) -> Option<UnixTime> {
        None
    }

    fn exp(&self) -> Option<UnixTime> {
        Some(self.exp)
    }

    fn aud(&self) -> &Audiences {
        &self.aud
    }

    fn iss(&self) -> Option<&IssuerRef> {
        None
    }

    fn sub(&self) -> Option<&SubjectRef> {
        None
    }
}

impl HasScope for AliriClaims {
    fn scope(&self) -> &Scope {
        &self.scope
    }
}

fn authority() -> Authority {
    let secret = aliri_base64::Base64UrlRef::from_slice(SECRET.as_bytes()).to_owned();
    let key = aliri::Jwk::from(jwa::Hmac::new(secret))
        .with_algorithm(jwa::Algorithm::HS256)
        .with_key_id(jwk::KeyId::from_static(KID));
    let mut keys = aliri::Jwks::default();
    keys.add_key(key);
    let validator = jwt::CoreValidator::default()
        .check_expiration()
        .add_approved_algorithm(jwa::Algorithm::HS256);
    Authority::new(keys, validator)
}

async fn sold_by_aliri(
    Path(id): Path<String>,
    Extension(claims): Extension<AliriClaims>,
) -> Result<Response, StatusCode> {
    sold_to(&id, &claims.resource_id, &claims.plan_id)
}

async fn sold_by_gate(
    Path(id): Path<String>,
    Extension(account): Extension<Account<Role, Group>>,
) -> Result<Response, StatusCode> {
    sold_to(&id, &account.user_id, PLAN)
}

#[derive(Clone, FromRef)]
struct JwtAuthState {
    decoder: Decoder<Claims>,
}

fn decoder() -> Decoder<Claims> {
    use jsonwebtoken_10::{Algorithm, DecodingKey, Validation};
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = 0;
    // It asks for one. The tokens of Key0 have none.
    validation.set_audience(&["photos"]);
    validation.validate_aud = false;
    let keys = vec![DecodingKey::from_secret(SECRET.as_bytes())];
    Arc::new(LocalDecoder::builder().keys(keys).validation(validation).build().expect("a key"))
}

async fn sold_by_jwt_auth(
    Path(id): Path<String>,
    token: JwtAuthClaims<Claims>,
) -> Result<Response, StatusCode> {
    sold_to(&id, &token.claims.resource_id, &token.claims.plan_id)
}

/// As the others read them; it asks that they can be cloned.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OAuth2Claims {
    resource_id: String,
    plan_id: String,
}

async fn resource_server() -> OAuth2ResourceServer<OAuth2Claims> {
    let key = URL_SAFE_NO_PAD.encode(SECRET);
    let keys = format!(r#"{{"keys":[{{"kty":"oct","alg":"HS256","kid":"{KID}","k":"{key}"}}]}}"#);
    let tenant = TenantConfiguration::static_builder(keys)
        .claims_validation(ClaimsValidationSpec::new().exp(true))
        .allowed_algorithms(&[jsonwebtoken_11::Algorithm::HS256])
        .build()
        .expect("a key");
    let server = <OAuth2ResourceServer<OAuth2Claims>>::builder().add_tenant(tenant);
    server.build().await.expect("a tenant")
}

async fn sold_by_oauth2(
    Path(id): Path<String>,
    Extension(claims): Extension<OAuth2Claims>,
) -> Result<Response, StatusCode> {
    sold_to(&id, &claims.resource_id, &claims.plan_id)
}

fn sold_to(id: &str, bought: &str, plan: &str) -> Result<Response, StatusCode> {
    if bought == id || bought == "default" {
        Ok(photo(id, plan))
    } else {
        Err(StatusCode::FORBIDDEN)
    }
}

fn photo(id: &str, plan: &str) -> Response {
    Json(Photo::new(id, plan)).into_response()
}
