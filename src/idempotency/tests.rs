//! The state machine by itself, and by whom a key is scoped.

#![cfg(feature = "testing")]

use std::{sync::Arc, time::Duration};

use crate::{
    ApiKeys, MemoryStore, RejectionKind, Validator,
    apikey::BootstrapKeys,
    auth::{Fallback, FallbackError, FallbackGrant, Responder},
    domain::{Clock, Credential, Role, Secret},
    idempotency::{Begun, Idempotency, IdempotencyKey, IdempotentRequest, Run},
    store::{LONGEST_WAIT, RequestFingerprint, StoredResponse},
    testing::{FakeClock, FaultyStore, Mood, TokenSigner},
};
use tokio::task::yield_now;

fn idempotency() -> (Idempotency, Arc<FakeClock>) {
    let clock = FakeClock::new();
    (Idempotency::new(Arc::new(MemoryStore::new())).clock(clock.clone()), clock)
}

async fn begin(idempotency: &Idempotency) -> Result<Begun, RejectionKind> {
    begin_under(idempotency, "k").await
}

async fn begin_under(idempotency: &Idempotency, key: &str) -> Result<Begun, RejectionKind> {
    let key = IdempotencyKey::read([key.as_bytes()]).unwrap().unwrap();
    let request = IdempotentRequest::new("caller", key);
    let fingerprint = RequestFingerprint::of([&b"body"[..]]);
    idempotency.begin(&request, fingerprint).await.map_err(|rejection| rejection.kind())
}

async fn start(idempotency: &Idempotency) -> Run {
    match begin(idempotency).await {
        Ok(Begun::Start(run)) => run,
        other => panic!("{other:?}"),
    }
}

fn answer() -> StoredResponse {
    StoredResponse { status: 200, headers: Vec::new(), body: b"done".to_vec() }
}

#[tokio::test]
async fn a_run_that_is_dropped_frees_its_key() {
    let (idempotency, _) = idempotency();
    let run = start(&idempotency).await;
    assert_eq!(begin(&idempotency).await.unwrap_err(), RejectionKind::IdempotencyInProgress);
    drop(run);
    yield_now().await;
    let _run = start(&idempotency).await;
}

#[tokio::test]
async fn a_run_that_has_crashed_frees_its_key_when_the_lease_ends() {
    let (idempotency, clock) = idempotency();
    // A process that dies drops nothing.
    std::mem::forget(start(&idempotency).await);
    clock.advance(Duration::from_micros(29_999_999));
    assert_eq!(begin(&idempotency).await.unwrap_err(), RejectionKind::IdempotencyInProgress);
    clock.advance(Duration::from_micros(1));
    let _run = start(&idempotency).await;
}

#[tokio::test]
async fn a_clock_that_was_set_back_holds_no_key() {
    let (idempotency, clock) = idempotency();
    std::mem::forget(start(&idempotency).await);
    clock.turn_back(Duration::from_secs(3_600));
    let _run = start(&idempotency).await;
}

#[tokio::test]
async fn the_longest_lease_holds_against_clocks_that_differ() {
    let (idempotency, clock) = idempotency();
    let idempotency = idempotency.lease(LONGEST_WAIT);
    std::mem::forget(start(&idempotency).await);
    for _ in 0..2 {
        clock.turn_back(Duration::from_millis(1));
        assert_eq!(begin(&idempotency).await.unwrap_err(), RejectionKind::IdempotencyInProgress);
    }
    clock.advance(LONGEST_WAIT);
    let _run = start(&idempotency).await;
}

/// As where the host sleeps between the claim and its answer.
#[tokio::test]
async fn a_claim_that_took_too_much_of_its_lease_runs_nothing() {
    let clock = FakeClock::new();
    let store = FaultyStore::new(MemoryStore::new());
    let idempotency = Idempotency::new(store.clone()).clock(clock.clone());
    for (took, fits) in [(2_000, true), (2_001, false), (3_600_000, false)] {
        store.set(Mood::Hangs);
        let beginning = tokio::spawn({
            let idempotency = idempotency.clone();
            async move { begin(&idempotency).await }
        });
        while store.calls("begin_request") == store.answered("begin_request") {
            yield_now().await;
        }
        clock.advance(Duration::from_millis(took));
        store.set(Mood::Works);
        match beginning.await.unwrap() {
            Ok(_) => assert!(fits, "{took}"),
            Err(kind) => {
                assert!(!fits && kind == RejectionKind::StoreUnavailable, "{took} {kind:?}")
            }
        }
        yield_now().await;
        drop(start(&idempotency).await);
        yield_now().await;
    }
}

