//! `POST /internal/issue-token`, on both stores: the same credential for every retry, one for
//! every payment, and nothing of it on the disk.

#![cfg(all(feature = "sqlite", feature = "testing"))]

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::flow::{
    Believed, RuntimeClock, START, Secrets, SpyKeys, SpyPayments, TestClock, bearer, secret,
    whole_chain,
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use key0_auth::{
    ApiKeys, Cached, Identity, KeyStore, MemoryStore, Policy, Rejection,
    RejectionKind::{self, *},
    SqliteStore, Validator,
    api::{
        Decision, HookError, IssuanceHook, IssuanceRequest, IssueToken, KeysApi, OwnCredential,
        Reply, Terms, check_media_type,
    },
    apikey::{IssuanceSecrets, KeyDigest, KeyFormat, KeyRecord},
    auth::{IdentityKind, Responder},
    domain::{
        Action, Actor, ChallengeId, Clock, Permissions, PlanId, RequestId, ResourceId, SecretSet,
        Timestamp, TxHash,
    },
    store::{
        KeyRegistry, PaymentStore, SqliteOptions,
        spi::{IssuanceClaim, IssuanceKey, IssuanceState, Lease, Order, RequestFingerprint},
    },
    testing::Mood,
};
use serde_json::{Map, Value, json};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const MS: Duration = Duration::from_millis(1);

const FIRST_SECRET: &str = "the first issuance secret of these tests";
const SECOND_SECRET: &str = "the second issuance secret of these tests";

/// A store and, where it is one, its file.
struct Store {
    keys: Arc<dyn KeyRegistry>,
    payments: Arc<dyn PaymentStore>,
    file: Option<(tempfile::TempDir, PathBuf)>,
}

impl Store {
    fn memory() -> Self {
        let store = MemoryStore::new();
        Self { keys: Arc::new(store.clone()), payments: Arc::new(store), file: None }
    }

    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key0.db");
        let store = SqliteStore::open(&path).unwrap();
        let file = Some((folder, path));
        Self { keys: Arc::new(store.clone()), payments: Arc::new(store), file }
    }

    /// As another process would open it. A memory store is the same one.
    fn again(&self) -> Self {
        let Some((_, path)) = &self.file else {
            return Self { keys: self.keys.clone(), payments: self.payments.clone(), file: None };
        };
        let store = SqliteStore::open(path).unwrap();
        Self { keys: Arc::new(store.clone()), payments: Arc::new(store), file: None }
    }

    /// As the same host would open it after a restart, when everybody has let go of it.
    fn reopened(self) -> Self {
        let Some((folder, path)) = self.file else { return self };
        drop((self.keys, self.payments));
        let store = SqliteStore::open(&path).unwrap();
        let file = Some((folder, path));
        Self { keys: Arc::new(store.clone()), payments: Arc::new(store), file }
    }

    /// Rows of a table; none can be counted in memory.
    fn rows(&self, table: &str) -> Option<i64> {
        let (_, path) = self.file.as_ref()?;
        let conn = rusqlite::Connection::open(path).unwrap();
        let count = conn.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| row.get(0));
        Some(count.unwrap())
    }
}

/// An instance of the backend, as far as this endpoint goes.
struct Shop {
    clock: Arc<TestClock>,
    cached: Arc<Cached>,
    payments: Arc<SpyPayments>,
    validator: Validator,
    issue: IssueToken,
}

fn one(text: &str) -> SecretSet {
    SecretSet::new(secret(text))
}

fn shop(store: &Store) -> Shop {
    shop_with(store, &one(FIRST_SECRET), TestClock::new())
}

fn shop_with(store: &Store, secrets: &SecretSet, clock: Arc<TestClock>) -> Shop {
    let cached = Arc::new(Cached::new(store.keys.clone(), clock.clone()));
    let payments = SpyPayments::over(store.payments.clone());
    let keys = Arc::new(ApiKeys::cached(cached.clone()));
    let validator =
        Validator::builder().api_keys(keys.clone()).clock(clock.clone()).build().unwrap();
    let issue = IssueToken::new(payments.clone(), keys, IssuanceSecrets::new(secrets))
        .clock(Arc::new(Believed(clock.clone())));
    Shop { clock, cached, payments, validator, issue }
}

impl Shop {
    /// The same instance with a hook that says what it is told.
    fn hooked(mut self, answer: Answer) -> (Self, Arc<Script>) {
        let script = Script::new(answer);
        self.issue = self.issue.hook(Scripted(script.clone()));
        (self, script)
    }

    async fn ask(&self, body: &[u8]) -> Result<Reply, Rejection> {
        self.issue.handle(body).await
    }

    /// The credential of a good answer.
    async fn buy(&self, body: &[u8]) -> String {
        token_of(&self.ask(body).await.unwrap())
    }

    #[track_caller]
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn identity(&self, credential: &str) -> Result<Identity, Rejection> {
        bearer(&self.validator, credential).await
    }
}

fn token_of(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    body["token"].as_str().unwrap().to_owned()
}

/// In both cases.
const HASH: &str = "0xABababababababababababababababababababababababababababababababab";
const CHALLENGE: &str = "660e8400-e29b-41d4-a716-446655440000";

/// The recorded request, with these members changed; `None` removes one.
fn body_with(changes: &[(&str, Option<Value>)]) -> Vec<u8> {
    let mut body = json!({
        "requestId": "550e8400-e29b-41d4-a716-446655440000",
        "challengeId": CHALLENGE,
        "resourceId": "photo-1",
        "planId": "basic",
        "txHash": HASH,
    });
    let members = body.as_object_mut().unwrap();
    for (name, value) in changes {
        match value {
            Some(value) => members.insert((*name).to_owned(), value.clone()),
            None => members.remove(*name),
        };
    }
    body.to_string().into_bytes()
}

fn body() -> Vec<u8> {
    body_with(&[])
}

fn set(name: &str, value: impl Into<Value>) -> (&str, Option<Value>) {
    (name, Some(value.into()))
}

fn key() -> IssuanceKey {
    IssuanceKey::Challenge(ChallengeId::new(CHALLENGE).unwrap())
}

#[track_caller]
fn assert_refused(result: Result<Reply, Rejection>, kind: RejectionKind, row: &str) -> Rejection {
    let refusal = result.map(|reply| String::from_utf8(reply.body)).expect_err(row);
    assert_eq!(refusal.kind(), kind, "{row}: {refusal:?}");
    refusal
}

/// Whether a refusal says so many seconds, and to try again soon: another instance may know the secret.
fn assert_replaceable_in(refusal: &Rejection, seconds: f64) {
    let response = Responder::default().respond(refusal);
    assert!(response.headers.contains(&("retry-after", "1".to_owned())), "{response:?}");
    assert!(refusal.message().ends_with(&format!("can replace it in {seconds} s")), "{refusal:?}");
}

fn status(refusal: &Rejection) -> u16 {
    Responder::default().respond(refusal).status
}

// The hook

#[derive(Debug, Clone)]
enum Answer {
    Say(Decision),
    Fail,
    Panic,
    /// Waits at the gate, then approves.
    Wait,
}

#[derive(Debug)]
struct Script {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    last: Mutex<Option<IssuanceRequest>>,
    entered: Semaphore,
    gate: Semaphore,
}

