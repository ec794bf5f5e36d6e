//! Requests with an idempotency key: started once, answered again.

use std::{sync::Arc, time::Duration};

use super::{
    Case,
    samples::{at, fingerprint, lease},
};
use crate::store::{
    IdempotencyStore,
    spi::{IdempotencyState, LONGEST_WAIT, Lease, Slot, StoredResponse},
};

fn slot(scope: &str, key: &str) -> Slot {
    Slot { scope: scope.to_owned(), key: key.to_owned() }
}

fn response() -> StoredResponse {
    StoredResponse {
        status: 201,
        headers: vec![
            ("content-type".to_owned(), b"application/json".to_vec()),
            ("x-odd".to_owned(), vec![0xff, b'"', b'\t']),
            ("x-odd".to_owned(), vec![]),
        ],
        body: (0..=255).collect(),
    }
}

async fn begin(
    store: &Arc<dyn IdempotencyStore>,
    slot: &Slot,
    lease: &Lease,
    now: i64,
) -> IdempotencyState {
    store.begin_request(slot, &fingerprint("body"), lease, at(now)).await.unwrap()
}

async fn begin_other(store: &Arc<dyn IdempotencyStore>, slot: &Slot, now: i64) -> IdempotencyState {
    let other = fingerprint("another body");
    store.begin_request(slot, &other, &lease(now + 100), at(now)).await.unwrap()
}

async fn complete(
    store: &Arc<dyn IdempotencyStore>,
    slot: &Slot,
    lease: &Lease,
    until: i64,
) -> bool {
    store.complete_request(slot, lease, &response(), at(until)).await.unwrap()
}

async fn a_free_slot_is_claimed(store: Arc<dyn IdempotencyStore>) {
    let state = begin(&store, &slot("a", "k"), &lease(100), 0).await;
    assert_eq!(state, IdempotencyState::Started);
}

async fn a_claimed_slot_is_in_progress_until_its_lease_ends(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    begin(&store, &slot, &lease(100), 0).await;
    for now in [0, 99] {
        let state = begin(&store, &slot, &lease(500), now).await;
        assert_eq!(state, IdempotencyState::InProgress { until: at(100) });
    }
}

async fn another_fingerprint_is_reused(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let first = lease(100);
    begin(&store, &slot, &first, 0).await;
    assert_eq!(begin_other(&store, &slot, 1).await, IdempotencyState::Reused);
    assert!(complete(&store, &slot, &first, 1_000).await);
    assert_eq!(begin_other(&store, &slot, 999).await, IdempotencyState::Reused);
    assert_eq!(begin_other(&store, &slot, 1_000).await, IdempotencyState::Started);
}

async fn slots_are_per_scope_and_key(store: Arc<dyn IdempotencyStore>) {
    for (scope, key) in [("a", "k"), ("b", "k"), ("a", "K"), ("ak", ""), ("", "ak")] {
        let state = begin(&store, &slot(scope, key), &lease(100), 0).await;
        assert_eq!(state, IdempotencyState::Started, "{scope} {key}");
    }
}

async fn an_answer_is_replayed_byte_for_byte(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let first = lease(100);
    begin(&store, &slot, &first, 0).await;
    assert!(complete(&store, &slot, &first, 1_000).await);
    for now in [1, 100, 999] {
        let state = begin(&store, &slot, &lease(2_000), now).await;
        assert_eq!(state, IdempotencyState::Done(response()));
    }
    let empty = StoredResponse { status: 204, headers: Vec::new(), body: Vec::new() };
    let (slot, second) = (self::slot("a", "l"), lease(100));
    begin(&store, &slot, &second, 0).await;
    store.complete_request(&slot, &second, &empty, at(1_000)).await.unwrap();
    assert_eq!(begin(&store, &slot, &lease(100), 1).await, IdempotencyState::Done(empty));
}

async fn an_answer_past_its_time_is_free(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let first = lease(100);
    begin(&store, &slot, &first, 0).await;
    complete(&store, &slot, &first, 50).await;
    assert_eq!(begin(&store, &slot, &lease(200), 50).await, IdempotencyState::Started);
    let state = begin(&store, &slot, &lease(300), 51).await;
    assert_eq!(state, IdempotencyState::InProgress { until: at(200) });
}

