//! What every store engine must do, as async cases over a fresh [`Engine`].
//!
//! An engine is added in `tests/stores.rs`; every case then runs against it under its own name.

#![allow(unreachable_pub)]

pub mod issuances;
pub mod keys;
pub mod lifecycle;
pub mod payments;
pub mod registry;
pub mod requests;

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use key0_auth::{
    KeyStore,
    apikey::{Grant, KeyDigest, KeyFormat, KeyRecord, Nonce, SecretFingerprint},
    domain::{
        ChallengeId, KeyId, PlanId, RequestId, ResourceId, Role, SecretSet, Timestamp, TxHash,
    },
    store::{
        IdempotencyStore, KeyRegistry, PaymentStore,
        spi::{
            Change, ChangeListener, Issuance, IssuanceClaim, IssuanceKey, Lease, RequestFingerprint,
        },
    },
};

/// One store under all of its traits, empty.
pub struct Engine {
    pub keys: Arc<dyn KeyRegistry>,
    pub payments: Arc<dyn PaymentStore>,
    pub requests: Arc<dyn IdempotencyStore>,
    /// Whatever must live as long: a folder, a server.
    _guard: Box<dyn Any + Send>,
}

impl Engine {
    pub fn new<S>(store: S, guard: impl Any + Send) -> Self
    where
        S: KeyRegistry + PaymentStore + IdempotencyStore,
    {
        Self::shared(Arc::new(store), guard)
    }

    pub fn shared<S>(store: Arc<S>, guard: impl Any + Send) -> Self
    where
        S: KeyRegistry + PaymentStore + IdempotencyStore,
    {
        let (keys, payments) = (store.clone(), store.clone());
        Self { keys, payments, requests: store, _guard: Box::new(guard) }
    }
}

/// One test for every case of the kit, in a module named after the engine: the function that makes
/// a fresh one.
#[macro_export]
macro_rules! store_kit {
    ($engine:ident) => {
        mod $engine {
            $crate::store_kit_cases! {
                $crate::engines::$engine;
                keys {
                    what_is_inserted_is_found_by_digest_and_by_id,
                    every_field_survives,
                    an_unknown_key_is_none_and_no_error,
                    a_taken_id_or_digest_is_refused_and_changes_nothing,
                    a_revoked_key_is_still_found_with_the_time,
                    revoking_twice_or_the_unknown_is_none,
                    of_racing_revocations_one_gets_the_digest,
                    listeners_hear_of_insert_and_revoke_before_the_return,
                    no_news_where_nothing_changed,
                    a_dropped_listener_is_no_trouble,
                    a_store_that_answers_pings,
                }
                registry {
                    a_listing_is_newest_first_and_of_one_kind,
                    pages_of_any_size_hold_every_key_once,
                    what_is_over_is_listed_only_where_asked_for,
                    keys_that_come_and_go_between_pages_disturb_no_other,
                    few_keys_among_many_that_are_over_are_all_listed,
                    a_history_tells_what_was_done_by_whom_and_when,
                    a_history_is_cut_to_its_last_lines,
                    what_key0_had_issued_stands_in_the_history,
                    nothing_stands_in_a_history_that_did_not_happen,
                    rotating_swaps_digest_and_display_and_nothing_else,
                    rotating_the_unknown_the_revoked_or_another_secret_changes_nothing,
                    rotating_to_a_taken_digest_fails_and_changes_nothing,
                    of_racing_rotations_one_wins,
                    listeners_hear_of_both_digests_of_a_rotation_before_the_return,
                    the_latest_use_is_kept_and_is_no_news,
                    a_purge_takes_what_has_ended_before_in_bounds,
                    what_a_purge_takes_is_news,
                    a_purged_key_stays_issued,
                }
                lifecycle {
                    every_new_field_survives,
                    the_old_secret_is_found_until_the_next_rotation,
                    the_digest_of_a_predecessor_is_taken,
                    of_racing_rotations_no_answered_secret_is_lost,
                    an_edit_changes_what_it_names_and_is_told,
                    the_unknown_and_the_revoked_are_not_edited,
                    of_racing_edits_all_count_and_a_revocation_stays,
                    listeners_hear_of_both_secrets_before_the_return,
                    an_expiry_that_was_moved_is_purged_by_the_new_one,
                    listings_are_filtered_page_by_page,
                }
                issuances {
                    begin_then_complete_then_issued,
                    the_record_is_kept_with_the_issuance,
                    an_issuance_without_a_record,
                    neither_is_kept_where_the_record_can_not_be,
                    of_racing_claims_exactly_one_starts,
                    of_racing_claims_on_one_hash_exactly_one_starts,
                    a_running_claim_is_in_progress,
                    another_fingerprint_is_a_conflict,
                    a_hash_of_another_id_is_redeemed,
                    hashes_differ_by_more_than_case,
                    a_leading_0x_makes_no_other_hash,
                    challenge_and_request_are_separate_namespaces,
                    a_lapsed_claim_counts_as_never_made,
                    a_lapsed_claim_frees_its_hash_for_another_id,
                    a_clock_that_was_set_back_holds_up_no_claim,
                    a_lost_lease_completes_nothing,
                    a_lapsed_lease_that_nobody_took_completes,
                    completing_twice_keeps_the_first,
                    abandoning_frees_id_and_hash,
                    abandoning_with_a_lost_lease_or_after_the_end_does_nothing,
                    an_issuance_never_lapses,
                    replacing_swaps_digest_display_and_nonce,
                    replacing_something_else_changes_nothing,
                    of_racing_replacements_one_wins,
                    replacing_one_without_a_record,
                    replacing_without_the_record_changes_nothing,
                    replacing_with_a_taken_digest_fails_and_changes_nothing,
                    replacing_keeps_a_revocation,
                    listeners_hear_of_issuance_and_replacement_before_the_return,
                    nonces_are_forgotten_by_age_and_in_bounds,
                }
                payments {
                    a_payment_is_kept_once,
                    every_field_survives,
                    an_unknown_payment_is_none,
                    another_hash_or_another_challenge_is_a_conflict,
                    hashes_that_differ_in_case_are_the_same,
                    hashes_that_differ_in_a_leading_0x_are_the_same,
                    of_racing_reports_one_is_recorded,
                    issuances_and_payments_share_no_hashes,
                    the_first_attempt_is_due_at_once,
                    a_leased_payment_is_leased_to_nobody_else,
                    racing_workers_get_different_payments,
                    the_one_due_longest_comes_first,
                    a_lapsed_lease_is_taken_over,
                    a_lost_lease_ends_nothing,
                    a_finished_payment_is_done_and_still_known,
                    a_retry_waits_for_its_time_and_counts_attempts,
                    a_retried_payment_queues_behind_those_due_before,
                    a_clock_that_was_set_back_holds_up_no_payment,
                }
                requests {
                    a_free_slot_is_claimed,
                    a_claimed_slot_is_in_progress_until_its_lease_ends,
                    another_fingerprint_is_reused,
                    slots_are_per_scope_and_key,
                    an_answer_is_replayed_byte_for_byte,
                    an_answer_past_its_time_is_free,
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
                }
            }
        }
    };
}

