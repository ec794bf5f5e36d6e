use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions, Error, Executor, PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use super::{lane::MAKING, refusal::Refusal, row::Fault, same_server::SameServer};
use crate::{
    error::StoreError,
    store::{
        Change,
        feed::{Listening, Notification, Source},
    },
};

/// What the triggers notify.
const CHANNEL: &str = "key0_changes";
/// From so many changes at once on, the listeners are told that anything may have changed.
const MAX_CHANGES: i64 = 1000;
/// Whoever did not look for so long may have missed rows that are pruned: see `prune.rs`.
pub(super) const LONGEST_BLINK: Duration = Duration::from_secs(30);

/// Where the log of changes is read.
pub(super) struct Log {
    /// Lends no connection, and knows the login of today.
    pool: PgPool,
    schema: String,
    patience: Duration,
    same: Option<Arc<SameServer>>,
    refusal: Refusal,
}

/// A connection that listens, and knows up to where it has seen the log.
///
/// The cursor in the log is a snapshot, not a number: a row with a lower number can be committed
/// after one with a higher.
pub(super) struct Reader {
    listener: PgListener,
    schema: String,
    pub(super) seen: Seen,
    same: Option<Arc<SameServer>>,
}

/// The last look.
pub(super) struct Seen {
    snapshot: String,
    /// When, by the server's clock in seconds, and by ours. Either stands still or jumps where the
    /// other does not.
    pub(super) server_at: i64,
    pub(super) at: Instant,
}

impl Log {
    /// `same` is what the connections that read keys know of their server, if they tell.
    pub(super) fn new(
        pool: PgPool,
        schema: String,
        patience: Duration,
        same: Option<Arc<SameServer>>,
    ) -> Self {
        Self { pool, schema, patience, same, refusal: Refusal::default() }
    }
}

impl Source for Log {
    type Listening = Reader;

    async fn open(&self) -> Result<Reader, StoreError> {
        tokio::select! {
            biased;
            listening = self.listen() => listening.map_err(|error| Fault::from(error).0),
            refused = self.refusal.comes(&self.pool, false) => Err(refused),
        }
    }
}

impl Log {
    async fn listen(&self) -> Result<Reader, Error> {
        let target = PgConnectOptions::clone(&self.pool.connect_options());
        // A pool because a listener wants one; it lives and dies with its only connection.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(MAKING)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(target.disable_statement_logging());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.ignore_pool_close_event(true);
        let session = format!(
            "SET search_path = \"{}\", pg_temp; SET statement_timeout = {}",
            self.schema,
            self.patience.as_millis(),
        );
        listener.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(session))).await?;
        // In this order: what is committed between the two is seen.
        listener.listen(CHANNEL).await?;
        let (snapshot, server_at) = sqlx::query_as(
            "SELECT pg_current_snapshot()::text, extract(epoch FROM clock_timestamp())::bigint",
        )
        .fetch_one(&mut listener)
        .await?;
        if let Some(same) = &self.same {
            same.ask(&mut listener).await?;
        }
        let seen = Seen { snapshot, server_at, at: Instant::now() };
        let (schema, same) = (self.schema.clone(), self.same.clone());
        let mut reader = Reader { listener, schema, seen, same };
        // Whoever has no rights on the log learns it now.
        reader.changes().await?;
        Ok(reader)
    }
}

impl Listening for Reader {
    async fn hear(&mut self) -> Result<Notification, StoreError> {
        loop {
            let heard = self.listener.try_recv().await.map_err(|error| Fault::from(error).0)?;
            let heard = heard.ok_or_else(|| StoreError::unavailable("the connection was lost"))?;
            if heard.payload() == self.schema {
                return Ok(Notification::Look);
            }
        }
    }

    async fn look(&mut self) -> Result<Vec<Change>, StoreError> {
        // What was said up to here is seen by this look.
        while self.listener.next_buffered().is_some() {}
        self.changes().await.map_err(|error| Fault::from(error).0)
    }

    fn proves(&self) -> bool {
        self.same.as_ref().is_some_and(|same| same.holds())
    }
}

impl Reader {
    /// What is visible now and was not at the last look.
    ///
    /// A log that was restored from another server holds transactions that this one has not come
    /// to yet. Nobody is told of them, now or later.
    async fn changes(&mut self) -> Result<Vec<Change>, Error> {
        let (snapshot, server_at, digests): (String, i64, Option<Vec<Option<Vec<u8>>>>) =
            sqlx::query_as(
                "SELECT pg_current_snapshot()::text,
                     extract(epoch FROM clock_timestamp())::bigint,
                     (SELECT array_agg(digest) FROM (
                         SELECT digest FROM key_changes
                         WHERE xid >= pg_snapshot_xmin($1::pg_snapshot)
                         AND xid < pg_snapshot_xmax(pg_current_snapshot())
                         AND NOT pg_visible_in_snapshot(xid, $1::pg_snapshot)
                         LIMIT $2) AS untold)",
            )
            .bind(&self.seen.snapshot)
            .bind(MAX_CHANGES + 1)
            .fetch_one(&mut self.listener)
            .await?;
        let seen = Seen { snapshot, server_at, at: Instant::now() };
        let blink = LONGEST_BLINK.as_secs().cast_signed();
        let by_server = seen.server_at.saturating_sub(self.seen.server_at);
        let missed = !(0..blink).contains(&by_server) || seen.at - self.seen.at >= LONGEST_BLINK;
        self.seen = seen;
        let digests = digests.unwrap_or_default();
        // A row that can't be understood, or none that names a key, stands for anything.
        let changes = digests.iter().map(|digest| Change::logged(digest.as_deref()?));
        let changes: Option<Vec<_>> = changes.collect();
        let bounded = changes.filter(|changes| changes.len() <= MAX_CHANGES as usize && !missed);
        Ok(bounded.unwrap_or_else(|| vec![Change::All]))
    }
}
