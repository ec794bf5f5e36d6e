//! What is done besides answering requests: writing down when keys were used, clearing away what is
//! past its time.

use std::{sync::Arc, time::Duration};

use key0_auth::{
    Cached, KeyStore,
    api::{AuditApi, CredentialApi, IssueToken, KeysApi},
    error::StoreError,
    idempotency::Idempotency,
    store::{DeniedTokens, KeyUsage},
};
use tokio::time::MissedTickBehavior;

use crate::logging::Chain;

/// How often it runs; the uses of keys are written as often.
const ROUND: Duration = Duration::from_secs(60);
/// How much is cleared away in one transaction: little, since every key that goes is news for the
/// caches of all processes.
const LIMIT: u32 = 200;
/// How many transactions there are in one round, and the pause between two.
const STEPS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);
/// How long the last uses may take to be written at the end.
const LAST_WRITE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(crate) struct Housekeeping {
    pub(super) issue_token: IssueToken,
    pub(super) keys: KeysApi,
    pub(super) audit: AuditApi,
    pub(super) credentials: CredentialApi,
    pub(super) denied: DeniedTokens,
    pub(super) usage: KeyUsage,
    pub(super) idempotency: Idempotency,
    pub(super) store: Arc<Cached>,
}

impl Housekeeping {
    /// Runs for ever.
    pub(crate) async fn run(self) {
        tokio::join!(self.write_uses(), self.clear_away());
    }

    async fn write_uses(&self) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            report("the last uses of keys were not written", self.usage.flush().await);
        }
    }

    async fn clear_away(&self) {
        loop {
            report(
                "old nonces were not forgotten",
                in_steps(|| self.issue_token.forget_old_nonces(LIMIT)).await,
            );
            report("old keys were not purged", in_steps(|| self.keys.purge(LIMIT)).await);
            report("rejected requests were not noted", self.audit.note_counted().await);
            report("old events were not purged", in_steps(|| self.audit.purge(LIMIT)).await);
            report(
                "old denials were not purged",
                in_steps(|| self.credentials.purge_denials(LIMIT)).await,
            );
            report("old answers were not purged", in_steps(|| self.idempotency.purge(LIMIT)).await);
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Writes what would be lost, once no request comes any more.
    pub(crate) async fn close(self) {
        match tokio::time::timeout(LAST_WRITE, self.usage.flush()).await {
            Ok(written) => report("the last uses of keys were not written", written),
            Err(_) => tracing::warn!("the last uses of keys were not written in {LAST_WRITE:?}"),
        }
        match tokio::time::timeout(LAST_WRITE, self.audit.note_rest()).await {
            Ok(noted) => report("rejected requests were not noted", noted),
            Err(_) => tracing::warn!("rejected requests were not noted in {LAST_WRITE:?}"),
        }
        self.denied.close();
        match tokio::time::timeout(LAST_WRITE, self.store.close()).await {
            Ok(closed) => report("the store was not closed; nothing is lost", closed),
            Err(_) => tracing::warn!("the store was not closed in {LAST_WRITE:?}; nothing is lost"),
        }
    }
}

/// A round clears away at most so much, with pauses, so that others can write meanwhile.
async fn in_steps<F: Future<Output = Result<u32, StoreError>>>(
    step: impl Fn() -> F,
) -> Result<(), StoreError> {
    for _ in 0..STEPS {
        if step().await? < LIMIT {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

fn report(what: &str, done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(error = %Chain(&error), "{what}");
    }
}
