use std::sync::Weak;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, ToSql};
use tokio::sync::oneshot;

use super::{
    SqliteStore, audit,
    row::Fault,
    worker::{Transaction, broken},
};
use crate::{
    apikey::{KeyAction, KeyDigest, KeyEvent, KeyRecord},
    domain::{Actor, KeyId, PlanId, ResourceId, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::{
        AuditEvent, ChangeListener, KeyCursor, KeyEdit, KeyFilter, KeyQuery, KeyRegistry, Rotation,
        keys::KeyStore,
        stored::{StoredGrant, instant, instant_if_any, metadata, parsed, predecessor},
    },
};

/// Selects whole keys; what follows says which.
macro_rules! select_keys {
    ($($which:literal)*) => {
        concat!(
            "SELECT id, digest, display, kind, role, permissions, resource_id, plan_id, label, \
             metadata, created_at, expires_at, revoked_at, last_used_at, revoked_reason, \
             suspended_at, old_digest, old_display, old_until FROM keys ",
            $($which)*
        )
    };
}
pub(super) use select_keys;

/// The second half is looked at only where the first has found nothing.
const BY_DIGEST: &str = concat!(
    select_keys!("WHERE digest = ?1 UNION ALL "),
    select_keys!("WHERE old_digest = ?1 LIMIT 1")
);
const BY_ID: &str = select_keys!("WHERE id = ?1");

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
        self.revoke_because(id, None, by, at).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let (ask, answer) = oneshot::channel();
        self.shared.watcher.send(ask).map_err(|_| broken())?;
        answer.await.map_err(|_| broken())?
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.shared.writer.close().await
    }

    fn proves_changes(&self) -> bool {
        true
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
    let old = record.predecessor.as_ref();
    for digest in record.digests() {
        if is_taken(tx.conn, &digest)? {
            return Err(StoreError::new(StoreErrorKind::Conflict).into());
        }
    }
    tx.conn
        .prepare_cached(
            "INSERT INTO keys (id, digest, display, kind, role, permissions, resource_id, plan_id,
                 label, metadata, created_at, expires_at, revoked_at, last_used_at,
                 revoked_reason, suspended_at, old_digest, old_display, old_until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                 ?18, ?19)",
        )?
        .execute(rusqlite::params![
            record.id.as_str(),
            record.digest.as_bytes(),
            record.display,
            record.kind().as_str(),
            grant.role,
            grant.permissions,
            grant.resource_id,
            grant.plan_id,
            record.label,
            record.metadata.as_json(),
            record.created_at.as_micros(),
            record.expires_at.map(Timestamp::as_micros),
            record.revoked_at.map(Timestamp::as_micros),
            record.last_used_at.map(Timestamp::as_micros),
            record.revoked_reason,
            record.suspended_at.map(Timestamp::as_micros),
            old.map(|old| old.digest.as_bytes()),
            old.map(|old| &old.display),
            old.map(|old| old.until.as_micros()),
        ])?;
    note(tx, &record.id, &KeyEvent::new(KeyAction::Created, by, record.created_at))?;
    record.digests().for_each(|digest| tx.changed(digest));
    Ok(())
}

/// Gives a record another digest; `false` where it does not have the old one any more.
pub(super) fn replace(
    tx: &mut Transaction<'_>,
    id: &KeyId,
    rotation: &Rotation,
    by: &Actor,
    at: Timestamp,
) -> Result<bool, Fault> {
    let Rotation { old, new, display, old_until } = rotation;
    let mut statement = tx
        .conn
        .prepare_cached("SELECT display, old_digest FROM keys WHERE id = ?1 AND digest = ?2")?;
    let kept: Option<(String, Option<[u8; 32]>)> = statement
        .query_row((id.as_str(), old.as_bytes()), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((old_display, older)) = kept else { return Ok(false) };
    if new != old && is_taken(tx.conn, new)? {
        return Err(StoreError::new(StoreErrorKind::Conflict).into());
    }
    let kept = old_until.map(|until| (old.as_bytes(), old_display, until.as_micros()));
    tx.conn
        .prepare_cached(
            "UPDATE keys SET digest = ?2, display = ?3, old_digest = ?4, old_display = ?5,
                 old_until = ?6
             WHERE id = ?1",
        )?
        .execute((
            id.as_str(),
            new.as_bytes(),
            display,
            kept.as_ref().map(|kept| kept.0),
            kept.as_ref().map(|kept| &kept.1),
            kept.as_ref().map(|kept| kept.2),
        ))?;
    note(tx, id, &KeyEvent::new(KeyAction::Rotated, by, at))?;
    for digest in older.map(KeyDigest::from_bytes).into_iter().chain([*old, *new]) {
        tx.changed(digest);
    }
    Ok(true)
}

/// Whether a key is found by this digest. The index knows that of the secrets alone, and not that
/// one may not be another's predecessor.
fn is_taken(conn: &Connection, digest: &KeyDigest) -> Result<bool, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM keys WHERE digest = ?1)
             OR EXISTS (SELECT 1 FROM keys WHERE old_digest = ?1)",
    )?;
    Ok(statement.query_row([digest.as_bytes()], |row| row.get(0))?)
}