impl Script {
    fn new(answer: Answer) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(answer),
            asked: AtomicUsize::new(0),
            last: Mutex::default(),
            entered: Semaphore::new(0),
            gate: Semaphore::new(0),
        })
    }

    fn say(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

#[derive(Debug)]
struct Scripted(Arc<Script>);

#[async_trait]
impl IssuanceHook for Scripted {
    async fn decide(&self, request: &IssuanceRequest) -> Result<Decision, HookError> {
        self.0.asked.fetch_add(1, SeqCst);
        *self.0.last.lock().unwrap() = Some(request.clone());
        let answer = self.0.answer.lock().unwrap().clone();
        match answer {
            Answer::Say(decision) => Ok(decision),
            Answer::Fail => Err("the catalogue is away".into()),
            Answer::Panic => panic!("a bug in the hook"),
            Answer::Wait => {
                self.0.entered.add_permits(1);
                self.0.gate.acquire().await.unwrap().forget();
                Ok(Decision::Approve(Terms::new()))
            }
        }
    }
}

// What holds on both stores

macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Store::memory()).await;
            })*
        }
        mod in_sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Store::sqlite()).await;
            })*
        }
    };
}

on_both_stores! {
    the_answer_is_the_contract_s
    the_same_body_gets_the_same_answer
    what_does_not_count_may_differ
    without_a_challenge_the_request_s_id_counts
    another_body_under_the_same_id_is_a_conflict
    a_payment_buys_once
    a_repeat_after_a_day_is_too_late_for_ever
    a_revoked_credential_is_not_given_again
    an_expired_credential_is_given_again_unchanged
    either_name_of_the_plan_counts
    further_members_are_kept_up_to_4_kib
    a_rotated_secret_gives_the_same_credential
    a_lost_secret_gives_a_new_credential_and_kills_the_old_one
    a_digest_that_does_not_fit_is_replaced
    one_instance_s_replacement_is_every_instance_s
    what_the_hook_refuses_is_free_again
    what_the_hook_can_not_decide_is_free_again
    the_hook_sets_the_terms
    the_application_s_own_credential_is_handed_out_and_kept_nowhere
    an_outage_is_503_and_a_retry_gets_through
    a_lost_answer_of_the_store_loses_no_credential
}

async fn the_answer_is_the_contract_s(store: Store) {
    let shop = shop(&store);
    shop.clock.set(Timestamp::from_micros(START.as_micros() + 123_456));
    let reply = shop.ask(&body()).await.unwrap();
    assert_eq!(reply.status, 200);
    let headers = [("content-type", "application/json"), ("cache-control", "no-store")];
    assert_eq!(reply.headers, headers.map(|(name, value)| (name.into(), value.to_owned())));
    let token = token_of(&reply);
    assert!(KeyFormat::default().is_well_formed(&token));
    let expected = format!(
        r#"{{"token":"{token}","expiresAt":"2026-11-22T01:06:05.123Z","tokenType":"Bearer"}}"#
    );
    assert_eq!(String::from_utf8(reply.body).unwrap(), expected);

    let identity = shop.identity(&token).await.unwrap();
    assert_eq!(identity.kind(), IdentityKind::PaymentKey);
    assert_eq!(identity.plan_id().unwrap(), &"basic");
    assert_eq!(identity.permissions(), None);
    Policy::resource("photo-1").check(&identity).unwrap();
    Policy::resource("photo-2").check(&identity).unwrap_err();
    Policy::permission("photo-1", Action::Read).check(&identity).unwrap_err();
    shop.clock.set(START.plus(HOUR + 123 * MS));
    assert_eq!(shop.identity(&token).await.unwrap_err().kind(), KeyExpired);
    if let Some(rows) = store.rows("keys") {
        assert_eq!((rows, store.rows("issuances")), (1, Some(1)));
    }
}

async fn the_same_body_gets_the_same_answer(store: Store) {
    let shop = shop(&store);
    let first = shop.ask(&body()).await.unwrap();
    shop.clock.advance(MINUTE);
    assert_eq!(shop.ask(&body()).await.unwrap(), first);
    // Also from another instance.
    let other = shop_with(&store.again(), &one(FIRST_SECRET), shop.clock.clone());
    assert_eq!(other.ask(&body()).await.unwrap(), first);
    other.identity(&token_of(&first)).await.unwrap();
    assert_eq!(shop.payments.calls("complete_issuance"), 1);
    assert_eq!(other.payments.calls("complete_issuance"), 0);
    // Also after a restart.
    drop((shop, other));
    let store = store.reopened();
    let shop = self::shop(&store);
    shop.clock.set(START.plus(23 * HOUR));
    assert_eq!(shop.ask(&body()).await.unwrap(), first);
}

async fn what_does_not_count_may_differ(store: Store) {
    let shop = shop(&store);
    let first = shop.ask(&body()).await.unwrap();
    for (row, changes) in [
        ("the hash in other case", set("txHash", HASH.to_uppercase())),
        ("a further member", set("attempt", 2)),
        ("the alias too", set("tierId", "basic")),
    ] {
        assert_eq!(shop.ask(&body_with(&[changes])).await.unwrap(), first, "{row}");
    }
    // Order and white space, too.
    let pretty: Map<String, Value> = serde_json::from_slice(&body()).unwrap();
    let pretty = serde_json::to_vec_pretty(&pretty.into_iter().rev().collect::<Map<_, _>>());
    assert_eq!(shop.ask(&pretty.unwrap()).await.unwrap(), first);
}

async fn without_a_challenge_the_request_s_id_counts(store: Store) {
    let shop = shop(&store);
    let bare = |changes: &[(&str, Option<Value>)]| {
        let mut all = vec![("challengeId", None), set("txHash", "0x1")];
        all.extend_from_slice(changes);
        body_with(&all)
    };
    let first = shop.buy(&bare(&[])).await;
    assert_eq!(shop.buy(&bare(&[])).await, first);
    assert_refused(shop.ask(&bare(&[set("planId", "gold")])).await, RequestConflict, "plan");
    // The namespaces are separate: a challenge with the text of that request's id is another.
    let same_text = set("challengeId", "550e8400-e29b-41d4-a716-446655440000");
    let second = shop.buy(&body_with(&[same_text.clone(), set("txHash", "0x2")])).await;
    assert_ne!(second, first);
    assert_eq!(shop.buy(&bare(&[])).await, first);
    // And one payment buys in one of them only.
    let result = shop.ask(&bare(&[set("challengeId", "another")])).await;
    assert_refused(result, PaymentAlreadyRedeemed, "its hash in the other namespace");
    // With challenges, one request can buy twice.
    let third = shop.buy(&body_with(&[set("challengeId", "third"), set("txHash", "0x3")])).await;
    assert_eq!(BTreeSet::from([first, second, third]).len(), 3);
}

async fn another_body_under_the_same_id_is_a_conflict(store: Store) {
    let shop = shop(&store);
    let first = shop.buy(&body()).await;
    for changed in [
        set("requestId", "another"),
        set("resourceId", "photo-2"),
        set("resourceId", "default"),
        set("resourceId", "Photo-1"),
        set("planId", "gold"),
        set("txHash", "0xcd"),
    ] {
        let refusal = assert_refused(
            shop.ask(&body_with(std::slice::from_ref(&changed))).await,
            RequestConflict,
            changed.0,
        );
        assert_eq!(status(&refusal), 409);
    }
    // Parts that run into each other are not the same parts.
    let shifted = [set("resourceId", "photo-1b"), set("planId", "asic")];
    assert_refused(shop.ask(&body_with(&shifted)).await, RequestConflict, "shifted");
    assert_eq!(shop.buy(&body()).await, first);
    // The refused hash was not spent by that.
    shop.buy(&body_with(&[set("challengeId", "another"), set("txHash", "0xcd")])).await;
    // After a day the conflict is still one.
    shop.clock.advance(2 * DAY);
    let result = shop.ask(&body_with(&[set("planId", "gold")])).await;
    assert_refused(result, RequestConflict, "later");
}

