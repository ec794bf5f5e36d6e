use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use async_trait::async_trait;

use super::MemoryStore;
use crate::{
    apikey::KeyRecord,
    domain::{KeyId, Timestamp},
    error::StoreError,
    store::{AuditEvent, AuditLog, AuditPage, AuditQuery, AuditSubject},
};

#[derive(Default)]
pub(super) struct Events {
    kept: BTreeMap<u64, AuditEvent>,
    /// From when on those count that go one day.
    ending: BTreeSet<(Timestamp, u64)>,
    count: u64,
}

impl Events {
    /// Notes an event, and says where it stands.
    pub(super) fn note(&mut self, event: AuditEvent) -> u64 {
        self.count += 1;
        if !event.subject.is_key() {
            self.ending.insert((event.at, self.count));
        }
        self.kept.insert(self.count, event);
        self.count
    }

    /// The key of this event has gone.
    pub(super) fn outlives(&mut self, position: u64, record: &KeyRecord, at: Timestamp) {
        if let Some(event) = self.kept.get_mut(&position) {
            event.display = Some(record.display.clone());
            event.label.clone_from(&record.label);
            self.ending.insert((at, position));
        }
    }

    fn page(&self, query: &AuditQuery, record: impl Fn(&str) -> Option<KeyRecord>) -> AuditPage {
        let later = (Bound::Excluded(query.after.event), Bound::Unbounded);
        let mut events = self.kept.range(later).filter(|(_, event)| query.admits(event.at));
        let mut page = AuditPage::begun(query);
        for (position, event) in events.by_ref().take(query.limit as usize) {
            let mut event = event.clone();
            if let AuditSubject::Key(id) = &event.subject
                && let Some(record) = record(id.as_str())
            {
                event.display = Some(record.display);
                event.label = record.label;
            }
            event.by_label = record(event.by.as_str()).and_then(|record| record.label);
            page.events.push(event);
            page.next.event = *position;
        }
        page.more = events.next().is_some();
        page
    }

    fn purge(&mut self, before: Timestamp, limit: u32) -> u32 {
        let mut purged = 0;
        while purged < limit
            && let Some(&(at, position)) = self.ending.first()
            && at < before
        {
            self.ending.pop_first();
            self.kept.remove(&position);
            purged += 1;
        }
        purged
    }
}

#[async_trait]
impl AuditLog for MemoryStore {
    async fn events(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.with(|state| {
            let record = |id: &str| state.keys.get(&KeyId::new(id).ok()?).cloned();
            Ok(state.keys.events.page(query, record))
        })
    }

    async fn note_rejection(&self, rejection: &AuditEvent) -> Result<(), StoreError> {
        self.with(|state| {
            state.keys.events.note(rejection.clone());
            Ok(())
        })
    }

    async fn purge_events(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.with(|state| Ok(state.keys.events.purge(before, limit)))
    }
}
