use std::time::Duration;

use sqlx::{AssertSqlSafe, Error, Executor, PgConnection};

use super::{PostgresOptions, migrations::MIGRATIONS, open::millis};

/// Stands in the table `key0_auth` of every schema of ours, and nowhere else.
pub(super) const MARKER: &str = "key0-auth 4b657930-7a1e-4c5d-9f43-0d1f6e2b8c11";

/// The newest version.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// What is to be done with a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// To look at it, and to make one where there is none: that does not take long.
    Look,
    /// To bring it one step nearer to the newest version.
    Update,
}

/// What a schema turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Current,
    /// It is ours, and not of the newest version yet. A step that was taken holds once the transaction
    /// is committed.
    Behind,
    Newer(i32),
    /// There is none, or one of this version, and nothing may be made.
    Absent,
    Older(i32),
    Foreign,
}

enum State {
    /// There is none of the name.
    Absent,
    Empty,
    Ours(i32),
    Foreign,
}

/// Brings a schema of ours one step nearer to the newest version, where that is the task, makes one where
/// there is none, and leaves any other as it is; ours, too, where it must exist. Within a transaction that
/// has the schema alone in its search path.
pub(super) async fn update(
    conn: &mut PgConnection,
    options: &PostgresOptions,
    task: Task,
) -> Result<Found, Error> {
    let schema = &*options.schema;
    // Looked at without a lock first: there is hardly ever something to do.
    let seen = state(conn, schema).await?;
    if let Some(found) = outcome(&seen) {
        return Ok(found);
    }
    if options.must_exist {
        return Ok(match seen {
            State::Ours(version) => Found::Older(version),
            State::Absent | State::Empty | State::Foreign => Found::Absent,
        });
    }
    match (task, &seen) {
        (Task::Look, State::Ours(_)) => return Ok(Found::Behind),
        (Task::Look, _) => lock(conn, schema, options.open_timeout).await?,
        (Task::Update, _) => lock(conn, schema, options.migration_timeout).await?,
    }
    // A table that others hold must not stop all who come after this.
    set_lock_timeout(conn, options.open_timeout).await?;
    let state = state(conn, schema).await?;
    if let Some(found) = outcome(&state) {
        return Ok(found);
    }
    let from = match state {
        State::Ours(version) => version,
        State::Absent => {
            conn.execute(sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\""))))
                .await?;
            0
        }
        State::Empty | State::Foreign => 0,
    };
    // Where instances are at work, no lock is held for longer than a step takes.
    let to = if from == 0 { VERSION } else { from + 1 };
    told_of(schema, from, to);
    let steps = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
    for migration in &MIGRATIONS[steps] {
        conn.execute(sqlx::raw_sql(*migration)).await?;
    }
    sqlx::query(
        "INSERT INTO key0_auth (marker, version) VALUES ($1, $2)
         ON CONFLICT (only_row) DO UPDATE SET version = excluded.version",
    )
    .bind(MARKER)
    .bind(to)
    .execute(&mut *conn)
    .await?;
    Ok(if to == VERSION { Found::Current } else { Found::Behind })
}

/// Waits for whoever else makes or updates the schema.
async fn lock(conn: &mut PgConnection, schema: &str, patience: Duration) -> Result<(), Error> {
    let locked: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(1264937264, hashtext($1))")
            .bind(schema)
            .fetch_one(&mut *conn)
            .await?;
    if locked {
        return Ok(());
    }
    #[cfg(feature = "tracing")]
    tracing::info!(schema, "another instance makes or updates the schema; waiting for it");
    set_lock_timeout(conn, patience).await?;
    sqlx::query("SELECT pg_advisory_xact_lock(1264937264, hashtext($1))")
        .bind(schema)
        .execute(conn)
        .await?;
    Ok(())
}

async fn set_lock_timeout(conn: &mut PgConnection, timeout: Duration) -> Result<(), Error> {
    sqlx::query("SELECT set_config('lock_timeout', $1, true)")
        .bind(millis(timeout).to_string())
        .execute(conn)
        .await?;
    Ok(())
}

fn told_of(_schema: &str, _from: i32, _to: i32) {
    #[cfg(feature = "tracing")]
    if _from > 0 {
        tracing::info!(
            schema = _schema,
            from = _from,
            to = _to,
            "the schema is brought to a newer version; large tables take a while"
        );
    }
}

/// `None` where there is something to update.
fn outcome(state: &State) -> Option<Found> {
    match *state {
        State::Foreign => Some(Found::Foreign),
        State::Ours(version) if version > VERSION => Some(Found::Newer(version)),
        State::Ours(VERSION) => Some(Found::Current),
        State::Ours(_) | State::Empty | State::Absent => None,
    }
}

async fn state(conn: &mut PgConnection, schema: &str) -> Result<State, Error> {
    let found: Option<(i64, bool)> = sqlx::query_as(
        "SELECT (SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace = schema.oid)
                 + (SELECT count(*) FROM pg_catalog.pg_type WHERE typnamespace = schema.oid)
                 + (SELECT count(*) FROM pg_catalog.pg_proc WHERE pronamespace = schema.oid),
             (SELECT count(*) = 2 FROM pg_catalog.pg_attribute
              JOIN pg_catalog.pg_class AS marks ON marks.oid = attrelid
              WHERE relnamespace = schema.oid AND relname = 'key0_auth'
              AND ((attname = 'marker' AND atttypid = 'text'::regtype)
                   OR (attname = 'version' AND atttypid = 'integer'::regtype)))
         FROM pg_catalog.pg_namespace AS schema WHERE nspname = $1",
    )
    .bind(schema)
    .fetch_optional(&mut *conn)
    .await?;
    match found {
        None => return Ok(State::Absent),
        Some((0, _)) => return Ok(State::Empty),
        Some((_, false)) => return Ok(State::Foreign),
        Some((_, true)) => {}
    }
    let version: Option<i32> =
        sqlx::query_scalar("SELECT version FROM key0_auth WHERE marker = $1")
            .bind(MARKER)
            .fetch_optional(conn)
            .await?;
    Ok(match version {
        Some(version @ 1..) => State::Ours(version),
        _ => State::Foreign,
    })
}