async fn a_payment_buys_once(store: Store) {
    let shop = shop(&store);
    shop.buy(&body()).await;
    let other_case = &*HASH.to_uppercase();
    for changes in [
        vec![set("challengeId", "another")],
        vec![set("challengeId", "another"), set("txHash", other_case)],
        vec![("challengeId", None), set("txHash", other_case)],
        vec![set("challengeId", CHALLENGE.to_uppercase()), set("txHash", other_case)],
    ] {
        let result = shop.ask(&body_with(&changes)).await;
        let refusal = assert_refused(result, PaymentAlreadyRedeemed, &format!("{changes:?}"));
        assert_eq!(status(&refusal), 409);
    }
    shop.clock.advance(10_000 * DAY);
    shop.issue.forget_old_nonces(100).await.unwrap();
    let result = shop.ask(&body_with(&[set("challengeId", "another")])).await;
    assert_refused(result, PaymentAlreadyRedeemed, "27 years later");
    assert_eq!(store.rows("keys").unwrap_or(1), 1);
}

async fn a_repeat_after_a_day_is_too_late_for_ever(store: Store) {
    let shop = shop(&store);
    let first = shop.buy(&body()).await;
    shop.clock.set(START.plus(DAY).minus(MS));
    assert_eq!(shop.issue.forget_old_nonces(100).await.unwrap(), 0);
    assert_eq!(shop.buy(&body()).await, first, "a moment before");
    shop.clock.set(START.plus(DAY));
    assert_refused(shop.ask(&body()).await, PaymentAlreadyRedeemed, "a day later");
    assert_eq!(shop.issue.forget_old_nonces(100).await.unwrap(), 0);
    shop.clock.set(START.plus(DAY + MS));
    assert_eq!(shop.issue.forget_old_nonces(100).await.unwrap(), 1);
    assert_eq!(shop.issue.forget_old_nonces(100).await.unwrap(), 0);
    let refusal = assert_refused(shop.ask(&body()).await, PaymentAlreadyRedeemed, "forgotten");
    assert_eq!(status(&refusal), 409);
    shop.clock.set(START.plus(MINUTE));
    assert_refused(shop.ask(&body()).await, PaymentAlreadyRedeemed, "the nonce is gone for good");
}

async fn a_revoked_credential_is_not_given_again(store: Store) {
    let shop = shop(&store);
    let first = shop.buy(&body()).await;
    let id = shop.identity(&first).await.unwrap().key_id().unwrap().clone();
    shop.cached.revoke(&id, &Actor::host(), shop.now()).await.unwrap().unwrap();
    let refusal = assert_refused(shop.ask(&body()).await, CredentialRevoked, "revoked");
    assert_eq!(status(&refusal), 409);
    assert_eq!(shop.identity(&first).await.unwrap_err().kind(), KeyRevoked);
    // Not even when its secret is gone, which would make a new one of it.
    let rotated = shop_with(&store.again(), &one(SECOND_SECRET), shop.clock.clone());
    assert_refused(rotated.ask(&body()).await, CredentialRevoked, "revoked, and the secret gone");
}

async fn an_expired_credential_is_given_again_unchanged(store: Store) {
    let shop = shop(&store);
    let first = shop.ask(&body()).await.unwrap();
    shop.clock.advance(2 * HOUR);
    assert_eq!(shop.identity(&token_of(&first)).await.unwrap_err().kind(), KeyExpired);
    assert_eq!(shop.ask(&body()).await.unwrap(), first);
}

async fn either_name_of_the_plan_counts(store: Store) {
    let shop = shop(&store);
    let first = shop.buy(&body_with(&[("planId", None), set("tierId", "basic")])).await;
    assert_eq!(shop.buy(&body()).await, first);
    assert_eq!(shop.buy(&body_with(&[set("tierId", "basic")])).await, first);
    let refusal =
        assert_refused(shop.ask(&body_with(&[set("tierId", "gold")])).await, InvalidBody, "differ");
    assert_eq!(refusal.message(), "planId and tierId must be equal");
}

async fn further_members_are_kept_up_to_4_kib(store: Store) {
    let shop = shop(&store);
    let kept = async |n: usize, changes: &[(&str, Option<Value>)]| {
        let mut all = vec![set("challengeId", format!("c{n}")), set("txHash", format!("0x{n}"))];
        all.extend_from_slice(changes);
        let token = shop.buy(&body_with(&all)).await;
        let record = shop.cached.find(&KeyDigest::of(&token)).await.unwrap().unwrap();
        Value::Object(record.metadata.to_map())
    };
    let amount = set("amount", json!({"value": "1.50", "chain": [8453]}));
    let note = set("note", "ein Gruß");
    assert_eq!(
        kept(1, &[amount, note]).await,
        json!({"amount": {"value": "1.50", "chain": [8453]}, "note": "ein Gruß"})
    );
    assert_eq!(kept(2, &[]).await, json!({}));
    let live = [set("accessToken", "a-live-credential"), set("type", "AccessGrant")];
    assert_eq!(kept(3, &live).await, json!({"type": "AccessGrant"}));
    // At any depth, however it is spelt, and by its form alone.
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyIn0.c2lnbmF0dXJl";
    let key = KeyFormat::default().generate().unwrap();
    let nested = [
        set("grant", json!([{"AccessToken": "a-live-credential", "kind": 1}])),
        set("deep", json!({"a": {"b": {"access_token": [1], "by": {"key": key.expose()}}}})),
        set("note", format!("Bearer {token}")),
    ];
    let left = json!({"grant": [{"kind": 1}], "deep": {"a": {"b": {"by": {}}}}});
    assert_eq!(kept(7, &nested).await, left);
    // Under names like that one, in a URL within a URL, with something glued to it, in base64.
    let basic = STANDARD.encode(format!("u:{}", key.expose()));
    let disguised = [
        set("xAccessToken", "a-live-credential"),
        set("headers", json!({"X-Access-Token": "a-live-credential", "accept": "*/*"})),
        set("accessTokens", json!(["a-live-credential"])),
        set("accessTokenExpiresIn", 3600),
        set("url", format!("https://s/?next=https%3A%2F%2Fb%2F%3Ft%3D{}", key.expose())),
        set("glued", json!([format!("token_{}", key.expose()), format!("{}-1", key.expose())])),
        set("auth", format!("Basic {basic}")),
    ];
    let left = json!({"headers": {"accept": "*/*"}, "accessTokenExpiresIn": 3600, "glued": []});
    assert_eq!(kept(8, &disguised).await, left);
    // {"note":"…"} is eleven bytes around the text.
    let fits = "x".repeat(4 * 1024 - 11);
    assert_eq!(kept(4, &[set("note", &*fits)]).await, json!({"note": fits}));
    assert_eq!(kept(5, &[set("note", format!("{fits}x"))]).await, json!({}));
    // A live credential does not count.
    let large = set("accessToken", "x".repeat(8 * 1024));
    assert_eq!(kept(6, &[set("note", &*fits), large]).await, json!({"note": fits}));
}

