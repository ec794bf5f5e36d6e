use std::collections::HashMap;

use crate::{
    domain::{KeyId, Timestamp},
    store::{
        Issuance, IssuanceClaim, IssuanceKey, Lease, RequestFingerprint,
        lease::is_over,
        spi::{Order, Revoked},
    },
};

#[derive(Default)]
pub(super) struct Issuances {
    pub(super) entries: HashMap<IssuanceKey, Entry>,
    /// Which id claimed or spent a hash.
    pub(super) spent: HashMap<String, IssuanceKey>,
}

pub(super) struct Entry {
    pub(super) fingerprint: RequestFingerprint,
    pub(super) tx_hash: Option<String>,
    pub(super) order: Option<Order>,
    pub(super) stage: Stage,
    pub(super) revoked: Option<Revoked>,
}

pub(super) enum Stage {
    Claimed(Lease),
    Issued(Issuance),
    /// It was revoked before.
    Never,
}

impl Issuances {
    pub(super) fn remove(&mut self, key: &IssuanceKey) {
        if let Some(tx_hash) = self.entries.remove(key).and_then(|entry| entry.tx_hash) {
            self.spent.remove(&tx_hash);
        }
    }

    pub(super) fn remove_if_lapsed(&mut self, key: &IssuanceKey, now: Timestamp) {
        let stage = self.entries.get(key).map(|entry| &entry.stage);
        if matches!(stage, Some(Stage::Claimed(lease)) if is_over(lease.until, now)) {
            self.remove(key);
        }
    }

    /// The entry that this very claim holds.
    pub(super) fn held(&mut self, claim: &IssuanceClaim) -> Option<&mut Entry> {
        self.entries.get_mut(&claim.key).filter(
            |entry| matches!(&entry.stage, Stage::Claimed(lease) if lease.token == claim.lease.token),
        )
    }

    pub(super) fn issued(&mut self, key: &IssuanceKey) -> Option<&mut Issuance> {
        let entry = self.entries.get_mut(key).filter(|entry| entry.revoked.is_none());
        match entry.map(|entry| &mut entry.stage) {
            Some(Stage::Issued(issuance)) => Some(issuance),
            _ => None,
        }
    }

    pub(super) fn contains(&self, key: &IssuanceKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Marks an issuance as revoked, or puts the mark where there will be none, and says which key
    /// was issued, and whether it was not revoked before. A claim is lost by it.
    pub(super) fn revoke(&mut self, key: &IssuanceKey, revoked: Revoked) -> (Option<KeyId>, bool) {
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
            fingerprint: RequestFingerprint::from_bytes([0; 32]),
            tx_hash: None,
            order: None,
            stage: Stage::Never,
            revoked: None,
        });
        let is_first = entry.revoked.is_none();
        entry.revoked.get_or_insert(revoked);
        let id = match &mut entry.stage {
            Stage::Issued(issuance) => {
                issuance.nonce = None;
                issuance.key_id.clone()
            }
            stage => {
                *stage = Stage::Never;
                None
            }
        };
        (id, is_first)
    }

    /// Has an issuance spend a hash that buys nothing yet.
    pub(super) fn spend(&mut self, key: &IssuanceKey, tx_hash: String) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.tx_hash.get_or_insert_with(|| tx_hash.clone());
            self.spent.entry(tx_hash).or_insert_with(|| key.clone());
        }
    }

    pub(super) fn is_revoked(&self, key: &IssuanceKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.revoked.is_some())
    }

    /// What became of a claim, if it is known, with its hash.
    pub(super) fn settled(&self, key: &IssuanceKey) -> Option<Settled<'_>> {
        let entry = self.entries.get(key)?;
        let issuance = match &entry.stage {
            Stage::Claimed(_) => return None,
            Stage::Issued(issuance) => Some(issuance),
            Stage::Never => None,
        };
        Some(Settled {
            issuance,
            tx_hash: entry.tx_hash.as_deref(),
            order: entry.order.as_ref(),
            revoked: entry.revoked.as_ref(),
        })
    }
}

/// An issuance, a revocation in its place, or both.
#[derive(Clone, Copy)]
pub(super) struct Settled<'a> {
    pub(super) issuance: Option<&'a Issuance>,
    pub(super) tx_hash: Option<&'a str>,
    pub(super) order: Option<&'a Order>,
    pub(super) revoked: Option<&'a Revoked>,
}
