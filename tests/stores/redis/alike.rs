//! The store does what SQLite's does, whatever is asked of it.

use std::collections::BTreeMap;

use key0_auth::{
    SqliteStore,
    domain::{ChallengeId, PlanId, RequestId, ResourceId},
    store::{
        IdempotencyStore, Payment,
        spi::{Issuance, IssuanceClaim, IssuanceKey, Lease, LeasedPayment, Slot, StoredResponse},
    },
};

use super::*;
use crate::{
    redis_server::Fresh,
    samples::{
        at, challenge, fingerprint, foreign_issuance, hash, issuance, lease, new_digest, order,
        payment_key, request,
    },
};

const STEPS: usize = 6_000;

/// What has to come about for the comparison to mean something.
const SAID: &[&str] = &[
    "begin_issuance Ok(Conflict)",
    "begin_issuance Ok(InProgress)",
    "begin_issuance Ok(Issued(Issuance",
    "begin_issuance Ok(Redeemed)",
    "begin_issuance Ok(Started)",
    "begin_request Ok(Done(StoredResponse",
    "begin_request Ok(InProgress",
    "begin_request Ok(Reused)",
    "begin_request Ok(Started)",
    "complete_issuance Err(Conflict)",
    "complete_issuance Ok(false)",
    "complete_issuance Ok(true)",
    "complete_request Ok(false)",
    "complete_request Ok(true)",
    "finish_payment Ok(false)",
    "finish_payment Ok(true)",
    "forget_nonces Ok(1)",
    "get Ok(None)",
    "get Ok(Some(KeyRecord",
    "insert Err(Conflict)",
    "insert Ok(())",
    "lease_payment Ok(Some(LeasedPayment",
    "purge_keys Ok(1)",
    "purge_requests Ok(1)",
    "record_payment Ok(Conflict)",
    "record_payment Ok(Recorded)",
    "record_payment Ok(Repeated)",
    "replace_issuance Err(Conflict)",
    "replace_issuance Ok(false)",
    "replace_issuance Ok(true)",
    "retry_payment Ok(false)",
    "retry_payment Ok(true)",
    "revoke Ok(None)",
    "revoke Ok(Some(KeyDigest(..)))",
    "rotate Err(Conflict)",
    "rotate Ok(false)",
    "rotate Ok(true)",
];

/// Chance that can be repeated (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }
}

/// What was asked for so far, to come back to.
struct Past {
    claims: Vec<IssuanceClaim>,
    issuances: Vec<(IssuanceKey, Issuance)>,
    leased: Vec<(ChallengeId, Lease)>,
    requests: Vec<(Slot, Lease)>,
    records: Vec<KeyRecord>,
    now: i64,
    steps: usize,
    /// How often which method answered how.
    said: BTreeMap<String, usize>,
}

