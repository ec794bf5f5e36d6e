//! Every kind of credential through one `Validator`, and what the policies make of it.

#![cfg(feature = "testing")]

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Waker},
    time::Duration,
};

use crate::flow::{START, Secrets, SpyKeys, TestClock, bearer, secret, whole_chain, x_api_key};
use crate::tokens::{HS256, PREVIOUS_SECRET, SECRET, b64, good_claims, hs256, sign_parts};
use async_trait::async_trait;
use key0_auth::{
    AccessTokens, ApiKeys, Cached, Identity, KeyStore, Policy, Rejection,
    RejectionKind::{self, *},
    Validator,
    apikey::{BootstrapKeys, Grant, KeyDigest, KeyFormat, KeyRecord, PlainKey},
    auth::{Fallback, FallbackError, FallbackGrant, IdentityKind, Problem, ProblemBody, Source},
    domain::{
        Action, Actor, Clock, Credential, KeyId, Permissions, PlanId, ResourceId, Role, Timestamp,
    },
    token::{TokenIssuer, VerifyingKey},
    validate_key0_token,
};
use serde_json::{Map, Value, json};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const MASTER: &str = "a bootstrap key of the master role";
const _: () = assert!(MASTER.len() >= 32);

struct Flow {
    clock: Arc<TestClock>,
    store: Arc<SpyKeys>,
    cached: Arc<Cached>,
    validator: Validator,
}

fn flow() -> Flow {
    flow_with(BootstrapKeys::new(), None::<Coupons>)
}

fn flow_with(bootstrap: BootstrapKeys, fallback: Option<impl Fallback>) -> Flow {
    let (clock, store) = (TestClock::new(), SpyKeys::new());
    let cached = Arc::new(Cached::new(store.clone(), clock.clone()));
    let keys = ApiKeys::cached(cached.clone()).bootstrap(bootstrap);
    let mut builder = Validator::builder()
        .access_tokens(AccessTokens::hs256(SECRET).unwrap())
        .api_keys(keys)
        .clock(clock.clone());
    if let Some(fallback) = fallback {
        builder = builder.fallback(fallback);
    }
    Flow { clock, store, cached, validator: builder.build().unwrap() }
}

impl Flow {
    async fn bearer(&self, credential: &str) -> Result<Identity, Rejection> {
        bearer(&self.validator, credential).await
    }

    /// Adds a key with this grant, changed as told.
    async fn key(&self, grant: Grant, change: impl FnOnce(&mut KeyRecord)) -> (PlainKey, KeyId) {
        let plain = KeyFormat::default().generate().unwrap();
        let mut record = KeyRecord::new(KeyId::generate(), &plain, grant, self.clock.now());
        change(&mut record);
        self.cached.insert(&record, &Actor::host()).await.unwrap();
        (plain, record.id)
    }

    async fn payment_key(&self, resource: &str, plan: &str) -> PlainKey {
        self.key(payment(resource, plan, None), |_| ()).await.0
    }
}

fn payment(resource: &str, plan: &str, permissions: Option<Permissions>) -> Grant {
    Grant::Payment {
        resource_id: ResourceId::new(resource).unwrap(),
        plan_id: PlanId::new(plan).unwrap(),
        permissions,
    }
}

fn integrator(role: Role, permissions: Option<Permissions>) -> Grant {
    Grant::Integrator { role, permissions }
}

fn dpp_create() -> Permissions {
    Permissions::none().grant("dpp", Action::Create)
}

fn token_with(changes: &[(&str, Value)]) -> String {
    let mut claims = good_claims(START.as_seconds());
    claims.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    hs256(HS256, Value::Object(claims).to_string())
}

fn token() -> String {
    token_with(&[])
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(
    result: Result<T, Rejection>,
    kind: RejectionKind,
    row: &str,
) -> Rejection {
    let refusal = result.expect_err(row);
    assert_eq!(refusal.kind(), kind, "{row}: {refusal:?}");
    refusal
}

// Who is asking

/// Everything that an identity says of itself.
#[derive(Debug, PartialEq)]
struct Said<'a> {
    kind: IdentityKind,
    subject: &'a str,
    resource: Option<&'a str>,
    plan: Option<&'a str>,
    role: Option<Role>,
    permissions: Option<&'a Permissions>,
    key_id: Option<&'a str>,
    metadata: Option<Map<String, Value>>,
    expires_at: Option<Timestamp>,
    has_claims: bool,
}

fn said(identity: &Identity) -> Said<'_> {
    Said {
        kind: identity.kind(),
        subject: identity.subject(),
        resource: identity.resource_id().map(ResourceId::as_str),
        plan: identity.plan_id().map(PlanId::as_str),
        role: identity.role(),
        permissions: identity.permissions(),
        key_id: identity.key_id().map(KeyId::as_str),
        metadata: identity.metadata(),
        expires_at: identity.expires_at(),
        has_claims: identity.claims().is_some(),
    }
}

fn allowed(identity: &Identity, resource: &str) -> [bool; 4] {
    Action::ALL.map(|action| identity.allows(resource, action))
}

#[tokio::test]
async fn an_access_token_says_what_it_claims() {
    let flow = flow();
    let identity = flow.bearer(&token_with(&[("seat", json!("7b"))])).await.unwrap();
    assert_eq!(
        said(&identity),
        Said {
            kind: IdentityKind::AccessToken,
            subject: "550e8400-e29b-41d4-a716-446655440000",
            resource: Some("photo-1"),
            plan: Some("basic"),
            role: None,
            permissions: None,
            key_id: None,
            metadata: None,
            expires_at: Some(START.plus(HOUR)),
            has_claims: true,
        }
    );
    assert_eq!(identity.claims().unwrap().extra()["seat"], "7b");
    assert_eq!(allowed(&identity, "photo-1"), [false; 4]);
    assert!(identity.opens("photo-1") && !identity.opens("photo-2"));
    assert_eq!(flow.store.finds(), 0, "a token needs no store");
}

