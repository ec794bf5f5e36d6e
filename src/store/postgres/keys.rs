use std::{collections::HashSet, sync::Weak};

use async_trait::async_trait;
use sqlx::{
    PgConnection, Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{PostgresStore, audit, row::Fault};
use crate::{
    apikey::{KeyAction, KeyDigest, KeyEvent, KeyRecord},
    domain::{Actor, KeyId, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::{
        AuditEvent, Change, ChangeListener, KeyEdit, KeyRegistry, Rotation,
        keys::KeyStore,
        measured::measured,
        stored::{StoredGrant, instant, instant_if_any, metadata, parsed, predecessor},
    },
};

/// Selects whole keys; what follows says which.
macro_rules! select_keys {
    ($which:literal) => {
        concat!(
            "SELECT id, digest, display, kind, role, permissions, resource_id, plan_id, label, \
             metadata, created_at, expires_at, revoked_at, last_used_at, revoked_reason, \
             suspended_at, old_digest, old_display, old_until FROM ",
            $which
        )
    };
}
pub(super) use select_keys;

/// Inserts whole keys; what follows says which, in the order of [`bind_key`].
macro_rules! insert_key {
    () => {
        "INSERT INTO keys (id, digest, display, kind, role, permissions, resource_id, plan_id, \
         label, metadata, created_at, expires_at, revoked_at, last_used_at, revoked_reason, \
         suspended_at, old_digest, old_display, old_until) "
    };
}
pub(super) use insert_key;

const INSERT: &str = concat!(
    insert_key!(),
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
);

/// The second half is looked at only where the first has found nothing.
pub(super) const BY_DIGEST: &str = concat!(
    select_keys!("keys WHERE digest = $1 UNION ALL "),
    select_keys!("keys WHERE old_digest = $1 LIMIT 1")
);

#[async_trait]
impl KeyStore for PostgresStore {
    async fn find(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>, StoreError> {
        self.read(async {
            let mut reader = self.reader().await?;
            let row =
                sqlx::query(BY_DIGEST).bind(digest.as_bytes()).fetch_optional(&mut *reader).await?;
            reader.end().await?;
            row.as_ref().map(record).transpose()
        })
        .await
    }

    async fn get(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.read(async {
            let mut reader = self.reader().await?;
            let row = sqlx::query(select_keys!("keys WHERE id = $1"))
                .bind(id.as_str())
                .fetch_optional(&mut *reader)
                .await?;
            reader.end().await?;
            row.as_ref().map(record).transpose()
        })
        .await
    }

    async fn insert(&self, record: &KeyRecord, by: &Actor) -> Result<(), StoreError> {
        self.write(async {
            let mut tx = self.begin().await?;
            insert(&mut tx, record, by).await?;
            tx.end().await
        })
        .await?;
        self.tell(&record.digests().map(Change::Key).collect::<Vec<_>>())
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
        let pings = &self.shared.pings;
        let ping = pings.run(async {
            let mut reader = pings.lend().await?;
            // A standby answers reads, and is of no use to those who write. Who may not read the
            // denied tokens would know of none.
            let read_only: bool = sqlx::query_scalar(
                "SELECT pg_is_in_recovery()
                     OR current_setting('default_transaction_read_only')::boolean
                 FROM key0_auth
                 WHERE (SELECT count(*) FROM (SELECT FROM denied_tokens LIMIT 1) AS probe) >= 0",
            )
            .fetch_one(&mut *reader)
            .await?;
            reader.end().await?;
            if read_only {
                return Err(StoreError::unavailable("the database can only be read").into());
            }
            Ok(())
        });
        measured("postgres", "read", ping).await
    }

    fn hears_changes(&self) -> bool {
        self.shared.feed.hears()
    }

    fn proves_changes(&self) -> bool {
        self.shared.proves_changes
    }

    fn subscribe(&self, listener: Weak<dyn ChangeListener>) {
        self.shared.listeners.add(listener);
    }
}

pub(super) async fn insert(
    tx: &mut PgConnection,
    record: &KeyRecord,
    by: &Actor,
) -> Result<(), Fault> {
    let grant = StoredGrant::of(&record.grant)?;
    for digest in record.digests() {
        check_free(tx, &digest).await?;
    }
    bind_key(sqlx::query(INSERT), record, &grant).execute(&mut *tx).await?;
    note(tx, &record.id, &KeyEvent::new(KeyAction::Created, by, record.created_at)).await
}

/// Binds all columns of [`insert_key`], as `$1` to `$19`.
pub(super) fn bind_key<'q>(
    statement: Query<'q, Postgres, PgArguments>,
    record: &KeyRecord,
    grant: &StoredGrant,
) -> Query<'q, Postgres, PgArguments> {
    statement
        .bind(record.id.as_str())
        .bind(record.digest.as_bytes())
        .bind(&record.display)
        .bind(record.kind().as_str())
        .bind(&grant.role)
        .bind(&grant.permissions)
        .bind(&grant.resource_id)
        .bind(&grant.plan_id)
        .bind(&record.label)
        .bind(record.metadata.as_json())
        .bind(record.created_at.as_micros())
        .bind(record.expires_at.map(Timestamp::as_micros))
        .bind(record.revoked_at.map(Timestamp::as_micros))
        .bind(record.last_used_at.map(Timestamp::as_micros))
        .bind(&record.revoked_reason)
        .bind(record.suspended_at.map(Timestamp::as_micros))
        .bind(record.predecessor.as_ref().map(|old| old.digest.as_bytes()))
        .bind(record.predecessor.as_ref().map(|old| &old.display))
        .bind(record.predecessor.as_ref().map(|old| old.until.as_micros()))
}

/// Adds those of the records that are new, in two statements, and says which they are.
pub(super) async fn insert_many(
    tx: &mut PgConnection,
    records: &[KeyRecord],
    by: &Actor,
) -> Result<Vec<bool>, Fault> {
    let grants: Vec<_> =
        records.iter().map(|record| StoredGrant::of(&record.grant)).collect::<Result<_, _>>()?;
    let texts = |text: fn(&StoredGrant) -> &Option<String>| -> Vec<Option<&str>> {
        grants.iter().map(|grant| text(grant).as_deref()).collect()
    };
    let times = |time: fn(&KeyRecord) -> Option<Timestamp>| -> Vec<Option<i64>> {
        records.iter().map(|record| time(record).map(Timestamp::as_micros)).collect()
    };
    let old = || records.iter().map(|record| record.predecessor.as_ref());
    let added: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "INSERT INTO keys (id, digest, display, kind, role, permissions, resource_id, plan_id,
             label, metadata, created_at, expires_at, revoked_at, last_used_at, revoked_reason,
             suspended_at, old_digest, old_display, old_until)
         SELECT * FROM unnest($1::text[], $2::bytea[], $3::text[], $4::text[], $5::text[],
             $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[],
             $12::bigint[], $13::bigint[], $14::bigint[], $15::text[], $16::bigint[],
             $17::bytea[], $18::text[], $19::bigint[])
             AS added (id, digest, display, kind, role, permissions, resource_id, plan_id, label,
             metadata, created_at, expires_at, revoked_at, last_used_at, revoked_reason,
             suspended_at, old_digest, old_display, old_until)
         WHERE NOT EXISTS (SELECT 1 FROM keys WHERE keys.old_digest = added.digest)
         AND NOT EXISTS (SELECT 1 FROM keys
             WHERE keys.digest = added.old_digest OR keys.old_digest = added.old_digest)
         ON CONFLICT DO NOTHING RETURNING id, digest",
    )
    .bind(records.iter().map(|record| record.id.as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.digest.as_bytes().as_slice()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.display.as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.kind().as_str()).collect::<Vec<_>>())
    .bind(texts(|grant| &grant.role))
    .bind(texts(|grant| &grant.permissions))
    .bind(texts(|grant| &grant.resource_id))
    .bind(texts(|grant| &grant.plan_id))
    .bind(records.iter().map(|record| record.label.as_deref()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.metadata.as_json()).collect::<Vec<_>>())
    .bind(times(|record| Some(record.created_at)))
    .bind(times(|record| record.expires_at))
    .bind(times(|record| record.revoked_at))
    .bind(times(|record| record.last_used_at))
    .bind(records.iter().map(|record| record.revoked_reason.as_deref()).collect::<Vec<_>>())
    .bind(times(|record| record.suspended_at))
    .bind(old().map(|old| old.map(|old| old.digest.as_bytes().as_slice())).collect::<Vec<_>>())
    .bind(old().map(|old| old.map(|old| old.display.as_str())).collect::<Vec<_>>())
    .bind(old().map(|old| old.map(|old| old.until.as_micros())).collect::<Vec<_>>())
    .fetch_all(&mut *tx)
    .await?;
    // One that stands twice among the records is added the first time.
    let mut added: HashSet<_> =
        added.iter().map(|(id, digest)| (id.as_str(), digest.as_slice())).collect();
    let added: Vec<_> = records
        .iter()
        .map(|record| added.remove(&(record.id.as_str(), record.digest.as_bytes().as_slice())))
        .collect();
    let new = || records.iter().zip(&added).filter(|(_, added)| **added).map(|(record, _)| record);
    sqlx::query(
        "INSERT INTO key_events (key_id, action, actor, at)
         SELECT id, $3, $4, at FROM unnest($1::text[], $2::bigint[]) AS added (id, at)",
    )
    .bind(new().map(|record| record.id.as_str()).collect::<Vec<_>>())
    .bind(new().map(|record| record.created_at.as_micros()).collect::<Vec<_>>())
    .bind(KeyAction::Created.as_str())
    .bind(by.as_str())
    .execute(tx)
    .await?;
    Ok(added)
}

