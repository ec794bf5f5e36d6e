//! `POST /internal/payment-received`: every payment is kept once and handled at least once, never
//! by two at a time.

#![cfg(all(feature = "sqlite", feature = "testing"))]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::flow::{RuntimeClock, START, Secrets, SpyPayments, TestClock, whole_chain};
use async_trait::async_trait;
use key0_auth::{
    MemoryStore, Rejection,
    RejectionKind::{self, *},
    SqliteStore,
    api::{HandlerError, PaymentHandler, PaymentReceived, Reply},
    auth::Responder,
    domain::{ChallengeId, Clock},
    store::{Payment, PaymentStore, spi::Lease},
    testing::Mood,
};
use serde_json::{Value, json};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
/// By when a thing that must happen has happened, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The recorded report of a payment.
fn recorded() -> Value {
    let wire: Value = serde_json::from_str(include_str!("../fixtures/key0-wire.json")).unwrap();
    wire["accessGrant"].clone()
}

/// The recorded report with these members changed; `None` removes one.
fn report_with(changes: &[(&str, Option<Value>)]) -> Vec<u8> {
    let mut report = recorded();
    let members = report.as_object_mut().unwrap();
    for (name, value) in changes {
        match value {
            Some(value) => members.insert((*name).to_owned(), value.clone()),
            None => members.remove(*name),
        };
    }
    report.to_string().into_bytes()
}

fn report() -> Vec<u8> {
    report_with(&[])
}

/// The report of the payment with this number.
fn numbered(n: usize) -> Vec<u8> {
    report_with(&[set("challengeId", format!("c{n}")), set("txHash", format!("0x{n:x}"))])
}

fn set(name: &str, value: impl Into<Value>) -> (&str, Option<Value>) {
    (name, Some(value.into()))
}

fn challenge() -> ChallengeId {
    ChallengeId::new(recorded()["challengeId"].as_str().unwrap()).unwrap()
}

#[track_caller]
fn assert_refused(result: Result<Reply, Rejection>, kind: RejectionKind, row: &str) -> Rejection {
    let refusal = result.expect_err(row);
    assert_eq!(refusal.kind(), kind, "{row}: {refusal:?}");
    refusal
}