async fn an_answer_counts_past_its_time_where_that_is_asked(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let begin_unless_answered = async |body: &str, lease: &Lease, now| {
        store.begin_unless_answered(&slot, &fingerprint(body), lease, at(now)).await.unwrap()
    };
    let (first, second) = (lease(100), lease(300));
    assert_eq!(begin_unless_answered("body", &first, 0).await, IdempotencyState::Started);
    let state = begin_unless_answered("body", &second, 99).await;
    assert_eq!(state, IdempotencyState::InProgress { until: at(100) });
    assert_eq!(begin_unless_answered("body", &second, 100).await, IdempotencyState::Started);
    assert_eq!(begin_unless_answered("body", &second, 200).await, IdempotencyState::Started);
    assert!(complete(&store, &slot, &second, 1_000).await);
    for now in [200, 1_000, 4_000_000] {
        let state = begin_unless_answered("body", &lease(now + 100), now).await;
        assert_eq!(state, IdempotencyState::Done(response()), "{now}");
        let state = begin_unless_answered("another body", &lease(now + 100), now).await;
        assert_eq!(state, IdempotencyState::Reused, "{now}");
    }
    assert_eq!(begin(&store, &slot, &lease(2_000), 1_000).await, IdempotencyState::Started);
}

async fn a_lapsed_lease_is_free(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    begin(&store, &slot, &lease(100), 0).await;
    assert_eq!(begin_other(&store, &slot, 100).await, IdempotencyState::Started);
    assert_eq!(begin(&store, &slot, &lease(300), 101).await, IdempotencyState::Reused);
}

async fn a_lost_lease_completes_and_releases_nothing(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let (first, second) = (lease(100), lease(200));
    begin(&store, &slot, &first, 0).await;
    begin(&store, &slot, &second, 100).await;
    assert!(!complete(&store, &slot, &first, 1_000).await);
    store.release_request(&slot, &first).await.unwrap();
    let state = begin(&store, &slot, &lease(300), 101).await;
    assert_eq!(state, IdempotencyState::InProgress { until: at(200) });
    assert!(complete(&store, &slot, &second, 1_000).await);
    assert!(!complete(&store, &self::slot("b", "k"), &second, 1_000).await);
}

async fn a_lapsed_lease_that_nobody_took_completes(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let first = lease(100);
    begin(&store, &slot, &first, 0).await;
    begin(&store, &self::slot("b", "k"), &lease(900), 500).await;
    assert!(complete(&store, &slot, &first, 1_000).await);
    let state = begin(&store, &slot, &lease(900), 501).await;
    assert_eq!(state, IdempotencyState::Done(response()));
}

async fn a_clock_that_was_set_back_holds_up_no_request(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let longest = LONGEST_WAIT.as_secs() as i64;
    begin(&store, &slot, &lease(100 + longest), 100).await;
    let state = begin(&store, &slot, &lease(200), 100).await;
    assert_eq!(state, IdempotencyState::InProgress { until: at(100 + longest) });
    let second = lease(200);
    assert_eq!(begin(&store, &slot, &second, 99).await, IdempotencyState::Started);
    assert!(complete(&store, &slot, &second, 90_000).await);
    let state = begin(&store, &slot, &lease(200), 99).await;
    assert_eq!(state, IdempotencyState::Done(response()), "an answer waits for nobody");
}

/// Half of it is the longest lease that the middlewares ask for.
async fn the_longest_lease_holds_against_a_clock_that_differs(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let first = Lease::new(at(0).plus(LONGEST_WAIT / 2));
    begin(&store, &slot, &first, 0).await;
    for earlier in [Duration::from_micros(1), Duration::from_millis(1), LONGEST_WAIT / 2] {
        let now = at(0).minus(earlier);
        let body = fingerprint("body");
        let state = store.begin_request(&slot, &body, &lease(100), now).await.unwrap();
        assert_eq!(state, IdempotencyState::InProgress { until: first.until }, "{earlier:?}");
    }
}

async fn a_lease_that_ends_too_late_is_not_purged(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let longest = LONGEST_WAIT.as_secs() as i64;
    let first = lease(100 + longest);
    begin(&store, &slot, &first, 100).await;
    let purge = async |now| store.purge_requests(at(now), 10).await.unwrap();
    assert_eq!(purge(99).await, 0, "by another clock it runs");
    assert!(complete(&store, &slot, &first, 2 * longest).await);
    assert_eq!(purge(2 * longest).await, 1);
}

async fn an_answer_whose_receipt_was_lost_is_found_by_its_lease(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let first = lease(100);
    begin(&store, &slot, &first, 0).await;
    assert!(complete(&store, &slot, &first, 1_000).await);
    assert!(!complete(&store, &slot, &first, 2_000).await);
    let state = begin(&store, &slot, &Lease { token: first.token, until: at(500) }, 1).await;
    assert_eq!(state, IdempotencyState::Done(response()));
    assert_eq!(begin(&store, &slot, &lease(2_000), 1_000).await, IdempotencyState::Started);
}