/// Marks a key as revoked; its digests, the secret's first, where it was not before.
pub(super) fn revoke(
    tx: &mut Transaction<'_>,
    id: &KeyId,
    reason: Option<&str>,
    by: &Actor,
    at: Timestamp,
) -> Result<Vec<KeyDigest>, Fault> {
    let revoked = tx
        .conn
        .prepare_cached(
            "UPDATE keys SET revoked_at = ?2, revoked_reason = ?3
             WHERE id = ?1 AND revoked_at IS NULL RETURNING digest, old_digest",
        )?
        .query_row((id.as_str(), at.as_micros(), reason), |row| {
            Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Option<[u8; 32]>>(1)?))
        })
        .optional()?;
    let Some((digest, old)) = revoked else { return Ok(Vec::new()) };
    note(tx, id, &KeyEvent::new(KeyAction::Revoked, by, at).because(reason))?;
    let digests = [Some(digest), old].into_iter().flatten().map(KeyDigest::from_bytes);
    let digests: Vec<_> = digests.collect();
    digests.iter().for_each(|digest| tx.changed(*digest));
    Ok(digests)
}

/// The digests of a key, revoked or not.
pub(super) fn digests(conn: &Connection, id: &KeyId) -> Result<Vec<KeyDigest>, Fault> {
    let mut statement = conn.prepare_cached("SELECT digest, old_digest FROM keys WHERE id = ?1")?;
    let digests: Option<(_, _)> =
        statement.query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (digest, old): (Option<[u8; 32]>, Option<[u8; 32]>) = digests.unwrap_or_default();
    Ok([digest, old].into_iter().flatten().map(KeyDigest::from_bytes).collect())
}

/// Changes what is said of a key that is not revoked.
pub(super) fn edit(
    tx: &mut Transaction<'_>,
    id: &KeyId,
    edit: &KeyEdit,
    by: &Actor,
    at: Timestamp,
) -> Result<Option<KeyRecord>, Fault> {
    let Some(mut record) = one(tx.conn, BY_ID, &id.as_str())? else { return Ok(None) };
    if record.revoked_at.is_some() {
        return Ok(None);
    }
    let events = edit.apply(&mut record, by, at);
    let grant = StoredGrant::of(&record.grant)?;
    tx.conn
        .prepare_cached(
            "UPDATE keys SET role = ?2, permissions = ?3, label = ?4, metadata = ?5,
                 expires_at = ?6, suspended_at = ?7
             WHERE id = ?1",
        )?
        .execute((
            id.as_str(),
            grant.role,
            grant.permissions,
            &record.label,
            record.metadata.as_json(),
            record.expires_at.map(Timestamp::as_micros),
            record.suspended_at.map(Timestamp::as_micros),
        ))?;
    for event in &events {
        note(tx, id, event)?;
    }
    record.digests().for_each(|digest| tx.changed(digest));
    Ok(Some(record))
}

/// Adds a line to a key's history.
fn note(tx: &Transaction<'_>, id: &KeyId, event: &KeyEvent) -> Result<(), Fault> {
    audit::note(tx.conn, &AuditEvent::of_key(id, event))
}

fn one(conn: &Connection, query: &str, wanted: &dyn ToSql) -> Result<Option<KeyRecord>, Fault> {
    let mut statement = conn.prepare_cached(query)?;
    let mut rows = statement.query([wanted])?;
    rows.next()?.map(record).transpose()
}

/// Whether a row's key is one that is asked for, without all of it being understood.
pub(super) fn is_wanted(row: &Row<'_>, query: &KeyQuery) -> Result<bool, Fault> {
    if let Some(now) = query.in_force_at {
        let (expires_at, revoked_at): (Option<i64>, Option<i64>) = (row.get(11)?, row.get(12)?);
        let suspended_at: Option<i64> = row.get(15)?;
        let ended = expires_at.is_some_and(|end| end <= now.as_micros());
        if revoked_at.is_some() || suspended_at.is_some() || ended {
            return Ok(false);
        }
    }
    let KeyFilter { label, prefix, plan_id, resource_id, idle_since } = &query.filter;
    let text = |column| row.get::<_, Option<String>>(column);
    let equal = |column, wanted: Option<&str>| {
        Ok::<_, Fault>(wanted.is_none() || text(column)?.as_deref() == wanted)
    };
    let used_at = row.get::<_, Option<i64>>(13)?.unwrap_or(row.get(10)?);
    Ok(equal(8, label.as_deref())?
        && equal(7, plan_id.as_ref().map(PlanId::as_str))?
        && equal(6, resource_id.as_ref().map(ResourceId::as_str))?
        && prefix.as_ref().is_none_or(|prefix| {
            text(2).is_ok_and(|display| display.is_some_and(|it| it.starts_with(&**prefix)))
        })
        && idle_since.is_none_or(|since| used_at < since.as_micros()))
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
        revoked_reason: row.get(14)?,
        suspended_at: instant_if_any(row.get(15)?, "suspended_at")?,
        predecessor: predecessor(row.get(16)?, row.get(17)?, row.get(18)?)?,
    })
}