#[tokio::test]
async fn what_is_over_is_purged_by_and_by() {
    let clock = FakeClock::new();
    let store = Arc::new(MemoryStore::new());
    let idempotency = Idempotency::new(store.clone()).clock(clock.clone());
    let answer_fifty = async |day: u32| {
        for number in 0..50 {
            let begun = begin_under(&idempotency, &format!("{day}-{number}")).await;
            let Ok(Begun::Start(run)) = begun else { panic!("{begun:?}") };
            assert!(run.complete(answer(), &Responder::default()).await);
        }
        yield_now().await;
        clock.advance(Duration::from_secs(24 * 60 * 60));
    };
    answer_fifty(1).await;
    answer_fifty(2).await;
    // Those of the first day are gone.
    assert_eq!(idempotency.purge(1_000).await.unwrap(), 50);
}

#[test]
fn a_run_that_is_dropped_without_a_runtime_is_left_to_its_lease() {
    let (idempotency, clock) = idempotency();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = runtime.block_on(start(&idempotency));
    drop(run);
    runtime.block_on(async {
        assert_eq!(begin(&idempotency).await.unwrap_err(), RejectionKind::IdempotencyInProgress);
        clock.advance(Duration::from_secs(30));
        let _run = start(&idempotency).await;
    });
}

#[tokio::test]
async fn a_lost_lease_completes_nothing() {
    let (idempotency, clock) = idempotency();
    let first = start(&idempotency).await;
    clock.advance(Duration::from_secs(30));
    let second = start(&idempotency).await;
    assert!(!first.complete(answer(), &Responder::default()).await);
    assert_eq!(begin(&idempotency).await.unwrap_err(), RejectionKind::IdempotencyInProgress);
    assert!(second.complete(answer(), &Responder::default()).await);
    assert!(matches!(begin(&idempotency).await, Ok(Begun::Replay(_))));
}

/// As whom a bootstrap key is known.
async fn known_as(keys: BootstrapKeys, key: &str) -> (String, String) {
    let keys = ApiKeys::new(Arc::new(MemoryStore::new())).bootstrap(keys);
    let validator = Validator::builder().api_keys(keys).build().unwrap();
    let identity = validator.validate([], [key.as_bytes()]).await.unwrap();
    (identity.subject().to_owned(), identity.lasting_id())
}

#[tokio::test]
async fn a_bootstrap_key_stays_the_same_caller_in_any_list() {
    const ONE: &str = "the-first-key-of-the-configuration";
    const TWO: &str = "the-second-key-of-the-configuration";
    let list = |role, keys: &[&str]| {
        keys.iter().fold(BootstrapKeys::new(), |list, key| {
            list.key(role, Secret::new("PARTNERS", *key).unwrap())
        })
    };
    let (first, one) = known_as(list(Role::Minter, &[ONE, TWO]), ONE).await;
    let (second, two) = known_as(list(Role::Minter, &[ONE, TWO]), TWO).await;
    assert_ne!(one, two);
    let turned = known_as(list(Role::Minter, &[TWO, ONE]), TWO).await;
    assert_eq!((&turned.0, &turned.1), (&second, &two));
    assert_eq!(known_as(list(Role::Minter, &[TWO, ONE]), ONE).await, (first, one.clone()));
    let named =
        |key| list(Role::Read, &[]).named(Role::Read, "ada", Secret::new("T", key).unwrap());
    let (name, first) = known_as(named(ONE).unwrap(), ONE).await;
    assert_eq!((&*name, &first), ("bootstrap-read-ada", &one));
    assert_eq!(
        known_as(named(TWO).unwrap(), TWO).await,
        (name, two.clone()),
        "a name is no caller"
    );
    assert_eq!(known_as(list(Role::Minter, &[TWO]), TWO).await.1, two);
    assert_eq!(known_as(list(Role::Read, &[ONE]), ONE).await.1, one);
    for (known, key) in [(&one, ONE), (&two, TWO)] {
        assert!(known.starts_with("bootstrap ") && !known.contains(key));
    }
    let keys = list(Role::Minter, &[ONE]);
    assert!(!format!("{keys:?}").contains(&one["bootstrap ".len()..]));
}