/// Refuses a digest by which another key's predecessor is found. The index knows those of the
/// secrets alone.
async fn check_free(tx: &mut PgConnection, digest: &KeyDigest) -> Result<(), Fault> {
    let taken = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM keys WHERE old_digest = $1)");
    match taken.bind(digest.as_bytes()).fetch_one(tx).await? {
        true => Err(StoreError::new(StoreErrorKind::Conflict).into()),
        false => Ok(()),
    }
}

/// Gives a record another digest, and says which ones changed by that; `None` where it does not
/// have the old one any more, or is revoked and must not be.
pub(super) async fn replace(
    tx: &mut PgConnection,
    id: &KeyId,
    rotation: &Rotation,
    revoked_too: bool,
    by: &Actor,
    at: Timestamp,
) -> Result<Option<Vec<Change>>, Fault> {
    let Rotation { old, new, display, old_until } = rotation;
    let older: Option<Option<[u8; 32]>> = sqlx::query_scalar(
        "SELECT old_digest FROM keys
         WHERE id = $1 AND digest = $2 AND (revoked_at IS NULL OR $3) FOR NO KEY UPDATE",
    )
    .bind(id.as_str())
    .bind(old.as_bytes())
    .bind(revoked_too)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(older) = older else { return Ok(None) };
    if new != old {
        check_free(tx, new).await?;
    }
    sqlx::query(
        "UPDATE keys SET digest = $2, display = $3, old_until = $4,
             old_digest = CASE WHEN $4::bigint IS NOT NULL THEN digest END,
             old_display = CASE WHEN $4::bigint IS NOT NULL THEN display END
         WHERE id = $1",
    )
    .bind(id.as_str())
    .bind(new.as_bytes())
    .bind(display)
    .bind(old_until.map(Timestamp::as_micros))
    .execute(&mut *tx)
    .await?;
    note(tx, id, &KeyEvent::new(KeyAction::Rotated, by, at)).await?;
    let changed = older.map(KeyDigest::from_bytes).into_iter().chain([*old, *new]);
    Ok(Some(changed.map(Change::Key).collect()))
}