#[tokio::test]
async fn a_key_is_the_same_from_either_header() {
    let flow = flow();
    let mut metadata = Map::new();
    metadata.insert("order".into(), json!(42));
    let (plain, id) = flow
        .key(payment("photo-1", "gold", None), |record| {
            record.metadata = metadata.clone().into();
            record.expires_at = Some(START.plus(HOUR));
        })
        .await;
    for identity in [
        flow.bearer(plain.expose()).await.unwrap(),
        x_api_key(&flow.validator, plain.expose()).await.unwrap(),
    ] {
        assert_eq!(
            said(&identity),
            Said {
                kind: IdentityKind::PaymentKey,
                subject: id.as_str(),
                resource: Some("photo-1"),
                plan: Some("gold"),
                role: None,
                permissions: None,
                key_id: Some(id.as_str()),
                metadata: Some(metadata.clone()),
                expires_at: Some(START.plus(HOUR)),
                has_claims: false,
            }
        );
        assert_eq!(allowed(&identity, "photo-1"), [false; 4]);
        assert!(identity.opens("photo-1") && !identity.opens("photo-2"));
    }
    assert_eq!(flow.store.finds(), 1, "the second time it is remembered");
}

#[tokio::test]
async fn an_integrator_s_permissions_replace_its_role() {
    let flow = flow();
    let (by_role, id) = flow.key(integrator(Role::Minter, None), |_| ()).await;
    let identity = x_api_key(&flow.validator, by_role.expose()).await.unwrap();
    assert_eq!(
        said(&identity),
        Said {
            kind: IdentityKind::IntegratorKey,
            subject: id.as_str(),
            resource: None,
            plan: None,
            role: Some(Role::Minter),
            permissions: None,
            key_id: Some(id.as_str()),
            metadata: Some(Map::new()),
            expires_at: None,
            has_claims: false,
        }
    );
    assert_eq!(allowed(&identity, "anything"), [true, true, true, false]);
    assert!(!identity.opens("photo-1") && !identity.opens("default"));

    let (narrow, _) = flow.key(integrator(Role::Minter, Some(dpp_create())), |_| ()).await;
    let identity = x_api_key(&flow.validator, narrow.expose()).await.unwrap();
    assert_eq!(
        (identity.role(), identity.permissions()),
        (Some(Role::Minter), Some(&dpp_create()))
    );
    assert_eq!(allowed(&identity, "dpp"), [true, false, false, false]);
    assert_eq!(allowed(&identity, "loyalty"), [false; 4]);
    let (nothing, _) = flow.key(integrator(Role::Minter, Some(Permissions::none())), |_| ()).await;
    let identity = x_api_key(&flow.validator, nothing.expose()).await.unwrap();
    assert_eq!(allowed(&identity, "dpp"), [false; 4], "an empty list is a list");
}

#[tokio::test]
async fn a_hook_can_give_a_payment_key_permissions() {
    let flow = flow();
    let (plain, _) = flow.key(payment("photo-1", "gold", Some(dpp_create())), |_| ()).await;
    let identity = flow.bearer(plain.expose()).await.unwrap();
    assert_eq!(allowed(&identity, "dpp"), [true, false, false, false]);
    assert_eq!((identity.role(), identity.permissions()), (None, Some(&dpp_create())));
    assert!(identity.opens("photo-1"));
}

#[tokio::test]
async fn bootstrap_keys_come_in_any_shape_and_from_either_header() {
    let well_formed = KeyFormat::default().generate().unwrap();
    let shapes = [
        MASTER,
        "aaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbb.cccccccc",
        &token(),
        well_formed.expose(),
        "ak_0123456789abcdef0123456789abcdef",
        "ak_mistyped-and-in-no-shape-of-ours-at-all",
        "{\"not\":\"pretty\"}-but-more-than-32-bytes",
    ];
    for shape in shapes {
        for (role, id, allows) in [
            (Role::Master, "bootstrap-master-1", [true; 4]),
            (Role::Minter, "bootstrap-minter-1", [true, true, true, false]),
            (Role::Read, "bootstrap-read-1", [false, true, false, false]),
        ] {
            let keys = BootstrapKeys::new().named(role, "1", secret(shape)).unwrap();
            let flow = flow_with(keys, Some(Untouchable));
            flow.store.fails.store(true, SeqCst);
            // As a shared secret of the operator's: a text with blanks can't be sent as one value.
            let sendable = !shape.contains(' ');
            let results = [flow.bearer(shape).await, x_api_key(&flow.validator, shape).await];
            for result in results {
                if !sendable {
                    assert_refused(result, MalformedCredential, shape);
                    continue;
                }
                let identity = result.unwrap();
                assert_eq!(
                    said(&identity),
                    Said {
                        kind: IdentityKind::BootstrapKey,
                        subject: id,
                        resource: None,
                        plan: None,
                        role: Some(role),
                        permissions: None,
                        key_id: Some(id),
                        metadata: None,
                        expires_at: None,
                        has_claims: false,
                    }
                );
                assert_eq!(allowed(&identity, "anything"), allows);
                assert!(!identity.opens("photo-1") && !identity.opens("default"));
            }
            assert_eq!(flow.store.finds(), 0, "{shape}");
        }
    }
}

