//! A backend on this crate's parts, with one guard taken out.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State, rejection::PathRejection},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use key0_auth::{
    AccessTokens, ApiKeys, AuthLayer, Identity, InternalAuth, KeyStore, MemoryStore, Policy,
    Rejection, RejectionKind, Validator,
    api::{CredentialApi, IssueToken, KeysApi, PaymentReceived},
    apikey::{BootstrapKeys, IssuanceSecrets, KeyDigest, KeyFormat, KeyKind, KeyRecord},
    axum::{
        credential_routes, dangerous_keys_routes, internal_routes, keys_routes,
        with_problem_fallbacks,
    },
    domain::{Actor, Claims, Clock, KeyId, Role, Secret, SecretSet, SystemClock, Timestamp},
    error::StoreError,
    store::{
        DeniedTokens, KeyRegistry,
        spi::{ChangeListener, KeyQuery},
    },
    token::{TokenIssuer, VerifyingKey},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::conformance::{
    INTERNAL_SECRET, MASTER_KEY, PREVIOUS_INTERNAL_SECRET, PREVIOUS_TOKEN_SECRET, TOKEN_SECRET,
};

const X_API_KEY: &str = "x-api-key";
const X_INTERNAL_AUTH: &str = "x-internal-auth";
const X_REQUEST_ID: &str = "x-request-id";

/// The guard that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hole {
    None,
    NoExpiryCheck,
    SecondOfLeeway,
    DeniedTokenWorks,
    /// A token without `exp` never expires.
    NoExpNeeded,
    AlgNoneAccepted,
    /// A token is good although it carries this claim's mark of a system token.
    MarkAccepted(&'static str),
    NoResourceCheck,
    SchemeIsCaseSensitive,
    FirstHeaderCounts,
    LastHeaderCounts,
    LongTokenIsTooLarge,
    /// An absent header equals a secret that is not set.
    AbsentSecretOpens,
    SecretPrefixOpens,
    BodyBeforeCaller,
    ReplayDiffers,
    OtherTokenType,
    ConflictIsReceived,
    OutageIsRefusal,
    EverybodyIsMaster,
    RevokedKeyWorks,
    ListingShowsKeys,
    RevocationFailsOnce,
    OtherWording,
    CauseIsShown,
    StackIsShown,
    CredentialIsShown,
    CachesMayKeepRefusals,
    NoChallenge,
    NoRequestId,
    AnyRequestId,
    NoAllow,
    HeadIsUnknown,
    DataHangs,
}

/// A running backend with a hole.
pub(crate) struct FaultyBackend {
    address: std::net::SocketAddr,
    store: MemoryStore,
    /// A key that its store can't look up.
    pub(crate) unreachable: String,
    runtime: Runtime,
}

impl FaultyBackend {
    pub(crate) fn start(hole: Hole) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let (store, unreachable) = (MemoryStore::new(), KeyFormat::default().generate().unwrap());
        let router = runtime.block_on(async { router(hole, &store, unreachable.digest()) });
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, store, unreachable: unreachable.expose().to_owned(), runtime }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many keys of partners can be used.
    pub(crate) fn keys_in_force(&self) -> usize {
        let query = KeyQuery {
            kind: KeyKind::Integrator,
            in_force_at: Some(SystemClock.now()),
            filter: Default::default(),
            after: None,
            limit: 100,
        };
        self.runtime.block_on(self.store.list(&query)).unwrap().keys.len()
    }
}