/// Marks a key as revoked; its digests, the secret's first, where it was not before.
pub(super) async fn revoke(
    tx: &mut PgConnection,
    id: &KeyId,
    reason: Option<&str>,
    by: &Actor,
    at: Timestamp,
) -> Result<Vec<KeyDigest>, Fault> {
    let revoked: Option<([u8; 32], Option<[u8; 32]>)> = sqlx::query_as(
        "UPDATE keys SET revoked_at = $2, revoked_reason = $3
         WHERE id = $1 AND revoked_at IS NULL RETURNING digest, old_digest",
    )
    .bind(id.as_str())
    .bind(at.as_micros())
    .bind(reason)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((digest, old)) = revoked else { return Ok(Vec::new()) };
    note(tx, id, &KeyEvent::new(KeyAction::Revoked, by, at).because(reason)).await?;
    Ok([Some(digest), old].into_iter().flatten().map(KeyDigest::from_bytes).collect())
}

/// Changes what is said of a key that is not revoked.
pub(super) async fn edit(
    tx: &mut PgConnection,
    id: &KeyId,
    edit: &KeyEdit,
    by: &Actor,
    at: Timestamp,
) -> Result<Option<KeyRecord>, Fault> {
    let row = sqlx::query(select_keys!("keys WHERE id = $1 AND revoked_at IS NULL FOR UPDATE"))
        .bind(id.as_str())
        .fetch_optional(&mut *tx)
        .await?;
    let Some(mut record) = row.as_ref().map(record).transpose()? else { return Ok(None) };
    let events = edit.apply(&mut record, by, at);
    let grant = StoredGrant::of(&record.grant)?;
    sqlx::query(
        "UPDATE keys SET role = $2, permissions = $3, label = $4, metadata = $5, expires_at = $6,
             suspended_at = $7
         WHERE id = $1",
    )
    .bind(id.as_str())
    .bind(grant.role)
    .bind(grant.permissions)
    .bind(&record.label)
    .bind(record.metadata.as_json())
    .bind(record.expires_at.map(Timestamp::as_micros))
    .bind(record.suspended_at.map(Timestamp::as_micros))
    .execute(&mut *tx)
    .await?;
    for event in &events {
        note(tx, id, event).await?;
    }
    Ok(Some(record))
}