#[tokio::test]
async fn a_purchase_stays_the_same_caller_whatever_its_token() {
    let minter = TokenSigner::new();
    let of = |challenge: &str, request: &str| {
        let token = minter.token().challenge_id(challenge).request_id(request);
        token.validate().unwrap().lasting_id()
    };
    assert_eq!(of("c", "r"), of("c", "r"));
    let other = minter.token().challenge_id("c").request_id("r").plan("gold");
    assert_eq!(of("c", "r"), other.validate().unwrap().lasting_id());
    assert_ne!(of("c", "r"), of("c", "s"));
    assert_ne!(of("c", "r"), of("d", "r"));
    assert_ne!(of("c:r", "s"), of("c", "r:s"));
}

/// Knows whoever says so.
#[derive(Debug)]
struct Believes;

#[async_trait::async_trait]
impl Fallback for Believes {
    async fn validate(
        &self,
        credential: Credential<'_>,
    ) -> Result<Option<FallbackGrant>, FallbackError> {
        let subject = match credential.expose() {
            "long" => "x".repeat(10_000),
            "longer" => "x".repeat(10_001),
            "nul" => "\0".to_owned(),
            other => other.to_owned(),
        };
        Ok(Some(FallbackGrant::new(subject)))
    }
}

#[tokio::test]
async fn a_fallback_s_subject_is_a_caller_that_every_store_can_keep() {
    let validator = Validator::builder().fallback(Believes).build().unwrap();
    let of = async |credential: &str| {
        let header = format!("Bearer {credential}");
        validator.validate([header.as_bytes()], []).await.unwrap().lasting_id()
    };
    assert_eq!(of("someone").await, "fallback someone");
    assert_ne!(of("long").await, of("longer").await);
    for credential in ["long", "longer", "nul"] {
        let id = of(credential).await;
        assert!(id.len() < 100 && id.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{id}");
    }
}

#[tokio::test]
async fn a_process_that_starts_while_its_clock_is_ahead_doubles_no_effect() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let (clock, store) = (FakeClock::new(), Arc::new(MemoryStore::new()));
    let before = Idempotency::new(store.clone()).clock(clock.clone());
    let run = start(&before).await;
    assert!(run.complete(answer(), &Responder::default()).await);
    clock.jump_to(clock.now().plus(40 * DAY));
    let after = Idempotency::new(store).clock(clock.clone());
    for passed in [Duration::ZERO, Duration::from_secs(59 * 60)] {
        clock.advance(passed);
        assert_eq!(after.purge(100).await.unwrap(), 0);
        assert!(matches!(begin(&after).await, Ok(Begun::Replay(_))), "{passed:?}");
    }
    clock.advance(Duration::from_secs(60));
    drop(start(&after).await);
}

/// As on a machine that learns the time after the start.
#[tokio::test]
async fn a_clock_that_was_behind_at_the_start_doubles_no_effect() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let (idempotency, clock) = idempotency();
    clock.jump_to(clock.now().plus(2 * DAY));
    let run = start(&idempotency).await;
    assert!(run.complete(answer(), &Responder::default()).await);
    for passed in [Duration::ZERO, Duration::from_secs(61 * 60), Duration::from_secs(22 * 60 * 60)]
    {
        clock.advance(passed);
        assert!(matches!(begin(&idempotency).await, Ok(Begun::Replay(_))), "{passed:?}");
    }
    clock.advance(Duration::from_secs(60 * 60));
    drop(start(&idempotency).await);
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_doubles_no_effect() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let (idempotency, clock) = idempotency();
    let run = start(&idempotency).await;
    assert!(run.complete(answer(), &Responder::default()).await);
    let began = clock.now();
    clock.jump_to(began.plus(2 * DAY));
    for passed in [Duration::ZERO, Duration::from_secs(59 * 60)] {
        clock.advance(passed);
        assert_eq!(idempotency.purge(100).await.unwrap(), 0);
        assert!(matches!(begin(&idempotency).await, Ok(Begun::Replay(_))), "{passed:?}");
    }
    // Whoever set it right again finds everything as it was.
    clock.jump_to(began.plus(Duration::from_secs(60 * 60)));
    clock.advance(Duration::from_secs(60 * 60));
    assert!(matches!(begin(&idempotency).await, Ok(Begun::Replay(_))));
    clock.advance(DAY);
    assert_eq!(idempotency.purge(100).await.unwrap(), 1);
}
