use async_trait::async_trait;
use sqlx::{PgConnection, Row};

use super::{
    PostgresStore,
    keys::{self, select_keys},
    row::Fault,
};
use crate::{
    apikey::{KeyDigest, KeyEvent, KeyRecord},
    domain::{Actor, KeyId, PlanId, ResourceId, Timestamp},
    error::StoreError,
    store::{
        Change, KeyCursor, KeyEdit, KeyPage, KeyQuery, KeyRegistry, Rotation,
        registry::Listed,
        stored::{instant, parsed},
    },
};

/// How many keys are looked through for one page, so that a listing of few among many that are
/// over does not hold a connection for long.
pub(super) const MOST_LOOKED_THROUGH: i64 = 10_000;

/// The keys that are looked through, and of those the wanted ones. A page without a cursor to begin
/// at begins before all keys.
pub(super) const PAGE: &str = select_keys!(
    "(SELECT * FROM keys
      WHERE kind = $1 AND ($2::bigint IS NULL OR (created_at, id) < ($2, $3))
      ORDER BY created_at DESC, id DESC LIMIT $4) AS looked_through
     WHERE ($5::bigint IS NULL
            OR (revoked_at IS NULL AND suspended_at IS NULL
                AND (expires_at IS NULL OR expires_at > $5)))
     AND ($7::text IS NULL OR label = $7) AND ($8::text IS NULL OR starts_with(display, $8))
     AND ($9::text IS NULL OR plan_id = $9) AND ($10::text IS NULL OR resource_id = $10)
     AND ($11::bigint IS NULL OR coalesce(last_used_at, created_at) < $11)
     ORDER BY created_at DESC, id DESC LIMIT $6"
);
/// The last key that was looked through, where there may be more.
pub(super) const END: &str = "SELECT created_at, id FROM keys
     WHERE kind = $1 AND ($2::bigint IS NULL OR (created_at, id) < ($2, $3))
     ORDER BY created_at DESC, id DESC OFFSET $4 - 1 LIMIT 1";

#[async_trait]
impl KeyRegistry for PostgresStore {
    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        self.write(async {
            // Both statements see the same keys: else some could stand on two pages or on none.
            let mut tx = self.snapshot().await?;
            let page = page(&mut tx, query).await?;
            tx.end().await?;
            Ok(page)
        })
        .await
    }

    async fn insert_many(
        &self,
        records: &[KeyRecord],
        by: &Actor,
    ) -> Result<Vec<bool>, StoreError> {
        let added = self.write(async {
            let mut tx = self.begin().await?;
            let added = keys::insert_many(&mut tx, records, by).await?;
            tx.end().await?;
            Ok(added)
        });
        let added = added.await?;
        let changes = records.iter().zip(&added).filter(|(_, added)| **added);
        let digests = changes.flat_map(|(record, _)| record.digests());
        let changes: Vec<_> = digests.map(Change::Key).collect();
        self.tell(&changes)?;
        Ok(added)
    }

    async fn history(&self, id: &KeyId, limit: u32) -> Result<Vec<KeyEvent>, StoreError> {
        self.write(async {
            let mut tx = self.snapshot().await?;
            let rows: Vec<(String, String, i64, Option<String>)> = sqlx::query_as(
                "SELECT action, actor, at, reason FROM key_events WHERE key_id = $1 AND kind IS NULL
                 ORDER BY event DESC LIMIT $2",
            )
            .bind(id.as_str())
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?;
            tx.end().await?;
            let events = rows.iter().rev().map(|(action, actor, at, reason)| {
                let actor: Actor = parsed(actor, "actor")?;
                let event = KeyEvent::new(parsed(action, "action")?, &actor, instant(*at, "at")?);
                Ok(event.because(reason.as_deref()))
            });
            events.collect()
        })
        .await
    }

    async fn rotate(
        &self,
        id: &KeyId,
        rotation: &Rotation,
        by: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let rotated = self.write(async {
            let mut tx = self.begin().await?;
            let rotated = keys::replace(&mut tx, id, rotation, false, by, at).await?;
            tx.end().await?;
            Ok(rotated)
        });
        let rotated = rotated.await?;
        self.tell(rotated.as_deref().unwrap_or_default())?;
        Ok(rotated.is_some())
    }

    async fn edit(
        &self,
        id: &KeyId,
        edit: &KeyEdit,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let edited = self.write(async {
            let mut tx = self.begin().await?;
            let edited = keys::edit(&mut tx, id, edit, by, at).await?;
            tx.end().await?;
            Ok(edited)
        });
        let edited = edited.await?;
        let digests = edited.iter().flat_map(KeyRecord::digests);
        self.tell(&digests.map(Change::Key).collect::<Vec<_>>())?;
        Ok(edited)
    }

    async fn revoke_because(
        &self,
        id: &KeyId,
        reason: Option<&str>,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        let revoked = self.write(async {
            let mut tx = self.begin().await?;
            let digests = keys::revoke(&mut tx, id, reason, by, at).await?;
            tx.end().await?;
            Ok(digests)
        });
        let revoked = revoked.await?;
        self.tell(&revoked.iter().copied().map(Change::Key).collect::<Vec<_>>())?;
        Ok(revoked.first().copied())
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let ids: Vec<&str> = uses.iter().map(|(id, _)| id.as_str()).collect();
        let times: Vec<i64> = uses.iter().map(|(_, used_at)| used_at.as_micros()).collect();
        self.write(async {
            let mut tx = self.begin().await?;
            // Locked in the order of their ids: two instances that write the same keys would wait
            // for each other.
            sqlx::query(
                "WITH uses AS (
                     SELECT id, min(used_at) AS first, max(used_at) AS used_at
                     FROM unnest($1::text[], $2::bigint[]) AS uses (id, used_at) GROUP BY id
                 ), locked AS (
                     SELECT keys.id, uses.first, uses.used_at
                     FROM keys JOIN uses ON keys.id = uses.id
                     WHERE last_used_at IS NULL OR last_used_at < uses.used_at
                         OR first_used_at > uses.first
                     ORDER BY keys.id FOR NO KEY UPDATE OF keys
                 )
                 UPDATE keys SET last_used_at = greatest(last_used_at, locked.used_at),
                     first_used_at = CASE WHEN last_used_at IS NULL OR first_used_at > locked.first
                         THEN locked.first ELSE first_used_at END
                 FROM locked WHERE keys.id = locked.id",
            )
            .bind(ids)
            .bind(times)
            .execute(&mut *tx)
            .await?;
            tx.end().await
        })
        .await
    }

    async fn purge_keys(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        let removed = self.write(async {
            let mut tx = self.begin().await?;
            // Another instance may be at it: each takes what the other has not.
            let removed: Vec<(String, [u8; 32], Option<[u8; 32]>, String, Option<String>)> =
                sqlx::query_as(
                    "DELETE FROM keys WHERE id IN (
                     SELECT id FROM keys
                     WHERE (revoked_at IS NOT NULL OR expires_at IS NOT NULL)
                     AND coalesce(revoked_at, expires_at) < $1
                     LIMIT $2 FOR UPDATE SKIP LOCKED)
                 RETURNING id, digest, old_digest, display, label",
                )
                .bind(before.as_micros())
                .bind(i64::from(limit))
                .fetch_all(&mut *tx)
                .await?;
            let ids: Vec<&str> = removed.iter().map(|(id, ..)| &**id).collect();
            let displays: Vec<&str> = removed.iter().map(|(.., display, _)| &**display).collect();
            let labels: Vec<_> = removed.iter().map(|(.., label)| label.as_deref()).collect();
            sqlx::query(
                "UPDATE key_events
                 SET over_at = $1, display = purged.display, label = purged.label
                 FROM unnest($2::text[], $3::text[], $4::text[]) AS purged (id, display, label)
                 WHERE key_id = purged.id AND kind IS NULL",
            )
            .bind(before.as_micros())
            .bind(ids)
            .bind(displays)
            .bind(labels)
            .execute(&mut *tx)
            .await?;
            tx.end().await?;
            let digests =
                removed.iter().flat_map(|(_, digest, old, ..)| [Some(*digest), *old]).flatten();
            let changes = digests.map(|it| Change::Key(KeyDigest::from_bytes(it)));
            Ok((removed.len(), changes.collect::<Vec<_>>()))
        });
        let (removed, changes) = removed.await?;
        self.tell(&changes)?;
        Ok(u32::try_from(removed).unwrap_or(limit))
    }
}

