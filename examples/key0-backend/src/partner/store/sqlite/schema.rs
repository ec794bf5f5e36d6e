use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

/// The version of the tables, in a table of its own: `user_version` belongs to the file's owner.
const VERSION: i64 = 2;

/// The tables whose rows tell by which request they were made, where it had an idempotency key.
pub(super) const EFFECTS: [&str; 5] = [
    "partner_orders",
    "partner_reward_tiers",
    "partner_passports",
    "partner_imports",
    "partner_publications",
];

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Current,
    Newer(i64),
}

/// Makes the tables where they are not there yet.
pub(super) fn update(conn: &mut Connection) -> rusqlite::Result<Found> {
    // Looked at without a lock first: there is hardly ever something to do.
    if let Some(found) = outcome(version(conn)?) {
        return Ok(found);
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = version(&tx)?;
    if let Some(found) = outcome(version) {
        return Ok(found);
    }
    if version.is_some() {
        tx.execute_batch(OWNERS)?;
        tx.execute("UPDATE partner_version SET version = ?1", [VERSION])?;
        tx.commit()?;
        return Ok(Found::Current);
    }
    tx.execute_batch(TABLES)?;
    tx.execute_batch(OWNERS)?;
    for table in EFFECTS {
        // The keys are found by the first, and those that are past their time by the second.
        tx.execute_batch(&format!(
            "CREATE UNIQUE INDEX {table}_once ON {table} (caller, idempotency_key)
                 WHERE caller IS NOT NULL;
             CREATE INDEX {table}_keyed ON {table} (created_at) WHERE caller IS NOT NULL;"
        ))?;
    }
    tx.execute("INSERT INTO partner_version (version) VALUES (?1)", [VERSION])?;
    tx.commit()?;
    Ok(Found::Current)
}

/// The version of the tables, and that of this program; nothing where there are none.
pub(super) fn found(conn: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    Ok(version(conn)?.map(|found| (found, VERSION)))
}

/// Nothing where there are no tables.
fn version(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'partner_version'";
    if conn.query_row(sql, (), |row| row.get::<_, i64>(0))? == 0 {
        return Ok(None);
    }
    conn.query_row("SELECT version FROM partner_version", (), |row| row.get(0)).optional()
}

/// Nothing where the tables are to be made, or brought to this version.
fn outcome(version: Option<i64>) -> Option<Found> {
    match version? {
        VERSION => Some(Found::Current),
        version if version > VERSION => Some(Found::Newer(version)),
        _ => None,
    }
}

/// What version 2 added: whose an import is, and how large.
const OWNERS: &str = "
ALTER TABLE partner_imports ADD COLUMN owner TEXT;
ALTER TABLE partner_imports ADD COLUMN bytes INTEGER;
CREATE INDEX partner_imports_owed ON partner_imports (owner, bytes) WHERE due_at IS NOT NULL;
";

/// Times are microseconds since 1970. `due_at` is when the simulated chain, or the import, has its
/// turn; it is NULL where nothing is to be done. The four columns from `caller` on are those of
/// the request that made the row, until its key is forgotten.
const TABLES: &str = "
CREATE TABLE partner_version (version INTEGER NOT NULL) STRICT;

CREATE TABLE partner_passports (
    arrival         INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    granularity     TEXT NOT NULL,
    application     TEXT NOT NULL,
    network         TEXT,
    model_number    TEXT NOT NULL,
    name            TEXT NOT NULL,
    description     TEXT,
    status          TEXT NOT NULL CHECK (status IN ('draft', 'published')),
    certification   TEXT NOT NULL CHECK (certification IN ('none', 'pending', 'certified')),
    due_at          INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    caller          TEXT,
    idempotency_key TEXT,
    fingerprint     BLOB,
    answer          TEXT,
    UNIQUE (application, model_number)
) STRICT;
CREATE INDEX partner_passports_due ON partner_passports (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX partner_passports_drafts
    ON partner_passports (certification, application, model_number)
    WHERE certification = 'none';
CREATE INDEX partner_passports_drafts_of_model ON partner_passports (certification, model_number)
    WHERE certification = 'none';

-- Kept for as long as its key is.
CREATE TABLE partner_publications (
    arrival         INTEGER PRIMARY KEY,
    accepted        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    caller          TEXT,
    idempotency_key TEXT,
    fingerprint     BLOB,
    answer          TEXT
) STRICT;

-- wanted holds the rows until they are done, outcome what became of them.
CREATE TABLE partner_imports (
    arrival         INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    wanted          TEXT,
    outcome         TEXT,
    due_at          INTEGER,
    created_at      INTEGER NOT NULL,
    caller          TEXT,
    idempotency_key TEXT,
    fingerprint     BLOB,
    answer          TEXT,
    CHECK ((wanted IS NULL) = (outcome IS NOT NULL))
) STRICT;
CREATE INDEX partner_imports_due ON partner_imports (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE partner_reward_tiers (
    arrival         INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    threshold       INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    caller          TEXT,
    idempotency_key TEXT,
    fingerprint     BLOB,
    answer          TEXT
) STRICT;

CREATE TABLE partner_accounts (
    id      TEXT NOT NULL PRIMARY KEY,
    balance INTEGER NOT NULL CHECK (balance BETWEEN 1 AND 9007199254740991)
) STRICT, WITHOUT ROWID;

CREATE TABLE partner_orders (
    arrival         INTEGER PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    account         TEXT NOT NULL,
    amount          INTEGER NOT NULL CHECK (amount > 0),
    status          TEXT NOT NULL CHECK (status IN ('pending', 'settled')),
    due_at          INTEGER,
    created_at      INTEGER NOT NULL,
    caller          TEXT,
    idempotency_key TEXT,
    fingerprint     BLOB,
    answer          TEXT
) STRICT;
CREATE INDEX partner_orders_of_account ON partner_orders (account, arrival);
CREATE INDEX partner_orders_due ON partner_orders (due_at) WHERE due_at IS NOT NULL;
";
