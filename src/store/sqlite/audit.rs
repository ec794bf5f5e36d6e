use async_trait::async_trait;
use rusqlite::{Connection, Row};

use super::{SqliteStore, registry::MOST_LOOKED_THROUGH, row::Fault};
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{
        AuditCursor, AuditEvent, AuditLog, AuditPage, AuditQuery, AuditSubject,
        stored::{bad, instant, parsed},
    },
};

/// There is one writer at a time: the order of their ids is that of the commits.
const PAGE: &str = "SELECT event, at, action, key_events.kind, key_id,
        coalesce(keys.display, key_events.display), coalesce(keys.label, key_events.label), actor,
        (SELECT label FROM keys WHERE id = actor), reason
    FROM key_events LEFT JOIN keys ON key_events.kind IS NULL AND keys.id = key_id
    WHERE event > ?1 ORDER BY event LIMIT ?2";

#[async_trait]
impl AuditLog for SqliteStore {
    async fn events(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let query = *query;
        self.read(move |conn| page(conn, &query)).await
    }

    async fn note_rejection(&self, rejection: &AuditEvent) -> Result<(), StoreError> {
        let rejection = rejection.clone();
        self.write(move |tx| note(tx.conn, &rejection)).await
    }

    async fn purge_events(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.write(move |tx| {
            // The last one stays: its id would be given again, and readers are past it.
            let removed = tx
                .conn
                .prepare_cached(
                    "DELETE FROM key_events WHERE event IN
                         (SELECT event FROM key_events WHERE over_at < ?1 LIMIT ?2)
                     AND event < (SELECT max(event) FROM key_events)",
                )?
                .execute((before.as_micros(), limit))?;
            Ok(u32::try_from(removed).unwrap_or(limit))
        })
        .await
    }
}

/// Adds an event to the log.
pub(super) fn note(conn: &Connection, event: &AuditEvent) -> Result<(), Fault> {
    let ends_by_itself = !event.subject.is_key();
    conn.prepare_cached(
        "INSERT INTO key_events (kind, key_id, action, actor, at, reason, over_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        ends_by_itself.then_some(event.subject.kind()),
        event.subject.id(),
        &event.action,
        event.by.as_str(),
        event.at.as_micros(),
        &event.reason,
        ends_by_itself.then_some(event.at.as_micros()),
    ))?;
    Ok(())
}

fn page(conn: &Connection, query: &AuditQuery) -> Result<AuditPage, Fault> {
    let mut page = AuditPage::begun(query);
    let mut statement = conn.prepare_cached(PAGE)?;
    let after = i64::try_from(query.after.event).unwrap_or(i64::MAX);
    let mut rows = statement.query((after, MOST_LOOKED_THROUGH + 1))?;
    let mut looked_through = 0;
    while let Some(row) = rows.next()? {
        if page.len() == query.limit as usize || looked_through == MOST_LOOKED_THROUGH {
            page.more = true;
            break;
        }
        looked_through += 1;
        let event = u64::try_from(row.get::<_, i64>(0)?).map_err(|_| bad("event"))?;
        page.next = AuditCursor { transaction: 0, event };
        if query.admits(Timestamp::from_micros(row.get(1)?)) {
            page.take(read(row).map_err(|Fault(error)| error), page.next)?;
        }
    }
    Ok(page)
}

fn read(row: &Row<'_>) -> Result<AuditEvent, Fault> {
    let (kind, id): (Option<String>, String) = (row.get(3)?, row.get(4)?);
    Ok(AuditEvent {
        at: instant(row.get(1)?, "at")?,
        action: row.get(2)?,
        subject: AuditSubject::stored(kind.as_deref(), &id)?,
        display: row.get(5)?,
        label: row.get(6)?,
        by: parsed(&row.get::<_, String>(7)?, "actor")?,
        by_label: row.get(8)?,
        reason: row.get(9)?,
    })
}
