//! Tokens that were accepted before, so that their signature need not be checked again.
//!
//! What is remembered is the outcome for one sequence of bytes. So its key is the SHA-256 of the
//! token as it was received, signature included, and all 32 bytes are compared. A token that
//! differs anywhere is another token and is validated from the start.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::jws::CompactJws;
use crate::domain::Claims;

/// The most tokens that can be remembered.
pub(super) const MAX_TOKENS: usize = 1_000_000;
/// The most tokens in one set.
const WAYS: usize = 16;
/// A token with more values than this, beside the claims that every token has, is not remembered:
/// a few bytes of JSON can take hundreds in memory.
const MAX_VALUES: usize = 64;

/// The claims of accepted tokens, in a table of fixed size, as a processor's cache is one. The
/// digest says which set a token belongs to. In a full set the least recently used goes.
///
/// It belongs to keys and rules that never change. Claims that they accepted once, they accept
/// again, but for the time, which is to be checked at every hit.
pub(super) struct Remembered {
    sets: Box<[Mutex<Set>]>,
    ways: usize,
}

/// The most recently used stands first.
type Set = Vec<(TokenDigest, Arc<Claims>)>;

impl Remembered {
    /// With room for at most so many tokens, and for one at least.
    pub(super) fn new(max_tokens: usize) -> Self {
        let sets = max_tokens.div_ceil(WAYS).max(1);
        Self {
            sets: (0..sets).map(|_| Mutex::default()).collect(),
            ways: (max_tokens / sets).max(1),
        }
    }

    pub(super) fn get(&self, digest: &TokenDigest) -> Option<Arc<Claims>> {
        let mut set = self.set(digest);
        let at = set.iter().position(|(other, _)| other == digest)?;
        set[..=at].rotate_right(1);
        set.first().map(|(_, claims)| Arc::clone(claims))
    }

    /// Takes the claims of a token that was accepted, never of any other: so nobody without tokens
    /// of ours displaces anything.
    pub(super) fn insert(&self, digest: TokenDigest, claims: &Arc<Claims>) {
        if values(claims) > MAX_VALUES {
            return;
        }
        let mut set = self.set(&digest);
        // Another thread may have validated the same token meanwhile.
        let twin = set.iter().position(|(other, _)| *other == digest);
        let displaced = match twin {
            Some(at) => Some(set.remove(at)),
            None if set.len() == self.ways => set.pop(),
            None => None,
        };
        set.insert(0, (digest, Arc::clone(claims)));
        drop(set);
        // Claims can be large: others need not wait until they are freed.
        drop(displaced);
    }

    /// Makes room of a token whose time is over, which would stay by being asked for.
    pub(super) fn forget(&self, digest: &TokenDigest) {
        self.set(digest).retain(|(other, _)| other != digest);
    }

    fn set(&self, digest: &TokenDigest) -> MutexGuard<'_, Set> {
        let at = digest.prefix() % self.sets.len() as u64;
        self.sets[at as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        let len = |set: &Mutex<Set>| set.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.sets.iter().map(len).sum()
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remembered({} tokens)", self.len())
    }
}

/// The SHA-256 of a whole token.
#[derive(PartialEq, Eq)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &CompactJws<'_>) -> Self {
        Self(Sha256::digest(token.text()).into())
    }

    /// Says where to look, never what is found.
    fn prefix(&self) -> u64 {
        self.0.iter().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
    }
}