#[tokio::test]
async fn what_is_nearly_a_bootstrap_key_is_nothing() {
    let key = "aaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbb.cccccccc";
    let flow = flow_with(BootstrapKeys::new().key(Role::Master, secret(key)), None::<Coupons>);
    for near in [&key[1..], &key[..key.len() - 1], &format!("{key}c"), &key.to_uppercase()] {
        assert_refused(flow.bearer(near).await, InvalidToken, near);
        assert_refused(x_api_key(&flow.validator, near).await, InvalidApiKey, near);
    }
}

#[tokio::test]
async fn a_fallback_says_what_the_application_said() {
    let flow = flow_with(BootstrapKeys::new(), Some(Coupons::default()));
    let identity = flow.bearer("coupon-full").await.unwrap();
    assert_eq!(
        said(&identity),
        Said {
            kind: IdentityKind::Fallback,
            subject: "holder of coupon-full",
            resource: Some("photo-1"),
            plan: Some("basic"),
            role: None,
            permissions: Some(&dpp_create()),
            key_id: None,
            metadata: None,
            expires_at: None,
            has_claims: false,
        }
    );
    assert_eq!(allowed(&identity, "dpp"), [true, false, false, false]);
    let identity = flow.bearer("coupon-bare").await.unwrap();
    assert_eq!((identity.resource_id(), identity.plan_id()), (None, None));
    assert_eq!(allowed(&identity, "dpp"), [false; 4]);
    assert!(!identity.opens("photo-1"));
}

// Times

#[tokio::test]
async fn a_token_ends_at_its_exp() {
    let flow = flow();
    flow.clock.set(START.plus(HOUR).minus(Duration::from_micros(1)));
    flow.bearer(&token()).await.unwrap();
    flow.clock.set(START.plus(HOUR));
    assert_refused(flow.bearer(&token()).await, TokenExpired, "at exp");
}

#[tokio::test]
async fn expiry_is_validated_at_every_request_also_on_a_cache_hit() {
    let flow = flow();
    let expires_at = START.plus(2 * SECOND);
    let (plain, _) =
        flow.key(payment("photo-1", "basic", None), |key| key.expires_at = Some(expires_at)).await;
    flow.bearer(plain.expose()).await.unwrap();
    flow.clock.set(expires_at.minus(Duration::from_micros(1)));
    flow.bearer(plain.expose()).await.unwrap();
    assert_eq!(flow.store.finds(), 1);
    flow.clock.set(expires_at);
    assert_refused(flow.bearer(plain.expose()).await, KeyExpired, "the instant it expires");
    let finds = flow.store.finds();
    flow.clock.advance(SECOND);
    assert_refused(flow.bearer(plain.expose()).await, KeyExpired, "remembered as expired");
    assert_eq!(flow.store.finds(), finds, "a cache hit");
}

#[tokio::test]
async fn the_time_counts_at_which_the_answer_came() {
    let flow = flow();
    let (plain, _) = flow
        .key(payment("photo-1", "basic", None), |key| key.expires_at = Some(START.plus(SECOND)))
        .await;
    let header = format!("Bearer {}", plain.expose());
    let mut validating = pin!(flow.validator.validate([header.as_bytes()], []));
    let polled = validating.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "a look-up");
    flow.clock.advance(SECOND);
    assert_refused(validating.await, KeyExpired, "expired while it waited");
}

#[tokio::test]
async fn a_revocation_counts_at_once_and_is_told_from_the_cache_too() {
    let flow = flow();
    let (plain, id) = flow
        .key(payment("photo-1", "basic", None), |key| key.expires_at = Some(START.plus(HOUR)))
        .await;
    flow.bearer(plain.expose()).await.unwrap();
    flow.cached.revoke(&id, &Actor::host(), flow.clock.now()).await.unwrap().unwrap();
    assert_refused(flow.bearer(plain.expose()).await, KeyRevoked, "the next request");
    let finds = flow.store.finds();
    for result in
        [flow.bearer(plain.expose()).await, x_api_key(&flow.validator, plain.expose()).await]
    {
        assert_refused(result, KeyRevoked, "a cache hit");
    }
    assert_eq!(flow.store.finds(), finds, "a cache hit");
    flow.clock.advance(HOUR);
    assert_refused(flow.bearer(plain.expose()).await, KeyRevoked, "revoked comes before expired");
}

// What is refused

#[tokio::test]
async fn a_mistyped_key_costs_no_look_up_and_reads_like_an_unknown_one() {
    let flow = flow();
    let plain = flow.payment_key("photo-1", "basic").await;
    for at in 0..plain.expose().len() {
        let mut typo = plain.expose().as_bytes().to_vec();
        typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
        let typo = String::from_utf8(typo).unwrap();
        assert_refused(x_api_key(&flow.validator, &typo).await, InvalidApiKey, &typo);
        if typo.starts_with("ak_") {
            assert_refused(flow.bearer(&typo).await, InvalidApiKey, &typo);
        }
    }
    for shape in ["ak_", "ak_a", "ak_0123456789abcdef0123456789abcdeg", "shop_key", &token()] {
        assert_refused(x_api_key(&flow.validator, shape).await, InvalidApiKey, shape);
    }
    assert_eq!(flow.store.finds(), 0);

    let mistyped = x_api_key(&flow.validator, "ak_mistyped").await.unwrap_err();
    let unknown = KeyFormat::default().generate().unwrap();
    let legacy = "ak_0123456789abcdef0123456789abcdef";
    for unknown in [unknown.expose(), legacy] {
        let unknown = assert_refused(flow.bearer(unknown).await, InvalidApiKey, unknown);
        let respond = |refusal| flow.validator.responder().respond(refusal);
        assert_eq!(respond(&unknown), respond(&mistyped));
    }
    assert_eq!(flow.store.finds(), 2);
}