async fn page(tx: &mut PgConnection, query: &KeyQuery) -> Result<KeyPage, Fault> {
    let (created_at, id) = query
        .after
        .as_ref()
        .map(|cursor| (cursor.created_at.as_micros(), cursor.id.as_str()))
        .unzip();
    let rows = sqlx::query(PAGE)
        .bind(query.kind.as_str())
        .bind(created_at)
        .bind(id)
        .bind(MOST_LOOKED_THROUGH)
        .bind(query.in_force_at.map(Timestamp::as_micros))
        .bind(i64::from(query.limit) + 1)
        .bind(&query.filter.label)
        .bind(&query.filter.prefix)
        .bind(query.filter.plan_id.as_ref().map(PlanId::as_str))
        .bind(query.filter.resource_id.as_ref().map(ResourceId::as_str))
        .bind(query.filter.idle_since.map(Timestamp::as_micros))
        .fetch_all(&mut *tx)
        .await?;
    let limit = query.limit as usize;
    let mut listed = Vec::new();
    for row in rows.iter().take(limit) {
        let cursor = || cursor(row.try_get(10).map_err(corrupt)?, row.try_get(0).map_err(corrupt)?);
        listed.extend(Listed::read(keys::record(row).map_err(|Fault(error)| error), cursor)?);
    }
    if rows.len() > limit {
        let next = listed.last().map(Listed::cursor);
        return Ok(KeyPage::of(listed, next));
    }
    let end: Option<(i64, String)> = sqlx::query_as(END)
        .bind(query.kind.as_str())
        .bind(created_at)
        .bind(id)
        .bind(MOST_LOOKED_THROUGH)
        .fetch_optional(tx)
        .await?;
    let next = end.map(|(created_at, id)| cursor(created_at, &id)).transpose()?;
    Ok(KeyPage::of(listed, next))
}

fn cursor(created_at: i64, id: &str) -> Result<KeyCursor, StoreError> {
    Ok(KeyCursor { created_at: Timestamp::from_micros(created_at), id: parsed(id, "id")? })
}

fn corrupt(error: sqlx::Error) -> StoreError {
    Fault::from(error).0
}