/// How many values the claims hold of which a token can have any number.
fn values(claims: &Claims) -> usize {
    fn within(value: &Value) -> usize {
        1 + match value {
            Value::Array(list) => list.iter().map(within).sum(),
            Value::Object(members) => members.values().map(within).sum(),
            _ => 0,
        }
    }
    claims.audience().count() + claims.extra().values().map(within).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        ChallengeId, Credential, PlanId, RequestId, ResourceId, Timestamp, TxHash,
    };

    fn claims(id: &str) -> Arc<Claims> {
        Arc::new(Claims::new(
            RequestId::new(id).expect("an id"),
            ChallengeId::new("c-1").expect("an id"),
            ResourceId::new("photo-1").expect("an id"),
            PlanId::new("basic").expect("an id"),
            TxHash::new("0xab").expect("a hash"),
            Timestamp::from_seconds(1_795_309_565),
        ))
    }

    fn digest(of: &str) -> TokenDigest {
        let token = format!("{of}.payload.signature");
        let token = Credential::try_from(token.as_str()).expect("a credential");
        TokenDigest::of(&CompactJws::split(token).expect("three parts"))
    }

    #[test]
    fn a_digest_that_differs_in_any_bit_finds_nothing() {
        // One set, so that all of them meet in it.
        let memory = Remembered::new(WAYS);
        memory.insert(digest("token"), &claims("r-1"));
        assert_eq!(memory.get(&digest("token")), Some(claims("r-1")));
        for bit in 0..256 {
            let mut near = digest("token");
            near.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(memory.get(&near), None, "bit {bit}");
        }
    }

    #[test]
    fn digests_with_the_same_prefix_stay_apart() {
        let memory = Remembered::new(MAX_TOKENS);
        let near = |last| {
            let mut near = digest("token");
            near.0[31] = last;
            near
        };
        for last in 0..WAYS as u8 {
            memory.insert(near(last), &claims(&last.to_string()));
        }
        for last in 0..WAYS as u8 {
            assert_eq!(memory.get(&near(last)), Some(claims(&last.to_string())));
        }
    }

    #[test]
    fn it_holds_no_more_than_it_was_told_and_nearly_as_much() {
        for max in [1, 2, 15, 16, 17, 31, 33, 100, 1_000] {
            let memory = Remembered::new(max);
            for token in 0..max * 4 + 100 {
                let digest = digest(&token.to_string());
                memory.insert(digest, &claims("r-1"));
                assert!(memory.len() <= max, "{max}");
            }
            assert!(memory.len() * 10 >= max * 8, "{} of {max}", memory.len());
        }
    }

    #[test]
    fn the_least_recently_used_goes() {
        let memory = Remembered::new(3);
        for token in ["a", "b", "c"] {
            memory.insert(digest(token), &claims(token));
        }
        assert_eq!(memory.get(&digest("a")), Some(claims("a")));
        memory.insert(digest("d"), &claims("d"));
        let known = |token: &&str| memory.get(&digest(token)).is_some();
        assert_eq!(["a", "b", "c", "d"].map(|token| known(&token)), [true, false, true, true]);
    }

    #[test]
    fn a_token_that_two_threads_validated_is_kept_once() {
        let memory = Remembered::new(3);
        for _ in 0..2 {
            memory.insert(digest("a"), &claims("a"));
        }
        assert_eq!(memory.len(), 1);
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let memory = Remembered::new(2);
        for token in ["a", "b"] {
            memory.insert(digest(token), &claims(token));
        }
        memory.forget(&digest("b"));
        memory.insert(digest("c"), &claims("c"));
        let known = |token: &&str| memory.get(&digest(token)).is_some();
        assert_eq!(["a", "b", "c"].map(|token| known(&token)), [true, false, true]);
    }

    #[test]
    fn a_token_of_many_values_is_not_kept() {
        let with = |json: &str| {
            let extra = serde_json::from_str(json).expect("an object");
            Arc::new((*claims("r-1")).clone().with_extra(extra))
        };
        let list = |values: usize| format!(r#"{{"x":[{}]}}"#, vec!["0"; values - 1].join(","));
        let nested = format!(r#"{{"x":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        let object = format!(r#"{{"x":{{"y":{}0{}}}}}"#, r#"{"a":"#.repeat(70), "}".repeat(70));
        let audience = (0..=MAX_VALUES)
            .fold((*claims("r-1")).clone(), |claims, name| claims.for_audience(name.to_string()));
        for (claims, kept) in [
            (with(&list(MAX_VALUES)), true),
            (with(&list(MAX_VALUES + 1)), false),
            (with(&nested), false),
            (with(&object), false),
            (Arc::new(audience), false),
        ] {
            let memory = Remembered::new(1);
            memory.insert(digest("token"), &claims);
            assert_eq!(memory.get(&digest("token")).is_some(), kept, "{claims:?}");
        }
    }

    #[test]
    fn debug_shows_a_count() {
        let memory = Remembered::new(10);
        memory.insert(digest("token"), &claims("r-secret"));
        assert_eq!(format!("{memory:?}"), "Remembered(1 tokens)");
    }
}