#[tokio::test]
async fn an_outage_is_no_refusal_and_stops_no_token() {
    let flow = flow_with(BootstrapKeys::new(), Some(Coupons::default()));
    let known = flow.payment_key("photo-1", "basic").await;
    let remembered = flow.payment_key("photo-1", "basic").await;
    flow.bearer(remembered.expose()).await.unwrap();
    flow.store.fails.store(true, SeqCst);
    let unknown = KeyFormat::default().generate().unwrap();
    for key in [known.expose(), unknown.expose()] {
        for result in [flow.bearer(key).await, x_api_key(&flow.validator, key).await] {
            let refusal = assert_refused(result, StoreUnavailable, "in an outage");
            assert_eq!(flow.validator.responder().respond(&refusal).status, 503);
        }
    }
    flow.bearer(remembered.expose()).await.unwrap();
    flow.bearer(&token()).await.unwrap();
    flow.bearer("coupon-full").await.unwrap();
    assert_refused(flow.bearer("a.b.c").await, InvalidToken, "a bad token");
    assert_refused(flow.bearer("ak_mistyped").await, InvalidApiKey, "a mistyped key");
    flow.store.fails.store(false, SeqCst);
    flow.bearer(known.expose()).await.unwrap();
    assert_refused(flow.bearer(unknown.expose()).await, InvalidApiKey, "after the outage");
}

#[tokio::test]
async fn a_record_with_another_digest_proves_nothing() {
    let flow = flow();
    let other = KeyFormat::default().generate().unwrap();
    let grant = integrator(Role::Master, None);
    let lie = KeyRecord::new(KeyId::generate(), &other, grant, START);
    *flow.store.lie.lock().unwrap() = Some(lie);
    let key = KeyFormat::default().generate().unwrap();
    for _ in 0..2 {
        assert_refused(flow.bearer(key.expose()).await, InvalidApiKey, "from a store that lies");
    }
    flow.bearer(other.expose()).await.unwrap();
}

#[tokio::test]
async fn two_credentials_are_refused_and_one_sent_twice_is_not() {
    let flow = flow();
    let (first, second) = (flow.payment_key("a", "b").await, flow.payment_key("a", "b").await);
    let bearer = |credential: &str| format!("Bearer {credential}");
    let (first, second) = (first.expose(), second.expose());
    let validate = async |authorization: &[String], keys: &[&str]| {
        let authorization: Vec<&[u8]> = authorization.iter().map(String::as_bytes).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
        flow.validator.validate(authorization, keys).await
    };
    validate(&[bearer(first)], &[first]).await.unwrap();
    validate(&["Basic dTpw".into()], &[first]).await.unwrap();
    for (authorization, keys) in [
        (vec![bearer(first)], vec![second]),
        (vec![bearer(&token())], vec![first]),
        (vec![bearer(first), bearer(first)], vec![]),
        (vec![bearer(first), "Basic dTpw".into()], vec![]),
        (vec![], vec![first, first]),
        (vec![bearer(&format!("{first} {second}"))], vec![]),
        (vec![bearer(&format!("{first},{second}"))], vec![first]),
        (vec![bearer("\u{e9}")], vec![]),
    ] {
        let result = validate(&authorization, &keys).await;
        let refusal = assert_refused(result, MalformedCredential, &format!("{authorization:?}"));
        assert_eq!(flow.validator.responder().respond(&refusal).status, 400);
    }
}

#[tokio::test]
async fn only_the_sources_that_are_on_are_looked_at() {
    let store = SpyKeys::new();
    let clock = TestClock::new();
    let cached = Arc::new(Cached::new(store.clone(), clock.clone()));
    let keys = Arc::new(ApiKeys::cached(cached.clone()));
    let plain = KeyFormat::default().generate().unwrap();
    let grant = payment("photo-1", "basic", None);
    cached
        .insert(&KeyRecord::new(KeyId::generate(), &plain, grant, START), &Actor::host())
        .await
        .unwrap();
    let validator = |sources: &[Source]| {
        Validator::builder()
            .access_tokens(AccessTokens::hs256(SECRET).unwrap())
            .api_keys(keys.clone())
            .sources(sources.iter().copied())
            .realm("photos")
            .clock(clock.clone())
            .build()
            .unwrap()
    };
    let challenges = |validator: &Validator| -> Vec<String> {
        let refusal = validator.responder().respond(&MissingCredential.into());
        let headers = refusal.headers.into_iter();
        headers.filter(|(name, _)| *name == "www-authenticate").map(|(_, value)| value).collect()
    };

    let by_bearer = validator(&[Source::Bearer]);
    bearer(&by_bearer, plain.expose()).await.unwrap();
    assert_refused(x_api_key(&by_bearer, plain.expose()).await, MissingCredential, "off");
    let both = format!("Bearer {}", plain.expose());
    by_bearer.validate([both.as_bytes()], [&b"another"[..]]).await.unwrap();
    assert_eq!(challenges(&by_bearer), ["Bearer realm=\"photos\""]);

    let by_key = validator(&[Source::ApiKeyHeader]);
    x_api_key(&by_key, plain.expose()).await.unwrap();
    assert_refused(bearer(&by_key, plain.expose()).await, MissingCredential, "off");
    assert_refused(bearer(&by_key, &token()).await, MissingCredential, "off");
    assert_eq!(challenges(&by_key), ["ApiKey realm=\"photos\""]);

    // The same token in both headers: the first source says what it is.
    let bearer_first = validator(&[Source::Bearer, Source::ApiKeyHeader]);
    let key_first = validator(&[Source::ApiKeyHeader, Source::Bearer]);
    let token = token();
    let both = format!("Bearer {token}");
    bearer_first.validate([both.as_bytes()], [token.as_bytes()]).await.unwrap();
    let refused = key_first.validate([both.as_bytes()], [token.as_bytes()]).await;
    assert_refused(refused, InvalidApiKey, "a header for API keys never holds a token");
    assert_eq!(challenges(&key_first), ["ApiKey realm=\"photos\"", "Bearer realm=\"photos\""]);
}

