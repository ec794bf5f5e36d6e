//! The list of denied tokens: who hears of a denial, and what holds in an outage.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use key0_auth::{
    ApiKeys, Cached, MemoryStore, RejectionKind, Validator,
    api::{IssueToken, Operator, PurchasesApi},
    apikey::IssuanceSecrets,
    domain::{Actor, ChallengeId, Clock, Secret, SecretSet, SystemClock, Timestamp},
    error::StoreError,
    store::{
        DenialStore, DeniedTokens, Payment, PaymentStore, PurchaseStore,
        spi::{Change, Denial, PurchaseRevocation, TokenDigest},
    },
    testing::{FakeClock, FaultyStore, Mood, TestToken, TokenSigner},
};

#[cfg(all(any(feature = "postgres", feature = "redis"), unix))]
use crate::servers::PATIENCE;
use crate::{
    kit::Silent,
    samples::{self, ChangeRecorder},
};

/// One instance of a backend.
struct Instance {
    validator: Validator,
    denied: DeniedTokens,
}

impl Instance {
    fn new(store: Arc<dyn DenialStore>, signer: &TokenSigner) -> Self {
        let denied = DeniedTokens::reading_every(store, Duration::from_millis(100));
        let validator = Validator::builder().access_tokens(signer.access_tokens());
        let validator = validator.denied_tokens(denied.clone()).build().unwrap();
        Self { validator, denied }
    }

    async fn refusal(&self, token: &str) -> Option<RejectionKind> {
        let bearer = format!("Bearer {token}");
        self.validator.validate([bearer.as_bytes()], []).await.err().map(|it| it.kind())
    }

    async fn deny(&self, jti: &str) {
        let until = SystemClock.now().plus(Duration::from_secs(600));
        self.denied.deny(&ChallengeId::new(jti).unwrap(), until).await.unwrap();
    }
}