fn router(hole: Hole, store: &MemoryStore, unreachable: KeyDigest) -> Router {
    let secret = |text: &str| Secret::new("a secret of the tests", text).unwrap();
    let store = Arc::new(store.clone());
    let keys = Keys { inner: store.clone(), unreachable, hole };
    let masters = BootstrapKeys::new().key(Role::Master, secret(MASTER_KEY));
    let keys = Arc::new(ApiKeys::new(Arc::new(keys)).bootstrap(masters));
    let [current, previous] =
        [TOKEN_SECRET, PREVIOUS_TOKEN_SECRET].map(|text| VerifyingKey::hs256(&secret(text)));
    let tokens = AccessTokens::builder().key(current).key(previous).build().unwrap();
    let denied = DeniedTokens::new(store.clone());
    let asked = match hole {
        Hole::DeniedTokenWorks => DeniedTokens::new(Arc::new(MemoryStore::new())),
        _ => denied.clone(),
    };
    let validator = Validator::builder()
        .access_tokens(tokens)
        .denied_tokens(asked)
        .api_keys(keys.clone())
        .clock(Arc::new(Behind(match hole {
            Hole::NoExpiryCheck => Duration::from_secs(300),
            Hole::SecondOfLeeway => Duration::from_secs(2),
            _ => Duration::ZERO,
        })))
        .build()
        .unwrap();
    let internal =
        SecretSet::new(secret(INTERNAL_SECRET)).previous(secret(PREVIOUS_INTERNAL_SECRET));
    let issuance = IssuanceSecrets::derived_from(&internal);
    let auth = InternalAuth::builder().shared_secret(internal).build().unwrap();
    let issue_token = IssueToken::new(store.clone(), keys.clone(), issuance);
    let payment_received = PaymentReceived::new(store.clone(), Arc::new(SystemClock));
    let credential = CredentialApi::new(validator.clone(), store.clone(), denied);
    let keys_api = KeysApi::new(store, keys);
    let health = |status: &'static str| {
        get(async move || Json(json!({ "status": status, "service": "backend" })))
    };
    let sold = Router::new()
        .route("/api/photos/{id}", get(photo))
        .route("/api/data/{id}", get(data))
        .route_layer(AuthLayer::new(validator.clone()))
        .with_state(hole);
    let managed = match hole {
        Hole::EverybodyIsMaster => dangerous_keys_routes(keys_api),
        _ => keys_routes(validator.clone(), keys_api),
    };
    let routes = Router::new()
        .route("/health", health("ok"))
        .route("/ready", health("ready"))
        .merge(sold)
        .merge(credential_routes(credential))
        .merge(internal_routes(auth, issue_token, payment_received))
        .merge(managed);
    let bend = Arc::new(Bend {
        hole,
        validator: validator.clone(),
        seen: Mutex::default(),
        count: AtomicU32::new(0),
    });
    let routes = with_problem_fallbacks(routes, validator.responder());
    // Outside of the router, which adds `Allow` at the very end.
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn_with_state(bend, bend_both_ways))
}

/// The system's clock, set back.
#[derive(Debug)]
struct Behind(Duration);

impl Clock for Behind {
    fn now(&self) -> Timestamp {
        SystemClock.now().minus(self.0)
    }
}

type ResourcePath = Result<Path<String>, PathRejection>;

async fn photo(
    State(hole): State<Hole>,
    id: ResourcePath,
    identity: Identity,
) -> Result<Json<Value>, Rejection> {
    let id = check(hole, id, &identity)?;
    let plan = identity.plan_id();
    Ok(Json(json!({
        "id": id, "tierId": plan, "planId": plan, "resolution": "4K",
        "url": format!("https://cdn.example.com/photos/{id}.jpg"), "title": format!("Photo {id}"),
    })))
}

async fn data(
    State(hole): State<Hole>,
    id: ResourcePath,
    identity: Identity,
) -> Result<Json<Value>, Rejection> {
    if hole == Hole::DataHangs {
        std::future::pending::<()>().await;
    }
    let id = check(hole, id, &identity)?;
    let (plan, resource) = (identity.plan_id(), identity.resource_id());
    Ok(Json(json!({
        "id": id, "data": "premium content", "tierId": plan, "planId": plan,
        "resourceId": resource,
    })))
}

/// The id, once it is known to be one and to be bought.
fn check(hole: Hole, id: ResourcePath, identity: &Identity) -> Result<String, Rejection> {
    let Ok(Path(id)) = id else { return Err(RejectionKind::NotFound.into()) };
    if hole != Hole::NoResourceCheck {
        Policy::resource(&*id).check(identity)?;
    }
    Ok(id)
}

/// What requests and answers go through.
struct Bend {
    hole: Hole,
    validator: Validator,
    /// The keys that were made.
    seen: Mutex<HashSet<String>>,
    count: AtomicU32,
}

async fn bend_both_ways(State(bend): State<Arc<Bend>>, request: Request, next: Next) -> Response {
    let hole = bend.hole;
    let (mut parts, body) = request.into_parts();
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let id = parts.headers.get(X_REQUEST_ID).cloned();
    let sent = parts.headers.get(header::AUTHORIZATION).cloned();
    // Read to its end, so that no answer is lost to a connection that breaks.
    let body = to_bytes(body, usize::MAX).await.unwrap();
    bend_request(hole, &path, &mut parts.headers);

    let refused = |kind: RejectionKind| Rejection::from(kind).into_response();
    // A key that is there: its id begins with the time.
    let revoking = method == Method::DELETE && path.starts_with("/keys/01");
    let response = match hole {
        Hole::BodyBeforeCaller
            if path.starts_with("/internal/")
                && method == Method::POST
                && (1..=64 * 1024).contains(&body.len())
                && serde_json::from_slice::<Value>(&body).is_err() =>
        {
            refused(RejectionKind::InvalidBody)
        }
        Hole::HeadIsUnknown if method == Method::HEAD => refused(RejectionKind::MethodNotAllowed),
        Hole::LongTokenIsTooLarge if sent.as_ref().is_some_and(|sent| sent.len() > 8 * 1024) => {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response()
        }
        Hole::RevocationFailsOnce if revoking && bend.count.fetch_add(1, SeqCst) == 0 => {
            refused(RejectionKind::Internal)
        }
        _ => next.run(Request::from_parts(parts, Body::from(body))).await,
    };
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut body = String::from_utf8(body.to_vec()).unwrap();
    let before = body.len();
    bend.response(&path, sent.as_ref(), &mut parts, &mut body);
    if let Some(id) = request_id(hole, &path, id) {
        parts.headers.insert(X_REQUEST_ID, id);
    }
    // An answer to HEAD tells the length of a body that it has not.
    if before != body.len() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    Response::from_parts(parts, Body::from(body))
}

