use rusqlite::{Connection, TransactionBehavior};

/// Marks a file as ours: "Key0".
pub(super) const APPLICATION_ID: i32 = 0x4b65_7930;

/// What takes a file from each version to the next.
pub(super) const MIGRATIONS: [&str; 7] = [V1, V2, V3, V4, V5, V6, V7];

/// The newest version.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Current,
    Newer(i32),
    /// There is none, or one of this version, and nothing may be made.
    Absent,
    Older(i32),
    Foreign,
}

enum State {
    Empty,
    Ours(i32),
    Foreign,
}

/// Brings a file of ours to the newest version, and leaves any other as it is; ours, too, where it
/// `must_exist`.
pub(super) fn update(conn: &mut Connection, must_exist: bool) -> rusqlite::Result<Found> {
    // Looked at without a lock first: nothing is written to a file that is not ours.
    let seen = state(conn)?;
    if let Some(found) = outcome(&seen) {
        return Ok(found);
    }
    if must_exist {
        return Ok(match seen {
            State::Ours(version) => Found::Older(version),
            State::Empty | State::Foreign => Found::Absent,
        });
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let state = state(&tx)?;
    if let Some(found) = outcome(&state) {
        return Ok(found);
    }
    let from = match state {
        State::Ours(version) => version,
        State::Empty | State::Foreign => 0,
    };
    #[cfg(feature = "tracing")]
    if from > 0 {
        tracing::info!(
            from,
            to = VERSION,
            "the database is brought to a newer version; large tables take a while"
        );
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        tx.execute_batch(migration)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()?;
    Ok(Found::Current)
}

/// Whether it is ours and of an older version.
pub(super) fn is_older(conn: &Connection) -> rusqlite::Result<bool> {
    Ok(matches!(state(conn)?, State::Ours(version) if version < VERSION))
}

/// `None` where there is something to update.
fn outcome(state: &State) -> Option<Found> {
    match *state {
        State::Foreign => Some(Found::Foreign),
        State::Ours(version) if version > VERSION => Some(Found::Newer(version)),
        State::Ours(VERSION) => Some(Found::Current),
        State::Ours(_) | State::Empty => None,
    }
}

fn state(conn: &Connection) -> rusqlite::Result<State> {
    // One statement, so that all three come from the same moment.
    conn.query_row(
        "SELECT (SELECT application_id FROM pragma_application_id),
                (SELECT user_version FROM pragma_user_version),
                (SELECT count(*) FROM sqlite_schema)",
        (),
        |row| {
            let (application, version, objects): (i32, i32, i64) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(match (application, version, objects) {
                (APPLICATION_ID, 1.., _) => State::Ours(version),
                (0, 0, 0) => State::Empty,
                _ => State::Foreign,
            })
        },
    )
}

/// Times are microseconds since 1970; a missing one is NULL.
///
/// The triggers log whatever happens to a key, by whichever program. Those that run before a
/// statement see the row that an `OR REPLACE` removes without a trigger of its own. A mere
/// `last_used_at` is no change. The log keeps its last 4,096 rows.
const V1: &str = "
CREATE TABLE keys (
    id           TEXT NOT NULL PRIMARY KEY,
    digest       BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    display      TEXT NOT NULL,
    kind         TEXT NOT NULL,
    role         TEXT,
    permissions  TEXT,
    resource_id  TEXT,
    plan_id      TEXT,
    label        TEXT,
    metadata     TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;

CREATE TABLE key_changes (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    digest   BLOB NOT NULL
) STRICT;

CREATE TRIGGER key_changes_pruned AFTER INSERT ON key_changes BEGIN
    DELETE FROM key_changes WHERE revision <= NEW.revision - 4096;
END;
CREATE TRIGGER keys_displaced_by_insert BEFORE INSERT ON keys BEGIN
    INSERT INTO key_changes (digest) SELECT digest FROM keys WHERE id = NEW.id;
END;
CREATE TRIGGER keys_displaced_by_update BEFORE UPDATE OF id ON keys WHEN OLD.id <> NEW.id BEGIN
    INSERT INTO key_changes (digest) SELECT digest FROM keys WHERE id = NEW.id;
END;
CREATE TRIGGER keys_inserted AFTER INSERT ON keys BEGIN
    INSERT INTO key_changes (digest) VALUES (NEW.digest);
END;
CREATE TRIGGER keys_updated AFTER UPDATE OF id, digest, display, kind, role, permissions,
    resource_id, plan_id, label, metadata, created_at, expires_at, revoked_at ON keys
BEGIN
    INSERT INTO key_changes (digest) VALUES (OLD.digest);
    INSERT INTO key_changes (digest) SELECT NEW.digest WHERE NEW.digest <> OLD.digest;
END;
CREATE TRIGGER keys_deleted AFTER DELETE ON keys BEGIN
    INSERT INTO key_changes (digest) VALUES (OLD.digest);
END;

-- A claim has a lease, an issuance has none. key_id outlives the key's record.
CREATE TABLE issuances (
    namespace   TEXT NOT NULL,
    id          TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    tx_hash     TEXT NOT NULL COLLATE NOCASE UNIQUE,
    lease_token BLOB,
    lease_until INTEGER,
    key_id      TEXT,
    digest      BLOB,
    nonce       BLOB,
    secret      BLOB,
    issued_at   INTEGER,
    expires_at  INTEGER,
    PRIMARY KEY (namespace, id),
    CHECK ((lease_token IS NULL) = (lease_until IS NULL)),
    CHECK ((lease_token IS NULL) = (issued_at IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX issuances_with_nonce ON issuances (issued_at) WHERE nonce IS NOT NULL;

-- due_at is the end of the lease while there is one, and NULL when the payment is handled.
CREATE TABLE payments (
    arrival      INTEGER PRIMARY KEY,
    challenge_id TEXT NOT NULL UNIQUE,
    request_id   TEXT NOT NULL,
    resource_id  TEXT NOT NULL,
    plan_id      TEXT NOT NULL,
    tx_hash      TEXT NOT NULL COLLATE NOCASE UNIQUE,
    details      TEXT NOT NULL,
    received_at  INTEGER NOT NULL,
    due_at       INTEGER,
    lease_token  BLOB,
    attempts     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX payments_due ON payments (due_at) WHERE due_at IS NOT NULL;

-- free_at is the end of the lease, or that of the answer's time where there is no lease.
CREATE TABLE idempotency (
    scope       TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    free_at     INTEGER NOT NULL,
    lease_token BLOB,
    status      INTEGER,
    headers     TEXT,
    body        BLOB,
    PRIMARY KEY (scope, key),
    CHECK ((lease_token IS NULL) = (status IS NOT NULL))
) STRICT;
CREATE INDEX idempotency_free ON idempotency (free_at);
";

/// Keys can be listed, what was done to them is told, and those that are over are found.
const V2: &str = "
CREATE INDEX keys_listed ON keys (kind, created_at, id);
CREATE INDEX keys_ending ON keys (coalesce(revoked_at, expires_at))
    WHERE revoked_at IS NOT NULL OR expires_at IS NOT NULL;

CREATE TABLE key_events (
    event  INTEGER PRIMARY KEY,
    key_id TEXT NOT NULL,
    action TEXT NOT NULL,
    actor  TEXT NOT NULL,
    at     INTEGER NOT NULL
) STRICT;
CREATE INDEX key_events_of_key ON key_events (key_id);
";

/// Keys can be suspended, and their former secret works for a while.
const V3: &str = "
ALTER TABLE keys ADD COLUMN revoked_reason TEXT;
ALTER TABLE keys ADD COLUMN suspended_at INTEGER;
ALTER TABLE keys ADD COLUMN old_digest BLOB;
ALTER TABLE keys ADD COLUMN old_display TEXT;
ALTER TABLE keys ADD COLUMN old_until INTEGER;
CREATE INDEX keys_replaced ON keys (old_digest) WHERE old_digest IS NOT NULL;
ALTER TABLE key_events ADD COLUMN reason TEXT;

DROP TRIGGER keys_displaced_by_insert;
DROP TRIGGER keys_displaced_by_update;
DROP TRIGGER keys_inserted;
DROP TRIGGER keys_updated;
DROP TRIGGER keys_deleted;
CREATE TRIGGER keys_displaced_by_insert BEFORE INSERT ON keys BEGIN
    INSERT INTO key_changes (digest) SELECT digest FROM keys WHERE id = NEW.id;
    INSERT INTO key_changes (digest)
        SELECT old_digest FROM keys
        WHERE (id = NEW.id OR digest = NEW.digest) AND old_digest IS NOT NULL;
END;
CREATE TRIGGER keys_displaced_by_update BEFORE UPDATE OF id ON keys WHEN OLD.id <> NEW.id BEGIN
    INSERT INTO key_changes (digest) SELECT digest FROM keys WHERE id = NEW.id;
    INSERT INTO key_changes (digest)
        SELECT old_digest FROM keys
        WHERE (id = NEW.id OR digest = NEW.digest) AND old_digest IS NOT NULL;
END;
CREATE TRIGGER keys_inserted AFTER INSERT ON keys BEGIN
    INSERT INTO key_changes (digest) VALUES (NEW.digest);
    INSERT INTO key_changes (digest) SELECT NEW.old_digest WHERE NEW.old_digest IS NOT NULL;
END;
CREATE TRIGGER keys_updated AFTER UPDATE OF id, digest, display, kind, role, permissions,
    resource_id, plan_id, label, metadata, created_at, expires_at, revoked_at, revoked_reason,
    suspended_at, old_digest, old_display, old_until ON keys
BEGIN
    INSERT INTO key_changes (digest) VALUES (OLD.digest);
    INSERT INTO key_changes (digest) SELECT NEW.digest WHERE NEW.digest <> OLD.digest;
    INSERT INTO key_changes (digest) SELECT OLD.old_digest WHERE OLD.old_digest IS NOT NULL;
    INSERT INTO key_changes (digest)
        SELECT NEW.old_digest WHERE NEW.old_digest NOT IN (OLD.digest, coalesce(OLD.old_digest, ''));
END;
CREATE TRIGGER keys_deleted AFTER DELETE ON keys BEGIN
    INSERT INTO key_changes (digest) VALUES (OLD.digest);
    INSERT INTO key_changes (digest) SELECT OLD.old_digest WHERE OLD.old_digest IS NOT NULL;
END;
";

/// Access tokens can be denied. In the log of changes a 1 stands before such a digest.
const V4: &str = "
CREATE TABLE denied_tokens (
    digest BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX denied_tokens_ending ON denied_tokens (until);
CREATE TRIGGER tokens_denied AFTER INSERT ON denied_tokens BEGIN
    INSERT INTO key_changes (digest) VALUES (CAST(x'01' || NEW.digest AS BLOB));
END;
";

/// Purchases can be revoked. One that was revoked before it was issued has a row without a digest; in
/// place of its hash stands a text that is none. How many such there were is counted by the day.
const V5: &str = "
ALTER TABLE issuances ADD COLUMN revoked_at INTEGER;
ALTER TABLE issuances ADD COLUMN revoked_reason TEXT;
CREATE TABLE unknown_revocations (
    day   INTEGER NOT NULL PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT;
";

/// Purchases can be listed and found, with what was bought, how their handlers fared and when their
/// keys were first used. Of older rows that is not known.
const V6: &str = "
ALTER TABLE issuances ADD COLUMN request_id TEXT;
ALTER TABLE issuances ADD COLUMN resource_id TEXT;
ALTER TABLE issuances ADD COLUMN plan_id TEXT;
ALTER TABLE payments ADD COLUMN handled_at INTEGER;
ALTER TABLE payments ADD COLUMN last_error TEXT;
ALTER TABLE payments ADD COLUMN given_up TEXT;
ALTER TABLE keys ADD COLUMN first_used_at INTEGER;
CREATE INDEX issuances_seen ON issuances (issued_at, namespace, id) WHERE issued_at IS NOT NULL;
CREATE INDEX issuances_of_key ON issuances (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX issuances_of_request ON issuances (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX payments_seen ON payments (received_at, challenge_id);
CREATE INDEX payments_of_request ON payments (request_id);
";

/// Events outlive their keys, with what may be shown of them, and there are those of purchases: for
/// them `kind` is not NULL, and `key_id` the id. `over_at` is since when an event is one that goes.
const V7: &str = "
ALTER TABLE key_events ADD COLUMN kind TEXT;
ALTER TABLE key_events ADD COLUMN display TEXT;
ALTER TABLE key_events ADD COLUMN label TEXT;
ALTER TABLE key_events ADD COLUMN over_at INTEGER;
CREATE INDEX key_events_ending ON key_events (over_at) WHERE over_at IS NOT NULL;
";