fn token(signer: &TokenSigner, jti: &str) -> String {
    signer.token().challenge_id(jti).sign()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_counts_from_its_return_on_here_and_where_it_is_told() {
    let (store, signer) = (Arc::new(MemoryStore::new()), TokenSigner::new());
    let [here, there] = [Instance::new(store.clone(), &signer), Instance::new(store, &signer)];
    for n in 0..100 {
        let jti = format!("c-{n}");
        let token = token(&signer, &jti);
        assert_eq!(here.refusal(&token).await, None);
        here.deny(&jti).await;
        for instance in [&here, &there] {
            assert_eq!(instance.refusal(&token).await, Some(RejectionKind::TokenRevoked));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_tells_nobody_is_read_at_intervals() {
    let (store, signer) = (Arc::new(Silent(MemoryStore::new())), TokenSigner::new());
    let [here, there] = [Instance::new(store.clone(), &signer), Instance::new(store, &signer)];
    let token = token(&signer, "c");
    assert_eq!(there.refusal(&token).await, None);
    here.deny("c").await;
    assert_eq!(here.refusal(&token).await, Some(RejectionKind::TokenRevoked));
    let seen = async {
        while there.refusal(&token).await != Some(RejectionKind::TokenRevoked) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("it is seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_outage_the_last_known_denials_hold() {
    let (store, signer) = (FaultyStore::new(MemoryStore::new()), TokenSigner::new());
    let instance = Instance::new(store.clone(), &signer);
    let [denied, good] = [token(&signer, "denied"), token(&signer, "good")];
    instance.deny("denied").await;
    assert_eq!(instance.refusal(&good).await, None);
    store.set(Mood::Fails);
    let readings = store.calls("denials");
    while store.calls("denials") < readings + 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(instance.refusal(&good).await, None);
    assert_eq!(instance.refusal(&denied).await, Some(RejectionKind::TokenRevoked));

    // One that has read nothing yet can't tell: nobody is let in, and nobody is refused for good.
    let new = Instance::new(store.clone(), &signer);
    for token in [&good, &denied] {
        assert_eq!(new.refusal(token).await, Some(RejectionKind::StoreUnavailable));
    }
    store.set(Mood::Works);
    while new.refusal(&good).await.is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(new.refusal(&denied).await, Some(RejectionKind::TokenRevoked));
}

/// What one process denies is refused by the others: by those that hear of it, and by the list.
#[cfg_attr(not(any(feature = "postgres", feature = "redis", feature = "sqlite")), allow(dead_code))]
async fn is_refused_everywhere(one: Arc<dyn DenialStore>, other: Arc<dyn DenialStore>) {
    let signer = TokenSigner::new();
    let here = Instance::new(one, &signer);
    let there = Instance::new(other.clone(), &signer);
    // Told after the instance, which has heard by then, too.
    let heard = ChangeRecorder::on(&*other);
    for n in 0..20 {
        let jti = format!("c-{n}");
        let token = token(&signer, &jti);
        let good = self::token(&signer, &format!("good-{n}"));
        for instance in [&here, &there] {
            assert_eq!(instance.refusal(&token).await, None);
        }
        here.deny(&jti).await;
        assert_eq!(here.refusal(&token).await, Some(RejectionKind::TokenRevoked));
        let told = Change::Token(TokenDigest::of(&ChallengeId::new(&jti).unwrap()));
        comes_about(async || heard.heard(told)).await;
        assert_eq!(there.refusal(&token).await, Some(RejectionKind::TokenRevoked));
        assert_eq!(there.refusal(&good).await, None);
    }
    // One that starts later reads them all.
    let late = Instance::new(other, &signer);
    for n in 0..20 {
        let token = token(&signer, &format!("c-{n}"));
        assert_eq!(late.refusal(&token).await, Some(RejectionKind::TokenRevoked));
    }
}

#[cfg_attr(not(any(feature = "postgres", feature = "redis", feature = "sqlite")), allow(dead_code))]
async fn comes_about(mut holds: impl AsyncFnMut() -> bool) {
    let seen = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("it comes about");
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread")]
async fn processes_on_one_file_refuse_what_one_denies() {
    let folder = tempfile::tempdir().unwrap();
    let open = || key0_auth::SqliteStore::open(folder.path().join("store.db")).unwrap();
    is_refused_everywhere(Arc::new(open()), Arc::new(open())).await;
}

#[cfg(all(feature = "postgres", unix))]
#[tokio::test(flavor = "multi_thread")]
async fn instances_on_one_schema_refuse_what_one_denies() {
    let Some(schema) = crate::postgres_server::Schema::fresh() else { return };
    let options = key0_auth::store::PostgresOptions::new().schema(&schema.name);
    let options = options.open_timeout(PATIENCE).read_timeout(PATIENCE).write_timeout(PATIENCE);
    let open = async || options.open(&schema.url).await.unwrap();
    is_refused_everywhere(Arc::new(open().await), Arc::new(open().await)).await;
}

#[cfg(all(feature = "redis", unix))]
#[tokio::test(flavor = "multi_thread")]
async fn instances_on_one_redis_refuse_what_one_denies() {
    let Some(fresh) = crate::redis_server::Fresh::new() else { return };
    let options = key0_auth::store::RedisOptions::new().open_timeout(PATIENCE);
    let options = options.read_timeout(PATIENCE).write_timeout(PATIENCE);
    let open = async || options.open(&fresh.url).await.unwrap();
    is_refused_everywhere(Arc::new(open().await), Arc::new(open().await)).await;
}

/// Nobody tells this instance of what it revokes itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_is_revoked_here_is_dead_here_at_once() {
    let (store, signer) = (MemoryStore::new(), TokenSigner::new());
    let silent = Arc::new(Silent(store.clone()));
    let denied = DeniedTokens::new(silent.clone());
    denied.first_reading(Duration::from_secs(30)).await.unwrap();
    let cached = Arc::new(Cached::new(silent, Arc::new(SystemClock)));
    let keys = Arc::new(ApiKeys::cached(cached));
    let validator = Validator::builder()
        .access_tokens(signer.access_tokens())
        .denied_tokens(denied.clone())
        .api_keys(keys.clone())
        .build()
        .unwrap();
    let store = Arc::new(store);
    let secret = Secret::new("a test's secret", "a secret from which keys are derived").unwrap();
    let secrets = IssuanceSecrets::new(&SecretSet::new(secret));
    let issue = IssueToken::new(store.clone(), keys.clone(), secrets);
    let purchases = PurchasesApi::new(store, keys, denied);

    let order = br#"{"requestId":"r","challengeId":"c","resourceId":"photo-1","planId":"basic","txHash":"0x1"}"#;
    let issued = issue.handle(order).await.unwrap().body;
    let issued: serde_json::Value = serde_json::from_slice(&issued).unwrap();
    let ask = async |credential: &str| {
        let bearer = format!("Bearer {credential}");
        validator.validate([bearer.as_bytes()], []).await.err().map(|it| it.kind())
    };
    let (key, token) = (issued["token"].as_str().unwrap(), token(&signer, "c"));
    assert_eq!((ask(key).await, ask(&token).await), (None, None));
    purchases.revoke(&Operator::host(), "c", b"").await.unwrap();
    assert_eq!(ask(key).await, Some(RejectionKind::KeyRevoked));
    assert_eq!(ask(&token).await, Some(RejectionKind::TokenRevoked));
}

/// So that none outlives the denial of its purchase, which nobody tells how long its tokens live.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_could_outlive_its_denial_is_refused() {
    const DAY: i64 = 24 * 60 * 60;
    let days = |days: i64| Duration::from_secs(days.unsigned_abs() * 24 * 60 * 60);
    let (store, signer) = (Arc::new(MemoryStore::new()), TokenSigner::new());
    let now = Timestamp::from_seconds(1_795_953_600);
    let clock = FakeClock::at(now);
    let usual = DeniedTokens::new(store.clone());
    usual.first_reading(Duration::from_secs(30)).await.unwrap();
    let (short, long) = (
        usual.clone().longest_token_life(days(1)),
        usual.clone().longest_token_life(Duration::MAX),
    );
    let century = signer.token().expires_in(days(36_500)).sign();
    let validator = Validator::builder().access_tokens(signer.access_tokens());
    let validator = validator.denied_tokens(usual.clone()).build().unwrap();
    let bearer = format!("Bearer {century}");
    validator.validate([bearer.as_bytes()], []).await.expect("no limit is set");
    let month = usual.longest_token_life(days(30));
    for (denied, longest) in [(month, 30), (short, 1), (long, 366)] {
        let validator = Validator::builder().access_tokens(signer.access_tokens());
        let validator = validator.denied_tokens(denied.clone()).clock(clock.clone());
        let validator = validator.build().unwrap();
        let end = now.as_seconds() + longest * DAY;
        let token = |exp: i64| signer.token().challenge_id("c").claim("exp", exp);
        let at = |token: TestToken, seconds: i64| token.claim("iat", now.as_seconds() + seconds);
        for (token, is_good) in [
            (at(token(end), 0), true),
            (at(token(end + 1), 0), false),
            // Also where little of it is left.
            (at(token(now.as_seconds() + 9), 9 - longest * DAY), true),
            (at(token(now.as_seconds() + 9), 8 - longest * DAY), false),
            (token(end).without("iat"), true),
            (token(end + 1).without("iat"), false),
            (at(token(end + 1), 60), false),
        ] {
            let bearer = format!("Bearer {}", token.sign());
            let refused = validator.validate([bearer.as_bytes()], []).await.err();
            let kind = refused.as_ref().map(|refused| refused.kind());
            assert_eq!(kind, if is_good { None } else { Some(RejectionKind::InvalidToken) });
            let detail = refused.map(|refused| refused.to_string());
            assert!(detail.is_none_or(|it| it.contains("lives longer")), "{longest} {token:?}");
        }
        let keys = ApiKeys::new(store.clone());
        let purchases = PurchasesApi::new(store.clone(), keys, denied).clock(clock.clone());
        let id = format!("c-{longest}");
        purchases.revoke(&Operator::host(), &id, b"").await.unwrap();
        let token = TokenDigest::of(&ChallengeId::new(&id).unwrap());
        let denials = store.denials(None, 10).await.unwrap();
        let until = Timestamp::from_seconds(end);
        assert!(denials.contains(&Denial { token, until }), "{denials:?}");
    }
}

/// The store does not know which time is set.
#[tokio::test]
async fn what_a_revoked_payment_has_bought_is_denied_as_long_as_can_be_set() {
    let store = MemoryStore::new();
    let (key, tx_hash) = (samples::challenge("d"), samples::hash("0x1"));
    let claim = samples::claim(key, "0x1");
    let issuance = samples::foreign_issuance();
    store.issue(&claim, &issuance, None, samples::at(0)).await.unwrap();
    let revocation = PurchaseRevocation {
        id: ChallengeId::new("c").unwrap(),
        reason: None,
        by: Actor::host(),
        at: samples::at(0),
        tokens_until: samples::at(1),
        unknown_a_day: 1,
    };
    store.revoke_purchase(&revocation).await.unwrap();
    let order = claim.order;
    let (request, resource, plan) = (order.request_id, order.resource_id, order.plan_id);
    let received_at = samples::at(2);
    let paid = Payment::new(revocation.id, request, resource, plan, tx_hash, received_at);
    store.record_payment(&paid).await.unwrap();
    let token = TokenDigest::of(&ChallengeId::new("d").unwrap());
    let until = received_at.plus(Duration::from_secs(366 * 24 * 60 * 60));
    let denials = store.denials(None, 10).await.unwrap();
    assert!(denials.contains(&Denial { token, until }), "{denials:?}");
}

#[async_trait]
impl DenialStore for Silent {
    async fn deny(&self, denial: &Denial) -> Result<(), StoreError> {
        self.0.deny(denial).await
    }

    async fn denials(
        &self,
        after: Option<&TokenDigest>,
        limit: u32,
    ) -> Result<Vec<Denial>, StoreError> {
        self.0.denials(after, limit).await
    }

    async fn purge_denials(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.0.purge_denials(before, limit).await
    }
}