async fn a_rotated_secret_gives_the_same_credential(store: Store) {
    let shop = shop(&store);
    let first = shop.ask(&body()).await.unwrap();
    let rotated = one(SECOND_SECRET).previous(secret(FIRST_SECRET));
    let rotated = shop_with(&store.again(), &rotated, shop.clock.clone());
    assert_eq!(rotated.ask(&body()).await.unwrap(), first);
    assert_eq!(rotated.payments.calls("replace_issuance"), 0);
    // What is new comes from the new one.
    let new = body_with(&[set("challengeId", "new"), set("txHash", "0x9")]);
    let second = rotated.ask(&new).await.unwrap();
    let new_alone = shop_with(&store.again(), &one(SECOND_SECRET), shop.clock.clone());
    assert_eq!(new_alone.ask(&new).await.unwrap(), second);
    assert_eq!(new_alone.payments.calls("replace_issuance"), 0);
}

async fn a_lost_secret_gives_a_new_credential_and_kills_the_old_one(store: Store) {
    let before = shop(&store);
    let old = before.ask(&body()).await.unwrap();
    let after = shop_with(&store, &one(SECOND_SECRET), before.clock.clone());
    after.identity(&token_of(&old)).await.unwrap();
    // Another process may have the secret, and a retry of the sale may be on its way.
    for age in [MINUTE, 9 * MINUTE - Duration::from_millis(1)] {
        after.clock.advance(age);
        let refusal = assert_refused(after.ask(&body()).await, IssuanceInProgress, "it is young");
        assert_eq!(status(&refusal), 503);
        let left = START.plus(10 * MINUTE).since(after.now()).as_secs_f64().ceil();
        assert_replaceable_in(&refusal, left);
        after.identity(&token_of(&old)).await.unwrap();
    }
    assert_eq!(before.ask(&body()).await.unwrap(), old);
    after.clock.advance(Duration::from_millis(1));
    let new = after.ask(&body()).await.unwrap();
    assert_ne!(new.body, old.body);
    // The old one is dead at once, although it was remembered.
    let refusal = after.identity(&token_of(&old)).await.unwrap_err();
    assert_eq!(refusal.kind(), InvalidApiKey);
    let identity = after.identity(&token_of(&new)).await.unwrap();
    assert_eq!(identity.expires_at(), Some(START.plus(HOUR)), "it lives no longer than before");
    let record = after.cached.find(&KeyDigest::of(&token_of(&new))).await.unwrap().unwrap();
    assert_eq!(record.display, format!("{}…", &token_of(&new)[..7]));
    // Retries get the new one.
    assert_eq!(after.ask(&body()).await.unwrap(), new);
    let again = shop_with(&store.again(), &one(SECOND_SECRET), after.clock.clone());
    assert_eq!(again.ask(&body()).await.unwrap(), new);
    assert_eq!(store.rows("keys").unwrap_or(1), 1);
    // Its day began with the purchase, not with the replacement.
    again.clock.set(START.plus(DAY));
    assert_refused(again.ask(&body()).await, PaymentAlreadyRedeemed, "a day after the purchase");
}

async fn a_digest_that_does_not_fit_is_replaced(store: Store) {
    let shop = shop(&store);
    let old = shop.buy(&body()).await;
    // Whoever can write to the database puts his own digest there.
    let forged = KeyFormat::default().generate().unwrap();
    let claim = claim(Lease::new(shop.now().plus(MINUTE)));
    let IssuanceState::Issued(stored) =
        store.payments.begin_issuance(&claim, shop.now()).await.unwrap()
    else {
        panic!("it was issued");
    };
    let mut bent = stored.clone();
    bent.digest = forged.digest();
    assert!(
        store.payments.replace_issuance(&key(), &stored, &bent, "x", shop.now()).await.unwrap()
    );
    // A process with another form of keys finds the same.
    shop.clock.advance(10 * MINUTE - MS);
    assert_refused(shop.ask(&body()).await, IssuanceInProgress, "it is young");
    shop.identity(forged.expose()).await.unwrap();
    shop.clock.advance(MS);
    let new = shop.buy(&body()).await;
    assert!(new != old && new != forged.expose());
    for dead in [&*old, forged.expose()] {
        assert_eq!(shop.identity(dead).await.unwrap_err().kind(), InvalidApiKey);
    }
    shop.identity(&new).await.unwrap();
}

async fn one_instance_s_replacement_is_every_instance_s(store: Store) {
    let before = shop(&store);
    before.buy(&body()).await;
    before.clock.advance(10 * MINUTE);
    let instances: Vec<Shop> = (0..4)
        .map(|_| shop_with(&store.again(), &one(SECOND_SECRET), before.clock.clone()))
        .collect();
    let mut asked = JoinSet::new();
    for instance in &instances {
        let issue = instance.issue.clone();
        asked.spawn(async move { issue.handle(&body()).await.unwrap() });
    }
    let replies: BTreeSet<Vec<u8>> =
        asked.join_all().await.into_iter().map(|reply| reply.body).collect();
    assert_eq!(replies.len(), 1);
}

async fn what_the_hook_refuses_is_free_again(store: Store) {
    let (shop, script) = shop(&store).hooked(Answer::Say(Decision::Refuse));
    let refusal = assert_refused(shop.ask(&body()).await, NotForSale, "refused");
    assert_eq!(status(&refusal), 422);
    assert_eq!(store.rows("issuances").unwrap_or(0), 0);
    script.say(Answer::Say(Decision::Approve(Terms::new())));
    // The hash under another id, and the id with another hash.
    shop.buy(&body_with(&[set("challengeId", "another")])).await;
    shop.buy(&body_with(&[set("txHash", "0xcd")])).await;
    assert_eq!(script.asked(), 3);
}

async fn what_the_hook_can_not_decide_is_free_again(store: Store) {
    let (shop, script) = shop(&store).hooked(Answer::Fail);
    let refusal = assert_refused(shop.ask(&body()).await, StoreUnavailable, "an error");
    assert_eq!(status(&refusal), 503);
    assert!(whole_chain(&refusal).contains("the catalogue is away"), "the log is told why");
    assert!(!refusal.message().contains("catalogue"));
    script.say(Answer::Panic);
    let refusal = assert_refused(shop.ask(&body()).await, Internal, "a panic");
    assert_eq!(
        (status(&refusal), refusal.message()),
        (500, "The server could not handle the request")
    );
    script.say(Answer::Say(Decision::Approve(Terms::new())));
    shop.buy(&body_with(&[set("challengeId", "another")])).await;
    shop.buy(&body_with(&[set("txHash", "0xcd")])).await;
    assert_eq!(script.asked(), 4, "each at its first try");
}

async fn the_hook_sets_the_terms(store: Store) {
    let permissions = Permissions::none().grant("dpp", Action::Create);
    let mut metadata = Map::new();
    metadata.insert("customer".into(), json!(7));
    let terms = Terms::new()
        .time_to_live(2 * MINUTE)
        .permissions(permissions.clone())
        .metadata(metadata.clone());
    let (shop, script) = shop(&store).hooked(Answer::Say(Decision::Approve(terms)));
    let first = shop.ask(&body_with(&[set("note", "from Key0")])).await.unwrap();
    let identity = shop.identity(&token_of(&first)).await.unwrap();
    assert_eq!(identity.permissions(), Some(&permissions));
    assert_eq!(identity.metadata(), Some(metadata));
    assert_eq!(identity.expires_at(), Some(START.plus(2 * MINUTE)));
    Policy::permission("dpp", Action::Create).check(&identity).unwrap();
    Policy::permission("dpp", Action::Read).check(&identity).unwrap_err();
    Policy::resource("photo-1").check(&identity).unwrap();
    // A retry is not decided on again.
    script.say(Answer::Say(Decision::Refuse));
    assert_eq!(shop.ask(&body()).await.unwrap(), first);
    assert_eq!(script.asked(), 1);
    let asked = script.last.lock().unwrap().clone().unwrap();
    assert_eq!(asked.request_id.as_str(), "550e8400-e29b-41d4-a716-446655440000");
    assert_eq!(asked.challenge_id.unwrap().as_str(), CHALLENGE);
    assert_eq!((asked.resource_id.as_str(), asked.plan_id.as_str()), ("photo-1", "basic"));
    assert!(asked.tx_hash.as_str().starts_with("0xABab"));
    assert_eq!(Value::Object(asked.metadata), json!({"note": "from Key0"}));
    // Without terms, the endpoint's own.
    script.say(Answer::Say(Decision::Approve(Terms::new())));
    let other = body_with(&[set("challengeId", "c2"), set("txHash", "0x2"), set("note", "kept")]);
    let identity = shop.identity(&shop.buy(&other).await).await.unwrap();
    assert_eq!(identity.expires_at(), Some(START.plus(HOUR)));
    assert_eq!(identity.permissions(), None);
    assert_eq!(identity.metadata().unwrap()["note"], "kept");
}