impl Past {
    /// Asks both for the same.
    async fn step<A, B>(&mut self, chance: &mut Chance, one: &A, other: &B)
    where
        A: KeyRegistry + PaymentStore + IdempotencyStore,
        B: KeyRegistry + PaymentStore + IdempotencyStore,
    {
        macro_rules! both {
            ($store:ident => $call:expr) => {{
                let $store = one;
                let first = $call.await.map_err(|error| error.kind());
                let $store = other;
                let second = $call.await.map_err(|error| error.kind());
                assert_eq!(first, second, "{}", stringify!($call));
                let method = stringify!($call).split(['.', '(']).nth(1).unwrap();
                let answer = format!("{first:?}");
                let begins = answer.split([' ', '{']).next().unwrap();
                *self.said.entry(format!("{method} {begins}")).or_default() += 1;
                first
            }};
        }
        self.now += chance.of(&[0, 1, 5, 40, 120, -30, 2_000, -2_000]);
        let now = at(self.now);
        // What is issued or paid stays so: other ids after a while, so that something happens.
        self.steps += 1;
        let id = &*format!("{}{}", chance.of(&["a", "b", "c"]), self.steps / 60);
        let tx_hash = format!("{}{}", chance.of(&["0xa", "0XA", "0xb"]), self.steps / 60);
        let (host, slot) = (Actor::host(), Slot { scope: id.to_owned(), key: "k".to_owned() });
        let fresh = lease(self.now + chance.below(700) as i64);
        let challenge_id = ChallengeId::new(id).unwrap();
        let claim = chance.of(&self.claims);
        match chance.below(21) {
            0 | 1 => {
                let key = chance.of(&[challenge(id), request(id)]);
                let claim = IssuanceClaim {
                    key,
                    fingerprint: fingerprint(chance.of(&["body", "another"])),
                    tx_hash: hash(&tx_hash),
                    order: order(),
                    lease: fresh,
                };
                self.claims.push(claim.clone());
                let _ = both!(store => store.begin_issuance(&claim, now));
            }
            2 | 3 => {
                let known = chance.of(&self.records);
                let record = chance.of(&[payment_key(), known]);
                let mut issued = chance.of(&[issuance(&record), foreign_issuance()]);
                issued.issued_at = now;
                let record = issued.key_id.is_some().then_some(&record);
                self.records.extend(record.cloned());
                self.issuances.push((claim.key.clone(), issued.clone()));
                let _ = both!(store => store.complete_issuance(&claim, &issued, record));
            }
            4 => drop(both!(store => store.abandon_issuance(&claim))),
            5 => {
                let (key, old) = chance.of(&self.issuances);
                let mut new = old.clone();
                let taken = chance.of(&self.records).digest;
                new.digest = chance.of(&[new_digest(), taken]);
                new.nonce = new.nonce.filter(|_| chance.below(2) == 0);
                self.issuances.push((key.clone(), new.clone()));
                let _ = both!(store => store.replace_issuance(&key, &old, &new, "ak_x…", now));
            }
            6 => drop(both!(store => store.forget_nonces(now, 100))),
            7 | 8 => {
                let payment = Payment::new(
                    challenge_id,
                    RequestId::new("r").unwrap(),
                    ResourceId::new("photo-1").unwrap(),
                    PlanId::new("basic").unwrap(),
                    hash(&tx_hash),
                    now,
                );
                let _ = both!(store => store.record_payment(&payment));
            }
            9 => {
                let leased = both!(store => store.lease_payment(&fresh, now));
                if let Ok(Some(LeasedPayment { payment, .. })) = leased {
                    self.leased.push((payment.challenge_id, fresh));
                }
            }
            10 => {
                let (id, held) = chance.of(&self.leased);
                let _ = both!(store => store.finish_payment(&id, &held, fresh.until));
            }
            11 => {
                let (id, held) = chance.of(&self.leased);
                let _ = both!(store => store.retry_payment(&id, &held, fresh.until, None));
            }
            12 => {
                let known = chance.of(&self.requests).0;
                let slot = chance.of(&[slot, known]);
                self.requests.push((slot.clone(), fresh.clone()));
                let fingerprint = fingerprint(chance.of(&["body", "another"]));
                let _ = both!(store => store.begin_request(&slot, &fingerprint, &fresh, now));
            }
            13 => {
                let (slot, held) = chance.of(&self.requests);
                let response =
                    StoredResponse { status: 200, headers: Vec::new(), body: b"x".to_vec() };
                let _ =
                    both!(store => store.complete_request(&slot, &held, &response, fresh.until));
            }
            14 => {
                let (slot, held) = chance.of(&self.requests);
                let _ = both!(store => store.release_request(&slot, &held));
            }
            15 => drop(both!(store => store.purge_requests(now, 100))),
            16 => {
                let record = chance.of(&self.records);
                let _ = both!(store => store.revoke(&record.id, &host, now));
            }
            17 => {
                let record = chance.of(&self.records);
                let taken = chance.of(&self.records).digest;
                let rotation = key0_auth::store::spi::Rotation {
                    old: chance.of(&[record.digest, new_digest()]),
                    new: chance.of(&[new_digest(), taken]),
                    display: "ak_y…".to_owned(),
                    old_until: self.steps.is_multiple_of(2).then_some(now),
                };
                let _ = both!(store => store.rotate(&record.id, &rotation, &host, now));
            }
            18 => {
                let known = chance.of(&self.records);
                let record = chance.of(&[payment_key(), payment_key(), known]);
                self.records.push(record.clone());
                let _ = both!(store => store.insert(&record, &host));
            }
            19 if self.steps.is_multiple_of(4) => drop(both!(store => store.purge_keys(now, 100))),
            _ => {
                let record = chance.of(&self.records);
                let _ = both!(store => store.get(&record.id));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_in_whatever_order_both_say_the_same() {
    let Some(fresh) = Fresh::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(folder.path().join("store.db")).unwrap();
    let redis = open(&fresh.url).await;
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut past = Past {
        claims: vec![samples::claim(challenge("a"), "0xa")],
        issuances: vec![(challenge("a"), foreign_issuance())],
        leased: vec![(ChallengeId::new("a").unwrap(), lease(0))],
        requests: vec![(Slot { scope: "a".to_owned(), key: "k".to_owned() }, lease(0))],
        records: vec![payment_key()],
        now: 0,
        steps: 0,
        said: BTreeMap::new(),
    };
    for _ in 0..STEPS {
        past.step(&mut chance, &sqlite, &redis).await;
        // Only what is recent is come back to, so that it is often still there.
        past.claims.drain(..past.claims.len().saturating_sub(8));
        past.issuances.drain(..past.issuances.len().saturating_sub(8));
        past.leased.drain(..past.leased.len().saturating_sub(4));
        past.requests.drain(..past.requests.len().saturating_sub(4));
        past.records.drain(..past.records.len().saturating_sub(6));
    }
    println!("{:?}", past.said);
    for answer in SAID {
        let often = past.said.get(*answer).copied().unwrap_or_default();
        assert!(often >= 3, "{answer}: {often} times, which shows nothing");
    }
}
