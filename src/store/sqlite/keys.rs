use std::sync::Weak;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, ToSql};

use super::{SqliteStore, row::Fault, worker::Transaction};
use crate::{
    apikey::{KeyAction, KeyDigest, KeyEvent, KeyRecord},
    domain::{Actor, KeyId, Timestamp},
    error::StoreError,
    store::{
        ChangeListener, KeyCursor, Rotation,
        keys::KeyStore,
        stored::{StoredGrant, instant, instant_if_any, metadata, parsed},
    },
};

const BY_DIGEST: &str = "SELECT id, digest, display, kind, role, permissions, resource_id, plan_id,
    label, metadata, created_at, expires_at, revoked_at, last_used_at FROM keys WHERE digest = ?1";
const BY_ID: &str = "SELECT id, digest, display, kind, role, permissions, resource_id, plan_id,
    label, metadata, created_at, expires_at, revoked_at, last_used_at FROM keys WHERE id = ?1";

#[async_trait]
impl KeyStore for SqliteStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        let digest = *digest;
        self.read(move |conn| one(conn, BY_DIGEST, digest.as_bytes())).await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let id = id.clone();
        self.read(move |conn| one(conn, BY_ID, &id.as_str())).await
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        let (record, by) = (record.clone(), by.clone());
        self.write(move |tx| insert(tx, &record, &by)).await
    }

    async fn revoke(
        &self,
        id: &KeyId,
        by: &Actor,
        at: Timestamp,
    ) -> Result<Option<KeyDigest>, StoreError> {
        let (id, by) = (id.clone(), by.clone());
        self.write(move |tx| {
            let digest = tx
                .conn
                .prepare_cached(
                    "UPDATE keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL
                     RETURNING digest",
                )?
                .query_row((id.as_str(), at.as_micros()), |row| row.get(0))
                .optional()?
                .map(KeyDigest::from_bytes);
            if let Some(digest) = digest {
                note(tx, &id, &KeyEvent::new(KeyAction::Revoked, &by, at))?;
                tx.changed(digest);
            }
            Ok(digest)
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.shared.files.check()?;
        self.read(|conn| {
            let mut statement = conn.prepare_cached("SELECT count(*) FROM sqlite_schema")?;
            Ok(statement.query_row((), |_| Ok(()))?)
        })
        .await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.shared.writer.close().await
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.shared.listeners.add(listener);
    }
}

pub(super) fn insert(
    tx: &mut Transaction<'_>,
    record: &KeyRecord,
    by: &Actor,
) -> Result<(), Fault> {
    let grant = StoredGrant::of(&record.grant)?;
    tx.conn
        .prepare_cached(
            "INSERT INTO keys (id, digest, display, kind, role, permissions, resource_id, plan_id,
                 label, metadata, created_at, expires_at, revoked_at, last_used_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute((
            record.id.as_str(),
            record.digest.as_bytes(),
            &record.display,
            record.kind().as_str(),
            grant.role,
            grant.permissions,
            grant.resource_id,
            grant.plan_id,
            &record.label,
            record.metadata.as_json(),
            record.created_at.as_micros(),
            record.expires_at.map(Timestamp::as_micros),
            record.revoked_at.map(Timestamp::as_micros),
            record.last_used_at.map(Timestamp::as_micros),
        ))?;
    note(tx, &record.id, &KeyEvent::new(KeyAction::Created, by, record.created_at))?;
    tx.changed(record.digest);
    Ok(())
}

/// Gives a record another digest; `false` where it does not have the old one any more. The caller
/// tells of both digests.
pub(super) fn replace(
    tx: &mut Transaction<'_>,
    id: &KeyId,
    rotation: &Rotation,
    by: &Actor,
    at: Timestamp,
) -> Result<bool, Fault> {
    let Rotation { old, new, display } = rotation;
    let replaced = tx
        .conn
        .prepare_cached("UPDATE keys SET digest = ?3, display = ?4 WHERE id = ?1 AND digest = ?2")?
        .execute((id.as_str(), old.as_bytes(), new.as_bytes(), display))?;
    if replaced == 1 {
        note(tx, id, &KeyEvent::new(KeyAction::Rotated, by, at))?;
    }
    Ok(replaced == 1)
}

/// Adds a line to a key's history.
fn note(tx: &Transaction<'_>, id: &KeyId, event: &KeyEvent) -> Result<(), Fault> {
    tx.conn
        .prepare_cached(
            "INSERT INTO key_events (key_id, action, actor, at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((id.as_str(), event.action.as_str(), event.by.as_str(), event.at.as_micros()))?;
    Ok(())
}

fn one(conn: &Connection, query: &str, wanted: &dyn ToSql) -> Result<Option<KeyRecord>, Fault> {
    let mut statement = conn.prepare_cached(query)?;
    let mut rows = statement.query([wanted])?;
    rows.next()?.map(record).transpose()
}

/// Whether a row's key can be used at `now`, by its times alone.
pub(super) fn is_in_force(row: &Row<'_>, now: Timestamp) -> Result<bool, Fault> {
    let (expires_at, revoked_at): (Option<i64>, Option<i64>) = (row.get(11)?, row.get(12)?);
    Ok(revoked_at.is_none() && expires_at.is_none_or(|end| now.as_micros() < end))
}

pub(super) fn cursor(row: &Row<'_>) -> Result<KeyCursor, Fault> {
    let id = parsed(&row.get::<_, String>(0)?, "id")?;
    Ok(KeyCursor { created_at: Timestamp::from_micros(row.get(10)?), id })
}

pub(super) fn record(row: &Row<'_>) -> Result<KeyRecord, Fault> {
    let grant = StoredGrant {
        role: row.get(4)?,
        permissions: row.get(5)?,
        resource_id: row.get(6)?,
        plan_id: row.get(7)?,
    };
    let grant = grant.understood(&row.get::<_, String>(3)?)?;
    Ok(KeyRecord {
        id: parsed(&row.get::<_, String>(0)?, "id")?,
        digest: KeyDigest::from_bytes(row.get(1)?),
        display: row.get(2)?,
        grant,
        label: row.get(8)?,
        metadata: metadata(&row.get::<_, String>(9)?)?,
        created_at: instant(row.get(10)?, "created_at")?,
        expires_at: instant_if_any(row.get(11)?, "expires_at")?,
        revoked_at: instant_if_any(row.get(12)?, "revoked_at")?,
        last_used_at: instant_if_any(row.get(13)?, "last_used_at")?,
    })
}