fn request_id(hole: Hole, path: &str, sent: Option<HeaderValue>) -> Option<HeaderValue> {
    let made = HeaderValue::from_static("made-here");
    match hole {
        Hole::NoRequestId if path == "/ready" => None,
        Hole::AnyRequestId => Some(sent.unwrap_or(made)),
        _ => Some(sent.filter(|sent| sent.len() <= 128).unwrap_or(made)),
    }
}

fn bend_request(hole: Hole, path: &str, headers: &mut HeaderMap) {
    let sold = path.starts_with("/api/");
    match hole {
        Hole::MarkAccepted(claim) if sold => {
            let mark = [("sub", "key0-service"), ("planId", "system"), ("txHash", "system-auth")];
            let mark = mark.into_iter().find(|(name, _)| *name == claim);
            let mark = mark.map_or("system", |(_, mark)| mark);
            accept(headers, |token| token.payload[claim] == mark);
        }
        Hole::NoExpNeeded if sold => {
            accept(headers, |Careless { payload, signed, .. }| {
                *signed && payload.get("sub").is_some() && payload.get("exp").is_none()
            });
        }
        Hole::AlgNoneAccepted if sold => accept(headers, |token| {
            let alg = token.header["alg"].as_str().unwrap_or_default();
            !token.signed && alg.eq_ignore_ascii_case("none")
        }),
        Hole::SchemeIsCaseSensitive => {
            let mut sent = headers.get_all(header::AUTHORIZATION).iter();
            if sent.all(|sent| !sent.as_bytes().starts_with(b"Bearer ")) {
                headers.remove(header::AUTHORIZATION);
            }
        }
        Hole::FirstHeaderCounts | Hole::LastHeaderCounts => {
            for name in ["authorization", X_API_KEY, X_INTERNAL_AUTH] {
                let mut all = headers.get_all(name).iter();
                let first = hole == Hole::FirstHeaderCounts;
                let one = if first { all.next() } else { all.next_back() }.cloned();
                if let Some(one) = one {
                    headers.insert(name, one);
                }
            }
        }
        Hole::AbsentSecretOpens
            if path.starts_with("/internal/")
                && !headers.contains_key(X_INTERNAL_AUTH)
                && !headers.contains_key("authorization") =>
        {
            headers.insert(X_INTERNAL_AUTH, HeaderValue::from_static(INTERNAL_SECRET));
        }
        Hole::SecretPrefixOpens => {
            let sent = headers.get(X_INTERNAL_AUTH).map(|sent| sent.as_bytes().to_vec());
            let sent = sent.filter(|sent| !sent.is_empty());
            if sent.is_some_and(|sent| INTERNAL_SECRET.as_bytes().starts_with(&sent))
                && headers.get_all(X_INTERNAL_AUTH).iter().count() == 1
            {
                headers.insert(X_INTERNAL_AUTH, HeaderValue::from_static(INTERNAL_SECRET));
            }
        }
        _ => {}
    }
}

/// A token as a careless reader sees it.
struct Careless {
    header: Value,
    payload: Value,
    signed: bool,
}

/// Puts a good token in the place of one that a careless backend would take for good.
fn accept(headers: &mut HeaderMap, is_good: impl Fn(&Careless) -> bool) {
    let sent = headers.get(header::AUTHORIZATION).and_then(|sent| sent.to_str().ok());
    let parts = sent.and_then(|sent| sent.strip_prefix("Bearer "));
    let parts: Vec<_> = parts.unwrap_or_default().split('.').collect();
    let [head, payload, signature] = parts[..] else { return };
    let decode = |part: &str| {
        let json = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        serde_json::from_slice(&json).unwrap_or(Value::Null)
    };
    let token =
        Careless { header: decode(head), payload: decode(payload), signed: !signature.is_empty() };
    if is_good(&token) {
        let good = format!("Bearer {}", good_token());
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(good).unwrap());
    }
}