#[tokio::test]
async fn a_validator_accepts_something_from_somewhere() {
    let tokens = || AccessTokens::hs256(SECRET).unwrap();
    let faults = |builder: key0_auth::auth::ValidatorBuilder| {
        builder.build().expect_err("a fault").faults().len()
    };
    assert_eq!(faults(Validator::builder()), 1);
    assert_eq!(faults(Validator::builder().access_tokens(tokens()).sources([])), 1);
    let no_keys = Validator::builder().access_tokens(tokens()).sources([Source::ApiKeyHeader]);
    assert_eq!(faults(no_keys), 1);
    assert_eq!(faults(Validator::builder().sources([]).realm("a\"b")), 3);

    // Without keys nothing is an API key.
    let validator = Validator::builder().access_tokens(tokens()).build().unwrap();
    assert_refused(x_api_key(&validator, "ak_x").await, MissingCredential, "no keys");
    assert_refused(bearer(&validator, "ak_x").await, InvalidToken, "no keys");
    // Without tokens nothing is an access token.
    let keys = ApiKeys::new(SpyKeys::new());
    let validator = Validator::builder().api_keys(keys).build().unwrap();
    assert_refused(bearer(&validator, &token()).await, InvalidToken, "no tokens");
}

#[tokio::test]
async fn the_application_can_give_refusals_a_form() {
    #[derive(Debug)]
    struct Plain;
    impl ProblemBody for Plain {
        fn render(&self, problem: &Problem<'_>) -> (String, Vec<u8>) {
            let text = format!("{} {} {}", problem.status(), problem.code(), problem.detail());
            ("text/plain".into(), text.into())
        }
    }
    let validator = Validator::builder()
        .access_tokens(AccessTokens::hs256(SECRET).unwrap())
        .problem_body(Plain)
        .realm("photos")
        .build()
        .unwrap();
    let refusal = bearer(&validator, "opaque").await.unwrap_err();
    let answer = validator.responder().respond(&refusal);
    assert_eq!(answer.status, 401);
    assert_eq!(answer.body, b"401 invalid_token The access token is not valid");
    let challenge = "Bearer realm=\"photos\", error=\"invalid_token\", \
                     error_description=\"The access token is not valid\"";
    assert!(answer.headers.contains(&("content-type", "text/plain".into())));
    assert!(answer.headers.contains(&("www-authenticate", challenge.into())));
}

// The application's own credentials

/// Knows coupons and the tokens of another issuer.
#[derive(Debug, Default)]
struct Coupons(Arc<AtomicUsize>);

#[async_trait]
impl Fallback for Coupons {
    async fn validate(
        &self,
        credential: Credential<'_>,
    ) -> Result<Option<FallbackGrant>, FallbackError> {
        self.0.fetch_add(1, SeqCst);
        let text = credential.expose();
        match text {
            "coupon-down" => return Err("the coupons' database is away".into()),
            "coupon-full" => {}
            foreign if foreign.starts_with("eyJ") => {}
            other if !other.starts_with("coupon-") => return Ok(None),
            bare => return Ok(Some(FallbackGrant::new(format!("holder of {bare}")))),
        }
        let grant = FallbackGrant::new(format!("holder of {text}"))
            .resource(ResourceId::new("photo-1")?)
            .plan(PlanId::new("basic")?)
            .permissions(dpp_create());
        Ok(Some(grant))
    }
}

/// Must never be asked.
#[derive(Debug)]
struct Untouchable;

#[async_trait]
impl Fallback for Untouchable {
    async fn validate(&self, _: Credential<'_>) -> Result<Option<FallbackGrant>, FallbackError> {
        panic!("the fallback was asked")
    }
}

#[tokio::test]
async fn the_fallback_hears_of_what_is_not_ours() {
    let asked = Arc::new(AtomicUsize::new(0));
    let flow = flow_with(BootstrapKeys::new(), Some(Coupons(asked.clone())));
    flow.bearer("coupon-full").await.unwrap();
    let foreign = sign_parts("the secret of another issuer altogether", &b64(HS256), &b64("{}"));
    assert_eq!(flow.bearer(&foreign).await.unwrap().kind(), IdentityKind::Fallback);
    assert_eq!(asked.load(SeqCst), 2);

    // "Not mine" keeps the original refusal.
    let unknown = assert_refused(flow.bearer("opaque").await, InvalidToken, "opaque");
    assert_eq!(unknown.message(), "The access token is not valid");
    let malformed = assert_refused(flow.bearer("a.b.c").await, InvalidToken, "a.b.c");
    assert_eq!(malformed.message(), "The access token is malformed");
    let mut forged = token();
    forged.replace_range(..3, "fyJ");
    assert_refused(flow.bearer(&forged).await, InvalidToken, "a forged token that nobody knows");
    assert_eq!(asked.load(SeqCst), 5);

    // Its error says nothing of the credential.
    let refusal = assert_refused(flow.bearer("coupon-down").await, StoreUnavailable, "down");
    assert!(whole_chain(&refusal).contains("database is away"), "the log is told why");
    let answer = flow.validator.responder().respond(&refusal);
    assert_eq!(answer.status, 503);
    assert!(!String::from_utf8(answer.body).unwrap().contains("database"));

    // The header for API keys is none of its business.
    for value in ["coupon-full", &foreign] {
        assert_refused(x_api_key(&flow.validator, value).await, InvalidApiKey, value);
    }
    assert_eq!(asked.load(SeqCst), 6);
}

