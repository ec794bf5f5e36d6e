use sqlx::PgConnection;

use super::lane::Lane;
use crate::partner::store::Fault;

/// What takes the tables from each version to the next.
const MIGRATIONS: [&str; 1] = [V1];

/// The newest version.
const VERSION: i32 = MIGRATIONS.len() as i32;

/// What a schema turned out to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Current,
    Newer(i32),
}

/// Makes the tables where they are not there yet, or brings them to the newest version.
pub(super) async fn update(lane: &Lane, schema: &str) -> Result<Found, Fault> {
    lane.run(async {
        let mut tx = lane.begin().await?;
        // Looked at without a lock first: there is hardly ever something to do.
        let mut found = version(&mut tx, schema).await?;
        if found < VERSION {
            sqlx::raw_sql("SET LOCAL lock_timeout = 0").execute(&mut *tx).await?;
            sqlx::query("SELECT pg_advisory_xact_lock(1264937265, hashtext($1))")
                .bind(schema)
                .execute(&mut *tx)
                .await?;
            found = version(&mut tx, schema).await?;
        }
        if found > VERSION {
            tx.commit().await?;
            return Ok(Found::Newer(found));
        }
        if found < VERSION {
            for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
                sqlx::raw_sql(*migration).execute(&mut *tx).await?;
            }
            sqlx::query(
                "INSERT INTO partner_version (version) VALUES ($1)
                 ON CONFLICT (only_row) DO UPDATE SET version = excluded.version",
            )
            .bind(VERSION)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(Found::Current)
    })
    .await
}

/// The version of the tables, 0 where there are none, and that of this program.
pub(super) async fn found(lane: &Lane, schema: &str) -> Result<(i32, i32), Fault> {
    lane.run(async {
        let mut tx = lane.begin().await?;
        let found = version(&mut tx, schema).await?;
        tx.commit().await?;
        Ok((found, VERSION))
    })
    .await
}

/// 0 where there are no tables.
async fn version(conn: &mut PgConnection, schema: &str) -> Result<i32, Fault> {
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_catalog.pg_tables
         WHERE schemaname = $1 AND tablename = 'partner_version'",
    )
    .bind(schema)
    .fetch_one(&mut *conn)
    .await?;
    if tables == 0 {
        return Ok(0);
    }
    let version = sqlx::query_scalar("SELECT version FROM partner_version");
    Ok(version.fetch_optional(conn).await?.unwrap_or(0))
}

/// Times are microseconds since 1970. `due_at` is when the simulated chain, or the import, has its
/// turn; it is NULL where nothing is to be done. Texts are compared byte by byte, whatever language
/// the database speaks. A description may hold any character, which a text of PostgreSQL may not.
const V1: &str = r#"
CREATE TABLE partner_version (
    only_row boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    version  integer NOT NULL
);

CREATE TABLE partner_keys (
    caller          text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    fingerprint     bytea NOT NULL CHECK (length(fingerprint) = 32),
    answer          text NOT NULL,
    created_at      bigint NOT NULL,
    PRIMARY KEY (caller, idempotency_key)
);
CREATE INDEX partner_keys_by_age ON partner_keys (created_at);

CREATE TABLE partner_passports (
    arrival       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            text COLLATE "C" NOT NULL UNIQUE,
    granularity   text NOT NULL,
    application   text COLLATE "C" NOT NULL,
    network       text,
    model_number  text COLLATE "C" NOT NULL,
    name          text NOT NULL,
    description   bytea,
    status        text NOT NULL CHECK (status IN ('draft', 'published')),
    certification text NOT NULL CHECK (certification IN ('none', 'pending', 'certified')),
    due_at        bigint,
    created_at    bigint NOT NULL,
    updated_at    bigint NOT NULL,
    CONSTRAINT partner_passports_model UNIQUE (application, model_number)
);
CREATE INDEX partner_passports_due ON partner_passports (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX partner_passports_drafts ON partner_passports (application, arrival)
    WHERE certification = 'none';
CREATE INDEX partner_passports_drafts_of_model ON partner_passports (model_number)
    WHERE certification = 'none';

-- wanted holds the rows until they are done, outcome what became of them.
CREATE TABLE partner_imports (
    arrival    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         text COLLATE "C" NOT NULL UNIQUE,
    owner      text COLLATE "C",
    bytes      bigint NOT NULL,
    wanted     text,
    outcome    text,
    due_at     bigint,
    created_at bigint NOT NULL,
    CHECK ((wanted IS NULL) = (outcome IS NOT NULL))
);
CREATE INDEX partner_imports_due ON partner_imports (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX partner_imports_owed ON partner_imports (owner) WHERE due_at IS NOT NULL;

CREATE TABLE partner_reward_tiers (
    arrival    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         text COLLATE "C" NOT NULL UNIQUE,
    name       text NOT NULL,
    threshold  bigint NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE partner_accounts (
    id      text COLLATE "C" NOT NULL PRIMARY KEY,
    balance bigint NOT NULL CHECK (balance BETWEEN 1 AND 9007199254740991)
);

CREATE TABLE partner_orders (
    arrival    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         text COLLATE "C" NOT NULL UNIQUE,
    account    text COLLATE "C" NOT NULL,
    amount     bigint NOT NULL CHECK (amount > 0),
    status     text NOT NULL CHECK (status IN ('pending', 'settled')),
    due_at     bigint,
    created_at bigint NOT NULL
);
CREATE INDEX partner_orders_of_account ON partner_orders (account, arrival);
CREATE INDEX partner_orders_due ON partner_orders (due_at) WHERE due_at IS NOT NULL;
"#;