#[track_caller]
fn assert_received(result: Result<Reply, Rejection>) {
    let reply = result.unwrap();
    assert_eq!((reply.status, &*reply.body), (200, &br#"{"received":true}"#[..]));
}

// The handler

#[derive(Debug, Clone, Copy)]
enum Run {
    Fail,
    Panic,
    /// Waits at the gate, then succeeds.
    Wait,
    /// Waits at the gate, then fails.
    WaitAndFail,
    Sleep(Duration),
    Hang,
}

/// What the handler does, run by run, and what it saw. It succeeds where nothing is told.
#[derive(Debug)]
struct Log {
    next: Mutex<VecDeque<Run>>,
    runs: Mutex<Vec<(Instant, Payment)>>,
    running: Mutex<BTreeMap<ChallengeId, usize>>,
    most_at_a_time: Mutex<usize>,
    begun: Semaphore,
    gate: Semaphore,
}

impl Log {
    fn new(runs: impl IntoIterator<Item = Run>) -> Arc<Self> {
        Arc::new(Self {
            next: Mutex::new(runs.into_iter().collect()),
            runs: Mutex::default(),
            running: Mutex::default(),
            most_at_a_time: Mutex::default(),
            begun: Semaphore::new(0),
            gate: Semaphore::new(0),
        })
    }

    fn handler(self: &Arc<Self>) -> Handler {
        Handler(self.clone())
    }

    fn count(&self) -> usize {
        self.runs.lock().unwrap().len()
    }

    fn challenges(&self) -> Vec<String> {
        let runs = self.runs.lock().unwrap();
        runs.iter().map(|(_, payment)| payment.challenge_id.to_string()).collect()
    }

    fn instants(&self) -> Vec<Instant> {
        self.runs.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }

    fn payments(&self) -> Vec<Payment> {
        self.runs.lock().unwrap().iter().map(|(_, payment)| payment.clone()).collect()
    }

    /// Waits until a run has begun.
    async fn one_begins(&self) {
        timeout(PATIENCE, self.begun.acquire()).await.expect("a run begins").unwrap().forget();
    }
}

#[derive(Debug)]
struct Handler(Arc<Log>);

/// Counts a run as running, also when it is dropped or panics.
struct Running<'a>(&'a Log, ChallengeId);

impl<'a> Running<'a> {
    fn new(log: &'a Log, payment: &Payment) -> Self {
        log.runs.lock().unwrap().push((Instant::now(), payment.clone()));
        let mut running = log.running.lock().unwrap();
        let at_a_time = running.entry(payment.challenge_id.clone()).or_default();
        *at_a_time += 1;
        let mut most = log.most_at_a_time.lock().unwrap();
        *most = (*most).max(*at_a_time);
        Self(log, payment.challenge_id.clone())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

#[async_trait]
impl PaymentHandler for Handler {
    async fn handle(&self, payment: &Payment) -> Result<(), HandlerError> {
        let log = &self.0;
        let _running = Running::new(log, payment);
        let next = log.next.lock().unwrap().pop_front();
        log.begun.add_permits(1);
        match next {
            None => Ok(()),
            Some(Run::Fail) => Err("the ledger is away".into()),
            Some(Run::Panic) => panic!("a bug in the handler"),
            Some(Run::Wait) => {
                log.gate.acquire().await.unwrap().forget();
                Ok(())
            }
            Some(Run::WaitAndFail) => {
                log.gate.acquire().await.unwrap().forget();
                Err("the ledger is away".into())
            }
            Some(Run::Sleep(time)) => {
                sleep(time).await;
                Ok(())
            }
            Some(Run::Hang) => std::future::pending().await,
        }
    }
}

fn memory() -> Arc<dyn PaymentStore> {
    Arc::new(MemoryStore::new())
}

fn sqlite() -> (tempfile::TempDir, Arc<dyn PaymentStore>) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    (folder, store)
}

fn open(folder: &tempfile::TempDir) -> Arc<dyn PaymentStore> {
    Arc::new(SqliteStore::open(folder.path().join("key0.db")).unwrap())
}

async fn until(what: &str, happened: impl AsyncFn() -> bool) {
    let waiting = async {
        while !happened().await {
            sleep(MS).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "{what}");
}

/// Whether a payment's handling is over: nobody can ever lease it again.
async fn is_finished(store: &dyn PaymentStore) -> bool {
    let far = START.plus(10_000 * 86_400 * SECOND);
    store.lease_payment(&Lease::new(far), far).await.unwrap().is_none()
}

// What is kept

async fn kept_once_and_told_again(store: Arc<dyn PaymentStore>) {
    let clock = TestClock::new();
    let endpoint = PaymentReceived::new(store.clone(), clock.clone());
    let reply = endpoint.handle(&report()).await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(String::from_utf8(reply.body).unwrap(), r#"{"received":true}"#);
    let headers = [("content-type", "application/json"), ("cache-control", "no-store")];
    assert_eq!(reply.headers, headers.map(|(name, value)| (name.into(), value.to_owned())));

    // A repeat is good, whatever else it says, and changes nothing.
    clock.advance(SECOND);
    let hash = recorded()["txHash"].as_str().unwrap().to_uppercase();
    let other = [set("txHash", hash), set("requestId", "another"), set("planId", "gold")];
    for repeat in [report(), report_with(&other)] {
        assert_received(endpoint.handle(&repeat).await);
    }
    let payment = store.payment(&challenge()).await.unwrap().unwrap();
    let recorded = recorded();
    assert_eq!(payment.request_id, recorded["requestId"].as_str().unwrap());
    assert_eq!(payment.resource_id, "photo-1");
    assert_eq!(payment.plan_id, "basic");
    assert_eq!(payment.tx_hash, recorded["txHash"].as_str().unwrap());
    assert_eq!(payment.received_at, START);

    // One challenge, one payment; one payment, one challenge.
    for (row, changes) in [
        ("another hash", vec![set("txHash", "0xcd")]),
        ("another challenge", vec![set("challengeId", "another")]),
    ] {
        let result = endpoint.handle(&report_with(&changes)).await;
        let refusal = assert_refused(result, RequestConflict, row);
        assert_eq!(Responder::default().respond(&refusal).status, 409, "{row}");
    }
    // The challenge of one with the hash of another.
    assert_received(endpoint.handle(&numbered(1)).await);
    let mixed = report_with(&[set("challengeId", "c1")]);
    assert_refused(endpoint.handle(&mixed).await, RequestConflict, "mixed");
}

#[tokio::test]
async fn a_payment_is_kept_once_in_memory() {
    kept_once_and_told_again(memory()).await;
}

#[tokio::test]
async fn a_payment_is_kept_once_in_sqlite() {
    let (_folder, store) = sqlite();
    kept_once_and_told_again(store).await;
}

async fn all_fields_but_the_token(store: Arc<dyn PaymentStore>) {
    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyIn0.c2lnbmF0dXJl";
    let key = key0_auth::apikey::KeyFormat::default().generate().unwrap();
    let key = key.expose();
    let log = Log::new([]);
    let endpoint = PaymentReceived::with_handler(store.clone(), TestClock::new(), log.handler());
    let more = [
        set("accessToken", "a-live-credential"),
        set("AccessToken", "a-live-credential"),
        set("amount", json!({"value": "1.50", "chain": [8453, null, true, 0.5]})),
        set("grant", json!([{"access_token": "a-live-credential", "accesstoken": [], "kind": 1}])),
        set("note", format!("Bearer {JWT}")),
        set("more", json!(["stays", JWT, {"key": key, "by": {"key": format!("?key={key}")}}])),
        set("tierId", "basic"),
    ];
    assert_received(endpoint.handle(&report_with(&more)).await);
    log.one_begins().await;
    let handled = log.payments().remove(0);
    let recorded = recorded();
    assert_eq!(
        Value::Object(handled.details.clone()),
        json!({
            "type": "AccessGrant",
            "tokenType": "Bearer",
            "resourceEndpoint": recorded["resourceEndpoint"],
            "explorerUrl": recorded["explorerUrl"],
            "amount": {"value": "1.50", "chain": [8453, null, true, 0.5]},
            "grant": [{"kind": 1}],
            "more": ["stays", {"by": {}}],
        })
    );
    assert_eq!(handled.challenge_id, challenge());
    assert_eq!(handled.plan_id, "basic");
    assert_eq!(store.payment(&challenge()).await.unwrap(), Some(handled));

    let mut secrets = Secrets::default();
    secrets.add("a-live-credential");
    secrets.add(JWT);
    secrets.add(key);
    secrets.assert_not_in("Payment", log.payments());
    secrets.assert_not_in("PaymentReceived", &endpoint);
}

#[tokio::test]
async fn all_fields_but_the_token_reach_the_handler_from_memory() {
    all_fields_but_the_token(memory()).await;
}

#[tokio::test]
async fn all_fields_but_the_token_reach_the_handler_from_sqlite() {
    let (folder, store) = sqlite();
    all_fields_but_the_token(store).await;
    let mut found = false;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        assert!(!holds(b"a-live-credential"));
        found |= holds(b"sepolia.basescan.org");
    }
    assert!(found, "the search finds what is there");
}

#[tokio::test]
async fn a_report_has_its_fields() {
    let store = SpyPayments::over(memory());
    let endpoint = PaymentReceived::new(store.clone(), TestClock::new());
    for name in ["challengeId", "requestId", "resourceId", "planId", "txHash"] {
        let refusal =
            assert_refused(endpoint.handle(&report_with(&[(name, None)])).await, InvalidBody, name);
        assert_eq!(refusal.message(), format!("{name} is required"));
        let null = endpoint.handle(&report_with(&[set(name, Value::Null)])).await;
        assert_eq!(
            assert_refused(null, InvalidBody, name).message(),
            format!("{name} is required")
        );
        for wrong in [json!(1), json!(""), json!("a b"), json!("a".repeat(257))] {
            let result = endpoint.handle(&report_with(&[set(name, wrong)])).await;
            let refusal = assert_refused(result, InvalidBody, name);
            let message = format!("{name} must be 1 to 256 visible ASCII characters");
            assert_eq!(refusal.message(), message);
        }
        let key = set(name, "ak_0123456789abcdef0123456789abcdef");
        let refusal =
            assert_refused(endpoint.handle(&report_with(&[key])).await, InvalidBody, name);
        assert_eq!(refusal.message(), format!("{name} must not be a credential"));
    }
    for (body, message) in [
        (&b"{"[..], "Invalid JSON body"),
        (br#"{"type":1,"type":2}"#, "Invalid JSON body"),
        (b"[]", "Expected JSON object"),
        (&report_with(&[set("tierId", "gold")]), "planId and tierId must be equal"),
    ] {
        let refusal = assert_refused(endpoint.handle(body).await, InvalidBody, message);
        assert_eq!(refusal.message(), message);
    }
    let mut large = report();
    large.resize(64 * 1024 + 1, b' ');
    assert_refused(endpoint.handle(&large).await, BodyTooLarge, "64 KiB and one");
    assert_eq!(store.calls("record_payment"), 0);

    assert_received(endpoint.handle(&large[..64 * 1024]).await);
    let minimal = json!({
        "challengeId": "c", "requestId": "r", "resourceId": "p", "tierId": "t", "txHash": "0x1",
    });
    assert_received(endpoint.handle(minimal.to_string().as_bytes()).await);
    let null = [set("planId", Value::Null), set("tierId", "basic")];
    assert_received(endpoint.handle(&report_with(&null)).await);
}

#[tokio::test]
async fn an_outage_is_503_and_keeps_nothing() {
    let store = SpyPayments::over(memory());
    let endpoint = PaymentReceived::new(store.clone(), TestClock::new());
    store.set_for("record_payment", Mood::Fails);
    let refusal = assert_refused(endpoint.handle(&report()).await, StoreUnavailable, "an outage");
    let answer = Responder::default().respond(&refusal);
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains(&("retry-after", "1".into())));
    assert!(!whole_chain(&refusal).contains("ak_example"));
    assert_eq!(store.payment(&challenge()).await.unwrap(), None);
    // Kept, and the answer lost: the retry is a repeat.
    store.set_for("record_payment", Mood::LosesItsAnswer);
    assert_refused(endpoint.handle(&report()).await, StoreUnavailable, "a lost answer");
    store.set(Mood::Works);
    assert_received(endpoint.handle(&report()).await);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_503_before_key0_gives_up() {
    let store = SpyPayments::over(memory());
    let endpoint = PaymentReceived::new(store.clone(), TestClock::new());
    store.set_for("record_payment", Mood::Hangs);
    let began = Instant::now();
    assert_refused(endpoint.handle(&report()).await, StoreUnavailable, "a store that hangs");
    assert!(began.elapsed() < 10 * SECOND, "{:?}", began.elapsed());
}

// The handler runs

#[tokio::test(start_paused = true)]
async fn a_payment_is_handled_once_and_a_repeat_triggers_nothing() {
    let store = memory();
    let log = Log::new([]);
    let endpoint = PaymentReceived::with_handler(store.clone(), RuntimeClock::new(), log.handler());
    sleep(10 * SECOND).await;
    let began = Instant::now();
    assert_received(endpoint.handle(&report()).await);
    log.one_begins().await;
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
    for _ in 0..3 {
        assert_received(endpoint.handle(&report()).await);
        sleep(1_000 * SECOND).await;
    }
    assert_eq!(log.count(), 1);
    assert!(is_finished(&*store).await);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_with_growing_pauses() {
    let log = Log::new([
        Run::Fail,
        Run::Panic,
        Run::Fail,
        Run::Panic,
        Run::Fail,
        Run::Fail,
        Run::Fail,
        Run::Fail,
        Run::Fail,
        Run::Fail,
        Run::Fail,
    ]);
    let store = memory();
    let endpoint = PaymentReceived::with_handler(store.clone(), RuntimeClock::new(), log.handler());
    assert_received(endpoint.handle(&report()).await);
    sleep(10_000 * SECOND).await;
    let instants = log.instants();
    assert_eq!(instants.len(), 12, "until it succeeds, and then no more");
    for (n, pair) in instants.windows(2).enumerate() {
        let paused = pair[1] - pair[0];
        let full = (SECOND * (1 << n)).min(300 * SECOND);
        // Up to a quarter less, and up to a second until the worker looks.
        let range = full * 3 / 4..=full + SECOND;
        assert!(range.contains(&paused), "the pause after run {n}: {paused:?}");
    }
    assert!(log.payments().windows(2).all(|pair| pair[0] == pair[1]), "from the stored record");
    assert!(is_finished(&*store).await);
}

/// The pause is counted by the clock that the application gave.
#[tokio::test(start_paused = true)]
async fn the_pause_is_counted_by_the_clock() {
    let clock = TestClock::new();
    let log = Log::new([Run::Fail]);
    let endpoint = PaymentReceived::with_handler(memory(), clock.clone(), log.handler());
    assert_received(endpoint.handle(&report()).await);
    log.one_begins().await;
    sleep(100 * SECOND).await;
    clock.advance(750 * MS - MS);
    sleep(10 * SECOND).await;
    assert_eq!(log.count(), 1);
    clock.advance(251 * MS);
    log.one_begins().await;
    assert_eq!(log.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_hangs_is_ended_and_tried_again() {
    let log = Log::new([Run::Hang, Run::Sleep(29 * SECOND)]);
    let store = memory();
    let endpoint = PaymentReceived::with_handler(store.clone(), RuntimeClock::new(), log.handler());
    assert_received(endpoint.handle(&report()).await);
    sleep(200 * SECOND).await;
    let instants = log.instants();
    assert_eq!(instants.len(), 2);
    let paused = instants[1] - instants[0];
    assert!((30 * SECOND..=33 * SECOND).contains(&paused), "{paused:?}");
    assert_eq!(*log.most_at_a_time.lock().unwrap(), 1);
    assert!(is_finished(&*store).await);
}

#[tokio::test(start_paused = true)]
async fn payments_that_can_not_be_read_hold_up_no_other() {
    let store = SpyPayments::over(memory());
    let kept = PaymentReceived::new(store.clone(), RuntimeClock::new());
    for n in 0..30 {
        assert_received(kept.handle(&numbered(n)).await);
    }
    store.set_for("lease_payment", Mood::CantRead);
    let log = Log::new([]);
    let began = Instant::now();
    let endpoint = PaymentReceived::with_handler(store.clone(), RuntimeClock::new(), log.handler());
    while store.answered("lease_payment") < 30 {
        sleep(MS).await;
    }
    assert!(began.elapsed() < SECOND, "they were waited for: {:?}", began.elapsed());
    sleep(10 * SECOND).await;
    assert!(store.calls("lease_payment") < 20_000, "a store that reads nothing is given a rest");
    store.set(Mood::Works);
    assert_received(endpoint.handle(&report()).await);
    log.one_begins().await;
    assert_eq!(log.challenges(), [challenge().to_string()]);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_holds_up_no_other() {
    let log = Log::new([Run::Fail]);
    let endpoint = PaymentReceived::with_handler(memory(), RuntimeClock::new(), log.handler());
    for n in 0..5 {
        assert_received(endpoint.handle(&numbered(n)).await);
    }
    sleep(100 * SECOND).await;
    assert_eq!(log.challenges(), ["c0", "c1", "c2", "c3", "c4", "c0"]);
}

/// Hangs on the first so many payments, whenever they come.
#[derive(Debug)]
struct HangsOnSome(usize, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl PaymentHandler for HangsOnSome {
    async fn handle(&self, payment: &Payment) -> Result<(), HandlerError> {
        let id = payment.challenge_id.to_string();
        if id[1..].parse::<usize>().unwrap() < self.0 {
            return std::future::pending().await;
        }
        self.1.lock().unwrap().push(id);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_hang_hold_up_no_other() {
    let handled = Arc::new(Mutex::new(Vec::new()));
    let handler = HangsOnSome(20, handled.clone());
    let endpoint = PaymentReceived::with_handler(memory(), RuntimeClock::new(), handler);
    for n in 0..20 {
        assert_received(endpoint.handle(&numbered(n)).await);
    }
    // At first, and while they are tried again and again.
    for n in 20..60 {
        assert_received(endpoint.handle(&numbered(n)).await);
        sleep(2 * SECOND).await;
        assert_eq!(handled.lock().unwrap().last(), Some(&format!("c{n}")));
        sleep(Duration::from_secs(n as u64)).await;
    }
}

/// As many as would fill every place, again and again.
#[tokio::test(start_paused = true)]
async fn those_that_failed_before_step_back() {
    let handled = Arc::new(Mutex::new(Vec::new()));
    let handler = HangsOnSome(24, handled.clone());
    let endpoint = PaymentReceived::with_handler(memory(), RuntimeClock::new(), handler);
    for n in 0..24 {
        assert_received(endpoint.handle(&numbered(n)).await);
    }
    // Until the first runs of all were given up.
    sleep(31 * SECOND).await;
    for n in 24..100 {
        assert_received(endpoint.handle(&numbered(n)).await);
        sleep(2 * SECOND).await;
        assert_eq!(handled.lock().unwrap().last(), Some(&format!("c{n}")));
    }
}

#[tokio::test(start_paused = true)]
async fn the_worker_outlives_an_outage() {
    let store = SpyPayments::over(memory());
    let log = Log::new([]);
    let endpoint = PaymentReceived::with_handler(store.clone(), RuntimeClock::new(), log.handler());
    store.set_for("lease_payment", Mood::Fails);
    assert_received(endpoint.handle(&report()).await);
    sleep(100 * SECOND).await;
    assert_eq!(log.count(), 0);
    let asked = store.calls("lease_payment");
    assert!((90..=110).contains(&asked), "once a second, not in a hurry: {asked}");
    store.set(Mood::Works);
    sleep(2 * SECOND).await;
    assert_eq!(log.count(), 1);
    // Where nobody knows whether it is finished, it runs again when the lease is over.
    store.set_for("finish_payment", Mood::Fails);
    assert_received(endpoint.handle(&numbered(1)).await);
    sleep(2 * SECOND).await;
    store.set(Mood::Works);
    assert_eq!(log.count(), 2);
    sleep(55 * SECOND).await;
    assert_eq!(log.count(), 2, "not while the lease is in force");
    sleep(5 * SECOND).await;
    assert_eq!(log.count(), 3);
}

#[tokio::test]
async fn what_was_not_handled_is_handled_after_a_restart() {
    let clock = TestClock::new();
    let (folder, store) = sqlite();
    let store = SpyPayments::over(store);
    let before = Log::new([Run::Fail, Run::Hang]);
    let endpoint = PaymentReceived::with_handler(store.clone(), clock.clone(), before.handler());
    // The first has failed, the second is under way, the third was never begun.
    for n in 0..2 {
        assert_received(endpoint.handle(&numbered(n)).await);
        before.one_begins().await;
    }
    until("the first is put off", async || store.answered("retry_payment") == 1).await;
    store.set_for("lease_payment", Mood::Fails);
    assert_received(endpoint.handle(&numbered(2)).await);
    drop(endpoint);

    let store = SpyPayments::over(open(&folder));
    let after = Log::new([]);
    let endpoint = PaymentReceived::with_handler(store.clone(), clock.clone(), after.handler());
    after.one_begins().await;
    assert_eq!(after.challenges(), ["c2"]);
    clock.advance(SECOND);
    after.one_begins().await;
    assert_eq!(after.challenges(), ["c2", "c0"]);
    // A second instance may still be at work on it, until the lease is over.
    clock.set(START.plus(60 * SECOND).minus(MS));
    sleep(1_200 * MS).await;
    assert_eq!(after.count(), 2);
    clock.set(START.plus(60 * SECOND));
    after.one_begins().await;
    assert_eq!(after.challenges(), ["c2", "c0", "c1"]);
    assert_eq!(after.payments()[1], before.payments()[0], "from the stored record");
    until("all are finished", async || store.answered("finish_payment") == 3).await;
    assert!(is_finished(&*store).await);
    drop(endpoint);
}

// Two instances

async fn shared_by_two(stores: [Arc<dyn PaymentStore>; 2]) {
    let clock = TestClock::new();
    let log = Log::new(std::iter::repeat_n(Run::Sleep(2 * MS), 40));
    let [first, second] =
        stores.map(|store| PaymentReceived::with_handler(store, clock.clone(), log.handler()));
    for n in 0..40 {
        let endpoint = if n % 2 == 0 { &first } else { &second };
        assert_received(endpoint.handle(&numbered(n)).await);
        // The other instance hears of it too.
        let endpoint = if n % 2 == 0 { &second } else { &first };
        assert_received(endpoint.handle(&numbered(n)).await);
    }
    for _ in 0..40 {
        log.one_begins().await;
    }
    assert_eq!(*log.most_at_a_time.lock().unwrap(), 1);
    let mut challenges = log.challenges();
    challenges.sort();
    challenges.dedup();
    assert_eq!((challenges.len(), log.count()), (40, 40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_instances_share_the_work_in_memory() {
    let store = memory();
    shared_by_two([store.clone(), store]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_instances_share_the_work_in_sqlite() {
    let (folder, store) = sqlite();
    shared_by_two([store, open(&folder)]).await;
}

#[tokio::test(start_paused = true)]
async fn never_two_at_a_time_while_the_lease_is_in_force() {
    let (store, clock) = (memory(), RuntimeClock::new());
    let log = Log::new([Run::Sleep(29 * SECOND)]);
    let endpoint = |store: &Arc<dyn PaymentStore>| {
        PaymentReceived::with_handler(store.clone(), clock.clone(), log.handler())
    };
    let (first, _second) = (endpoint(&store), endpoint(&store));
    assert_received(first.handle(&report()).await);
    sleep(1_000 * SECOND).await;
    assert_eq!((log.count(), *log.most_at_a_time.lock().unwrap()), (1, 1));
}

async fn a_lost_lease_ends_nothing(stores: [Arc<dyn PaymentStore>; 2]) {
    let clock = TestClock::new();
    let first = Log::new([Run::WaitAndFail]);
    let second = Log::new([Run::Wait]);
    let [one, other] = stores;
    let one = SpyPayments::over(one);
    let endpoint = PaymentReceived::with_handler(one.clone(), clock.clone(), first.handler());
    assert_received(endpoint.handle(&report()).await);
    first.one_begins().await;
    // This instance stalls; its lease runs out, and the other one takes over.
    one.set_for("lease_payment", Mood::Fails);
    clock.advance(60 * SECOND);
    let store = SpyPayments::over(other);
    let _other = PaymentReceived::with_handler(store.clone(), clock.clone(), second.handler());
    second.one_begins().await;
    // It comes to and fails: that must not give away what the other one works on.
    first.gate.add_permits(1);
    until("the first is done", async || {
        first.running.lock().unwrap().values().all(|running| *running == 0)
    })
    .await;
    clock.advance(10 * SECOND);
    for _ in 0..20 {
        sleep(100 * MS).await;
    }
    assert_eq!((first.count(), second.count()), (1, 1), "nobody runs besides the second");
    second.gate.add_permits(1);
    until("the second is done", async || store.answered("finish_payment") == 1).await;
    assert!(is_finished(&*store).await);
}

#[tokio::test]
async fn a_lost_lease_ends_nothing_in_memory() {
    let store = memory();
    a_lost_lease_ends_nothing([store.clone(), store]).await;
}

#[tokio::test]
async fn a_lost_lease_ends_nothing_in_sqlite() {
    let (folder, store) = sqlite();
    a_lost_lease_ends_nothing([store, open(&folder)]).await;
}

// The worker's life

#[tokio::test(start_paused = true)]
async fn the_worker_lives_as_long_as_the_last_clone() {
    let (store, clock) = (memory(), RuntimeClock::new());
    let log = Log::new([]);
    let endpoint = PaymentReceived::with_handler(store.clone(), clock.clone(), log.handler());
    let clone = endpoint.clone();
    drop(endpoint);
    assert_received(clone.handle(&numbered(0)).await);
    sleep(2 * SECOND).await;
    assert_eq!(log.count(), 1);
    let weak = Arc::downgrade(&store);
    drop(store);
    drop(clone);
    sleep(SECOND).await;
    assert!(weak.upgrade().is_none(), "the worker holds the store no more");
    assert_eq!(Arc::strong_count(&log), 1, "nor the handler");
    assert_eq!(clock.now(), START.plus(3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn without_a_handler_payments_wait_for_somebody_else() {
    let (store, clock) = (memory(), RuntimeClock::new());
    let keeper = PaymentReceived::new(store.clone(), clock.clone());
    assert_received(keeper.handle(&report()).await);
    sleep(100 * SECOND).await;
    let log = Log::new([]);
    let _worker = PaymentReceived::with_handler(store, clock, log.handler());
    log.one_begins().await;
    assert_eq!(log.count(), 1);
}
