//! What happens before a store is there: the server is waited for, and the schema brought up to date.

use std::{io::ErrorKind, time::Duration};

use sqlx::{AssertSqlSafe, Connection, Error, Executor, PgConnection};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    OpenError,
    open::{Opening, millis},
    row::{NOT_NOW, TOO_MANY, is},
    schema::{self, Found, Task},
};
use crate::store::backoff::Backoff;

/// The oldest version of the server that will do.
const OLDEST_SERVER: i32 = 130_000;

impl Opening<'_> {
    /// Waits for the server, and brings the schema to the newest version. That takes as long as the
    /// tables are large, so it has a deadline of its own, and what follows begins anew.
    pub(super) async fn prepare(&mut self) -> Result<(), OpenError> {
        let timed_out = |_| OpenError::TimedOut { address: self.address.clone() };
        let mut conn = self.connect(self.deadline).await?;
        let looked_at = self.step(&mut conn, Task::Look);
        // Where a step fails, the connection is dropped and the server undoes the transaction.
        let mut found = timeout_at(self.deadline, looked_at).await.map_err(timed_out)??;
        let deadline = Instant::now() + self.options.migration_timeout;
        while found == Found::Behind {
            let taken = self.step(&mut conn, Task::Update);
            found = timeout_at(deadline, taken).await.map_err(timed_out)??;
        }
        self.deadline = Instant::now() + self.options.open_timeout;
        let _ = timeout_at(self.deadline, conn.close()).await;
        Ok(())
    }

    /// A server that is starting up is waited for.
    async fn connect(&self, deadline: Instant) -> Result<PgConnection, OpenError> {
        let mut backoff = Backoff::default();
        let mut last = None;
        loop {
            let connected = timeout_at(deadline, PgConnection::connect_with(&self.target)).await;
            let error = match (connected, last.take()) {
                (Ok(Ok(conn)), _) => return Ok(conn),
                (Ok(Err(error)), told) => {
                    if told.is_none() {
                        tell_of_waiting(&self.address, &error, self.options.wait_for_server);
                    }
                    error
                }
                // It hangs now, but has said why it lets nobody in.
                (Err(_), Some(error)) => return Err(self.unusable(error)),
                (Err(_), None) => {
                    return Err(OpenError::TimedOut { address: self.address.clone() });
                }
            };
            let pause = backoff.pause();
            let waits = self.options.wait_for_server && may_pass(&error);
            if !waits || Instant::now() + pause >= deadline {
                return Err(self.unusable(error));
            }
            sleep(pause).await;
            last = Some(error);
        }
    }

    /// Looks at the schema, or takes one step towards the newest version, in a transaction of its own.
    async fn step(&self, conn: &mut PgConnection, task: Task) -> Result<Found, OpenError> {
        let unusable = |error: Error| self.unusable(error);
        let address = || self.address.clone();
        let schema = || self.options.schema.clone();
        // While it waits for another instance, a limit on the time of a statement must not count.
        let begin = format!(
            "{}; SET LOCAL lock_timeout = {}",
            self.transaction("ISOLATION LEVEL READ COMMITTED", Duration::ZERO),
            millis(self.options.open_timeout),
        );
        conn.execute(sqlx::raw_sql(AssertSqlSafe(begin))).await.map_err(unusable)?;
        let (version, encoding, read_only): (i32, String, bool) = sqlx::query_as(
            "SELECT current_setting('server_version_num')::integer,
                 current_setting('server_encoding'),
                 pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean",
        )
        .fetch_one(&mut *conn)
        .await
        .map_err(unusable)?;
        if version < OLDEST_SERVER {
            let reason = "it is older than version 13";
            return Err(OpenError::Unsuited { address: address(), reason });
        }
        if encoding != "UTF8" {
            return Err(OpenError::Unsuited { address: address(), reason: "it is not in UTF8" });
        }
        if read_only {
            return Err(OpenError::ReadOnly { address: address() });
        }
        match schema::update(conn, self.options, task).await {
            Ok(found @ (Found::Current | Found::Behind)) => {
                // Whoever may not read the denied tokens, or revoke a purchase, learns it now.
                let probe = "SELECT digest, until FROM denied_tokens LIMIT 1;
                    SELECT day, count FROM unknown_revocations LIMIT 1; COMMIT";
                let end = if found == Found::Current { probe } else { "COMMIT" };
                conn.execute(sqlx::raw_sql(end)).await.map(|_| found).map_err(unusable)
            }
            Ok(Found::Foreign) => Err(OpenError::Foreign { address: address(), schema: schema() }),
            Ok(Found::Absent) => Err(OpenError::Absent { address: address(), schema: schema() }),
            Ok(Found::Older(found)) => {
                let known = schema::VERSION;
                Err(OpenError::Older { address: address(), schema: schema(), found, known })
            }
            Ok(Found::Newer(found)) => {
                let known = schema::VERSION;
                Err(OpenError::Newer { address: address(), schema: schema(), found, known })
            }
            Err(error) if is(&error, "55P03") => Err(OpenError::TimedOut { address: address() }),
            Err(error) => Err(unusable(error)),
        }
    }
}

/// Whether a failure to connect can be over soon. A certificate that nobody knows stays so.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Io(error) => error.kind() != ErrorKind::InvalidData,
        error => is(error, NOT_NOW) || is(error, TOO_MANY),
    }
}

fn tell_of_waiting(_address: &str, _error: &Error, waits: bool) {
    #[cfg(feature = "tracing")]
    if waits && may_pass(_error) {
        let error = crate::error::chain(_error);
        tracing::warn!(error, address = _address, "PostgreSQL lets nobody in; waiting for it");
    }
    let _ = waits;
}