async fn the_application_s_own_credential_is_handed_out_and_kept_nowhere(store: Store) {
    const OWN: &str = "an-opaque-credential-of-the-application";
    let own =
        |text: &str, expires_at| Answer::Say(Decision::Own(OwnCredential::new(text, expires_at)));
    let (shop, script) = shop(&store).hooked(own(OWN, Some(START.plus(DAY))));
    let first = shop.ask(&body()).await.unwrap();
    let expected = format!(
        r#"{{"token":"{OWN}","expiresAt":"2026-11-23T00:06:05.000Z","tokenType":"Bearer"}}"#
    );
    assert_eq!(String::from_utf8(first.body.clone()).unwrap(), expected);
    assert_eq!(shop.ask(&body()).await.unwrap(), first);
    assert_eq!(script.asked(), 2);
    // It is no key of ours.
    assert!(shop.cached.find(&KeyDigest::of(OWN)).await.unwrap().is_none());
    assert_eq!(store.rows("keys").unwrap_or(0), 0);
    // A hook that changes its mind gives no second credential for one payment.
    for unsteady in [
        own("another-credential-of-the-application", None),
        Answer::Say(Decision::Approve(Terms::new())),
        Answer::Say(Decision::Refuse),
    ] {
        script.say(unsteady);
        let refusal = assert_refused(shop.ask(&body()).await, Internal, "unsteady");
        assert_eq!(status(&refusal), 500);
    }
    script.say(Answer::Fail);
    assert_refused(shop.ask(&body()).await, StoreUnavailable, "can't tell now");
    script.say(own(OWN, None));
    assert_eq!(shop.ask(&body()).await.unwrap(), first, "with the time it was first told");
    // With the secret gone that its digest was keyed with, the hook's word counts, and is kept.
    let again = own(OWN, Some(START.plus(DAY)));
    let (rotated, asked) =
        shop_with(&store.again(), &one(SECOND_SECRET), shop.clock.clone()).hooked(again);
    assert_refused(rotated.ask(&body()).await, IssuanceInProgress, "it is young");
    rotated.clock.advance(10 * MINUTE);
    assert_eq!(rotated.ask(&body()).await.unwrap(), first);
    asked.say(own("another-credential-of-the-application", None));
    assert_refused(rotated.ask(&body()).await, Internal, "unsteady");
    // One that never expires says nothing of it.
    let other = body_with(&[set("challengeId", "c2"), set("txHash", "0x2")]);
    let reply = shop.ask(&other).await.unwrap();
    let expected = format!(r#"{{"token":"{OWN}","tokenType":"Bearer"}}"#);
    assert_eq!(String::from_utf8(reply.body).unwrap(), expected);
    shop.clock.advance(DAY);
    assert_refused(shop.ask(&body()).await, PaymentAlreadyRedeemed, "a day later");
    if let Some((_, path)) = &store.file {
        assert!(!on_disk(path, OWN.as_bytes()));
        // Nor what a list of short credentials could be compared with.
        assert!(!on_disk(path, KeyDigest::of(OWN).as_bytes()));
    }
}

async fn an_outage_is_503_and_a_retry_gets_through(store: Store) {
    let (shop, script) = shop(&store).hooked(Answer::Say(Decision::Approve(Terms::new())));
    shop.payments.set_for("begin_issuance", Mood::Fails);
    let refusal = assert_refused(shop.ask(&body()).await, StoreUnavailable, "begin");
    let answer = Responder::default().respond(&refusal);
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains(&("retry-after", "1".into())));
    shop.payments.set(Mood::Works);

    // Nobody knows whether the claim still stands; when it is over, the retry gets through.
    shop.payments.set_for("complete_issuance", Mood::Fails);
    assert_refused(shop.ask(&body()).await, StoreUnavailable, "complete");
    shop.payments.set(Mood::Works);
    shop.clock.advance(10 * SECOND);
    shop.buy(&body()).await;

    // A refusal stays one where the claim can't be given up.
    shop.payments.set_for("abandon_issuance", Mood::Fails);
    script.say(Answer::Say(Decision::Refuse));
    let other = body_with(&[set("challengeId", "c2"), set("txHash", "0x2")]);
    assert_refused(shop.ask(&other).await, NotForSale, "abandon");
    shop.payments.set(Mood::Works);
    shop.clock.advance(10 * SECOND);
    assert_refused(shop.ask(&other).await, NotForSale, "decided anew");

    let rotated = shop_with(&store.again(), &one(SECOND_SECRET), shop.clock.clone());
    rotated.clock.advance(10 * MINUTE);
    rotated.payments.set_for("replace_issuance", Mood::Fails);
    assert_refused(rotated.ask(&body()).await, StoreUnavailable, "replace");
    rotated.payments.set(Mood::Works);
    rotated.buy(&body()).await;
}

async fn a_lost_answer_of_the_store_loses_no_credential(store: Store) {
    let shop = shop(&store);
    shop.payments.set_for("complete_issuance", Mood::LosesItsAnswer);
    assert_refused(shop.ask(&body()).await, StoreUnavailable, "it was kept, and nobody knows");
    shop.payments.set(Mood::Works);
    let first = shop.buy(&body()).await;
    shop.identity(&first).await.unwrap();
    assert_eq!(shop.payments.calls("complete_issuance"), 1);

    let rotated = shop_with(&store.again(), &one(SECOND_SECRET), shop.clock.clone());
    rotated.clock.advance(10 * MINUTE);
    rotated.payments.set_for("replace_issuance", Mood::LosesItsAnswer);
    assert_refused(rotated.ask(&body()).await, StoreUnavailable, "replaced, and nobody knows");
    rotated.payments.set(Mood::Works);
    let second = rotated.buy(&body()).await;
    assert_ne!(first, second);
    rotated.identity(&second).await.unwrap();
    assert_eq!(rotated.payments.calls("replace_issuance"), 1);
}

// Races

/// As Key0 does, only more stubborn: a 503 is tried again.
async fn insist(issue: IssueToken) -> Vec<u8> {
    loop {
        match issue.handle(&body()).await {
            Ok(reply) => return reply.body,
            Err(refusal) => assert_eq!(refusal.kind(), IssuanceInProgress, "{refusal:?}"),
        }
    }
}