async fn a_lease_that_holds_a_slot_is_renewed(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let first = lease(100);
    begin(&store, &slot, &first, 0).await;
    let renewed = |until| Lease { token: first.token, until: at(until) };
    assert_eq!(begin(&store, &slot, &renewed(200), 50).await, IdempotencyState::Started);
    for now in [100, 199] {
        let state = begin(&store, &slot, &lease(500), now).await;
        assert_eq!(state, IdempotencyState::InProgress { until: at(200) });
    }
    let second = lease(300);
    assert_eq!(begin(&store, &slot, &second, 200).await, IdempotencyState::Started);
    let state = begin(&store, &slot, &renewed(400), 201).await;
    assert_eq!(state, IdempotencyState::InProgress { until: at(300) }, "it is another's now");
    assert!(!complete(&store, &slot, &renewed(400), 1_000).await);
    assert!(complete(&store, &slot, &second, 1_000).await);
    let state = begin(&store, &slot, &Lease { token: second.token, until: at(500) }, 301).await;
    assert_eq!(state, IdempotencyState::Done(response()));
}

async fn a_released_slot_is_free(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let first = lease(100);
    begin(&store, &slot, &first, 0).await;
    store.release_request(&slot, &first).await.unwrap();
    assert!(!complete(&store, &slot, &first, 1_000).await);
    assert_eq!(begin_other(&store, &slot, 1).await, IdempotencyState::Started);
}

async fn an_answer_can_not_be_released_or_replaced(store: Arc<dyn IdempotencyStore>) {
    let slot = slot("a", "k");
    let first = lease(100);
    begin(&store, &slot, &first, 0).await;
    complete(&store, &slot, &first, 1_000).await;
    store.release_request(&slot, &first).await.unwrap();
    assert!(!complete(&store, &slot, &first, 5_000).await);
    let state = begin(&store, &slot, &lease(200), 1).await;
    assert_eq!(state, IdempotencyState::Done(response()));
    assert_eq!(begin(&store, &slot, &lease(2_000), 1_000).await, IdempotencyState::Started);
}

async fn of_racing_claims_exactly_one_starts(store: Arc<dyn IdempotencyStore>) {
    let racing: Vec<_> = (0..100)
        .map(|_| {
            let requests = Arc::clone(&store);
            tokio::spawn(async move {
                let (slot, fingerprint) = (slot("a", "k"), fingerprint("body"));
                requests.begin_request(&slot, &fingerprint, &lease(100), at(0)).await.unwrap()
            })
        })
        .collect();
    let mut started = 0;
    for claim in racing {
        match claim.await.unwrap() {
            IdempotencyState::Started => started += 1,
            IdempotencyState::InProgress { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(started, 1);
}

async fn purging_takes_what_is_free_in_bounds(store: Arc<dyn IdempotencyStore>) {
    for i in 0..6 {
        let (slot, lease) = (slot("a", &i.to_string()), lease(100));
        begin(&store, &slot, &lease, 0).await;
        if i < 4 {
            complete(&store, &slot, &lease, 10 * (i + 1)).await;
        }
    }
    let purge = async |now, limit| store.purge_requests(at(now), limit).await.unwrap();
    assert_eq!(purge(9, 10).await, 0);
    assert_eq!(purge(30, 0).await, 0);
    assert_eq!(purge(30, 2).await, 2);
    assert_eq!(purge(30, 2).await, 1, "one is left, and none is counted twice");
    assert_eq!(purge(30, 2).await, 0);
    let state = begin(&store, &slot("a", "3"), &lease(200), 30).await;
    assert_eq!(state, IdempotencyState::Done(response()), "its time is not over");
    let state = begin(&store, &slot("a", "4"), &lease(200), 30).await;
    assert!(matches!(state, IdempotencyState::InProgress { .. }));
    assert_eq!(purge(99, 10).await, 1, "the last answer");
    assert_eq!(purge(100, 10).await, 2, "both abandoned claims");
}

pub(super) const CASES: &[Case<Arc<dyn IdempotencyStore>>] = cases!["requests":
    a_free_slot_is_claimed,
    a_claimed_slot_is_in_progress_until_its_lease_ends,
    another_fingerprint_is_reused,
    slots_are_per_scope_and_key,
    an_answer_is_replayed_byte_for_byte,
    an_answer_past_its_time_is_free,
    an_answer_counts_past_its_time_where_that_is_asked,
    a_lapsed_lease_is_free,
    a_lost_lease_completes_and_releases_nothing,
    a_lapsed_lease_that_nobody_took_completes,
    a_clock_that_was_set_back_holds_up_no_request,
    the_longest_lease_holds_against_a_clock_that_differs,
    a_lease_that_ends_too_late_is_not_purged,
    an_answer_whose_receipt_was_lost_is_found_by_its_lease,
    a_lease_that_holds_a_slot_is_renewed,
    a_released_slot_is_free,
    an_answer_can_not_be_released_or_replaced,
    of_racing_claims_exactly_one_starts,
    purging_takes_what_is_free_in_bounds,
];
