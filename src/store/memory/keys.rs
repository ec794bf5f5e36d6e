use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    sync::Weak,
};

use async_trait::async_trait;

use super::MemoryStore;
use crate::{
    apikey::{KeyAction, KeyDigest, KeyEvent, KeyRecord, KeyState},
    domain::{Actor, KeyId, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::{
        Change, ChangeListener, KeyCursor, KeyPage, KeyQuery, KeyRegistry, Rotation, keys::KeyStore,
    },
};

#[derive(Default)]
pub(super) struct Keys {
    records: HashMap<KeyId, KeyRecord>,
    ids: HashMap<KeyDigest, KeyId>,
    /// The oldest first.
    cursors: BTreeSet<KeyCursor>,
    histories: HashMap<KeyId, Vec<KeyEvent>>,
}

impl Keys {
    pub(super) fn insert(&mut self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        if self.records.contains_key(&record.id) || self.ids.contains_key(&record.digest) {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        self.ids.insert(record.digest, record.id.clone());
        self.cursors.insert(KeyCursor::of(record));
        self.records.insert(record.id.clone(), record.clone());
        self.note(&record.id, KeyEvent::new(KeyAction::Created, by, record.created_at));
        Ok(())
    }

    /// Gives a record another digest; `false` where it does not have the old one any more.
    pub(super) fn replace(
        &mut self,
        id: &KeyId,
        rotation: &Rotation,
        by: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let Rotation { old, new, display } = rotation;
        if old != new && self.ids.contains_key(new) {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        let Some(record) = self.records.get_mut(id).filter(|record| record.digest == *old) else {
            return Ok(false);
        };
        record.digest = *new;
        record.display.clone_from(display);
        self.ids.remove(old);
        self.ids.insert(*new, id.clone());
        self.note(id, KeyEvent::new(KeyAction::Rotated, by, at));
        Ok(true)
    }

    fn revoke(&mut self, id: &KeyId, by: &Actor, at: Timestamp) -> Option<KeyDigest> {
        let record = self.records.get_mut(id).filter(|record| record.revoked_at.is_none())?;
        record.revoked_at = Some(at);
        let digest = record.digest;
        self.note(id, KeyEvent::new(KeyAction::Revoked, by, at));
        Some(digest)
    }

    fn remove(&mut self, id: &KeyId) -> Option<KeyDigest> {
        let record = self.records.remove(id)?;
        self.ids.remove(&record.digest);
        self.cursors.remove(&KeyCursor::of(&record));
        self.histories.remove(id);
        Some(record.digest)
    }

    fn note(&mut self, id: &KeyId, event: KeyEvent) {
        self.histories.entry(id.clone()).or_default().push(event);
    }

    fn page(&self, query: &KeyQuery) -> KeyPage {
        let until = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = |record: &&KeyRecord| {
            let in_force = |now| record.state_at(now) == KeyState::InForce;
            record.kind() == query.kind && query.in_force_at.is_none_or(in_force)
        };
        let cursors = self.cursors.range((Bound::Unbounded, until)).rev();
        let mut records = cursors.filter_map(|cursor| self.records.get(&cursor.id)).filter(wanted);
        let keys: Vec<_> = records.by_ref().take(query.limit as usize).cloned().collect();
        let next = records.next().and_then(|_| keys.last()).map(KeyCursor::of);
        KeyPage { keys, unreadable: Vec::new(), next }
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        self.with(|state| {
            let id = state.keys.ids.get(digest);
            Ok(id.and_then(|id| state.keys.records.get(id)).cloned())
        })
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.with(|state| Ok(state.keys.records.get(id).cloned()))
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        self.with(|state| state.keys.insert(record, by))?;
        self.shared.listeners.tell(&[Change::Key(record.digest)]);
        Ok(())
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        let revoked = self.with(|state| Ok(state.keys.revoke(id, by, at)))?;
        if let Some(digest) = revoked {
            self.shared.listeners.tell(&[Change::Key(digest)]);
        }
        Ok(revoked)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.with(|_| Ok(()))
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.shared.listeners.add(listener);
    }
}

#[async_trait]
impl KeyRegistry for MemoryStore {
    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.with(|state| Ok(state.keys.page(query)))
    }

    async fn history(&self, id: &KeyId, limit: u32) -> Result<Vec<KeyEvent>, StoreError> {
        self.with(|state| {
            let history = state.keys.histories.get(id).map_or(&[][..], Vec::as_slice);
            let skipped = history.len().saturating_sub(limit as usize);
            Ok(history[skipped..].to_vec())
        })
    }

    async fn rotate(
        &self,
        id: &KeyId,
        rotation: &Rotation,
        by: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let rotated = self.with(|state| {
            let revoked = |record: &KeyRecord| record.revoked_at.is_some();
            if state.keys.records.get(id).is_none_or(revoked) {
                return Ok(false);
            }
            state.keys.replace(id, rotation, by, at)
        })?;
        if rotated {
            self.shared.listeners.tell(&[Change::Key(rotation.old), Change::Key(rotation.new)]);
        }
        Ok(rotated)
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        self.with(|state| {
            for (id, used_at) in uses {
                if let Some(record) = state.keys.records.get_mut(id) {
                    record.last_used_at = record.last_used_at.max(Some(*used_at));
                }
            }
            Ok(())
        })
    }

    async fn purge_keys(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        let changes = self.with(|state| {
            let over = |record: &&KeyRecord| record.ends_at().is_some_and(|end| end < before);
            let ids: Vec<_> = state
                .keys
                .records
                .values()
                .filter(over)
                .take(limit as usize)
                .map(|record| record.id.clone())
                .collect();
            let removed = ids.iter().filter_map(|id| state.keys.remove(id));
            Ok(removed.map(Change::Key).collect::<Vec<_>>())
        })?;
        self.shared.listeners.tell(&changes);
        Ok(u32::try_from(changes.len()).unwrap_or(limit))
    }
}