#[macro_export]
macro_rules! store_kit_cases {
    ($engine:path; $($group:ident { $($case:ident,)* })*) => {
        $(
            mod $group {
                $(
                    #[tokio::test(flavor = "multi_thread")]
                    async fn $case() {
                        // Nothing where the engine needs a server that is not installed.
                        let engine: Option<$crate::store_kit::Engine> = $engine().await.into();
                        if let Some(engine) = engine {
                            $crate::store_kit::$group::$case(engine).await;
                        }
                    }
                )*
            }
        )*
    };
}

/// So many seconds after some moment.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_795_000_000 + seconds)
}

pub fn after(seconds: i64, micros: u64) -> Timestamp {
    at(seconds).plus(Duration::from_micros(micros))
}

pub fn lease(until: i64) -> Lease {
    Lease::new(at(until))
}

pub fn fingerprint(text: &str) -> RequestFingerprint {
    RequestFingerprint::of([text.as_bytes()])
}

pub fn challenge(id: &str) -> IssuanceKey {
    IssuanceKey::Challenge(ChallengeId::new(id).unwrap())
}

pub fn request(id: &str) -> IssuanceKey {
    IssuanceKey::Request(RequestId::new(id).unwrap())
}

pub fn hash(text: &str) -> TxHash {
    TxHash::new(text).unwrap()
}

/// A claim of `key` for the payment `tx_hash`, whose lease ends at 100.
pub fn claim(key: IssuanceKey, tx_hash: &str) -> IssuanceClaim {
    IssuanceClaim {
        key,
        fingerprint: fingerprint("body"),
        tx_hash: hash(tx_hash),
        lease: lease(100),
    }
}

pub fn payment_key() -> KeyRecord {
    let grant = Grant::Payment {
        resource_id: ResourceId::new("photo-1").unwrap(),
        plan_id: PlanId::new("basic").unwrap(),
        permissions: None,
    };
    KeyRecord::new(KeyId::generate(), &KeyFormat::default().generate().unwrap(), grant, at(0))
}

pub fn integrator_key() -> KeyRecord {
    let grant = Grant::Integrator { role: Role::Minter, permissions: None };
    KeyRecord::new(KeyId::generate(), &KeyFormat::default().generate().unwrap(), grant, at(0))
}

pub fn new_digest() -> KeyDigest {
    KeyFormat::default().generate().unwrap().digest()
}

/// What is issued together with `record`, at 0.
pub fn issuance(record: &KeyRecord) -> Issuance {
    let secret = key0_auth::domain::Secret::new("T", vec![7; 32]).unwrap();
    let secrets = key0_auth::apikey::IssuanceSecrets::new(&SecretSet::new(secret));
    Issuance {
        key_id: Some(record.id.clone()),
        digest: record.digest,
        nonce: Some(Nonce::generate().unwrap()),
        secret: Some(secrets.current()),
        issued_at: at(0),
        expires_at: Some(after(3600, 1)),
    }
}

/// A credential of the application's own.
pub fn foreign_issuance() -> Issuance {
    Issuance {
        key_id: None,
        digest: new_digest(),
        nonce: None,
        secret: None,
        issued_at: at(0),
        expires_at: None,
    }
}

pub fn other_secret() -> SecretFingerprint {
    SecretFingerprint::from_bytes([9; 16])
}

/// Writes down what it hears.
#[derive(Default)]
pub struct Ear(Mutex<Vec<Change>>);

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ear")
    }
}

impl ChangeListener for Ear {
    fn changed(&self, change: Change) {
        self.0.lock().unwrap().push(change);
    }
}

impl Ear {
    pub fn on(keys: &dyn KeyStore) -> Arc<Self> {
        let ear = Arc::new(Self::default());
        let listener: Arc<dyn ChangeListener> = ear.clone();
        let listener: Weak<dyn ChangeListener> = Arc::downgrade(&listener);
        keys.subscribe(listener);
        ear
    }

    pub fn heard(&self, change: Change) -> bool {
        self.0.lock().unwrap().contains(&change)
    }

    pub fn heard_of(&self, digest: KeyDigest) -> bool {
        self.heard(Change::Key(digest))
    }

    pub fn forget(&self) {
        self.0.lock().unwrap().clear();
    }
}
