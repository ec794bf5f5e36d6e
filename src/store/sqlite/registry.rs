use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, ToSql};

use super::{
    SqliteStore,
    keys::{self, select_keys},
    row::Fault,
};
use crate::{
    apikey::{KeyDigest, KeyEvent, KeyRecord},
    domain::{Actor, KeyId, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::{
        KeyEdit, KeyPage, KeyQuery, KeyRegistry, Rotation,
        registry::Listed,
        stored::{instant, parsed},
    },
};

/// How many keys are looked through for one page, so that a listing of few among many that are
/// over does not keep a reader from its other work.
pub(super) const MOST_LOOKED_THROUGH: u32 = 10_000;

pub(super) const NEWEST: &str =
    select_keys!("WHERE kind = ?1 ORDER BY created_at DESC, id DESC LIMIT ?2");
pub(super) const OLDER: &str = select_keys!(
    "WHERE kind = ?1 AND (created_at, id) < (?3, ?4)
     ORDER BY created_at DESC, id DESC LIMIT ?2"
);
pub(super) const OVER: &str = "SELECT id, digest, old_digest FROM keys
    WHERE (revoked_at IS NOT NULL OR expires_at IS NOT NULL)
    AND coalesce(revoked_at, expires_at) < ?1 LIMIT ?2";

#[async_trait]
impl KeyRegistry for SqliteStore {
    async fn list(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        let query = query.clone();
        self.read(move |conn| page(conn, &query)).await
    }

    async fn insert_many(
        &self,
        records: &[KeyRecord],
        by: &Actor,
    ) -> Result<Vec<bool>, StoreError> {
        let (records, by) = (records.to_vec(), by.clone());
        self.write(move |tx| {
            // A conflict is found before anything of the record is written.
            let added = records.iter().map(|record| match keys::insert(tx, record, &by) {
                Ok(()) => Ok(true),
                Err(Fault(error)) if error.kind() == StoreErrorKind::Conflict => Ok(false),
                Err(fault) => Err(fault),
            });
            added.collect()
        })
        .await
    }

    async fn history(&self, id: &KeyId, limit: u32) -> Result<Vec<KeyEvent>, StoreError> {
        let id = id.clone();
        self.read(move |conn| history(conn, &id, limit)).await
    }

    async fn rotate(
        &self,
        id: &KeyId,
        rotation: &Rotation,
        by: &Actor,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (id, rotation, by) = (id.clone(), rotation.clone(), by.clone());
        self.write(move |tx| {
            let counts = tx
                .conn
                .prepare_cached("SELECT 1 FROM keys WHERE id = ?1 AND revoked_at IS NULL")?
                .query_row([id.as_str()], |_| Ok(()))
                .optional()?;
            Ok(counts.is_some() && keys::replace(tx, &id, &rotation, &by, at)?)
        })
        .await
    }

    async fn edit(
        &self,
        id: &KeyId,
        edit: &KeyEdit,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let (id, edit, by) = (id.clone(), edit.clone(), by.clone());
        self.write(move |tx| keys::edit(tx, &id, &edit, &by, at)).await
    }

    async fn revoke_because(
        &self,
        id: &KeyId,
        reason: Option<&str>,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        let (id, reason, by) = (id.clone(), reason.map(str::to_owned), by.clone());
        self.write(move |tx| {
            Ok(keys::revoke(tx, &id, reason.as_deref(), &by, at)?.first().copied())
        })
        .await
    }

    async fn touch(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let uses = uses.to_vec();
        self.write(move |tx| {
            let mut statement = tx.conn.prepare_cached(
                "UPDATE keys SET last_used_at = max(coalesce(last_used_at, ?2), ?2),
                     first_used_at = CASE WHEN last_used_at IS NULL THEN ?2
                         ELSE min(first_used_at, ?2) END
                 WHERE id = ?1
                 AND (last_used_at IS NULL OR last_used_at < ?2 OR first_used_at > ?2)",
            )?;
            for (id, used_at) in &uses {
                statement.execute((id.as_str(), used_at.as_micros()))?;
            }
            Ok(())
        })
        .await
    }

    async fn purge_keys(&self, before: Timestamp, limit: u32) -> Result<u32, StoreError> {
        self.write(move |tx| {
            let mut over = tx.conn.prepare_cached(OVER)?;
            let mut rows = over.query((before.as_micros(), limit))?;
            let mut removed: Vec<(String, [u8; 32], Option<[u8; 32]>)> = Vec::new();
            while let Some(row) = rows.next()? {
                removed.push((row.get(0)?, row.get(1)?, row.get(2)?));
            }
            for (id, digest, old) in &removed {
                tx.conn
                    .prepare_cached("DELETE FROM key_events WHERE key_id = ?1")?
                    .execute([id])?;
                tx.conn.prepare_cached("DELETE FROM keys WHERE id = ?1")?.execute([id])?;
                for digest in old.iter().chain([digest]) {
                    tx.changed(KeyDigest::from_bytes(*digest));
                }
            }
            Ok(u32::try_from(removed.len()).unwrap_or(limit))
        })
        .await
    }
}

fn page(conn: &Connection, query: &KeyQuery) -> Result<KeyPage, Fault> {
    let kind = query.kind.as_str();
    let after =
        query.after.as_ref().map(|cursor| (cursor.created_at.as_micros(), cursor.id.as_str()));
    let mut parameters: Vec<&dyn ToSql> = vec![&kind, &MOST_LOOKED_THROUGH];
    if let Some((created_at, id)) = &after {
        parameters.extend([created_at as &dyn ToSql, id]);
    }
    let mut statement = conn.prepare_cached(if after.is_some() { OLDER } else { NEWEST })?;
    let mut rows = statement.query(&*parameters)?;
    let mut listed: Vec<Listed> = Vec::new();
    let mut next = None;
    let mut looked_through = 0;
    while let Some(row) = rows.next()? {
        looked_through += 1;
        // Most of those that are over are passed by without being understood.
        if !keys::is_wanted(row, query)? {
            if looked_through == MOST_LOOKED_THROUGH {
                next = Some(keys::cursor(row)?);
            }
            continue;
        }
        if listed.len() == query.limit as usize {
            next = listed.last().map(Listed::cursor);
            break;
        }
        let cursor = || keys::cursor(row).map_err(|Fault(error)| error);
        let found = Listed::read(keys::record(row).map_err(|Fault(error)| error), cursor)?;
        if looked_through == MOST_LOOKED_THROUGH {
            next = found.as_ref().map(Listed::cursor);
        }
        listed.extend(found);
    }
    Ok(KeyPage::of(listed, next))
}

fn history(conn: &Connection, id: &KeyId, limit: u32) -> Result<Vec<KeyEvent>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT action, actor, at, reason FROM key_events WHERE key_id = ?1
         ORDER BY event DESC LIMIT ?2",
    )?;
    let mut rows = statement.query((id.as_str(), limit))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let (action, actor): (String, String) = (row.get(0)?, row.get(1)?);
        let actor: Actor = parsed(&actor, "actor")?;
        let at = instant(row.get(2)?, "at")?;
        let reason: Option<String> = row.get(3)?;
        let event = KeyEvent::new(parsed(&action, "action")?, &actor, at);
        events.push(event.because(reason.as_deref()));
    }
    events.reverse();
    Ok(events)
}