/// Adds a line to a key's history.
async fn note(tx: &mut PgConnection, id: &KeyId, event: &KeyEvent) -> Result<(), Fault> {
    audit::note(tx, &AuditEvent::of_key(id, event)).await
}

pub(super) fn record(row: &PgRow) -> Result<KeyRecord, Fault> {
    let grant = StoredGrant {
        role: row.try_get(4)?,
        permissions: row.try_get(5)?,
        resource_id: row.try_get(6)?,
        plan_id: row.try_get(7)?,
    };
    Ok(KeyRecord {
        id: parsed(row.try_get(0)?, "id")?,
        digest: KeyDigest::from_bytes(row.try_get(1)?),
        display: row.try_get(2)?,
        grant: grant.understood(row.try_get(3)?)?,
        label: row.try_get(8)?,
        metadata: metadata(row.try_get(9)?)?,
        created_at: instant(row.try_get(10)?, "created_at")?,
        expires_at: instant_if_any(row.try_get(11)?, "expires_at")?,
        revoked_at: instant_if_any(row.try_get(12)?, "revoked_at")?,
        last_used_at: instant_if_any(row.try_get(13)?, "last_used_at")?,
        revoked_reason: row.try_get(14)?,
        suspended_at: instant_if_any(row.try_get(15)?, "suspended_at")?,
        predecessor: predecessor(row.try_get(16)?, row.try_get(17)?, row.try_get(18)?)?,
    })
}
