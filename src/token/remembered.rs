//! Tokens that were accepted before, so that they need not be verified again.
//!
//! What is remembered is the outcome for one sequence of bytes: a token is recognised by its whole
//! text, signature included, and one that differs anywhere is another token.
//!
//! A hash of its end under a random key (the standard library's, today SipHash) says where a token is
//! looked for. The end of a signature is as good as random, and much shorter than a token. The texts are
//! only compared where all 64 bits of the hash agree, and in a time that does not tell where they
//! differ. So two tokens with one hash stay apart, nobody can choose tokens that are kept in one place,
//! and time tells somebody who knows the end of a token's signature no more than whether the token is in
//! use and how long it is.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use zeroize::Zeroizing;

use super::jws::CompactJws;
use crate::domain::{Claims, MAX_CREDENTIAL_BYTES, bytes};

/// The most tokens that can be remembered.
pub(super) const MAX_TOKENS: usize = 1_000_000;
/// The most tokens in one set.
const WAYS: usize = 16;
/// A token with more values than this, beside the claims that every token has, is not remembered:
/// a few bytes of JSON can take hundreds in memory.
const MAX_VALUES: usize = 64;
/// How long the texts of a set's tokens are on average at most, in bytes.
const MEAN_BYTES: usize = 2 * 1024;
/// How many letters of a token's end say where it is looked for: of HS256, all of the signature and a few
/// more; of RS256, 48 of its 256 bytes.
const END: usize = 64;

/// The claims of accepted tokens, in a table of fixed size, as a processor's cache is one. The hash
/// says which set a token belongs to. In a full set the least recently used goes.
///
/// It belongs to keys and rules that never change. Claims that they accepted once, they accept
/// again, but for the time, which is to be checked at every hit.
pub(super) struct Remembered {
    sets: Box<[Mutex<Set>]>,
    ways: usize,
    hasher: RandomState,
}

/// The most recently used stands first.
type Set = Vec<Entry>;

struct Entry {
    hash: u64,
    /// A live credential.
    text: Zeroizing<Box<str>>,
    claims: Arc<Claims>,
}

/// A token's whole text, and where it is looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    hash: u64,
    text: &'a str,
}

impl Remembered {
    /// With room for at most so many tokens, and for one at least.
    pub(super) fn new(max_tokens: usize) -> Self {
        let sets = max_tokens.div_ceil(WAYS).max(1);
        Self {
            sets: (0..sets).map(|_| Mutex::default()).collect(),
            ways: (max_tokens / sets).max(1),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn wanted<'a>(&self, token: &CompactJws<'a>) -> Wanted<'a> {
        let text = token.text();
        let end = &text.as_bytes()[text.len().saturating_sub(END)..];
        Wanted { hash: self.hasher.hash_one(end), text }
    }

    pub(super) fn get(&self, wanted: Wanted<'_>) -> Option<Arc<Claims>> {
        let mut set = self.set(wanted.hash);
        let at = set.iter().position(|entry| entry.is(wanted))?;
        if at > 0 {
            set[..=at].rotate_right(1);
        }
        set.first().map(|entry| Arc::clone(&entry.claims))
    }

    /// Takes the claims of a token that was accepted, never of any other: so nobody without tokens
    /// of ours displaces anything.
    pub(super) fn insert(&self, wanted: Wanted<'_>, claims: &Arc<Claims>) {
        if values(claims) > MAX_VALUES {
            return;
        }
        let text = Zeroizing::new(wanted.text.into());
        let entry = Entry { hash: wanted.hash, text, claims: Arc::clone(claims) };
        let mut set = self.set(wanted.hash);
        // Another thread may have validated the same token meanwhile.
        let twin = take(&mut set, wanted);
        set.insert(0, entry);
        let kept = self.kept(&set);
        let displaced = set.split_off(kept);
        // Claims can be large: others need not wait until they are freed.
        drop(set);
        drop((twin, displaced));
    }

    /// Makes room of a token whose time is over, which would stay by being asked for.
    pub(super) fn forget(&self, wanted: Wanted<'_>) {
        let forgotten = take(&mut self.set(wanted.hash), wanted);
        drop(forgotten);
    }

    /// How many of a set's tokens there is room for.
    fn kept(&self, set: &Set) -> usize {
        let mut room = (self.ways * MEAN_BYTES).max(MAX_CREDENTIAL_BYTES);
        let fits = |entry: &&Entry| {
            let left = room.checked_sub(entry.text.len());
            room = left.unwrap_or(0);
            left.is_some()
        };
        set.iter().take(self.ways).take_while(fits).count()
    }

    fn set(&self, hash: u64) -> MutexGuard<'_, Set> {
        let at = hash % self.sets.len() as u64;
        self.sets[at as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        let len = |set: &Mutex<Set>| set.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.sets.iter().map(len).sum()
    }
}

fn take(set: &mut Set, wanted: Wanted<'_>) -> Option<Entry> {
    let at = set.iter().position(|entry| entry.is(wanted))?;
    Some(set.remove(at))
}