async fn race(store: &Store, instances: &[Shop]) {
    let mut callers = JoinSet::new();
    for n in 0..100 {
        callers.spawn(insist(instances[n % instances.len()].issue.clone()));
    }
    let replies: BTreeSet<Vec<u8>> = callers.join_all().await.into_iter().collect();
    assert_eq!(replies.len(), 1);
    let completed: usize =
        instances.iter().map(|shop| shop.payments.calls("complete_issuance")).sum();
    assert_eq!(completed, 1);
    assert_eq!(store.rows("keys").unwrap_or(1), 1);
    assert_eq!(store.rows("issuances").unwrap_or(1), 1);
    let body: Value = serde_json::from_slice(replies.first().unwrap()).unwrap();
    for instance in instances {
        instance.identity(body["token"].as_str().unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_racing_retries_get_one_credential_in_memory() {
    let store = Store::memory();
    race(&store, &[shop(&store)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_racing_retries_get_one_credential_in_sqlite() {
    let store = Store::sqlite();
    race(&store, &[shop(&store)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_racing_retries_get_one_credential_from_two_instances() {
    let store = Store::sqlite();
    race(&store, &[shop(&store), shop(&store.again())]).await;
}

/// Racing ids for one payment: one of them gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_payment_buys_once_also_in_a_race() {
    let store = Store::sqlite();
    let instances = [shop(&store), shop(&store.again())];
    let mut callers = JoinSet::new();
    for n in 0..40 {
        let issue = instances[n % 2].issue.clone();
        let body = body_with(&[set("challengeId", format!("c{n}"))]);
        callers.spawn(async move { issue.handle(&body).await });
    }
    let (good, refused): (Vec<_>, Vec<_>) =
        callers.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((good.len(), store.rows("keys")), (1, Some(1)));
    for refusal in refused {
        assert_eq!(refusal.unwrap_err().kind(), PaymentAlreadyRedeemed);
    }
}

// Twins, crashes and clients that hang up: all by the runtime's own time, which is paused

fn claim(lease: Lease) -> IssuanceClaim {
    let request = "550e8400-e29b-41d4-a716-446655440000";
    let parts = [request, "photo-1", "basic", &HASH.to_lowercase()];
    IssuanceClaim {
        key: key(),
        fingerprint: RequestFingerprint::of(parts.map(str::as_bytes)),
        tx_hash: TxHash::new(HASH).unwrap(),
        order: Order {
            request_id: RequestId::new(request).unwrap(),
            resource_id: ResourceId::new("photo-1").unwrap(),
            plan_id: PlanId::new("basic").unwrap(),
        },
        lease,
    }
}

/// An instance on the runtime's time.
fn timed(store: &MemoryStore, clock: &Arc<RuntimeClock>) -> (IssueToken, Arc<SpyPayments>) {
    let payments = SpyPayments::over(Arc::new(store.clone()));
    let keys = ApiKeys::cached(Arc::new(Cached::new(Arc::new(store.clone()), clock.clone())));
    let issue = IssueToken::new(payments.clone(), keys, IssuanceSecrets::new(&one(FIRST_SECRET)))
        .clock(clock.clone());
    (issue, payments)
}

#[tokio::test(start_paused = true)]
async fn the_second_of_two_twins_waits_two_seconds() {
    let (store, clock) = (MemoryStore::new(), RuntimeClock::new());
    let script = Script::new(Answer::Wait);
    let issue = timed(&store, &clock).0.hook(Scripted(script.clone()));
    let first = tokio::spawn({
        let issue = issue.clone();
        async move { issue.handle(&body()).await }
    });
    script.entered.acquire().await.unwrap().forget();
    let began = Instant::now();
    let refusal = assert_refused(issue.handle(&body()).await, IssuanceInProgress, "the twin");
    let waited = began.elapsed();
    assert!((2 * SECOND..2 * SECOND + 100 * MS).contains(&waited), "{waited:?}");
    let answer = Responder::default().respond(&refusal);
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains(&("retry-after", "1".into())));
    // Its id and its payment are taken meanwhile, though not for good: the hook may refuse.
    let other_body = body_with(&[set("planId", "gold")]);
    assert_refused(issue.handle(&other_body).await, IssuanceInProgress, "another body");
    let other_id = body_with(&[set("challengeId", "another")]);
    assert_refused(issue.handle(&other_id).await, IssuanceInProgress, "another id");

    // One that comes when the first is nearly done gets its credential.
    let third = tokio::spawn({
        let issue = issue.clone();
        async move { issue.handle(&body()).await }
    });
    tokio::time::sleep(SECOND).await;
    script.gate.add_permits(1);
    let first = first.await.unwrap().unwrap();
    assert_eq!(third.await.unwrap().unwrap(), first);
    assert_eq!(script.asked(), 1);
    assert_refused(issue.handle(&other_body).await, RequestConflict, "another body");
    assert_refused(issue.handle(&other_id).await, PaymentAlreadyRedeemed, "another id");
}

#[tokio::test(start_paused = true)]
async fn a_hook_has_eight_seconds() {
    let (store, clock) = (MemoryStore::new(), RuntimeClock::new());
    let script = Script::new(Answer::Wait);
    let issue = timed(&store, &clock).0.hook(Scripted(script.clone()));
    let began = Instant::now();
    let refusal = assert_refused(issue.handle(&body()).await, StoreUnavailable, "too slow");
    assert_eq!(began.elapsed().as_secs(), 8, "before Key0 gives up");
    assert_eq!(status(&refusal), 503);
    script.say(Answer::Say(Decision::Approve(Terms::new())));
    let began = Instant::now();
    issue.handle(&body()).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "the claim was free");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_503_before_key0_gives_up() {
    for step in ["begin_issuance", "complete_issuance"] {
        let (store, clock) = (MemoryStore::new(), RuntimeClock::new());
        let (issue, payments) = timed(&store, &clock);
        payments.set_for(step, Mood::Hangs);
        let began = Instant::now();
        assert_refused(issue.handle(&body()).await, StoreUnavailable, step);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_work_goes_on_when_the_client_hangs_up() {
    let (store, clock) = (MemoryStore::new(), RuntimeClock::new());
    let script = Script::new(Answer::Wait);
    let (issue, payments) = timed(&store, &clock);
    let issue = issue.hook(Scripted(script.clone()));
    let client = tokio::spawn({
        let issue = issue.clone();
        async move { issue.handle(&body()).await }
    });
    script.entered.acquire().await.unwrap().forget();
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    script.gate.add_permits(1);
    issue.handle(&body()).await.unwrap();
    assert_eq!((script.asked(), payments.calls("complete_issuance")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_a_crash_left_behind_is_taken_over() {
    let (store, clock) = (MemoryStore::new(), RuntimeClock::new());
    let claim = claim(Lease::new(clock.now().plus(1_500 * MS)));
    let state = store.begin_issuance(&claim, clock.now()).await.unwrap();
    assert_eq!(state, IssuanceState::Started);
    let (issue, payments) = timed(&store, &clock);
    let began = Instant::now();
    let first = issue.handle(&body()).await.unwrap();
    let waited = began.elapsed();
    assert!((1_500 * MS..1_600 * MS).contains(&waited), "{waited:?}");
    assert_eq!(issue.handle(&body()).await.unwrap(), first);
    assert_eq!(payments.calls("complete_issuance"), 1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_late_finds_what_the_other_made() {
    let (store, clock) = (MemoryStore::new(), RuntimeClock::new());
    let (slow, stuck) = timed(&store, &clock);
    let (fast, _) = timed(&store, &clock);
    stuck.set_for("complete_issuance", Mood::Hangs);
    let late = tokio::spawn(async move { slow.handle(&body()).await });
    while stuck.calls("complete_issuance") == 0 {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    let reply = fast.handle(&body()).await.unwrap();
    let waited = began.elapsed();
    assert!(waited < 2 * SECOND, "a retry within its patience takes over: {waited:?}");
    stuck.set(Mood::Works);
    assert_eq!(late.await.unwrap().unwrap(), reply);
    let clock: Arc<dyn Clock> = clock;
    let keys = ApiKeys::cached(Arc::new(Cached::new(Arc::new(store), clock.clone())));
    let validator = Validator::builder().api_keys(keys).clock(clock).build().unwrap();
    bearer(&validator, &token_of(&reply)).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_takes_nothing_that_was_sold() {
    let store = Store::sqlite();
    let mut shop = shop(&store);
    shop.issue = shop.issue.clock(shop.clock.clone());
    let first = shop.ask(&body()).await.unwrap();
    let keys = KeysApi::new(store.keys.clone(), ApiKeys::cached(shop.cached.clone()))
        .clock(shop.clock.clone());
    shop.clock.jump_to(START.plus(40 * DAY));
    for passed in [Duration::ZERO, 59 * MINUTE] {
        shop.clock.advance(passed);
        assert_eq!(shop.issue.forget_old_nonces(10).await.unwrap(), 0);
        assert_eq!(keys.purge(10).await.unwrap(), 0);
        assert_eq!(shop.ask(&body()).await.unwrap(), first, "{passed:?}");
    }
    // What goes on steadily for an hour is believed.
    shop.clock.advance(MINUTE);
    assert_eq!(shop.issue.forget_old_nonces(10).await.unwrap(), 1);
    assert_eq!(keys.purge(10).await.unwrap(), 1);
}

#[tokio::test]
async fn a_process_that_starts_while_its_clock_is_ahead_takes_nothing_that_was_sold() {
    for store in [Store::memory(), Store::sqlite()] {
        let before = shop(&store);
        let first = before.buy(&body()).await;
        before.clock.jump_to(START.plus(12 * MINUTE));
        let mut after = shop_with(&store, &one(SECOND_SECRET), before.clock.clone());
        after.issue = after.issue.clock(after.clock.clone());
        let keys = KeysApi::new(store.keys.clone(), ApiKeys::cached(after.cached.clone()))
            .clock(after.clock.clone());
        let mut again = shop_with(&store, &one(FIRST_SECRET), before.clock.clone());
        again.issue = again.issue.clock(again.clock.clone());
        let refusal = assert_refused(after.ask(&body()).await, IssuanceInProgress, "may be young");
        assert_replaceable_in(&refusal, 3_600.0);
        assert_eq!(again.buy(&body()).await, first);
        after.identity(&first).await.unwrap();
        after.clock.advance(59 * MINUTE);
        let refusal = assert_refused(after.ask(&body()).await, IssuanceInProgress, "may be young");
        assert_replaceable_in(&refusal, 60.0);
        after.clock.advance(MINUTE);
        assert_ne!(after.buy(&body()).await, first, "the clock is believed");

        before.clock.jump_to(START.plus(40 * DAY));
        after.issue = after.issue.clock(after.clock.clone());
        let keys = keys.clock(after.clock.clone());
        for passed in [Duration::ZERO, 59 * MINUTE] {
            after.clock.advance(passed);
            assert_eq!(after.issue.forget_old_nonces(10).await.unwrap(), 0);
            assert_eq!(keys.purge(10).await.unwrap(), 0);
        }
        after.clock.advance(MINUTE);
        assert_eq!(after.issue.forget_old_nonces(10).await.unwrap(), 1);
        assert_eq!(keys.purge(10).await.unwrap(), 1);
    }
}

/// A store that tells no cache of its changes: then the endpoint has to.
#[tokio::test]
async fn the_cache_forgets_a_replaced_credential_also_where_the_store_keeps_silent() {
    let store = MemoryStore::new();
    let clock = TestClock::new();
    let mute = SpyKeys::over(store.clone(), false);
    let cached = Arc::new(Cached::new(mute, clock.clone()));
    let keys = Arc::new(ApiKeys::cached(cached));
    let validator =
        Validator::builder().api_keys(keys.clone()).clock(clock.clone()).build().unwrap();
    let issue = |text| {
        IssueToken::new(Arc::new(store.clone()), keys.clone(), IssuanceSecrets::new(&one(text)))
            .clock(Arc::new(Believed(clock.clone())))
    };
    let old = token_of(&issue(FIRST_SECRET).handle(&body()).await.unwrap());
    bearer(&validator, &old).await.unwrap();
    clock.advance(10 * MINUTE);
    let new = token_of(&issue(SECOND_SECRET).handle(&body()).await.unwrap());
    assert_eq!(bearer(&validator, &old).await.unwrap_err().kind(), InvalidApiKey);
    bearer(&validator, &new).await.unwrap();
}

// What stands on the disk

fn on_disk(path: &std::path::Path, wanted: &[u8]) -> bool {
    let mut files = 0;
    let mut found = false;
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        found |= bytes.windows(wanted.len()).any(|window| window == wanted);
        files += 1;
    }
    assert!(files >= 2, "the file and its log");
    found
}

#[tokio::test]
async fn nothing_on_the_disk_is_a_credential_or_makes_one() {
    let store = Store::sqlite();
    let shop = shop(&store);
    let bought =
        body_with(&[set("note", "metadata-to-be-found"), set("accessToken", "a-live-one")]);
    let token = shop.buy(&bought).await;
    let rotated = shop_with(&store, &one(SECOND_SECRET), shop.clock.clone());
    rotated.clock.advance(10 * MINUTE);
    let new = rotated.buy(&body()).await;
    let (_, path) = store.file.as_ref().unwrap();
    for there in ["metadata-to-be-found", CHALLENGE, "photo-1", &new[..7]] {
        assert!(on_disk(path, there.as_bytes()), "{there}: the search finds what is there");
    }
    for absent in [&*token, &token[3..], &new, &new[3..], FIRST_SECRET, SECOND_SECRET, "a-live-one"]
    {
        assert!(!on_disk(path, absent.as_bytes()), "{absent}");
    }
    assert!(on_disk(path, KeyDigest::of(&new).as_bytes()));
}

/// Everything that is stored, under other secrets, gives another credential.
#[tokio::test]
async fn the_database_alone_makes_no_credential() {
    let store = Store::sqlite();
    let token = shop(&store).buy(&body()).await;
    let thief = shop_with(
        &store.again(),
        &one("whatever the thief makes up as a secret"),
        TestClock::new(),
    );
    thief.clock.advance(10 * MINUTE);
    assert_ne!(thief.buy(&body()).await, token);
}

// Bodies

#[tokio::test]
async fn a_bad_body_is_told_what_is_wrong() {
    let store = Store::memory();
    let shop = shop(&store);
    let id = |name: &str| format!("{name} must be 1 to 256 visible ASCII characters");
    let required = |name: &str| format!("{name} is required");
    let mut rows: Vec<(Vec<u8>, String)> = Vec::new();
    for text in [
        "",
        " ",
        "{",
        "not json",
        "{}{}",
        r#"{"requestId":"a","requestId":"a"}"#,
        r#"{"requestId":"a","request\u0049d":"b"}"#,
        r#"{"note":{"a":1,"a":2}}"#,
        "{'requestId':'a'}",
        "\u{feff}{}",
        r#"{"n":1e999}"#,
    ] {
        rows.push((text.into(), "Invalid JSON body".into()));
    }
    rows.push((vec![b'{', 0xff, b'}'], "Invalid JSON body".into()));
    rows.push((
        format!("{}{}", "[".repeat(9_999), "]".repeat(9_999)).into(),
        "Invalid JSON body".into(),
    ));
    for text in ["[]", "[{}]", "null", "true", "1", "\"requestId\""] {
        rows.push((text.into(), "Expected JSON object".into()));
    }
    for name in ["requestId", "resourceId", "planId", "txHash"] {
        rows.push((body_with(&[(name, None)]), required(name)));
        rows.push((body_with(&[set(name, Value::Null)]), required(name)));
    }
    rows.push((b"{}".to_vec(), required("requestId")));
    for name in ["requestId", "challengeId", "resourceId", "planId", "tierId", "txHash"] {
        for wrong in [
            json!(1),
            json!(true),
            json!(["a"]),
            json!({"a": 1}),
            json!(""),
            json!(" "),
            json!("a b"),
            json!("a\n"),
            json!("\u{0}"),
            json!("schlüssel"),
            json!("a".repeat(257)),
        ] {
            rows.push((body_with(&[set(name, wrong)]), id(name)));
        }
        // As a key of an agent that was taken for its request's id.
        for credential in [
            "ak_0123456789abcdef0123456789abcdef",
            "id=ak%5F0123456789abcdef0123456789abcdef",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyIn0.c2lnbmF0dXJl",
        ] {
            let message = format!("{name} must not be a credential");
            rows.push((body_with(&[set(name, credential)]), message));
        }
    }
    rows.push((body_with(&[set("tierId", "gold")]), "planId and tierId must be equal".into()));
    for (body, message) in rows {
        let row = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        let refusal = assert_refused(shop.ask(&body).await, InvalidBody, &row);
        assert_eq!(refusal.message(), message, "{row}");
        let answer = Responder::default().respond(&refusal);
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &problem["code"]), (400, &json!("invalid_request")), "{row}");
    }
    assert_eq!(shop.payments.calls("begin_issuance"), 0, "no bad body reaches the store");

    let longest = "a".repeat(256);
    let names = ["requestId", "challengeId", "resourceId", "planId", "txHash"];
    shop.buy(&body_with(&names.map(|name| set(name, &*longest)))).await;
}

#[tokio::test]
async fn an_optional_member_that_is_null_is_as_absent() {
    let store = Store::memory();
    let shop = shop(&store);
    let null = |name| set(name, Value::Null);
    let first = shop.ask(&body_with(&[null("challengeId"), null("tierId")])).await.unwrap();
    assert_eq!(shop.ask(&body_with(&[("challengeId", None)])).await.unwrap(), first);
    let alias = [("challengeId", None), null("planId"), set("tierId", "basic")];
    assert_eq!(shop.ask(&body_with(&alias)).await.unwrap(), first);
}

#[test]
fn a_body_is_announced_as_json() {
    for good in ["application/json", "Application/JSON", "application/json; charset=utf-8"] {
        check_media_type(Some(good.as_bytes())).unwrap();
    }
    for bad in ["", "text/json", "application/jsonp", "application/problem+json", "json", "*/*"] {
        let refusal = check_media_type(Some(bad.as_bytes())).unwrap_err();
        assert_eq!(refusal.kind(), UnsupportedMediaType, "{bad}");
    }
    let refusal = check_media_type(None).unwrap_err();
    assert_eq!(status(&refusal), 415);
}

#[tokio::test]
async fn a_body_has_64_kib() {
    let store = Store::memory();
    let shop = shop(&store);
    let padded = |length: usize| {
        let mut body = body();
        body.resize(length, b' ');
        body
    };
    shop.buy(&padded(64 * 1024)).await;
    let refusal = assert_refused(shop.ask(&padded(64 * 1024 + 1)).await, BodyTooLarge, "and one");
    assert_eq!(status(&refusal), 413);
}

// Nothing shows a credential

#[tokio::test]
async fn no_credential_shows_in_anything() {
    const OWN: &str = "an-opaque-credential-of-the-application";
    let store = Store::sqlite();
    let plain = shop(&store);
    let reply = plain.ask(&body()).await.unwrap();
    let own = OwnCredential::new(OWN, None);
    let decision = Decision::Own(own.clone());
    let (shop, script) = shop_with(&store, &one(SECOND_SECRET), TestClock::new())
        .hooked(Answer::Say(decision.clone()));
    let other = body_with(&[
        set("challengeId", "c2"),
        set("txHash", "0x2"),
        set("accessToken", "a-live-credential"),
    ]);
    let own_reply = shop.ask(&other).await.unwrap();

    let mut secrets = Secrets::default();
    let token = token_of(&reply);
    for text in [&*token, &token[7..], OWN, "a-live-credential", FIRST_SECRET, SECOND_SECRET] {
        secrets.add(text);
    }
    secrets.assert_not_in("Reply", &reply);
    secrets.assert_not_in("Reply", Ok::<_, Rejection>(&own_reply));
    secrets.assert_not_in("OwnCredential", &own);
    secrets.assert_not_in("Decision", &decision);
    secrets.assert_not_in("IssueToken", &plain.issue);
    secrets.assert_not_in("IssueToken", &shop.issue);
    secrets.assert_not_in("IssuanceRequest", script.last.lock().unwrap().clone().unwrap());
    secrets.assert_not_in("IssuanceSecrets", IssuanceSecrets::new(&one(FIRST_SECRET)));
    secrets.assert_not_in("SecretSet", one(FIRST_SECRET));
    let record: KeyRecord = shop.cached.find(&KeyDigest::of(&token)).await.unwrap().unwrap();
    secrets.assert_not_in("KeyRecord", record);
    secrets.assert_not_in("Identity", shop.identity(&token).await.unwrap());
    secrets.assert_not_in("Validator", &shop.validator);
    let claim = claim(Lease::new(shop.now()));
    secrets.assert_not_in("IssuanceClaim", &claim);
    let state = store.payments.begin_issuance(&claim, shop.now()).await.unwrap();
    assert!(matches!(state, IssuanceState::Issued(_)));
    secrets.assert_not_in("IssuanceState", &state);
    secrets.assert_not_in("SqliteStore", &store.keys);
    secrets.assert_not_in("SqliteOptions", SqliteOptions::new());

    let mut refusals = vec![
        shop.ask(&body_with(&[set("planId", "gold")])).await.unwrap_err(),
        shop.ask(&body_with(&[set("challengeId", OWN), set("planId", 1)])).await.unwrap_err(),
        shop.ask(format!("{{\"{token}\":}}").as_bytes()).await.unwrap_err(),
    ];
    for answer in [Answer::Fail, Answer::Panic, Answer::Say(Decision::Refuse)] {
        script.say(answer);
        refusals.push(shop.ask(&other).await.unwrap_err());
    }
    shop.payments.set_for("begin_issuance", Mood::Fails);
    refusals.push(shop.ask(&other).await.unwrap_err());
    shop.payments.set(Mood::Works);
    // A store whose tables are gone says so, and nothing else.
    rusqlite::Connection::open(&store.file.as_ref().unwrap().1)
        .unwrap()
        .execute_batch("DROP TABLE issuances; DROP TABLE keys;")
        .unwrap();
    refusals.push(shop.ask(&other).await.unwrap_err());
    refusals
        .push(shop.identity(KeyFormat::default().generate().unwrap().expose()).await.unwrap_err());
    for refusal in refusals {
        assert!(!secrets.shows_in(&whole_chain(&refusal)), "{}", whole_chain(&refusal));
        secrets.assert_not_in("Refusal", Responder::default().respond(&refusal));
    }
}