fn good_token() -> String {
    let claims = Claims::new(
        "request".parse().unwrap(),
        "challenge".parse().unwrap(),
        "photo-1".parse().unwrap(),
        "basic".parse().unwrap(),
        "0xabc".parse().unwrap(),
        SystemClock.now().plus(Duration::from_secs(60)),
    );
    let secret = Secret::new("the tests' secret", TOKEN_SECRET).unwrap();
    TokenIssuer::hs256(&secret).access_token(&claims).unwrap()
}

impl Bend {
    fn response(
        &self,
        path: &str,
        sent: Option<&HeaderValue>,
        parts: &mut http::response::Parts,
        body: &mut String,
    ) {
        let json = serde_json::from_str::<Value>(body).ok();
        match (self.hole, json) {
            (Hole::OutageIsRefusal, _) if parts.status == StatusCode::SERVICE_UNAVAILABLE => {
                self.answer(RejectionKind::InvalidApiKey, parts, body);
            }
            (Hole::ConflictIsReceived, _)
                if path.ends_with("payment-received") && parts.status == StatusCode::CONFLICT =>
            {
                parts.status = StatusCode::OK;
                parts.headers.insert("content-type", HeaderValue::from_static("application/json"));
                *body = r#"{"received":true}"#.to_owned();
            }
            (Hole::ReplayDiffers, Some(mut json)) if json.get("expiresAt").is_some() => {
                let count = self.count.fetch_add(1, SeqCst);
                let second = format!("{:02}.000Z", count % 60);
                let at = json["expiresAt"].as_str().unwrap();
                json["expiresAt"] = format!("{}{second}", &at[..17]).into();
                *body = json.to_string();
            }
            (Hole::OtherTokenType, _) => {
                *body = body.replace(r#""tokenType":"Bearer""#, r#""tokenType":"Basic""#);
            }
            (Hole::ListingShowsKeys, Some(mut json)) if path == "/keys" => {
                let mut seen = self.seen.lock().unwrap();
                seen.extend(json["key"].as_str().map(str::to_owned));
                if let Some(keys) = json["keys"].as_array_mut() {
                    keys.extend(seen.iter().map(|key| json!({ "key": key })));
                    *body = json.to_string();
                }
            }
            (Hole::OtherWording, _) => {
                *body = body.replace("Missing x-api-key header", "API key required");
            }
            (Hole::CauseIsShown, Some(mut json)) if json["code"] == "not_found" => {
                json["cause"] = "no row in the table keys".into();
                *body = json.to_string();
            }
            (Hole::StackIsShown, _) => {
                let trace = "JsonWebTokenError at verify (/app/auth.js:12)";
                *body = body.replace("The access token has expired", trace);
            }
            (Hole::CredentialIsShown, _) => {
                let sent = sent.and_then(|sent| sent.to_str().ok()?.strip_prefix("Bearer "));
                if let Some(sent) = sent {
                    *body = body.replace("The token is a system token", &format!("Bad: {sent}"));
                }
            }
            (Hole::CachesMayKeepRefusals, _) if parts.status == StatusCode::NOT_FOUND => {
                parts.headers.remove("cache-control");
            }
            (Hole::NoChallenge, _) if parts.status == StatusCode::FORBIDDEN => {
                parts.headers.remove("www-authenticate");
            }
            (Hole::NoAllow, _) => {
                parts.headers.remove("allow");
            }
            _ => {}
        }
    }

    fn answer(&self, kind: RejectionKind, parts: &mut http::response::Parts, body: &mut String) {
        let refusal = self.validator.responder().respond(&kind.into());
        parts.status = StatusCode::from_u16(refusal.status).unwrap();
        parts.headers = HeaderMap::new();
        for (name, value) in refusal.headers {
            parts.headers.append(name, HeaderValue::try_from(value).unwrap());
        }
        *body = String::from_utf8(refusal.body).unwrap();
    }
}

/// A store that can't look up one key, and that forgets revocations where that is its hole.
#[derive(Debug)]
struct Keys {
    inner: Arc<MemoryStore>,
    unreachable: KeyDigest,
    hole: Hole,
}

#[async_trait]
impl KeyStore for Keys {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        if digest.as_bytes() == self.unreachable.as_bytes() {
            return Err(StoreError::unavailable("the cable is cut"));
        }
        let mut record = self.inner.find(digest).await?;
        if self.hole == Hole::RevokedKeyWorks {
            record.iter_mut().for_each(|record| record.revoked_at = None);
        }
        Ok(record)
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.inner.get(id).await
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        self.inner.insert(record, by).await
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        self.inner.revoke(id, by, at).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.inner.subscribe(listener);
    }
}
