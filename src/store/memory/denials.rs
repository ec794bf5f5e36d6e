use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use async_trait::async_trait;

use super::MemoryStore;
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{Change, Denial, DenialStore, TokenDigest},
};

/// Until when the tokens of each digest are denied.
pub(super) type Denials = BTreeMap<TokenDigest, Timestamp>;

#[async_trait]
impl DenialStore for MemoryStore {
    async fn deny(&self, denial: &Denial) -> Result<(), StoreError> {
        self.with(|state| {
            deny(&mut state.denials, denial);
            Ok(())
        })?;
        self.shared.listeners.tell(&[Change::Token(denial.token)]);
        Ok(())
    }

    async fn denials(
        &self,
        after: Option<&TokenDigest>,
        limit: u32,
    ) -> Result<Vec<Denial>, StoreError> {
        self.with(|state| {
            let from = after.map_or(Unbounded, Excluded);
            let denials = state.denials.range((from, Unbounded)).take(limit as usize);
            Ok(denials.map(|(token, until)| Denial { token: *token, until: *until }).collect())
        })
    }

    async fn purge_denials(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.with(|state| {
            let over = state.denials.iter().filter(|(_, until)| **until < before);
            let over: Vec<_> = over.take(limit as usize).map(|(token, _)| *token).collect();
            for token in &over {
                state.denials.remove(token);
            }
            Ok(u32::try_from(over.len()).unwrap_or(limit))
        })
    }
}

/// Denies tokens until then, or until the later end that is known.
pub(super) fn deny(denials: &mut Denials, denial: &Denial) {
    let until = denials.entry(denial.token).or_insert(denial.until);
    *until = denial.until.max(*until);
}