/// Tokens that one of our keys has signed, each refused for another reason, with that reason.
fn refused_tokens_of_ours() -> Vec<(String, String, RejectionKind)> {
    let now = START.as_seconds();
    let mut rows: Vec<(&str, String, RejectionKind)> = vec![
        ("expired", token_with(&[("exp", json!(now))]), TokenExpired),
        ("not yet", token_with(&[("nbf", json!(now + 1))]), InvalidToken),
        ("bound to a key", token_with(&[("cnf", json!({}))]), InvalidToken),
        ("a claim is empty", token_with(&[("txHash", json!(""))]), InvalidToken),
        ("system subject", token_with(&[("sub", json!("key0-service"))]), InvalidToken),
        ("system plan", token_with(&[("planId", json!("system"))]), InvalidToken),
        ("system hash", token_with(&[("txHash", json!("system-auth"))]), InvalidToken),
        ("not an object", hs256(HS256, "[]"), InvalidToken),
        ("a member twice", hs256(HS256, r#"{"exp":1,"exp":2}"#), InvalidToken),
        ("critical", hs256(r#"{"alg":"HS256","crit":["x"]}"#, "{}"), InvalidToken),
        ("another algorithm", hs256(r#"{"alg":"none"}"#, "{}"), InvalidToken),
        ("padded payload", sign_parts(SECRET, &b64(HS256), "e30="), InvalidToken),
    ];
    let issuer = TokenIssuer::hs256(&secret(SECRET));
    let system = issuer.system_token("backend-service", START, 60 * SECOND).unwrap();
    rows.push(("a system token", system, InvalidToken));
    let mut rows: Vec<(String, String, RejectionKind)> =
        rows.into_iter().map(|(row, token, kind)| (row.to_owned(), token, kind)).collect();

    // The same again, each tampered as some readers wouldn't mind. One whose signature needs both
    // letters that the other alphabet writes otherwise is searched for.
    let with_both = (0..)
        .map(|n| token_with(&[("exp", json!(now - 1)), ("n", json!(n))]))
        .find(|token| {
            let signature = token.rsplit('.').next().unwrap();
            signature.contains('-') && signature.contains('_')
        })
        .unwrap();
    for whole in [with_both, token()] {
        let (input, signature) = whole.rsplit_once('.').unwrap();
        let other_alphabet = signature.replace('-', "+").replace('_', "/");
        // 32 bytes leave two bits of the last letter unused.
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let (rest, last) = signature.split_at(signature.len() - 1);
        let at = alphabet.find(last).unwrap();
        let stray = &alphabet[at + 1..at + 2];
        for (how, tampered) in [
            ("padded", format!("{input}.{signature}=")),
            ("padded twice", format!("{input}.{signature}==")),
            ("stray bits", format!("{input}.{rest}{stray}")),
            ("an ending", format!("{input}.{signature}!")),
            ("a part too many", format!("{input}.{signature}.")),
            ("a part too many", format!("{input}.{signature}.x")),
            ("two parts too many", format!("{input}.{signature}.x.y")),
        ] {
            rows.push((format!("{how}: {tampered}"), tampered, InvalidToken));
        }
        if other_alphabet != signature {
            let tampered = format!("{input}.{other_alphabet}");
            rows.push((format!("the other alphabet: {tampered}"), tampered, InvalidToken));
        }
    }
    rows
}

#[tokio::test]
async fn a_token_of_ours_is_refused_for_good() {
    let flow = flow_with(BootstrapKeys::new(), Some(Untouchable));
    let rows = refused_tokens_of_ours();
    assert!(rows.iter().any(|(row, ..)| row.starts_with("the other alphabet")));
    for (row, token, kind) in rows {
        assert_refused(flow.bearer(&token).await, kind, &row);
    }
}

#[tokio::test]
async fn a_token_of_any_of_our_keys_is_ours_whatever_its_header_names() {
    let tokens = AccessTokens::builder()
        .key(VerifyingKey::hs256(&secret(SECRET)).kid("new"))
        .key(VerifyingKey::hs256(&secret(PREVIOUS_SECRET)).kid("old"))
        .build()
        .unwrap();
    let clock = TestClock::new();
    let validator = Validator::builder()
        .access_tokens(tokens)
        .fallback(Untouchable)
        .clock(clock)
        .build()
        .unwrap();
    let header = b64(r#"{"alg":"HS256","kid":"new"}"#);
    let claims = b64(Value::Object(good_claims(START.as_seconds())).to_string());
    bearer(&validator, &sign_parts(SECRET, &header, &claims)).await.unwrap();
    let wrong_name = sign_parts(PREVIOUS_SECRET, &header, &claims);
    assert_refused(bearer(&validator, &wrong_name).await, InvalidToken, "a key of another name");
}

#[tokio::test]
async fn neither_an_api_key_nor_something_too_long_reaches_the_fallback() {
    let flow = flow_with(BootstrapKeys::new(), Some(Untouchable));
    let unknown = KeyFormat::default().generate().unwrap();
    let legacy = "ak_0123456789abcdef0123456789abcdef";
    for key in [unknown.expose(), legacy, "ak_", "ak_mistyped", "ak_a.b"] {
        assert_refused(flow.bearer(key).await, InvalidApiKey, key);
    }
    let long = "a".repeat(8 * 1024 + 1);
    assert_refused(flow.bearer(&long).await, InvalidToken, "8 KiB and one");
    let long = format!("{}.b.c", "a".repeat(8 * 1024));
    assert_refused(flow.bearer(&long).await, InvalidToken, "8 KiB and more, in three parts");

    let asked = Arc::new(AtomicUsize::new(0));
    let flow = flow_with(BootstrapKeys::new(), Some(Coupons(asked.clone())));
    assert_refused(flow.bearer(&"a".repeat(8 * 1024)).await, InvalidToken, "8 KiB");
    assert_refused(flow.bearer("akx").await, InvalidToken, "no prefix");
    assert_eq!(asked.load(SeqCst), 2);
}

// Policies

#[tokio::test]
async fn each_policy_lets_in_whom_it_names() {
    let bootstrap = BootstrapKeys::new()
        .key(Role::Master, secret("bootstrap-master-bootstrap-master"))
        .key(Role::Minter, secret("bootstrap-minter-bootstrap-minter"))
        .key(Role::Read, secret("bootstrap-reader-bootstrap-reader"));
    let flow = flow_with(bootstrap, Some(Coupons::default()));
    let key = async |grant| flow.key(grant, |_| ()).await.0.expose().to_owned();
    let credentials = [
        ("token", token()),
        ("token for all", token_with(&[("resourceId", json!("default"))])),
        ("gold token", token_with(&[("planId", json!("gold"))])),
        ("payment", key(payment("photo-1", "basic", None)).await),
        ("payment for all", key(payment("default", "gold", None)).await),
        ("payment+dpp", key(payment("photo-2", "basic", Some(dpp_create()))).await),
        ("read", key(integrator(Role::Read, None)).await),
        ("minter", key(integrator(Role::Minter, None)).await),
        ("minter+dpp", key(integrator(Role::Minter, Some(dpp_create()))).await),
        ("minter+none", key(integrator(Role::Minter, Some(Permissions::none()))).await),
        ("master", key(integrator(Role::Master, None)).await),
        ("b-master", "bootstrap-master-bootstrap-master".into()),
        ("b-minter", "bootstrap-minter-bootstrap-minter".into()),
        ("b-read", "bootstrap-reader-bootstrap-reader".into()),
        ("coupon", "coupon-full".into()),
        ("bare coupon", "coupon-bare".into()),
    ];
    let photo = || Policy::resource("photo-1");
    let (create, read, delete) = (Action::Create, Action::Read, Action::Delete);
    let rows: Vec<(Policy, &[&str])> = vec![
        (
            photo(),
            &["token", "token for all", "gold token", "payment", "payment for all", "coupon"],
        ),
        (Policy::resource("photo-9"), &["token for all", "payment for all"]),
        (Policy::resource("default"), &["token for all", "payment for all"]),
        (Policy::resource("PHOTO-1"), &["token for all", "payment for all"]),
        (Policy::plan("gold"), &["gold token", "payment for all"]),
        (Policy::plan("nothing"), &[]),
        (Policy::role(Role::Read), &["read", "b-read"]),
        (Policy::role(Role::Minter), &["minter", "b-minter"]),
        (Policy::role(Role::Master), &["master", "b-master"]),
        (
            Policy::permission("dpp", create),
            &["payment+dpp", "minter", "minter+dpp", "master", "b-master", "b-minter", "coupon"],
        ),
        (
            Policy::permission("dpp", read),
            &["read", "minter", "master", "b-master", "b-minter", "b-read"],
        ),
        (Policy::permission("dpp", delete), &["master", "b-master"]),
        (Policy::permission("DPP", create), &["minter", "master", "b-master", "b-minter"]),
        (photo().and(Policy::plan("gold")), &["gold token", "payment for all"]),
        (photo().and(Policy::permission("dpp", create)), &["coupon"]),
        (
            Policy::all([photo()]),
            &["token", "token for all", "gold token", "payment", "payment for all", "coupon"],
        ),
        (
            Policy::all([photo(), Policy::plan("basic"), Policy::permission("dpp", create)]),
            &["coupon"],
        ),
        (
            Policy::plan("gold").or(Policy::role(Role::Read)),
            &["gold token", "payment for all", "read", "b-read"],
        ),
        (Policy::any([Policy::plan("nothing"), Policy::role(Role::Read)]), &["read", "b-read"]),
        (Policy::any([Policy::plan("nothing")]), &[]),
        (
            Policy::plan("gold").and(photo().or(Policy::role(Role::Read))),
            &["gold token", "payment for all"],
        ),
    ];
    for (policy, let_in) in rows {
        for (name, credential) in &credentials {
            let identity = flow.bearer(credential).await.unwrap();
            let result = policy.check(&identity);
            assert_eq!(result.is_ok(), let_in.contains(name), "{policy:?} and {name}");
            if let Err(refusal) = result {
                assert_eq!(refusal.kind(), InsufficientPermissions);
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_missing_permission_and_nothing_of_the_others() {
    let flow = flow();
    let identity = flow.bearer(&token()).await.unwrap();
    let refuse = |policy: Policy| {
        let refusal = policy.check(&identity).unwrap_err();
        let answer = flow.validator.responder().respond(&refusal);
        assert_eq!(answer.status, 403);
        let shown = format!("{:?} {}", answer.headers, String::from_utf8(answer.body).unwrap());
        (refusal.missing_scope().map(str::to_owned), shown)
    };
    let dpp = || Policy::permission("dpp", Action::Create);
    let loyalty = || Policy::permission("loyalty", Action::Update);

    let (scope, shown) = refuse(dpp());
    assert_eq!(scope.as_deref(), Some("dpp:create"));
    assert!(shown.contains(r#"error=\"insufficient_scope\", scope=\"dpp:create\""#), "{shown}");
    let (scope, shown) = refuse(dpp().or(loyalty()));
    assert_eq!(scope.as_deref(), Some("dpp:create"));
    assert!(!shown.contains("loyalty"), "{shown}");
    let (scope, _) = refuse(dpp().and(loyalty()));
    assert_eq!(scope.as_deref(), Some("dpp:create"));
    let (scope, _) = refuse(Policy::resource("photo-1").and(loyalty()));
    assert_eq!(scope.as_deref(), Some("loyalty:update"));
    let bought = [Policy::resource("photo-9"), Policy::plan("gold"), Policy::role(Role::Read)];
    for policy in bought.into_iter().chain([Policy::resource("photo-9").or(dpp())]) {
        let (scope, shown) = refuse(policy);
        assert_eq!(scope, None);
        for untold in ["photo-9", "gold", "dpp", "role"] {
            assert!(!shown.contains(untold), "{shown}");
        }
    }
}

// Without any framework

#[test]
fn validate_key0_token_takes_tokens_alone() {
    let tokens = AccessTokens::hs256(SECRET).unwrap();
    let now = key0_auth::domain::SystemClock.now().as_seconds();
    let sign = |exp: i64| {
        let mut claims = good_claims(now);
        claims.insert("exp".into(), json!(exp));
        hs256(HS256, Value::Object(claims).to_string())
    };
    let good = format!("bearer {}", sign(now + 3_600));
    let identity = validate_key0_token(&*good, &tokens).unwrap();
    assert_eq!((identity.kind(), identity.opens("photo-1")), (IdentityKind::AccessToken, true));
    validate_key0_token(Some(&*good), &tokens).unwrap();
    validate_key0_token(&good, &tokens).unwrap();
    validate_key0_token(good.clone(), &tokens).unwrap();
    validate_key0_token(good.as_bytes(), &tokens).unwrap();
    validate_key0_token(Some(&good), &tokens).unwrap();
    validate_key0_token(Some(good.clone()), &tokens).unwrap();

    for (header, kind) in [
        (None, MissingCredential),
        (Some(String::new()), MissingCredential),
        (Some("Bearer ".into()), MissingCredential),
        (Some("Basic dTpw".into()), MissingCredential),
        (Some(good["bearer ".len()..].to_owned()), MissingCredential),
        (Some(format!("Bearer {}", sign(now - 1))), TokenExpired),
        (Some(format!("Bearer {}x", sign(now + 9))), InvalidToken),
        (Some("Bearer opaque".into()), InvalidToken),
        (Some("Bearer ak_0123456789abcdef0123456789abcdef".into()), InvalidToken),
        (Some(format!("Bearer {}", "a".repeat(8 * 1024 + 1))), InvalidToken),
        (Some(format!("{good} x")), MalformedCredential),
        (Some("Bearer é".into()), MalformedCredential),
    ] {
        assert_refused(
            validate_key0_token(header.as_deref(), &tokens),
            kind,
            &format!("{header:?}"),
        );
    }
}

// Nothing shows a credential

#[tokio::test]
async fn no_credential_shows_in_anything() {
    let flow = flow_with(
        BootstrapKeys::new().key(Role::Master, secret("bootstrap-master-bootstrap-master")),
        Some(Coupons::default()),
    );
    let plain = flow.payment_key("photo-1", "basic").await;
    let gone =
        flow.key(payment("photo-1", "basic", None), |key| key.expires_at = Some(START)).await.0;
    let stranger = KeyFormat::default().generate().unwrap();
    let good = token();
    let bad = format!("{}A", token());
    let expired = token_with(&[("exp", json!(1))]);
    let credentials = [
        plain.expose(),
        gone.expose(),
        stranger.expose(),
        &good,
        &bad,
        &expired,
        "bootstrap-master-bootstrap-master",
        "coupon-down",
        "coupon-opaque.two",
        "opaque-and-unknown",
    ];
    let mut secrets = Secrets::default();
    for credential in credentials {
        secrets.add(credential);
    }
    secrets.add(SECRET);
    assert!(secrets.shows_in(&format!("{:?}", plain.expose().as_bytes())), "the search finds");

    for credential in credentials {
        match flow.bearer(credential).await {
            // A fallback's subject is the application's to choose.
            Ok(identity) if identity.kind() == IdentityKind::Fallback => {}
            Ok(identity) => {
                secrets.assert_not_in("Identity", &identity);
                secrets.assert_not_in("Claims", identity.claims());
                secrets.assert_not_in("Policy", Policy::plan("x").check(&identity));
            }
            Err(refusal) => {
                secrets.assert_not_in("Refusal", flow.validator.responder().respond(&refusal));
                assert!(!secrets.shows_in(&whole_chain(&refusal)), "{}", whole_chain(&refusal));
                assert!(!secrets.shows_in(refusal.message()));
            }
        }
    }
    let digest = KeyDigest::of(plain.expose());
    secrets.assert_not_in("KeyRecord", flow.store.find(&digest).await.unwrap().unwrap());
    secrets.assert_not_in("PlainKey", &plain);
    secrets.assert_not_in("Credential", Credential::try_from(plain.expose()).unwrap());
    secrets.assert_not_in("Cached", &flow.cached);
    secrets.assert_not_in("Validator", &flow.validator);
    let bootstrap =
        BootstrapKeys::new().key(Role::Master, secret("bootstrap-master-bootstrap-master"));
    secrets.assert_not_in("BootstrapKeys", &bootstrap);
    let keys = ApiKeys::new(SpyKeys::new()).bootstrap(bootstrap);
    secrets.assert_not_in("ApiKeys", &keys);
    let tokens = AccessTokens::builder().key(VerifyingKey::hs256(&secret(SECRET)));
    secrets.assert_not_in("AccessTokensBuilder", &tokens);
    let builder = Validator::builder().access_tokens(tokens.build().unwrap()).api_keys(keys);
    secrets.assert_not_in("ValidatorBuilder", &builder);
    secrets.assert_not_in("TokenIssuer", TokenIssuer::hs256(&secret(SECRET)));
}
