//! An effect counts once: what is kept under its idempotency key is committed with it. So a retry
//! finds it also when the server died after the effect and before the answer was sent.

use std::time::Duration;

use key0_auth::{RejectionKind, domain::Timestamp};

use super::Fault;

/// How long a key is remembered: as long as the answers to requests with one are kept.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of a request with an idempotency key.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) caller: String,
    pub(crate) key: String,
    /// Stands for what was asked: the same for the same request alone.
    pub(crate) fingerprint: [u8; 32],
    /// Whether the key counts however long ago it was first used: the clock may be ahead.
    pub(crate) never_over: bool,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) body: String,
    /// Whether it was carried out before, for another request under the same key.
    pub(crate) replayed: bool,
}

impl Answer {
    pub(super) fn first(body: String) -> Self {
        Self { body, replayed: false }
    }

    /// With its whole body. Redis keeps only what that is made from, and an answer may have been copied
    /// from there.
    pub(crate) fn whole(mut self, body: impl FnOnce(&str) -> Option<String>) -> Self {
        if !self.body.starts_with('{')
            && let Some(whole) = body(&self.body)
        {
            self.body = whole;
        }
        self
    }
}

impl Asked {
    /// The answer to this request, where its key had an effect before; a refusal where that was
    /// another request's.
    pub(super) fn replay(&self, fingerprint: [u8; 32], body: String) -> Result<Answer, Fault> {
        if fingerprint != self.fingerprint {
            return Err(Fault::Refused(RejectionKind::IdempotencyKeyReused.into()));
        }
        Ok(Answer { body, replayed: true })
    }

    /// This key is free again where it was first used then, or before.
    pub(super) fn forgotten_until(&self, now: Timestamp) -> Timestamp {
        if self.never_over { Timestamp::from_micros(i64::MIN) } else { forgotten_until(now) }
    }
}

/// Keys that were first used then, or before, are free again.
pub(super) fn forgotten_until(now: Timestamp) -> Timestamp {
    now.minus(REMEMBERED)
}
