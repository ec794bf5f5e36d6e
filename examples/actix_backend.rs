//! The sample backend on actix-web, without `/v1`. It answers as `key0-backend` does, to the byte.
//!
//! ```sh
//! KEY0_ACCESS_TOKEN_SECRET=… INTERNAL_AUTH_SECRET=… DATABASE_URL=memory:// \
//!     cargo run --features actix,client,sqlite --example actix_backend
//! ```

use std::{
    env,
    future::poll_fn,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use actix_web::{
    App, Error, HttpServer,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    middleware::{Next, from_fn},
    rt::time::{sleep, timeout},
    web::{Data, Json, Path},
};
use async_trait::async_trait;
use key0_auth::{
    AccessTokens, ApiKeys, Cached, Identity, InternalAuth, KeyStore, MemoryStore, Policy,
    Rejection, RejectionKind, SqliteStore, Validator,
    actix::{AuthMiddleware, Routes, credential_routes, internal_routes, keys_routes},
    api::{CredentialApi, HandlerError, IssueToken, KeysApi, PaymentHandler, PaymentReceived},
    apikey::{BootstrapKeys, IssuanceSecrets},
    client::segment,
    domain::{PlanId, ResourceId, Role, Secret, SecretSet, SystemClock, check_secrets_differ},
    store::{DenialStore, DeniedTokens, KeyRegistry, KeyUsage, Payment, PaymentStore},
    token::VerifyingKey,
};
use serde::Serialize;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const READY_TIMEOUT: Duration = Duration::from_millis(500);
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// Everything that is built once and shared by the workers.
#[derive(Clone)]
struct Backend {
    validator: Validator,
    store: Data<Cached>,
    internal: Arc<InternalAuth>,
    issue_token: IssueToken,
    keys_api: KeysApi,
    credential_api: CredentialApi,
    usage: KeyUsage,
    payment_received: PaymentReceived,
}

#[actix_web::main]
async fn main() -> Outcome {
    let database = env::var("DATABASE_URL").unwrap_or("sqlite://key0-backend.db".to_owned());
    let backend = match database.split_once("://") {
        Some(("memory", "")) => Backend::on(Arc::new(MemoryStore::new())).await?,
        Some(("sqlite", path)) => Backend::on(Arc::new(SqliteStore::open(path)?)).await?,
        _ => return Err("DATABASE_URL begins with sqlite:// or is memory://".into()),
    };
    let host: IpAddr = env::var("HOST").map_or(Ok([127, 0, 0, 1].into()), |host| host.parse())?;
    let port: u16 = env::var("PORT").map_or(Ok(3000), |port| port.parse())?;

    let usage = backend.usage.clone();
    actix_web::rt::spawn(backend.clone().housekeeping());
    let server = HttpServer::new(move || {
        let responder = backend.validator.responder();
        App::new()
            .app_data(backend.store.clone())
            .configure(backend.routes().with_problem_fallbacks(responder))
            .wrap(from_fn(observe))
    });
    let server = server.bind((host, port))?;
    for address in server.addrs() {
        println!("listening on    http://{address}");
    }
    server.run().await?;
    Ok(usage.flush().await?)
}

impl Backend {
    /// The backend on a store, with the secrets of the environment.
    async fn on<S: KeyRegistry + PaymentStore + DenialStore>(store: Arc<S>) -> Outcome<Self> {
        let mut token_secrets = vec![secret("KEY0_ACCESS_TOKEN_SECRET")?];
        token_secrets.extend(secrets("KEY0_ACCESS_TOKEN_PREVIOUS_SECRETS")?);
        let internal = SecretSet::new(secret("INTERNAL_AUTH_SECRET")?);
        let internal = secrets("INTERNAL_AUTH_PREVIOUS_SECRETS")?
            .into_iter()
            .fold(internal, SecretSet::previous);
        let mut keys = Vec::new();
        for (role, name) in [
            (Role::Master, "MASTER_API_KEYS"),
            (Role::Minter, "MINTER_API_KEYS"),
            (Role::Read, "READ_API_KEYS"),
        ] {
            keys.extend(secrets(name)?.into_iter().map(|key| (role, key)));
        }
        let all =
            token_secrets.iter().chain(internal.iter()).chain(keys.iter().map(|(_, key)| key));
        check_secrets_differ(all)?;

        let mut tokens = AccessTokens::builder();
        for secret in &token_secrets {
            tokens = tokens.key(VerifyingKey::hs256(secret));
        }
        if let Ok(pem) = env::var("KEY0_PUBLIC_KEY") {
            tokens = tokens.keys(VerifyingKey::all_from_pem("KEY0_PUBLIC_KEY", &pem)?);
        }
        let tokens = Arc::new(tokens.build()?);
        let bootstrap =
            keys.into_iter().fold(BootstrapKeys::new(), |keys, (role, key)| keys.key(role, key));
        let usage = KeyUsage::new(store.clone());
        let keys = ApiKeys::new(store.clone()).usage(usage.clone()).bootstrap(bootstrap);
        let keys = Arc::new(keys);
        let denied = DeniedTokens::new(store.clone());
        denied.first_reading(READY_TIMEOUT).await?;
        let validator = Validator::builder()
            .access_tokens(tokens.clone())
            .denied_tokens(denied.clone())
            .api_keys(keys.clone())
            .build()?;

        let issuance = IssuanceSecrets::derived_from(&internal);
        let mut internal_auth = InternalAuth::builder().shared_secret(internal);
        match env::var("INTERNAL_AUTH_STRATEGY").as_deref() {
            Err(_) | Ok("shared-secret") => {}
            Ok("shared-secret,signed-jwt") => {
                internal_auth = internal_auth.signed_jwt(tokens, "backend-service");
            }
            Ok(_) => return Err("INTERNAL_AUTH_STRATEGY is shared-secret[,signed-jwt] here".into()),
        }
        let clock = Arc::new(SystemClock);
        Ok(Self {
            credential_api: CredentialApi::new(validator.clone(), store.clone(), denied),
            validator,
            store: keys.store().clone().into(),
            internal: Arc::new(internal_auth.build()?),
            issue_token: IssueToken::new(store.clone(), keys.clone(), issuance),
            keys_api: KeysApi::new(store.clone(), keys),
            usage,
            payment_received: PaymentReceived::with_handler(store, clock, PrintPayment),
        })
    }

    /// Removes what has expired, and writes down when keys were used.
    async fn housekeeping(self) {
        loop {
            let forgotten = self.issue_token.forget_old_nonces(1_000).await;
            let purged = self.keys_api.purge(1_000).await;
            let denials = self.credential_api.purge_denials(1_000).await;
            let written = self.usage.flush().await;
            if let Err(error) = forgotten.and(purged).and(denials).and(written) {
                eprintln!("housekeeping failed: {error}");
            }
            sleep(HOUSEKEEPING).await;
        }
    }

    fn routes(&self) -> Routes {
        let auth = AuthMiddleware::new(self.validator.clone());
        let sold = Routes::new()
            .get("/api/photos/{id}", photo)
            .get("/api/data/{id}", data)
            .each(|route| route.wrap(auth.clone()));
        let (issue_token, payments) = (self.issue_token.clone(), self.payment_received.clone());
        Routes::new()
            .get("/health", async || Json(Health { status: "ok", service: "backend" }))
            .get("/ready", ready)
            .merge(sold)
            .merge(internal_routes(self.internal.clone(), issue_token, payments))
            .merge(credential_routes(self.credential_api.clone()))
            .merge(keys_routes(self.validator.clone(), self.keys_api.clone()))
    }
}

fn secret(name: &str) -> Outcome<Secret> {
    Ok(Secret::new(name, env::var(name).map_err(|_| format!("{name} is missing"))?)?)
}

/// A list between commas; empty where there is none.
fn secrets(name: &str) -> Outcome<Vec<Secret>> {
    let list = env::var(name).unwrap_or_default();
    let secrets = list.split(',').map(str::trim).filter(|secret| !secret.is_empty());
    Ok(secrets.map(|secret| Secret::new(name, secret)).collect::<Result<_, _>>()?)
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    service: &'static str,
}

async fn ready(store: Data<Cached>) -> Result<Json<Health>, Rejection> {
    let unavailable = || Rejection::new(RejectionKind::StoreUnavailable);
    match timeout(READY_TIMEOUT, store.ping()).await {
        Ok(Ok(())) => Ok(Json(Health { status: "ready", service: "backend" })),
        Ok(Err(error)) => Err(unavailable().cause(error)),
        Err(elapsed) => Err(unavailable().cause(elapsed)),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Photo {
    id: String,
    tier_id: Option<PlanId>,
    plan_id: Option<PlanId>,
    url: String,
    title: String,
    resolution: &'static str,
}

async fn photo(id: Path<String>, identity: Identity) -> Result<Json<Photo>, Rejection> {
    let id = checked(id, &identity)?;
    Ok(Json(Photo {
        tier_id: identity.plan_id().cloned(),
        plan_id: identity.plan_id().cloned(),
        url: format!("https://cdn.example.com/photos/{}.jpg", segment(&id)),
        title: format!("Photo {id}"),
        resolution: "4K",
        id,
    }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Premium {
    id: String,
    data: &'static str,
    tier_id: Option<PlanId>,
    plan_id: Option<PlanId>,
    resource_id: Option<ResourceId>,
}

async fn data(id: Path<String>, identity: Identity) -> Result<Json<Premium>, Rejection> {
    Ok(Json(Premium {
        id: checked(id, &identity)?,
        data: "premium content",
        tier_id: identity.plan_id().cloned(),
        plan_id: identity.plan_id().cloned(),
        resource_id: identity.resource_id().cloned(),
    }))
}

/// The id in a path, for whoever has bought it.
fn checked(id: Path<String>, identity: &Identity) -> Result<String, Rejection> {
    // What actix-web puts in the place of escaped bytes that are no text.
    if id.contains(char::REPLACEMENT_CHARACTER) {
        return Err(RejectionKind::NotFound.into());
    }
    Policy::resource(id.as_str()).check(identity)?;
    Ok(id.into_inner())
}

/// What the sample does with a payment.
#[derive(Debug)]
struct PrintPayment;

#[async_trait]
impl PaymentHandler for PrintPayment {
    async fn handle(&self, payment: &Payment) -> Result<(), HandlerError> {
        eprintln!("payment {} for {}", payment.tx_hash, payment.resource_id);
        Ok(())
    }
}

/// What every request has: a limit on time, an answer to panics, and an id.
pub(crate) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let id = request_id(request.headers().get(&REQUEST_ID));
    let mut answer = pin!(next.call(request));
    // A panic ends one request and no other; its message is in the log.
    let answer = poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(Rejection::from(RejectionKind::Internal).into())))
    });
    let too_late = |_| Err(Rejection::from(RejectionKind::Timeout).into());
    match timeout(REQUEST_TIMEOUT, answer).await.unwrap_or_else(too_late) {
        Ok(mut response) => {
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(response)
        }
        Err(mut error) => {
            error.add_response_mapper(move |mut response| {
                response.headers_mut().insert(REQUEST_ID, id.clone());
                response
            });
            Err(error)
        }
    }
}

/// The caller's own id where it is harmless, else a new one.
fn request_id(sent: Option<&HeaderValue>) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        (1..=128).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    let new = || HeaderValue::try_from(uuid::Uuid::now_v7().to_string());
    match sent.filter(sane) {
        Some(value) => value.clone(),
        None => new().unwrap_or(HeaderValue::from_static("-")),
    }
}
