use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{feed::LONGEST_BLINK, lane::Lane, row::Fault};
use crate::{error::StoreError, store::feed::Task};

/// How old what is pruned is at least: older than whoever reads the log may be behind.
const AGE: Duration = LONGEST_BLINK.saturating_mul(2);
/// How many rows go in one transaction.
const BATCH: u64 = 5_000;

/// Prunes the log for as long as the task lives. The log is told of long before; a failure is
/// logged, and made up for by the next round.
pub(super) fn start(writes: Arc<Lane>) -> Task {
    Task::spawn(async move {
        let mut old: Option<String> = None;
        loop {
            // Rows are pruned that were committed before the last round began.
            if let Some(old) = &old {
                while let Some(BATCH) = reported(prune(&writes, old).await) {}
            }
            old = reported(snapshot(&writes).await);
            sleep(AGE).await;
        }
    })
}

fn reported<T>(done: Result<T, StoreError>) -> Option<T> {
    #[cfg(feature = "tracing")]
    if let Err(error) = &done {
        let error = crate::error::chain(error);
        tracing::warn!(error, "the log of changed keys was not pruned");
    }
    done.ok()
}

pub(super) async fn snapshot(writes: &Lane) -> Result<String, StoreError> {
    let job = async {
        let mut tx = writes.lend().await?;
        let snapshot =
            sqlx::query_scalar("SELECT pg_current_snapshot()::text").fetch_one(&mut *tx).await?;
        tx.end().await?;
        Ok::<_, Fault>(snapshot)
    };
    writes.run(job).await
}

/// Removes rows that were committed at this snapshot, and says how many.
pub(super) async fn prune(writes: &Lane, old: &str) -> Result<u64, StoreError> {
    let job = async {
        let mut tx = writes.lend().await?;
        let pruned = sqlx::query(
            "DELETE FROM key_changes WHERE revision IN (
                 SELECT revision FROM key_changes
                 WHERE xid < pg_snapshot_xmax($1::pg_snapshot)
                 AND pg_visible_in_snapshot(xid, $1::pg_snapshot)
                 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        )
        .bind(old)
        .bind(BATCH.cast_signed())
        .execute(&mut *tx)
        .await?;
        tx.end().await?;
        Ok::<_, Fault>(pruned.rows_affected())
    };
    writes.run(job).await
}