impl Entry {
    fn is(&self, wanted: Wanted<'_>) -> bool {
        self.hash == wanted.hash
            && bytes::ct_eq(self.text.as_bytes(), wanted.text.as_bytes()).into()
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remembered({} tokens)", self.len())
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

    /// The text of a token of this name.
    fn token(of: &str) -> String {
        format!("{of}.payload.signature-of-{of}")
    }

    impl Remembered {
        fn wanting<'a>(&self, text: &'a str) -> Wanted<'a> {
            let token = Credential::try_from(text).expect("a credential");
            self.wanted(&CompactJws::split(token).expect("three parts"))
        }

        fn find(&self, of: &str) -> Option<Arc<Claims>> {
            self.get(self.wanting(&token(of)))
        }

        fn keep(&self, of: &str) {
            self.insert(self.wanting(&token(of)), &claims(of));
        }
    }

    #[test]
    fn a_text_that_differs_in_any_bit_finds_nothing() {
        let memory = Remembered::new(1);
        memory.keep("r-1");
        assert_eq!(memory.find("r-1"), Some(claims("r-1")));
        let text = token("r-1");
        let hash = memory.wanting(&text).hash;
        for bit in 0..text.len() * 7 {
            let mut near = text.clone().into_bytes();
            near[bit / 7] ^= 1 << (bit % 7);
            let near = String::from_utf8(near).expect("ascii");
            // As if the hash were the same, too.
            assert_eq!(memory.get(Wanted { hash, text: &near }), None, "{near}");
        }
        for bit in 0..64 {
            let other = Wanted { hash: hash ^ 1 << bit, text: &text };
            assert_eq!(memory.get(other), None, "bit {bit}");
        }
    }

    #[test]
    fn texts_with_the_same_hash_stay_apart() {
        let memory = Remembered::new(MAX_TOKENS);
        let texts: Vec<_> = (0..WAYS).map(|n| token(&n.to_string())).collect();
        for (n, text) in texts.iter().enumerate() {
            memory.insert(Wanted { hash: 7, text }, &claims(&n.to_string()));
        }
        for (n, text) in texts.iter().enumerate() {
            assert_eq!(memory.get(Wanted { hash: 7, text }), Some(claims(&n.to_string())));
        }
    }

    #[test]
    fn tokens_with_one_signature_stay_apart() {
        let memory = Remembered::new(2);
        let tokens = ["one", "other"].map(|payload| format!("h.{payload}.{}", "s".repeat(END)));
        let [one, other] = [0, 1].map(|n| memory.wanting(&tokens[n]));
        assert_eq!(one.hash, other.hash);
        memory.insert(one, &claims("one"));
        assert_eq!(memory.get(other), None);
        memory.insert(other, &claims("other"));
        assert_eq!(
            [one, other].map(|token| memory.get(token)),
            ["one", "other"].map(|id| Some(claims(id)))
        );
    }

    #[test]
    fn every_memory_has_a_hash_of_its_own() {
        let [one, other] = [Remembered::new(1), Remembered::new(1)];
        let text = token("r-1");
        assert_ne!(one.wanting(&text).hash, other.wanting(&text).hash);
    }

    #[test]
    fn long_tokens_displace_several_others() {
        let memory = Remembered::new(WAYS);
        let long = |n: usize| format!("{n}.{}.x", "p".repeat(8_000));
        for n in 0..WAYS {
            memory.insert(memory.wanting(&long(n)), &claims("r-1"));
        }
        assert_eq!(memory.len(), WAYS * MEAN_BYTES / 8_004);
        assert!(memory.get(memory.wanting(&long(WAYS - 1))).is_some());
        // The only token of the smallest memory can have any length.
        let smallest = Remembered::new(1);
        smallest.insert(smallest.wanting(&long(0)), &claims("r-1"));
        assert_eq!(smallest.len(), 1);
    }

    #[test]
    fn it_holds_no_more_than_it_was_told_and_nearly_as_much() {
        for max in [1, 2, 15, 16, 17, 31, 33, 100, 1_000] {
            let memory = Remembered::new(max);
            for token in 0..max * 4 + 100 {
                memory.keep(&token.to_string());
                assert!(memory.len() <= max, "{max}");
            }
            assert!(memory.len() * 10 >= max * 8, "{} of {max}", memory.len());
        }
    }

    #[test]
    fn the_least_recently_used_goes() {
        let memory = Remembered::new(3);
        for token in ["a", "b", "c"] {
            memory.keep(token);
        }
        assert_eq!(memory.find("a"), Some(claims("a")));
        memory.keep("d");
        let known = |token: &&str| memory.find(token).is_some();
        assert_eq!(["a", "b", "c", "d"].map(|token| known(&token)), [true, false, true, true]);
    }

    #[test]
    fn a_token_that_two_threads_validated_is_kept_once() {
        let memory = Remembered::new(3);
        for _ in 0..2 {
            memory.keep("a");
        }
        assert_eq!(memory.len(), 1);
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let memory = Remembered::new(2);
        for token in ["a", "b"] {
            memory.keep(token);
        }
        memory.forget(memory.wanting(&token("b")));
        memory.keep("c");
        let known = |token: &&str| memory.find(token).is_some();
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
            let text = token("r-1");
            memory.insert(memory.wanting(&text), &claims);
            assert_eq!(memory.find("r-1").is_some(), kept, "{claims:?}");
        }
    }

    #[test]
    fn debug_shows_a_count() {
        let memory = Remembered::new(10);
        memory.keep("r-secret");
        assert_eq!(format!("{memory:?}"), "Remembered(1 tokens)");
    }
}
