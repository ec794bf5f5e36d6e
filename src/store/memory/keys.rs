use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    sync::Weak,
};

use async_trait::async_trait;

use super::MemoryStore;
use crate::{
    apikey::{KeyAction, KeyDigest, KeyEvent, KeyRecord, KeyState, Predecessor},
    domain::{Actor, KeyId, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::{
        Change, ChangeListener, KeyCursor, KeyEdit, KeyPage, KeyQuery, KeyRegistry, Rotation,
        keys::KeyStore,
    },
};

#[derive(Default)]
pub(super) struct Keys {
    records: HashMap<KeyId, KeyRecord>,
    ids: HashMap<KeyDigest, KeyId>,
    /// The oldest first.
    cursors: BTreeSet<KeyCursor>,
    histories: HashMap<KeyId, Vec<KeyEvent>>,
    first_uses: HashMap<KeyId, Timestamp>,
}

impl Keys {
    pub(super) fn insert(&mut self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        let taken = record.digests().any(|digest| self.ids.contains_key(&digest));
        if taken || self.records.contains_key(&record.id) {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        for digest in record.digests() {
            self.ids.insert(digest, record.id.clone());
        }
        self.cursors.insert(KeyCursor::of(record));
        self.records.insert(record.id.clone(), record.clone());
        self.note(&record.id, KeyEvent::new(KeyAction::Created, by, record.created_at));
        Ok(())
    }

    /// Gives a record another digest, and says which ones changed by that; `None` where it does not
    /// have the old one any more.
    pub(super) fn replace(
        &mut self,
        id: &KeyId,
        rotation: &Rotation,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<Vec<KeyDigest>>, StoreError> {
        let Rotation { old, new, display, old_until } = rotation;
        if old != new && self.ids.contains_key(new) {
            return Err(StoreError::new(StoreErrorKind::Conflict));
        }
        let Some(record) = self.records.get_mut(id).filter(|record| record.digest == *old) else {
            return Ok(None);
        };
        let mut changed: Vec<_> = record.digests().collect();
        changed.push(*new);
        record.digest = *new;
        let display = std::mem::replace(&mut record.display, display.clone());
        record.predecessor = old_until.map(|until| Predecessor { digest: *old, display, until });
        let known: Vec<_> = record.digests().collect();
        changed.iter().for_each(|digest| drop(self.ids.remove(digest)));
        self.ids.extend(known.into_iter().map(|digest| (digest, id.clone())));
        self.note(id, KeyEvent::new(KeyAction::Rotated, by, at));
        Ok(Some(changed))
    }

    pub(super) fn revoke(
        &mut self,
        id: &KeyId,
        reason: Option<&str>,
        by: &Actor,
        at: Timestamp,
    ) -> Option<KeyRecord> {
        let record = self.records.get_mut(id).filter(|record| record.revoked_at.is_none())?;
        record.revoked_at = Some(at);
        record.revoked_reason = reason.map(str::to_owned);
        let revoked = record.clone();
        self.note(id, KeyEvent::new(KeyAction::Revoked, by, at).because(reason));
        Some(revoked)
    }

    fn edit(&mut self, id: &KeyId, edit: &KeyEdit, by: &Actor, at: Timestamp) -> Option<KeyRecord> {
        let record = self.records.get_mut(id).filter(|record| record.revoked_at.is_none())?;
        let events = edit.apply(record, by, at);
        let edited = record.clone();
        events.into_iter().for_each(|event| self.note(id, event));
        Some(edited)
    }

    pub(super) fn get(&self, id: &KeyId) -> Option<&KeyRecord> {
        self.records.get(id)
    }

    pub(super) fn first_use(&self, id: &KeyId) -> Option<Timestamp> {
        self.first_uses.get(id).copied()
    }

    fn remove(&mut self, id: &KeyId) -> Option<KeyRecord> {
        let record = self.records.remove(id)?;
        record.digests().for_each(|digest| drop(self.ids.remove(&digest)));
        self.cursors.remove(&KeyCursor::of(&record));
        self.histories.remove(id);
        self.first_uses.remove(id);
        Some(record)
    }

    fn note(&mut self, id: &KeyId, event: KeyEvent) {
        self.histories.entry(id.clone()).or_default().push(event);
    }

    fn page(&self, query: &KeyQuery) -> KeyPage {
        let until = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = |record: &&KeyRecord| {
            let in_force = |now| record.state_at(now) == KeyState::InForce;
            record.kind() == query.kind
                && query.in_force_at.is_none_or(in_force)
                && query.filter.admits(record)
        };
        let cursors = self.cursors.range((Bound::Unbounded, until)).rev();
        let mut records = cursors.filter_map(|cursor| self.records.get(&cursor.id)).filter(wanted);
        let keys: Vec<_> = records.by_ref().take(query.limit as usize).cloned().collect();
        let next = records.next().and_then(|_| keys.last()).map(KeyCursor::of);
        KeyPage { keys, unreadable: Vec::new(), next }
    }
}

impl MemoryStore {
    /// Tells the listeners of keys that were just changed, and whether any were.
    pub(super) fn tell_if_any(&self, changed: Option<Vec<KeyDigest>>) -> bool {
        let changes = changed.as_ref().map(|digests| digests.iter().copied().map(Change::Key));
        self.shared.listeners.tell(&changes.into_iter().flatten().collect::<Vec<_>>());
        changed.is_some()
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
        self.shared.listeners.tell(&record.digests().map(Change::Key).collect::<Vec<_>>());
        Ok(())
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        self.revoke_because(id, None, by, at).await
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
                return Ok(None);
            }
            state.keys.replace(id, rotation, by, at)
        })?;
        Ok(self.tell_if_any(rotated))
    }

    async fn edit(
        &self,
        id: &KeyId,
        edit: &KeyEdit,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let edited = self.with(|state| Ok(state.keys.edit(id, edit, by, at)))?;
        self.tell_if_any(edited.as_ref().map(|record| record.digests().collect()));
        Ok(edited)
    }

    async fn revoke_because(
        &self,
        id: &KeyId,
        reason: Option<&str>,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        let revoked = self.with(|state| Ok(state.keys.revoke(id, reason, by, at)))?;
        self.tell_if_any(revoked.as_ref().map(|record| record.digests().collect()));
        Ok(revoked.map(|record| record.digest))
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        self.with(|state| {
            for (id, used_at) in uses {
                let Keys { records, first_uses, .. } = &mut state.keys;
                let Some(record) = records.get_mut(id) else { continue };
                if record.last_used_at.is_none() {
                    first_uses.insert(id.clone(), *used_at);
                } else if let Some(first) = first_uses.get_mut(id) {
                    *first = used_at.min(first).to_owned();
                }
                record.last_used_at = record.last_used_at.max(Some(*used_at));
            }
            Ok(())
        })
    }

    async fn purge_keys(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        let removed = self.with(|state| {
            let over = |record: &&KeyRecord| record.ends_at().is_some_and(|end| end < before);
            let ids: Vec<_> = state
                .keys
                .records
                .values()
                .filter(over)
                .take(limit as usize)
                .map(|record| record.id.clone())
                .collect();
            let removed: Vec<_> = ids.iter().filter_map(|id| state.keys.remove(id)).collect();
            Ok(removed)
        })?;
        self.tell_if_any(Some(removed.iter().flat_map(KeyRecord::digests).collect()));
        Ok(u32::try_from(removed.len()).unwrap_or(limit))
    }
}
