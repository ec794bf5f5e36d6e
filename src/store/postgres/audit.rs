use async_trait::async_trait;
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{PostgresStore, registry::MOST_LOOKED_THROUGH, row::Fault};
use crate::{
    domain::Timestamp,
    error::StoreError,
    store::{
        AuditCursor, AuditEvent, AuditLog, AuditPage, AuditQuery, AuditSubject,
        stored::{bad, instant, parsed},
    },
};

/// Events after a cursor, in the order of their transactions.
///
/// The order of their ids is not that of the commits. So events are held back until every transaction
/// that began before theirs has ended: nothing turns up before what was shown. A cursor of another
/// server, from before this one was restored, can be ahead of it; then all is shown again.
macro_rules! after_cursor {
    () => {
        "WHERE (xid, event) > (CASE WHEN $1::text::xid8 < pg_snapshot_xmax(pg_current_snapshot())
             THEN $1::text::xid8 ELSE '0' END,
             CASE WHEN $1::text::xid8 < pg_snapshot_xmax(pg_current_snapshot())
             THEN $2 ELSE -1 END)
         AND xid < pg_snapshot_xmin(pg_current_snapshot())
         ORDER BY xid, event "
    };
}

pub(super) const PAGE: &str = concat!(
    "SELECT looked_through.xid::text AS transaction, event, at, action, looked_through.kind, key_id,
         coalesce(keys.display, looked_through.display), coalesce(keys.label, looked_through.label),
         actor, (SELECT label FROM keys WHERE id = actor), reason
     FROM (SELECT * FROM key_events ",
    after_cursor!(),
    "LIMIT $3) AS looked_through
     LEFT JOIN keys ON looked_through.kind IS NULL AND keys.id = key_id
     WHERE $4::bigint IS NULL OR at >= $4
     ORDER BY looked_through.xid, event LIMIT $5"
);
/// The last event that was looked through, where there may be more.
pub(super) const END: &str = concat!(
    "SELECT xid::text AS transaction, event FROM key_events ",
    after_cursor!(),
    "OFFSET $3 - 1 LIMIT 1"
);

#[async_trait]
impl AuditLog for PostgresStore {
    async fn events(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.write(async {
            let mut tx = self.snapshot().await?;
            let page = page(&mut tx, query).await?;
            tx.end().await?;
            Ok(page)
        })
        .await
    }

    async fn note_rejection(&self, rejection: &AuditEvent) -> Result<(), StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            note(&mut tx, rejection).await?;
            tx.end().await
        })
        .await
    }

    async fn purge_events(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            // Where they were restored from another server, whose transactions had greater numbers. They
            // come after whatever was read of this one.
            sqlx::query(
                "UPDATE key_events SET xid = pg_current_xact_id()
                 WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())",
            )
            .execute(&mut *tx)
            .await?;
            let removed = sqlx::query(
                "DELETE FROM key_events WHERE event IN (
                     SELECT event FROM key_events WHERE over_at < $1
                     LIMIT $2 FOR UPDATE SKIP LOCKED)",
            )
            .bind(before.as_micros())
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?;
            tx.end().await?;
            Ok(u32::try_from(removed.rows_affected()).unwrap_or(limit))
        })
        .await
    }
}

/// Adds an event to the log.
pub(super) async fn note(tx: &mut PgConnection, event: &AuditEvent) -> Result<(), Fault> {
    let ends_by_itself = !event.subject.is_key();
    sqlx::query(
        "INSERT INTO key_events (kind, key_id, action, actor, at, reason, over_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(ends_by_itself.then_some(event.subject.kind()))
    .bind(event.subject.id())
    .bind(&event.action)
    .bind(event.by.as_str())
    .bind(event.at.as_micros())
    .bind(&event.reason)
    .bind(ends_by_itself.then_some(event.at.as_micros()))
    .execute(tx)
    .await?;
    Ok(())
}

async fn page(tx: &mut PgConnection, query: &AuditQuery) -> Result<AuditPage, Fault> {
    let limit = query.limit as usize;
    let transaction = query.after.transaction.to_string();
    let event = i64::try_from(query.after.event).unwrap_or(i64::MAX);
    let rows = sqlx::query(PAGE)
        .bind(&transaction)
        .bind(event)
        .bind(MOST_LOOKED_THROUGH)
        .bind(query.since.map(Timestamp::as_micros))
        .bind(i64::from(query.limit) + 1)
        .fetch_all(&mut *tx)
        .await?;
    let shown = &rows[..rows.len().min(limit)];
    let mut page = AuditPage::begun(query);
    for row in shown {
        page.next = cursor(row)?;
        page.take(read(row).map_err(|Fault(error)| error), page.next)?;
    }
    if rows.len() > limit {
        return Ok(AuditPage { more: true, ..page });
    }
    let end = sqlx::query(END).bind(&transaction).bind(event).bind(MOST_LOOKED_THROUGH);
    let end = end.fetch_optional(tx).await?.as_ref().map(cursor).transpose()?;
    Ok(AuditPage { next: end.unwrap_or(page.next), more: end.is_some(), ..page })
}

fn cursor(row: &PgRow) -> Result<AuditCursor, Fault> {
    let event = u64::try_from(row.try_get::<i64, _>(1)?).map_err(|_| bad("event"))?;
    Ok(AuditCursor { transaction: parsed(row.try_get(0)?, "xid")?, event })
}

fn read(row: &PgRow) -> Result<AuditEvent, Fault> {
    Ok(AuditEvent {
        at: instant(row.try_get(2)?, "at")?,
        action: row.try_get(3)?,
        subject: AuditSubject::stored(row.try_get(4)?, row.try_get(5)?)?,
        display: row.try_get(6)?,
        label: row.try_get(7)?,
        by: parsed(row.try_get(8)?, "actor")?,
        by_label: row.try_get(9)?,
        reason: row.try_get(10)?,
    })
}
